//! What every [`QueueDriver`](mainspring_core::QueueDriver) does.

pub mod admin;
pub mod beats;
pub mod deaths;
pub mod ends;
pub mod keys;
pub mod leases;
pub mod lists;
pub mod parents;
pub mod policies;
pub mod random;

use std::time::Duration;

use futures_util::future::{join, join_all};
use mainspring_core::{
    Available, Backend, ClaimRequest, DeadLetterQuery, Failure, MessageId, MessageQuery, NewMessage, Pushed,
    QueueOptions, QueueStats, Settle, Settlement,
};
use serde_json::json;

use super::{
    make::{
        LEASE, QUEUE, claim, claim_due, claim_one, hours, message, number, object, push, retry_after, secs,
        settle, settled, worker,
    },
    on, on_time,
};
use crate::TimeTravel;

/// All cases of the driver, those of [`leases`] too; the other modules have suites of their own.
pub async fn suite<B: Backend, T: TimeTravel>(fresh: impl AsyncFn() -> (B, T)) {
    on(&fresh, every_field_survives).await;
    on(&fresh, what_is_pushed_is_nobodys_any_more).await;
    on(&fresh, higher_priority_goes_first_then_age).await;
    on(&fresh, queues_are_apart).await;
    on(&fresh, one_bad_message_refuses_the_push).await;
    on(&fresh, two_holders_never_get_the_same_message).await;
    on(&fresh, a_done_message_is_gone).await;
    on(&fresh, each_settlement_has_its_own_result).await;
    on(&fresh, a_given_up_message_is_a_dead_letter).await;
    on(&fresh, claims_are_checked).await;
    on(&fresh, a_waiter_hears_of_a_push).await;
    on_time(&fresh, a_delayed_message_comes_when_due).await;
    on_time(&fresh, a_failure_is_tried_again_until_the_attempts_are_used_up).await;
    on_time(&fresh, a_snooze_costs_no_attempt_and_forgets_failures).await;
    on_time(&fresh, dead_letters_are_listed_newest_first).await;
    Box::pin(leases::suite(&fresh)).await;
}

/// The queue of all cases, with these options.
async fn created(backend: &dyn Backend, options: QueueOptions) {
    assert!(backend.queues().create_queue(QUEUE, options).await.unwrap().created);
}

fn keyed(n: usize, key: &str) -> NewMessage {
    NewMessage { key: Some(key.to_owned()), ..message(n) }
}

async fn push_one(backend: &dyn Backend, message: NewMessage) -> Pushed {
    backend.queues().push_each(vec![message]).await.unwrap().remove(0)
}

/// Every count is that of its rows, and nobody waits where there is room.
async fn sound(backend: &dyn Backend) {
    assert_eq!(backend.queues().check_queues().await.unwrap(), Vec::<String>::new());
}

/// How many messages the queue knows of.
async fn kept(backend: &dyn Backend, count: usize) {
    let found = backend.queues().find_messages(QUEUE, MessageQuery::default()).await.unwrap();
    assert_eq!(found.len(), count, "{found:#?}");
}

async fn stats(backend: &dyn Backend) -> QueueStats {
    backend.queue().stats(QUEUE).await.unwrap()
}

/// Of a message that comes at once; when it was due is not part of a delivery.
pub async fn every_field_survives(backend: &dyn Backend) {
    let given = NewMessage {
        id: MessageId::new("mine").unwrap(),
        tenant: "acme".into(),
        source: Some("shop".into()),
        subject: Some("order-42".into()),
        to: Some("billing".into()),
        headers: object(json!({"traceparent": "00-1-1-01"})),
        priority: Some(-7),
        max_attempts: Some(9),
        ..NewMessage::new(QUEUE, "order.paid", json!({"total": 42.5, "ü": null}))
    };
    backend.queue().push(vec![given.clone()]).await.unwrap();
    let delivery = claim_one(backend, "w").await;
    assert_eq!(delivery.message, given);
    assert_eq!((delivery.failures, delivery.lost, delivery.delays, delivery.attempt()), (0, 0, 0, 1));
    assert_eq!((delivery.lease.queue.as_str(), delivery.lease.priority), (QUEUE, -7));
}

