//! How messages end, and what is kept of it.

use std::time::Duration;

use mainspring_core::{
    Available, Backend, Failure, MessageOptions, MessageQuery, MessageStatus, NewMessage, QueueOptions,
    Settlement, StoredMessage, limits,
};
use serde_json::json;

use super::super::{
    make::{QUEUE, claim, claim_one, hours, message, number, retry_after, settle, settled},
    on,
};
use super::{created, kept, push_one, sound};
use crate::TimeTravel;

/// All cases.
pub async fn suite<B: Backend, T: TimeTravel>(fresh: impl AsyncFn() -> (B, T)) {
    on(&fresh, a_failure_is_kept_as_it_was_said).await;
    on(&fresh, a_retried_message_begins_again_where_it_was).await;
    on(&fresh, what_was_never_claimed_is_kept_as_its_queue_says).await;
}

async fn find(backend: &dyn Backend, status: MessageStatus) -> Vec<StoredMessage> {
    let query = MessageQuery { statuses: vec![status], ..MessageQuery::default() };
    backend.queues().find_messages(QUEUE, query).await.unwrap()
}

/// Q08: each of a batch, with whatever is nested in it; one that is too long is refused and spares the others.
pub async fn a_failure_is_kept_as_it_was_said(backend: &dyn Backend) {
    created(backend, QueueOptions { max_attempts: 1, ..QueueOptions::default() }).await;
    for n in 1..=3 {
        push_one(backend, message(n)).await;
    }
    let held = claim(backend, "w", 10).await;
    let details = json!({"http": {"status": 502, "body": ["a", {"b": null}], "tür": "ü"}});
    let failure = |n: u64| Failure { details: details.clone(), ..Failure::new("BAD", format!("number {n}")) };
    let long = Failure { message: "x".repeat(limits::MAX_ERROR_TEXT + 1), ..failure(3) };
    let settles = vec![
        settled(&held[0], Settlement::DeadLetter(failure(1))),
        settled(&held[1], Settlement::Retry { error: failure(2) }),
        settled(&held[2], Settlement::DeadLetter(long)),
    ];
    let results = backend.queue().settle(settles).await.unwrap();
    assert!(results[0].is_ok() && results[1].is_ok());
    assert!(results[2].as_ref().unwrap_err().is_invalid());
    let mut dead = backend.queue().dead_letters(QUEUE, 10).await.unwrap();
    dead.sort_by_key(|letter| letter.message.data["n"].as_u64());
    let reasons: Vec<_> = dead.iter().map(|letter| letter.reason.clone()).collect();
    assert_eq!(reasons, [failure(1), failure(2)]);
    let found: Vec<_> =
        find(backend, MessageStatus::Dead).await.into_iter().filter_map(|s| s.reason).collect();
    assert_eq!(found, [failure(2), failure(1)]);
    settle(backend, &held[2], Settlement::Done).await;
}

/// Q10: with one more run than it had, and nothing left of its end.
pub async fn a_retried_message_begins_again_where_it_was(backend: &dyn Backend) {
    created(backend, QueueOptions { max_attempts: 1, ..QueueOptions::default() }).await;
    let pushed = push_one(backend, message(1)).await;
    for failures in 1..=3 {
        let delivery = claim_one(backend, "w").await;
        assert_eq!((number(&delivery), delivery.failures), (1, failures - 1));
        settle(backend, &delivery, retry_after(Duration::ZERO)).await;
        let dead = find(backend, MessageStatus::Dead).await.remove(0);
        assert!(dead.finished_at.is_some() && dead.reason.is_some() && dead.failures == failures);
        let ids = vec![pushed.id.clone()];
        assert_eq!(backend.queues().retry_messages(QUEUE, ids.clone()).await.unwrap(), ids);
        assert!(backend.queues().retry_messages(QUEUE, ids).await.unwrap().is_empty());
        let again = find(backend, MessageStatus::Ready).await.remove(0);
        assert_eq!((again.finished_at, again.reason, again.failures), (None, None, failures));
        assert_eq!(again.message.max_attempts, Some(failures + 1));
    }
    settle(backend, &claim_one(backend, "w").await, Settlement::Done).await;
    assert_eq!(find(backend, MessageStatus::Done).await.len(), 1);
    sound(backend).await;
}

/// Q14, Q41: cancelled or ended by hand while it waited, or as it says itself.
pub async fn what_was_never_claimed_is_kept_as_its_queue_says(backend: &dyn Backend) {
    created(backend, QueueOptions { keep_finished: Duration::ZERO, ..QueueOptions::default() }).await;
    let later = |n| NewMessage { available: Available::After(hours(1)), ..message(n) };
    let long = MessageOptions { keep_finished: Some(hours(1)), ..MessageOptions::default() };
    let batch = vec![message(1), later(2), later(3), NewMessage { options: long, ..later(4) }];
    let ids: Vec<_> = batch.iter().map(|message| message.id.clone()).collect();
    backend.queues().push_each(batch).await.unwrap();
    let cancelled =
        backend.queues().cancel_messages(QUEUE, vec![ids[0].clone(), ids[1].clone(), ids[3].clone()]).await;
    assert_eq!(cancelled.unwrap().len(), 3);
    backend.queues().finish_messages(QUEUE, vec![ids[2].clone()], json!("by hand")).await.unwrap();
    kept(backend, 1).await;
    assert_eq!(find(backend, MessageStatus::Cancelled).await[0].message.id, ids[3]);
}
