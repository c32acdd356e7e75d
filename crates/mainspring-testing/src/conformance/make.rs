//! What cases are made of.

use std::{collections::BTreeMap, time::Duration};

use mainspring_core::{
    Backend, CancelSource, Cancellation, ClaimRequest, Delivery, Execution, ExecutionId, ExecutionStatus,
    Failure, Job, MessageId, NewMessage, Reply, Settle, Settlement, Timeouts, WorkerId,
};
use serde_json::{Map, Value, json};

/// The queue of all cases.
pub(super) const QUEUE: &str = "work";

/// A lease no case outlives without moving time.
pub(super) const LEASE: Duration = Duration::from_secs(600);

pub(super) const fn secs(n: u64) -> Duration {
    Duration::from_secs(n)
}

pub(super) const fn hours(n: u64) -> Duration {
    Duration::from_secs(n * 3600)
}

pub(super) fn id(text: &str) -> ExecutionId {
    ExecutionId::new(text).unwrap()
}

pub(super) fn worker(text: &str) -> WorkerId {
    WorkerId::new(text).unwrap()
}

pub(super) fn execution(text: &str) -> Execution {
    Execution::new(id(text), "order", "1.0.0", "charge")
}

pub(super) fn keyed(text: &str, key: &str, window: Duration, backend: &dyn Backend) -> Execution {
    let mut execution = execution(text);
    execution.idempotency_key = Some(key.to_owned());
    execution.idempotency_expires_at = Some(backend.now() + window);
    execution
}

pub(super) fn object(value: Value) -> Map<String, Value> {
    value.as_object().unwrap().clone()
}

/// An execution with something in every column.
pub(super) fn full_execution(backend: &dyn Backend) -> Execution {
    let now = backend.now();
    let mut failure = Failure::new("CARD_DECLINED", "no funds");
    failure.step_id = Some("charge".into());
    failure.details = json!({"tries": [1, 2]});
    failure.timestamp = Some(now);
    let reply =
        Reply { message: MessageId::generate(), to: id("parent"), queue: "billing".into(), inbox: None };
    let cancelled_at = now + secs(1);
    Execution {
        tenant: "acme".into(),
        status: ExecutionStatus::Waiting,
        context: object(json!({"total": 42.5, "lines": [{"sku": "überzug"}], "none": null})),
        wake_at: Some(now + hours(1)),
        wait_reason: Some("Retry 1/3".into()),
        wait_started_at: Some(now),
        error: Some(failure),
        step_count: 7,
        retries: BTreeMap::from([("charge".into(), 2), ("ship".into(), 1)]),
        metadata: object(json!({"actor": "me"})),
        attributes: [("customer".into(), "c-7".into()), ("total".into(), 42.5.into())].into(),
        queue: "billing".into(),
        idempotency_key: Some("order-42".into()),
        idempotency_expires_at: Some(now + hours(2)),
        cancellation: Some(Cancellation {
            source: CancelSource::User,
            reason: Some("late".into()),
            cancelled_at,
        }),
        parent: Some(id("parent")),
        root: id("root"),
        reply: Some(reply),
        timeouts: Timeouts { execution_timeout_ms: 1_234, wait_timeout_ms: 5_678 },
        driver: Some(MessageId::generate()),
        holder: Some(worker("w1")),
        ..execution("full")
    }
}

pub(super) async fn created(backend: &dyn Backend, text: &str) -> Execution {
    backend.executions().create(execution(text)).await.unwrap()
}

pub(super) fn ids(executions: &[Execution]) -> Vec<&str> {
    executions.iter().map(|execution| execution.id.as_str()).collect()
}

/// A job of the execution `owner`, which has to exist.
pub(super) fn job(owner: &str) -> Job {
    Job::new(id(owner), "charge", "charge-card", json!({"amount": 5}))
}

pub(super) fn message(n: usize) -> NewMessage {
    NewMessage::new(QUEUE, "test.note", json!({"n": n}))
}

/// The number [`message`] was made with.
pub(super) fn number(delivery: &Delivery) -> u64 {
    delivery.message.data["n"].as_u64().unwrap()
}

pub(super) async fn push(backend: &dyn Backend, numbers: std::ops::Range<usize>) {
    backend.queue().push(numbers.map(message).collect()).await.unwrap();
}

pub(super) async fn claim(backend: &dyn Backend, holder: &str, max: u32) -> Vec<Delivery> {
    let request = ClaimRequest::new(QUEUE, worker(holder), LEASE, max);
    backend.queue().claim(request).await.unwrap().deliveries
}

/// The one message there is to claim.
pub(super) async fn claim_one(backend: &dyn Backend, holder: &str) -> Delivery {
    let mut deliveries = claim(backend, holder, 10).await;
    assert_eq!(deliveries.len(), 1, "one message to claim");
    deliveries.remove(0)
}

/// Upkeep, then whatever can be claimed.
pub(super) async fn claim_due(backend: &dyn Backend, holder: &str) -> Vec<Delivery> {
    backend.queue().maintain().await.unwrap();
    claim(backend, holder, 10).await
}

pub(super) fn settled(delivery: &Delivery, settlement: Settlement) -> Settle {
    Settle::new(delivery.lease.clone(), settlement)
}

pub(super) async fn settle(backend: &dyn Backend, delivery: &Delivery, settlement: Settlement) {
    let results = backend.queue().settle(vec![settled(delivery, settlement)]).await.unwrap();
    for result in results {
        result.unwrap();
    }
}

pub(super) fn retry_after(delay: Duration) -> Settlement {
    Settlement::RetryAfter { delay, error: Failure::new("BOOM", "it failed") }
}
