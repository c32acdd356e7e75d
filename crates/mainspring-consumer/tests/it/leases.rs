//! Who may run a processor: E30, E31, E32, and zombies.

use std::time::Duration;

use mainspring_consumer::{Activity, LeasePolicy, Processor, Processors, projector_with};
use tokio::sync::{Notify, mpsc};

use crate::ground::{Ground, PATIENCE, n_of, note, noting};

#[tokio::test]
async fn a_second_instance_fails_while_the_first_runs_and_goes_on_after_it() {
    // E30, E32 (fail is the default)
    let ground = Ground::new().await;
    ground.append(1..=3).await;
    let running = ground.consumer().projector("p", noting("p")).start().await.unwrap();
    running.when_caught_up(PATIENCE).await.unwrap();
    let error = ground.consumer().projector("p", noting("p")).start().await.err().unwrap();
    assert!(error.is_conflict() && error.to_string().contains("`p` runs in another instance"), "{error}");
    running.stop().await.unwrap();
    ground.append([4]).await;
    ground.run_to_end(ground.consumer().projector("p", noting("p"))).await;
    assert_eq!(ground.seen("p").await, [1, 2, 3, 4]);
}

#[tokio::test]
async fn a_standby_takes_over_when_the_first_stops() {
    // E32
    let ground = Ground::new().await;
    ground.append([1]).await;
    let waiting = || Processor::projector("p", noting("p")).lease_policy(LeasePolicy::Wait);
    let consumer = || ground.consumer().lease(Duration::from_millis(400)).processor(waiting());
    let first = consumer().start().await.unwrap();
    let second = consumer().start().await.unwrap();
    assert_eq!(second.progress("p").unwrap().activity, Activity::StandingBy);
    first.when_caught_up(PATIENCE).await.unwrap();
    first.stop().await.unwrap();
    second.when_started(PATIENCE).await.unwrap();
    ground.append([2]).await;
    second.when_caught_up(PATIENCE).await.unwrap();
    second.stop().await.unwrap();
    assert_eq!(ground.seen("p").await, [1, 2]);
}

#[tokio::test]
async fn it_tries_as_often_as_it_was_told() {
    // E32 (retry until acquired, exhausted)
    let ground = Ground::new().await;
    let first = ground.consumer().projector("p", noting("p")).start().await.unwrap();
    let retrying = |attempts| {
        let policy = LeasePolicy::Retry { attempts, pause: Duration::from_millis(20) };
        ground.consumer().processor(Processor::projector("p", noting("p")).lease_policy(policy)).start()
    };
    assert!(retrying(3).await.err().unwrap().is_conflict());
    let (second, ()) = tokio::join!(retrying(1_000), async { first.stop().await.unwrap() });
    second.unwrap().stop().await.unwrap();
}

#[tokio::test]
async fn an_idle_instance_keeps_its_lease_and_a_dead_one_loses_it() {
    // E31; weakness 5: not renewed while idle
    let ground = Ground::new().await;
    let lease = Duration::from_secs(3);
    let idle = ground.consumer().lease(lease).projector("p", noting("p")).start().await.unwrap();
    let expires = async || Processors::new(&ground.db).named("p").await.unwrap()[0].expires_at.unwrap();
    let before = expires().await;
    while expires().await <= before {
        tokio::task::yield_now().await; // as long as that takes
    }
    // As a process that dies: nothing is given back.
    drop(idle);
    let take = || ground.consumer().lease(lease).projector("p", noting("p")).start();
    assert!(take().await.err().unwrap().is_conflict());
    ground.test.advance(lease * 2).await;
    take().await.unwrap().stop().await.unwrap();
}

