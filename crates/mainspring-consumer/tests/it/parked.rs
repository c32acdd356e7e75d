//! Events that were given up on, and tried again. Weakness 6.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use mainspring_consumer::{OnError, Processor, Processors, Projector, Then, projector_with, reactor_fn};
use mainspring_core::{Append, Changes, NewEvent};
use serde_json::json;

use crate::ground::{Ground, PATIENCE, n_of, note};

fn unlucky(broken: Arc<AtomicBool>) -> impl Projector {
    projector_with(broken, async |broken, tx, events| {
        for event in events {
            let n = n_of(event);
            note(tx, "p", n).await?;
            if n % 4 == 0 && broken.load(Ordering::Relaxed) {
                Err(format!("{n} is unlucky"))?;
            }
        }
        Ok(())
    })
}

fn park() -> OnError {
    OnError::then(Then::Park).attempts(2).backoff(Duration::from_millis(1))
}

#[tokio::test]
async fn what_fails_is_parked_with_its_error_and_handled_again_when_asked_for() {
    let ground = Ground::new().await;
    ground.append(1..=10).await;
    let broken = Arc::new(AtomicBool::new(true));
    let processor = || Processor::projector("p", unlucky(broken.clone())).on_error(park());
    ground.run_to_end(ground.consumer().processor(processor())).await;
    assert_eq!(ground.seen("p").await, [1, 2, 3, 5, 6, 7, 9, 10]);

    let processors = Processors::new(&ground.db);
    let parked = processors.parked("p", 10).await.unwrap();
    assert_eq!(parked.iter().map(|parked| parked.global_position).collect::<Vec<_>>(), [4, 8]);
    let first = &parked[0];
    assert_eq!((first.stream.as_str(), first.position, first.attempts, first.redrive), ("s1", 2, 2, false));
    assert_eq!((first.error.as_str(), first.event_type.as_str()), ("4 is unlucky", "Added"));
    assert_eq!(processors.named("p").await.unwrap()[0].parked, 2);

    // Still broken: it stays, and what it costs is counted.
    assert_eq!(processors.redrive("p", &[4]).await.unwrap(), 1);
    ground.run_to_end(ground.consumer().processor(processor())).await;
    let parked = processors.parked("p", 10).await.unwrap();
    assert_eq!((parked[0].attempts, parked[0].redrive, parked[1].attempts), (3, false, 2));

    // Mended: the running instance notices, and each counts once.
    broken.store(false, Ordering::Relaxed);
    let running =
        ground.consumer().lease(Duration::from_millis(300)).processor(processor()).start().await.unwrap();
    running.when_started(PATIENCE).await.unwrap();
    assert_eq!(processors.redrive("p", &[]).await.unwrap(), 2);
    while !processors.parked("p", 10).await.unwrap().is_empty() {
        tokio::task::yield_now().await;
    }
    running.stop().await.unwrap();
    assert_eq!(ground.seen("p").await, [1, 2, 3, 5, 6, 7, 9, 10, 4, 8]);
}

#[tokio::test]
async fn parked_events_of_a_reactor_are_committed_with_what_it_decides_then() {
    let ground = Ground::new().await;
    ground.append(1..=3).await;
    let broken = Arc::new(AtomicBool::new(true));
    let processor = || {
        let broken = broken.clone();
        let reactor = reactor_fn(move |event| {
            let fails = broken.load(Ordering::Relaxed) && n_of(&event) == 2;
            async move {
                if fails {
                    return Err("not today".into());
                }
                let note = NewEvent::new("Noted", json!({"n": n_of(&event)}));
                Ok(Changes { appends: vec![Append::to("notes", vec![note])], ..Changes::default() })
            }
        });
        Processor::reactor("r", reactor).event_types(["Added"]).on_error(park())
    };
    ground.run_to_end(ground.consumer().processor(processor())).await;
    let processors = Processors::new(&ground.db);
    broken.store(false, Ordering::Relaxed);
    processors.redrive("r", &[]).await.unwrap();
    ground.run_to_end(ground.consumer().processor(processor())).await;
    assert_eq!(processors.parked("r", 10).await.unwrap(), []);
    let rows =
        ground.db.all("SELECT data->'n' FROM {events} WHERE stream = 'notes' ORDER BY stream_position", &[]);
    let notes: Vec<_> = rows.await.unwrap().iter().map(|row| row.get::<_, serde_json::Value>(0)).collect();
    assert_eq!(notes, [json!(1), json!(3), json!(2)]);
}

#[tokio::test]
async fn parked_events_can_be_discarded_and_go_with_their_event() {
    let ground = Ground::new().await;
    ground.append(1..=8).await;
    let broken = Arc::new(AtomicBool::new(true));
    let processor = || Processor::projector("p", unlucky(broken.clone())).on_error(park());
    ground.run_to_end(ground.consumer().processor(processor())).await;
    let processors = Processors::new(&ground.db);
    assert_eq!(processors.discard("p", &[4]).await.unwrap(), 1);
    ground.db.exec("DELETE FROM {events} WHERE global_position = 8", &[]).await.unwrap();
    processors.redrive("p", &[]).await.unwrap();
    ground.run_to_end(ground.consumer().processor(processor())).await;
    assert_eq!(processors.parked("p", 10).await.unwrap(), []);
    assert_eq!(ground.seen("p").await, [1, 2, 3, 5, 6, 7]);
}
