//! Reactors on all stores: what they decide is committed with their checkpoint, whatever it is.

use std::time::Duration;

use mainspring::{
    Append, Backend, Changes, EventStore, Execution, ExecutionId, ExecutionStatus, ExecutionStore,
    ExecutionWrite, GlobalFilter, NewEvent, NewMessage, Processor, QueueDriver,
    consumer::{OnError, Processors, Then},
    event::{EXECUTIONS, STREAMS, kind},
    reactor_fn,
};
use serde_json::json;

const PATIENCE: Duration = Duration::from_secs(30);

fn execution(name: &str) -> Execution {
    Execution::new(ExecutionId::new(name).unwrap(), "f", "1.0.0", "s")
}

#[tokio::test]
async fn a_reaction_to_a_completed_execution_is_one_commit_over_all_stores() {
    let (stores, _db) = crate::fresh().await;
    let mut wanted = Vec::new();
    for n in 0..3 {
        let mut execution = execution(&format!("e{n}"));
        let created = vec![NewEvent::new(kind::EXECUTION_CREATED, json!({}))];
        let create = ExecutionWrite::create(execution.clone(), created);
        let changes = Changes { executions: vec![create], ..Changes::default() };
        stores.commit(changes).await.unwrap();
        execution = stores.executions.get(&execution.id).await.unwrap().unwrap();
        execution.status = ExecutionStatus::Completed;
        let done = vec![NewEvent::new(kind::EXECUTION_COMPLETED, json!({"n": n}))];
        wanted.push(ExecutionWrite::update(execution, done));
    }
    let reactor = reactor_fn(|event| async move {
        let n = event.event.data["n"].clone();
        Ok(Changes {
            executions: vec![ExecutionWrite::create(execution(&format!("next-{n}")), vec![])],
            appends: vec![Append::to("completed", vec![NewEvent::new("Completed", json!({"n": n}))])],
            messages: vec![NewMessage::new("mail", "thanks", json!({"n": n}))],
            ..Changes::default()
        })
    });
    let histories = GlobalFilter { partitions: vec![EXECUTIONS.into()], ..GlobalFilter::default() };
    let processor = Processor::reactor("thank", reactor).event_types([kind::EXECUTION_COMPLETED]);
    let consumer = stores.consumer("mails").only(histories).poll_interval(Duration::from_secs(3_600));
    let running = consumer.processor(processor).start().await.unwrap();
    // It hears of commits in this process at once, although it would look only in an hour.
    for write in wanted {
        stores.commit(Changes { executions: vec![write], ..Changes::default() }).await.unwrap();
    }
    running.when_caught_up(PATIENCE).await.unwrap();
    running.stop().await.unwrap();
    assert_eq!(stores.queue.stats("mail").await.unwrap().ready, 3);
    assert_eq!(stores.events.position(STREAMS, "", "completed").await.unwrap(), 3);
    for n in 0..3 {
        let id = ExecutionId::new(format!("next-{n}")).unwrap();
        assert!(stores.executions.get(&id).await.unwrap().is_some());
    }
}

#[tokio::test]
async fn a_refused_part_undoes_the_whole_reaction_and_no_other() {
    let (stores, _db) = crate::fresh().await;
    stores.executions.create(execution("taken")).await.unwrap();
    for name in ["free", "taken", "open"] {
        let event = NewEvent::new("Wanted", json!({"name": name}));
        stores.events.append(Append::to("wishes", vec![event])).await.unwrap();
    }
    let reactor = reactor_fn(|event| async move {
        let name = event.event.data["name"].as_str().unwrap_or_default();
        Ok(Changes {
            executions: vec![ExecutionWrite::create(execution(name), vec![])],
            messages: vec![NewMessage::new("q", name, json!({}))],
            ..Changes::default()
        })
    });
    let park = OnError::then(Then::Park).attempts(2).backoff(Duration::from_millis(1));
    let processor = Processor::reactor("grant", reactor).on_error(park);
    stores.consumer("grants").processor(processor).run_to_end().await.unwrap();
    assert_eq!(stores.queue.stats("q").await.unwrap().ready, 2);
    let parked = Processors::new(stores.db()).parked("grant", 10).await.unwrap();
    assert_eq!((parked.len(), parked[0].position), (1, 2));
    assert!(parked[0].error.contains("taken"), "{}", parked[0].error);
}