/// Q57: whoever pushed or claimed a message changes only what they have in their hands.
pub async fn what_is_pushed_is_nobodys_any_more(backend: &dyn Backend) {
    let mut given = NewMessage::new(QUEUE, "t", json!({"items": [1, 2]}));
    backend.queue().push(vec![given.clone()]).await.unwrap();
    given.data["items"][0] = json!("changed");
    let mut delivery = claim_one(backend, "w").await;
    assert_eq!(delivery.message.data, json!({"items": [1, 2]}));
    delivery.message.data["items"] = json!(null);
    delivery.message.headers.insert("mine".to_owned(), json!(1));
    settle(backend, &delivery, Settlement::PutBack).await;
    let again = claim_one(backend, "w").await.message;
    assert_eq!((again.data, again.headers.is_empty()), (json!({"items": [1, 2]}), true));
}

/// Within one priority, the order of the pushes.
pub async fn higher_priority_goes_first_then_age(backend: &dyn Backend) {
    for (n, priority) in [(1, 0), (2, 5), (3, 0), (4, -5), (5, 5), (6, i16::MAX), (7, i16::MIN)] {
        backend.queue().push(vec![NewMessage { priority: Some(priority), ..message(n) }]).await.unwrap();
    }
    push(backend, 8..10).await;
    let first: Vec<_> = claim(backend, "w", 4).await.iter().map(number).collect();
    let rest: Vec<_> = claim(backend, "w", 10).await.iter().map(number).collect();
    assert_eq!((first, rest), (vec![6, 2, 5, 1], vec![3, 8, 9, 4, 7]));
}

/// A claim takes from one.
pub async fn queues_are_apart(backend: &dyn Backend) {
    backend.queue().push(vec![NewMessage { queue: "other".into(), ..message(1) }, message(2)]).await.unwrap();
    assert_eq!(number(&claim_one(backend, "w").await), 2);
    let other = backend.queue().stats("other").await.unwrap();
    assert_eq!(other, QueueStats { ready: 1, ..QueueStats::default() });
    assert_eq!(stats(backend).await, QueueStats { claimed: 1, ..QueueStats::default() });
    assert_eq!(backend.queue().stats("nobody").await.unwrap(), QueueStats::default());
}

/// All of them or none.
pub async fn one_bad_message_refuses_the_push(backend: &dyn Backend) {
    let bad = NewMessage { max_attempts: Some(0), ..message(2) };
    assert!(backend.queue().push(vec![message(1), bad]).await.unwrap_err().is_invalid());
    let nul = NewMessage { data: json!("a\0b"), ..message(3) };
    assert!(backend.queue().push(vec![message(1), nul]).await.unwrap_err().is_invalid());
    backend.queue().push(Vec::new()).await.unwrap();
    assert_eq!(stats(backend).await, QueueStats::default());
}

/// Q49: SKIP LOCKED, or whatever takes its place.
pub async fn two_holders_never_get_the_same_message(backend: &dyn Backend) {
    push(backend, 0..100).await;
    let take = async |holder: &str| {
        let mut taken = Vec::new();
        loop {
            let batch = claim(backend, holder, 3).await;
            if batch.is_empty() {
                return taken;
            }
            taken.extend(batch.iter().map(number));
        }
    };
    let holders: Vec<String> = (0..6).map(|n| format!("w{n}")).collect();
    let mut all: Vec<u64> = join_all(holders.iter().map(|holder| take(holder))).await.concat();
    all.sort_unstable();
    assert_eq!(all, (0..100).collect::<Vec<_>>());
    assert_eq!(stats(backend).await.claimed, 100);
}

/// It leaves nothing behind.
pub async fn a_done_message_is_gone(backend: &dyn Backend) {
    push(backend, 0..1).await;
    let delivery = claim_one(backend, "w").await;
    assert!(claim(backend, "w", 10).await.is_empty());
    settle(backend, &delivery, Settlement::Done).await;
    assert_eq!(stats(backend).await, QueueStats::default());
    assert!(backend.queue().dead_letters(QUEUE, 10).await.unwrap().is_empty());
}

