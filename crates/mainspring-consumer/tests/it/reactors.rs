//! What reactors decide is committed with their checkpoint, or not at all.

use mainspring_consumer::{OnError, Processor, Processors, Then, reactor_fn};
use mainspring_core::{Append, Changes, EventStore, ExpectedPosition, NewEvent, NewMessage, event::STREAMS};
use serde_json::json;

use crate::ground::{Ground, Heard, n_of};

fn noted(n: i64) -> Changes {
    let note = NewEvent::new("Noted", json!({"n": n}));
    Changes { appends: vec![Append::to("notes", vec![note])], ..Changes::default() }
}

async fn notes(ground: &Ground) -> Vec<i64> {
    ground.log().read_stream(STREAMS, "", "notes", 1, 1_000).await.unwrap().iter().map(n_of).collect()
}

#[tokio::test]
async fn appends_of_a_batch_are_there_with_its_checkpoint() {
    // E28
    let ground = Ground::new().await;
    ground.append(1..=20).await;
    let log = ground.log();
    let reactor = reactor_fn(move |event| {
        let log = log.clone();
        async move {
            let before = log.position(STREAMS, "", "notes").await?;
            assert_eq!(before % 5, 0, "a part of a batch is visible");
            Ok(noted(n_of(&event)))
        }
    });
    let processor = Processor::reactor("r", reactor).event_types(["Added"]);
    ground.run_to_end(ground.consumer().batch_size(5).processor(processor)).await;
    assert_eq!(notes(&ground).await, (1..=20).collect::<Vec<_>>());
}

#[tokio::test]
async fn a_decision_that_is_refused_is_made_again_and_the_ones_before_it_count() {
    let ground = Ground::new().await;
    ground.append(1..=4).await;
    let heard = Heard::default();
    let reactor = {
        let (heard, log) = (heard.clone(), ground.log());
        reactor_fn(move |event| {
            let (heard, log) = (heard.clone(), log.clone());
            async move {
                let n = n_of(&event);
                let first = !heard.all().contains(&n);
                heard.push(n);
                let mut changes = noted(n);
                if n == 3 {
                    // The first decision is about an old state.
                    let seen = log.position(STREAMS, "", "notes").await? - i64::from(first);
                    changes.appends[0].expected = ExpectedPosition::Exact(seen.max(0));
                }
                Ok(changes)
            }
        })
    };
    let processor = Processor::reactor("r", reactor).event_types(["Added"]);
    ground.run_to_end(ground.consumer().processor(processor)).await;
    assert_eq!(notes(&ground).await, [1, 2, 3, 4]);
    assert_eq!(heard.all().iter().filter(|n| **n == 3).count(), 2);
}

#[tokio::test]
async fn what_the_seam_cannot_write_is_refused_and_parked() {
    let ground = Ground::new().await;
    ground.append(1..=2).await;
    let reactor = reactor_fn(|event| async move {
        let messages = vec![NewMessage::new("q", "m", json!({}))];
        Ok(if n_of(&event) == 1 { Changes { messages, ..Changes::default() } } else { noted(2) })
    });
    let processor = Processor::reactor("r", reactor).event_types(["Added"]);
    let processor = processor.on_error(OnError::then(Then::Park).attempts(1));
    ground.run_to_end(ground.consumer().processor(processor)).await;
    let parked = Processors::new(&ground.db).parked("r", 10).await.unwrap();
    assert!(parked[0].error.contains("only appends"), "{parked:?}");
    assert_eq!(notes(&ground).await, [2]);
}
