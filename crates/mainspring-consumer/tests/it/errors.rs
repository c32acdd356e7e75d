//! Events that fail, and databases that are away: weaknesses 4 and 6, X8, X9.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex},
    time::Duration,
};

use mainspring_consumer::{
    Activity, Consumer, OnError, Processor, Processors, Projector, Then, projector_fn, projector_with,
    reactor_fn,
};
use mainspring_core::{Append, Changes, EventStore, NewEvent, event::STREAMS};
use mainspring_events::LOG_HINT;
use mainspring_pg::{Db, Hints};
use mainspring_testing::{Cut, Proxy};

use crate::ground::{Ground, PATIENCE, n_of, note, noting};

/// Notes the numbers, but fails with 4: so often, or always.
fn failing(name: &'static str, tries: Arc<Mutex<HashMap<i64, u32>>>, heals_after: u32) -> impl Projector {
    projector_with((name, tries, heals_after), async |(name, tries, heals_after), tx, events| {
        for event in events {
            let n = n_of(event);
            note(tx, name, n).await?;
            if n == 4 && events.len() == 1 {
                let mut tries = tries.lock().unwrap();
                *tries.entry(n).or_default() += 1;
            }
            let tried = tries.lock().unwrap().get(&4).copied().unwrap_or(0);
            if n == 4 && tried <= *heals_after {
                Err("four is unlucky")?;
            }
        }
        Ok(())
    })
}

fn quick(then: Then) -> OnError {
    OnError::then(then).attempts(3).backoff(Duration::from_millis(1))
}

#[tokio::test]
async fn an_event_that_fails_comes_again_and_its_batch_counts_once() {
    let ground = Ground::new().await;
    ground.append(1..=8).await;
    let tries = Arc::default();
    let processor =
        Processor::projector("p", failing("p", Arc::clone(&tries), 2)).on_error(quick(Then::Stop));
    ground.run_to_end(ground.consumer().processor(processor)).await;
    assert_eq!(ground.seen("p").await, [1, 2, 3, 4, 5, 6, 7, 8]);
    assert_eq!(tries.lock().unwrap()[&4], 3);
}

#[tokio::test]
async fn one_that_failed_while_another_was_starting_does_not_fail_the_start() {
    let ground = Ground::new().await;
    ground.append([4]).await;
    let failed = Arc::new(tokio::sync::Notify::new());
    let tell = failed.clone();
    let bad = Processor::projector("bad", failing("bad", Arc::default(), 100)).on_error(quick(Then::Stop));
    let bad = bad.on_close(move || {
        tell.notify_one();
        async { Ok(()) }
    });
    let late = Processor::projector("late", noting("late")).on_start(move || {
        let failed = failed.clone();
        async move {
            failed.notified().await;
            Ok(())
        }
    });
    let running = ground.consumer().processor(bad).processor(late).start().await.unwrap();
    running.when_processed("late", 1, PATIENCE).await.unwrap();
    assert!(running.stop().await.unwrap_err().to_string().contains("four is unlucky"));
}

#[tokio::test]
async fn one_that_fails_for_good_stops_its_processor_and_no_other() {
    // E27, weakness 4
    let ground = Ground::new().await;
    ground.append(1..=8).await;
    let processor =
        Processor::projector("bad", failing("bad", Arc::default(), 100)).on_error(quick(Then::Stop));
    let running =
        ground.consumer().processor(processor).projector("good", noting("good")).start().await.unwrap();
    running.when_processed("good", 8, PATIENCE).await.unwrap();
    let error = running.when_processed("bad", 8, PATIENCE).await.unwrap_err();
    assert!(error.is_conflict(), "{error}");
    assert_eq!(running.progress("bad").unwrap().activity, Activity::Failed);
    ground.append([9]).await;
    running.when_processed("good", 9, PATIENCE).await.unwrap();
    let stopping = running.progress("good").unwrap().activity;
    assert_eq!(stopping, Activity::Running);
    let error = running.stop().await.unwrap_err();
    assert!(
        error.to_string().contains("four is unlucky") && error.to_string().contains("global 4"),
        "{error}"
    );
    assert_eq!(ground.seen("bad").await, [1, 2, 3]);
    assert_eq!(Processors::new(&ground.db).named("bad").await.unwrap()[0].position, 3);
}

#[tokio::test]
async fn a_panic_is_a_failure_like_any_other() {
    let ground = Ground::new().await;
    ground.append(1..=2).await;
    let panics = projector_fn(async |tx, events| {
        note(tx, "p", n_of(&events[0])).await?;
        if n_of(&events[0]) == 2 {
            panic!("no idea what two is");
        }
        Ok(())
    });
    let processor = Processor::projector("p", panics).on_error(quick(Then::Stop));
    let error = ground.consumer().batch_size(1).processor(processor).run_to_end().await.unwrap_err();
    assert!(error.to_string().contains("panicked: no idea what two is"), "{error}");
    assert_eq!(ground.seen("p").await, [1]);
}