/// A lost lease is one item's error and spares the others.
pub async fn each_settlement_has_its_own_result(backend: &dyn Backend) {
    push(backend, 0..4).await;
    let held = claim(backend, "w", 10).await;
    settle(backend, &held[1], Settlement::Done).await;
    let mut batch: Vec<Settle> = held.iter().map(|delivery| settled(delivery, Settlement::Done)).collect();
    batch[3].settlement = Settlement::DeadLetter(Failure::new("BAD", "never"));
    let results = backend.queue().settle(batch).await.unwrap();
    let won: Vec<bool> = results.iter().map(Result::is_ok).collect();
    assert_eq!(won, [true, false, true, true]);
    assert!(results[1].as_ref().unwrap_err().is_fenced());
    assert_eq!(stats(backend).await, QueueStats { dead: 1, ..QueueStats::default() });
    assert!(backend.queue().settle(Vec::new()).await.unwrap().is_empty());
}

/// At once, whatever attempts are left.
pub async fn a_given_up_message_is_a_dead_letter(backend: &dyn Backend) {
    push(backend, 7..8).await;
    let delivery = claim_one(backend, "w").await;
    let reason = Failure::new("BAD", "cannot be read");
    settle(backend, &delivery, Settlement::DeadLetter(reason.clone())).await;
    let dead = backend.queue().dead_letters(QUEUE, 10).await.unwrap();
    assert_eq!(dead.len(), 1);
    assert_eq!((&dead[0].message, &dead[0].reason), (&delivery.message, &reason));
    assert!(claim_due(backend, "w").await.is_empty());
}

/// Ranges, before anything is claimed.
pub async fn claims_are_checked(backend: &dyn Backend) {
    push(backend, 0..1).await;
    let good = ClaimRequest::new(QUEUE, worker("w"), LEASE, 1);
    for bad in [
        ClaimRequest { max: 0, ..good.clone() },
        ClaimRequest { max: 1_001, ..good.clone() },
        ClaimRequest { lease: Duration::from_millis(99), ..good.clone() },
        ClaimRequest { queue: String::new(), ..good },
    ] {
        assert!(backend.queue().claim(bad).await.unwrap_err().is_invalid());
    }
    assert!(backend.queue().register(&worker("w"), Duration::ZERO).await.unwrap_err().is_invalid());
    assert_eq!(stats(backend).await.ready, 1);
}

/// Long before its time is over.
pub async fn a_waiter_hears_of_a_push(backend: &dyn Backend) {
    backend.queue().wait(QUEUE, Duration::from_millis(1)).await;
    let pushed_later = async {
        tokio::time::sleep(Duration::from_millis(50)).await;
        push(backend, 0..1).await;
    };
    let wait = tokio::time::timeout(secs(20), backend.queue().wait(QUEUE, secs(50)));
    let (heard, ()) = join(wait, pushed_later).await;
    assert!(heard.is_ok());
    claim_one(backend, "w").await;
}

/// A claim that comes back short says when to look again.
pub async fn a_delayed_message_comes_when_due(backend: &dyn Backend, time: &dyn TimeTravel) {
    let now = backend.now();
    for (n, available) in [
        (1, Available::After(hours(2))),
        (2, Available::At(now + hours(1))),
        (3, Available::At(now - hours(1))),
    ] {
        backend.queue().push(vec![NewMessage { available, ..message(n) }]).await.unwrap();
    }
    let before = stats(backend).await;
    assert!(before.deferred >= 2 && before.ready + before.deferred == 3, "{before:?}");
    let request = ClaimRequest::new(QUEUE, worker("w"), LEASE, 5);
    let claimed = backend.queue().claim(request).await.unwrap();
    assert_eq!(claimed.deliveries.iter().map(number).collect::<Vec<_>>(), [3]);
    assert_eq!(claimed.next_due, Some(now + hours(1)));
    settle(backend, &claimed.deliveries[0], Settlement::Done).await;
    for n in [2, 1] {
        assert!(claim_due(backend, "w").await.is_empty());
        time.advance(hours(1) + secs(1)).await;
        let due = claim_due(backend, "w").await;
        assert_eq!(due.iter().map(number).collect::<Vec<_>>(), [n]);
        assert_eq!((due[0].attempt(), due[0].delays), (1, 0));
        settle(backend, &due[0], Settlement::Done).await;
    }
}

