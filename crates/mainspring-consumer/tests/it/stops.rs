//! How consumers and processors stop, and the hooks around it.

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use mainspring_consumer::{Activity, Next, Processor, Processors, StopWhen, reactor_fn};
use mainspring_core::{Append, Error, EventStore, NewEvent};
use serde_json::json;

use crate::ground::{Ground, Heard, PATIENCE, n_of, noting};

#[tokio::test]
async fn it_stops_when_nothing_is_left_or_when_it_caught_up() {
    // E36, E13
    let ground = Ground::new().await;
    ground.append(1..=3).await;
    // A transaction that is open when they start: the one waits for it, the other does not.
    let mut client = ground.test.client().await;
    let tx = client.transaction().await.unwrap();
    let event = NewEvent::new("Added", json!({"n": 4}));
    ground.log().on(&tx).append(Append::to("s", vec![event])).await.unwrap();
    ground.run_to_end(ground.consumer().projector("left", noting("left"))).await;
    assert_eq!(ground.seen("left").await, [1, 2, 3]);
    let consumer = ground.consumer().projector("caught", noting("caught")).stop_when(StopWhen::CaughtUp);
    let mut running = consumer.start().await.unwrap();
    running.when_processed("caught", 3, PATIENCE).await.unwrap();
    assert_eq!(running.progress("caught").unwrap().activity, Activity::Running);
    tx.commit().await.unwrap();
    running.ended().await.unwrap();
    assert_eq!(ground.seen("caught").await, [1, 2, 3, 4]);
}

#[tokio::test]
async fn it_stops_behind_the_event_it_was_told_to_and_the_others_go_on() {
    // E36, E35 (not past a stopped one)
    let ground = Ground::new().await;
    ground.append(1..=6).await;
    let first = || Processor::projector("first", noting("first")).stop_after(|event| n_of(event) % 4 == 0);
    let consumer = ground.consumer().processor(first()).projector("all", noting("all"));
    let running = consumer.start().await.unwrap();
    running.when_processed("all", 6, PATIENCE).await.unwrap();
    let error = running.when_processed("first", 5, PATIENCE).await.unwrap_err();
    assert!(error.is_conflict() && error.to_string().contains("stopped"), "{error}");
    assert_eq!(running.progress("first").unwrap().position, 4);
    running.stop().await.unwrap();
    assert_eq!(ground.seen("first").await, [1, 2, 3, 4]);
    assert_eq!(ground.seen("all").await, [1, 2, 3, 4, 5, 6]);
    ground.run_to_end(ground.consumer().processor(first())).await;
    assert_eq!(ground.seen("first").await, [1, 2, 3, 4, 5, 6], "goes on behind it");
}

#[tokio::test]
async fn skip_goes_on_and_stop_stays_before_or_behind_the_event() {
    // E27
    let ground = Ground::new().await;
    ground.append(1..=6).await;
    let heard = Heard::default();
    let reactor = || {
        let heard = heard.clone();
        reactor_fn(move |event| {
            let (heard, n) = (heard.clone(), n_of(&event));
            let again = heard.all().contains(&n);
            heard.push(n);
            async move {
                Ok(match n {
                    2 => Next::Skip("not mine".into()),
                    3 => Next::Stop("enough for today".into()),
                    5 if !again => Next::Fail("out of paper".into()),
                    _ => ().into(),
                })
            }
        })
    };
    let position = async || Processors::new(&ground.db).named("r").await.unwrap()[0].position;
    ground.run_to_end(ground.consumer().reactor("r", reactor())).await;
    assert_eq!((heard.all(), position().await), (vec![1, 2, 3], 3));
    let error = ground.consumer().reactor("r", reactor()).run_to_end().await.unwrap_err();
    assert!(
        error.to_string().contains("stopped before event") && error.to_string().contains("out of paper"),
        "{error}"
    );
    assert_eq!((heard.all(), position().await), (vec![1, 2, 3, 4, 5], 4));
    ground.run_to_end(ground.consumer().reactor("r", reactor())).await;
    assert_eq!((heard.all(), position().await), (vec![1, 2, 3, 4, 5, 5, 6], 6));
}

