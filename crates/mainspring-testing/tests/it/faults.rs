//! A backend breaks where it is told to, and nowhere else.

use std::{sync::Arc, time::Duration};

use mainspring_core::{
    Backend, Changes, ClaimRequest, ErrorKind, Execution, ExecutionId, ExecutionWrite, NewMessage,
    QueueDriver, WorkerId,
};
use mainspring_testing::{Action, Faults, FaultyBackend, MemoryBackend};
use tokio::{sync::Notify, time::timeout};

fn create(id: &str) -> Changes {
    let execution = Execution::new(ExecutionId::new(id).unwrap(), "order", "1.0.0", "charge");
    Changes { executions: vec![ExecutionWrite::create(execution, Vec::new())], ..Changes::default() }
}

async fn exists(backend: &dyn Backend, id: &str) -> bool {
    backend.executions().get(&ExecutionId::new(id).unwrap()).await.unwrap().is_some()
}

fn faulty(text: &str) -> FaultyBackend<MemoryBackend> {
    FaultyBackend::new(MemoryBackend::new(), Faults::parse(text).unwrap())
}

#[tokio::test]
async fn an_error_before_means_nothing_happened() {
    let backend = faulty("commit.before=error");
    assert!(backend.commit(create("a")).await.unwrap_err().is_retryable());
    assert!(!exists(&backend, "a").await);
    backend.commit(create("a")).await.unwrap();
    assert!(exists(&backend, "a").await);
}

#[tokio::test]
async fn an_error_after_means_it_happened_and_nobody_knows() {
    for text in ["commit.after=error", "commit.after=execute-then-error", "commit.before=execute-then-error"]
    {
        let backend = faulty(text);
        assert!(backend.commit(create("a")).await.unwrap_err().is_commit_unknown());
        assert!(exists(&backend, "a").await);
        assert!(
            backend.commit(create("a")).await.unwrap_err().is_conflict(),
            "the answer of the backend itself"
        );
    }
}

#[tokio::test]
async fn the_nth_hit_and_every_hit() {
    let backend = faulty("commit.before=error@3, claim.before=error@*");
    for n in 1..=4 {
        assert_eq!(backend.commit(create(&format!("e{n}"))).await.is_err(), n == 3);
    }
    let request = ClaimRequest::new("work", WorkerId::new("w").unwrap(), Duration::from_secs(10), 1);
    for _ in 0..3 {
        let error = backend.queue().claim(request.clone()).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unavailable);
    }
    let faults = backend.faults();
    assert_eq!((faults.hits("commit.before"), faults.fired("commit.before")), (4, 1));
    assert_eq!(
        (faults.hits("claim.before"), faults.fired("claim.before"), faults.hits("claim.after")),
        (3, 3, 0)
    );
    faults.disarm();
    backend.queue().claim(request).await.unwrap();
}

#[tokio::test]
async fn a_pause_holds_one_call_and_no_other() {
    let (backend, go) = (Arc::new(faulty("")), Arc::new(Notify::new()));
    backend.faults().arm("commit.after", 1, Action::Pause(go.clone()));
    let paused = tokio::spawn({
        let backend = backend.clone();
        async move { backend.commit(create("paused")).await }
    });
    timeout(Duration::from_secs(20), backend.faults().wait_fired("commit.after", 1)).await.unwrap();
    assert!(exists(&*backend, "paused").await, "it is after the commit");
    backend.commit(create("other")).await.unwrap();
    assert!(!paused.is_finished());
    go.notify_one();
    paused.await.unwrap().unwrap();
}

#[tokio::test]
async fn every_verb_of_the_queue_has_its_points() {
    let backend = faulty("");
    let worker = WorkerId::new("w").unwrap();
    let lease = Duration::from_secs(10);
    let queue: &dyn QueueDriver = backend.queue();
    queue.register(&worker, lease).await.unwrap();
    queue.push(vec![NewMessage::new("work", "note", serde_json::json!(1))]).await.unwrap();
    queue.extend(&worker, lease).await.unwrap();
    queue.settle(Vec::new()).await.unwrap();
    queue.maintain().await.unwrap();
    queue.release(&worker).await.unwrap();
    for verb in ["register", "push", "extend", "settle", "maintain", "release"] {
        for side in ["before", "after"] {
            assert_eq!(backend.faults().hits(&format!("{verb}.{side}")), 1, "{verb}.{side}");
        }
    }
}

#[test]
fn what_cannot_be_read_is_refused() {
    for text in [
        "commit",
        "commit=abort",
        "commit.around=abort",
        "commit.after=explode",
        "commit.after=abort@0",
        ".after=abort",
    ] {
        let error = Faults::parse(text).unwrap_err();
        assert!(error.is_invalid() && error.to_string().contains(text), "{error}");
    }
    assert_eq!(format!("{:?}", Faults::parse("").unwrap()), "{}");
}