/// `max_attempts` counts the first run.
pub async fn a_failure_is_tried_again_until_the_attempts_are_used_up(
    backend: &dyn Backend,
    time: &dyn TimeTravel,
) {
    backend.queue().push(vec![NewMessage { max_attempts: Some(3), ..message(1) }]).await.unwrap();
    for attempt in 1..=3 {
        let due = claim_due(backend, "w").await;
        assert_eq!(due.len(), 1);
        assert_eq!((due[0].attempt(), due[0].failures), (attempt, attempt - 1));
        settle(backend, &due[0], retry_after(secs(60))).await;
        assert!(claim_due(backend, "w").await.is_empty());
        time.advance(secs(61)).await;
    }
    assert!(claim_due(backend, "w").await.is_empty());
    let dead = backend.queue().dead_letters(QUEUE, 10).await.unwrap();
    assert_eq!((dead.len(), dead[0].failures, dead[0].lost), (1, 3, 0));
    assert_eq!(dead[0].reason.code, "BOOM");
    assert_eq!(stats(backend).await, QueueStats { dead: 1, ..QueueStats::default() });
}

/// Delays are counted apart.
pub async fn a_snooze_costs_no_attempt_and_forgets_failures(backend: &dyn Backend, time: &dyn TimeTravel) {
    backend.queue().push(vec![NewMessage { max_attempts: Some(2), ..message(1) }]).await.unwrap();
    let first = claim_one(backend, "w").await;
    settle(backend, &first, retry_after(secs(1))).await;
    time.advance(secs(2)).await;
    let mut at = first.created_at + secs(2);
    for delays in 0..3 {
        let due = claim_due(backend, "w").await;
        assert_eq!((due.len(), due[0].delays), (1, delays));
        assert_eq!(due[0].failures, if delays == 0 { 1 } else { 0 });
        at = at + hours(1);
        settle(backend, &due[0], Settlement::SnoozeUntil(at)).await;
        assert!(claim_due(backend, "w").await.is_empty());
        time.advance(hours(1) + secs(1)).await;
    }
    let last = claim_due(backend, "w").await;
    assert_eq!((last[0].attempt(), last[0].delays), (1, 3));
}

/// With a limit.
pub async fn dead_letters_are_listed_newest_first(backend: &dyn Backend, time: &dyn TimeTravel) {
    push(backend, 1..4).await;
    for delivery in claim(backend, "w", 10).await {
        settle(backend, &delivery, Settlement::DeadLetter(Failure::new("BAD", "no"))).await;
        time.advance(secs(1)).await;
    }
    let dead = backend.queue().dead_letters(QUEUE, 2).await.unwrap();
    assert_eq!(
        dead.iter().map(|dead| dead.message.data["n"].clone()).collect::<Vec<_>>(),
        [json!(3), json!(2)]
    );
    assert!(dead[0].dead_at > dead[1].dead_at);
    assert!(backend.queue().dead_letters("other", 2).await.unwrap().is_empty());
    let before = Some((dead[1].dead_at, dead[1].seq));
    let query = |reason: &str| DeadLetterQuery { reason: Some(reason.into()), before, limit: 0 };
    let next = backend.queues().find_dead_letters(QUEUE, query("BAD")).await.unwrap();
    assert_eq!(next.iter().map(|dead| dead.message.data["n"].clone()).collect::<Vec<_>>(), [json!(1)]);
    assert!(backend.queues().find_dead_letters(QUEUE, query("OTHER")).await.unwrap().is_empty());
}