#[tokio::test]
async fn a_failed_statement_that_nobody_minds_is_no_success() {
    let ground = Ground::new().await;
    ground.append([1]).await;
    let careless = projector_fn(async |tx, _| {
        let _ = tx.exec("INSERT INTO no_such_table VALUES (1)", &[]).await;
        Ok(())
    });
    let processor = Processor::projector("p", careless).on_error(quick(Then::Stop));
    let error = ground.consumer().processor(processor).run_to_end().await.unwrap_err();
    assert!(error.to_string().contains("25P02"), "{error}");
    assert_eq!(Processors::new(&ground.db).named("p").await.unwrap()[0].position, 0);
}

#[tokio::test]
async fn connections_that_break_at_a_commit_cost_no_event_and_count_none_twice() {
    // fault F56: before the commit, behind it, and when its answer was on the way.
    let ground = Ground::new().await;
    ground.append(1..=60).await;
    let proxy = Proxy::before(&ground.test).await.unwrap();
    let db = Db::new(mainspring_pg::pool(proxy.settings(), 4).unwrap(), ground.test.names().clone());
    let echo = reactor_fn(|event| async move {
        let echo = NewEvent::new("Echo", event.event.data);
        Ok(Changes { appends: vec![Append::to("echoes", vec![echo])], ..Changes::default() })
    });
    let consumer = Consumer::new(&db, "test").batch_size(3).poll_interval(Duration::from_millis(50));
    let echo = Processor::reactor("r", echo).event_types(["Added"]);
    let projector = Processor::projector("p", noting("p")).event_types(["Added"]);
    let running = consumer.processor(projector).processor(echo).start().await.unwrap();
    let mut cut = 0;
    loop {
        let goal = async {
            running.when_processed("p", 60, PATIENCE).await.unwrap();
            running.when_processed("r", 60, PATIENCE).await.unwrap();
        };
        let cuts = async {
            let before = proxy.cuts();
            proxy.arm([Cut::BeforeCommit, Cut::AfterCommit, Cut::DropReply][cut % 3], 2);
            while proxy.cuts() == before {
                tokio::task::yield_now().await;
            }
        };
        tokio::select! {
            () = goal => break,
            () = cuts => cut += 1,
        }
    }
    running.stop().await.unwrap();
    assert!(cut > 3, "only {cut} commits were cut");
    assert_eq!(ground.seen("p").await, (1..=60).collect::<Vec<_>>());
    let echoes = ground.log().read_stream(STREAMS, "", "echoes", 1, 1_000).await.unwrap();
    assert_eq!(echoes.iter().map(n_of).collect::<Vec<_>>(), (1..=60).collect::<Vec<_>>());
}

#[tokio::test]
async fn hints_of_another_process_wake_it_and_without_them_it_looks_by_itself() {
    // X9
    let ground = Ground::new().await;
    let listening = || Hints::new(None, Some(ground.test.settings().clone()), ground.test.names().clone());
    let announcing = Hints::new(Some(ground.db.clone()), None, ground.test.names().clone());
    let never = Duration::from_secs(3_600);
    let slow = Consumer::new(&ground.db, "slow")
        .hints(listening())
        .poll_interval(never)
        .projector("slow", noting("slow"));
    let slow = slow.start().await.unwrap();
    let client = ground.test.client().await;
    let listeners =
        "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND query LIKE 'LISTEN%'";
    while client.query_one(listeners, &[]).await.unwrap().get::<_, i64>(0) == 0 {
        tokio::task::yield_now().await;
    }
    ground.append([1]).await;
    announcing.notify([LOG_HINT]);
    slow.when_processed("slow", 1, PATIENCE).await.unwrap();
    slow.stop().await.unwrap();

    let quick =
        ground.consumer().hints(listening()).projector("quick", noting("quick")).start().await.unwrap();
    while client.query_one(listeners, &[]).await.unwrap().get::<_, i64>(0) == 0 {
        tokio::task::yield_now().await;
    }
    let kill = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database() AND query LIKE 'LISTEN%'";
    client.execute(kill, &[]).await.unwrap();
    ground.append([2]).await;
    quick.when_processed("quick", 2, PATIENCE).await.unwrap();
    quick.stop().await.unwrap();
}

#[tokio::test]
async fn a_database_that_is_away_is_waited_for_and_blamed_on_no_event() {
    let ground = Ground::new().await;
    let proxy = Proxy::before(&ground.test).await.unwrap();
    let db = Db::new(mainspring_pg::pool(proxy.settings(), 4).unwrap(), ground.test.names().clone());
    let once = OnError::then(Then::Park).attempts(1);
    let processor = Processor::projector("p", noting("p")).on_error(once);
    let consumer = Consumer::new(&db, "test").poll_interval(Duration::from_millis(50)).processor(processor);
    let running = consumer.start().await.unwrap();
    proxy.refuse(true);
    let kill = format!(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{}' AND pid <> pg_backend_pid()",
        ground.test.name()
    );
    let client = ground.test.client().await;
    client.batch_execute(&kill).await.unwrap();
    ground.append(1..=5).await;
    proxy.refuse(false);
    running.when_processed("p", 5, PATIENCE).await.unwrap();
    running.stop().await.unwrap();
    assert_eq!(ground.seen("p").await, [1, 2, 3, 4, 5]);
    assert_eq!(Processors::new(&ground.db).parked("p", 10).await.unwrap(), []);
}