#[tokio::test]
async fn hooks_are_called_in_order_and_the_lease_is_free_when_it_closes() {
    // E32, E33, E34
    let ground = Ground::new().await;
    let calls: Arc<Mutex<Vec<String>>> = Arc::default();
    let db = ground.db.clone();
    let hook = |name: &'static str, fails: bool| {
        let (calls, db) = (calls.clone(), db.clone());
        move || {
            let (calls, db) = (calls.clone(), db.clone());
            async move {
                let held = Processors::new(&db).named("p").await?.iter().any(|state| state.holder.is_some());
                calls.lock().unwrap().push(format!("{name}{}", if held { " held" } else { "" }));
                if fails { Err(Error::internal("a hook that fails")) } else { Ok(()) }
            }
        }
    };
    for fails in [false, true] {
        let processor = Processor::projector("p", noting("p")).on_init(hook("init", false));
        let processor = processor.on_start(hook("start", false)).on_close(hook("close", fails));
        let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
        let running = ground.consumer().processor(processor).run_until(async { drop(stopped.await) });
        let stopping = async {
            ground.append([1]).await;
            while ground.seen("p").await.len() < 1 + usize::from(fails) {
                tokio::task::yield_now().await;
            }
            stop.send(()).unwrap();
        };
        let (result, ()) = tokio::join!(running, stopping);
        result.unwrap();
        assert_eq!(std::mem::take(&mut *calls.lock().unwrap()), ["init", "start held", "close"]);
    }
    // A start that fails stops this processor, and says why.
    let processor = Processor::projector("p", noting("p")).on_start(hook("start", true));
    let error = ground.consumer().processor(processor).start().await.err().unwrap();
    assert!(error.to_string().contains("a hook that fails"), "{error}");
    let processor = Processor::projector("q", noting("q")).on_init(hook("init", true));
    assert!(ground.consumer().processor(processor).start().await.is_err());
    assert!(Processors::new(&ground.db).list().await.unwrap().iter().all(|state| state.holder.is_none()));
}

#[tokio::test]
async fn a_stop_finishes_the_batch_and_the_next_start_goes_on_behind_it() {
    // E33, E36
    let ground = Ground::new().await;
    ground.append(1..=40).await;
    let (begun, mut begins) = tokio::sync::mpsc::unbounded_channel();
    let heard = Heard::default();
    let slow = {
        let heard = heard.clone();
        reactor_fn(move |event| {
            let (heard, begun) = (heard.clone(), begun.clone());
            async move {
                let _ = begun.send(());
                tokio::time::sleep(Duration::from_millis(20)).await;
                heard.push(n_of(&event));
                Ok(())
            }
        })
    };
    let running = ground.consumer().reactor("r", slow).start().await.unwrap();
    begins.recv().await.unwrap();
    begins.recv().await.unwrap();
    running.stop().await.unwrap();
    let before = heard.all().len();
    assert!(before < 40, "it did not wait for all of the batch");
    ground.run_to_end(ground.consumer().reactor("r", heard.reactor())).await;
    assert_eq!(heard.all(), (1..=40).collect::<Vec<_>>(), "nothing twice after a graceful stop");
}

#[tokio::test]
async fn a_stop_is_fine_before_and_after_everything() {
    // E20, E36
    let ground = Ground::new().await;
    let running = ground.consumer().projector("p", noting("p")).start().await.unwrap();
    running.stop().await.unwrap();
    let running =
        ground.consumer().projector("p", noting("p")).stop_when(StopWhen::CaughtUp).start().await.unwrap();
    running.when_started(PATIENCE).await.unwrap();
    running.stop().await.unwrap();
    // Dropped in the middle: another instance has to wait for the lease, an instance of the same name has not.
    ground.append(1..=3).await;
    let named = || ground.consumer().instance("host-1").projector("p", noting("p"));
    let running = named().start().await.unwrap();
    running.when_caught_up(PATIENCE).await.unwrap();
    drop(running);
    assert!(ground.consumer().projector("p", noting("p")).start().await.err().unwrap().is_conflict());
    named().start().await.unwrap().stop().await.unwrap();
    assert_eq!(ground.seen("p").await, [1, 2, 3]);
}