#[tokio::test]
async fn a_zombie_commits_nothing_and_says_so() {
    // E18 (mismatch), weakness 5: a failed compare-and-set aborts the batch
    let ground = Ground::new().await;
    ground.append(1..=2).await;
    let (begun, mut begins) = mpsc::unbounded_channel();
    let go_on = std::sync::Arc::new(Notify::new());
    let slow = {
        let go_on = go_on.clone();
        mainspring_consumer::reactor_fn(move |event| {
            let (begun, go_on) = (begun.clone(), go_on.clone());
            async move {
                let _ = begun.send(());
                go_on.notified().await;
                let note = mainspring_core::NewEvent::new("Noted", event.event.data);
                let append = mainspring_core::Append::to("notes", vec![note]);
                Ok(mainspring_core::Changes { appends: vec![append], ..Default::default() })
            }
        })
    };
    let lease = Duration::from_secs(60);
    let mut zombie = ground.consumer().lease(lease).batch_size(1).reactor("p", slow).start().await.unwrap();
    begins.recv().await.unwrap();
    ground.test.advance(lease * 2).await; // it sleeps, and another one takes over
    let other = crate::ground::Heard::default();
    ground.run_to_end(ground.consumer().reactor("p", other.reactor())).await;
    go_on.notify_one();
    assert!(zombie.ended().await.unwrap_err().is_fenced());
    assert_eq!(other.all(), [1, 2]);
    let notes = ground.db.one("SELECT count(*) FROM {events} WHERE stream = 'notes'", &[]).await.unwrap();
    assert_eq!(notes.get::<_, i64>(0), 0);
    assert_eq!(Processors::new(&ground.db).named("p").await.unwrap()[0].position, 2);
}

#[tokio::test]
async fn a_holder_in_the_middle_of_a_transaction_is_alive_however_long_it_takes() {
    // E31: never from an open transaction
    let ground = Ground::new().await;
    ground.append([1]).await;
    let (begun, mut begins) = mpsc::unbounded_channel();
    let go_on = std::sync::Arc::new(Notify::new());
    let slow = {
        let go_on = go_on.clone();
        projector_with((begun, go_on), async |(begun, go_on), tx, events| {
            let _ = begun.send(());
            go_on.notified().await;
            note(tx, "p", n_of(&events[0])).await?;
            Ok(())
        })
    };
    let lease = Duration::from_secs(1);
    let first = ground.consumer().lease(lease).projector("p", slow).start().await.unwrap();
    begins.recv().await.unwrap();
    ground.test.advance(Duration::from_secs(3600)).await;
    let second = ground.consumer().lease(lease).projector("p", noting("p")).start().await;
    assert!(second.err().unwrap().is_conflict());
    go_on.notify_one();
    first.when_processed("p", 1, PATIENCE).await.unwrap();
    first.stop().await.unwrap();
    assert_eq!(ground.seen("p").await, [1]);
}

#[tokio::test]
async fn events_are_counted_once_however_often_instances_die() {
    // fault F56, E12, E16: killed between handling and checkpoint, at any moment.
    let ground = Ground::new().await;
    let total = 600;
    ground.append(1..=total).await;
    let mut round = 0;
    while ground.seen("p").await.len() < total as usize {
        round += 1;
        let url = ground.test.url().to_owned();
        let names = ground.test.names().clone();
        // A process of its own as far as the database can tell: its runtime and its connections end at once.
        let life = Duration::from_millis(30 + 17 * (round % 7));
        let died = std::thread::spawn(move || {
            let runtime =
                tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
            let settings = mainspring_pg::Settings::parse(&url).unwrap();
            runtime.block_on(async move {
                let db = mainspring_pg::Db::new(mainspring_pg::pool(&settings, 2).unwrap(), names);
                let consumer = mainspring_consumer::Consumer::new(&db, "test").instance("host").batch_size(7);
                let running = consumer.projector("p", noting("p")).start().await;
                tokio::time::sleep(life).await;
                std::mem::forget(running);
            });
            runtime.shutdown_background();
        });
        tokio::task::spawn_blocking(move || died.join().unwrap()).await.unwrap();
        assert!(round < 500, "it gets nowhere");
    }
    assert_eq!(ground.seen("p").await, (1..=total).collect::<Vec<_>>());
    assert!(round > 2, "it was never killed");
}
