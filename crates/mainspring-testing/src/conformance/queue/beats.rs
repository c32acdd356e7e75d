//! Messages that ask for signs of life, and claims that leave groups out.

use std::time::Duration;

use mainspring_core::{
    Backend, ClaimRequest, Delivery, Group, MessageLease, MessageOptions, NewMessage, Policy, QueueOptions,
    Result, Select, Settlement,
};

use super::super::{
    make::{LEASE, QUEUE, claim, claim_due, hours, message, number, secs, settle, settled, worker},
    on, on_time,
};
use super::{created, keyed, push_one, sound};
use crate::TimeTravel;

/// All cases.
pub async fn suite<B: Backend, T: TimeTravel>(fresh: impl AsyncFn() -> (B, T)) {
    on_time(&fresh, a_message_its_holder_is_silent_about_is_taken_back).await;
    on_time(&fresh, a_touch_is_fenced_as_a_settlement_is).await;
    on(&fresh, a_heartbeat_is_whole_seconds_and_ten_at_least).await;
    on(&fresh, a_claim_leaves_groups_out).await;
}

fn with_heartbeat(message: NewMessage, heartbeat: Duration) -> NewMessage {
    let options = MessageOptions { heartbeat: Some(heartbeat), ..message.options.clone() };
    NewMessage { options, ..message }
}

async fn touch(backend: &dyn Backend, leases: &[&MessageLease]) -> Vec<Result<()>> {
    backend.queue().touch(leases.iter().map(|lease| (*lease).clone()).collect()).await.unwrap()
}

fn numbers(deliveries: &[Delivery]) -> Vec<u64> {
    deliveries.iter().map(number).collect()
}

/// Q12, Q13: as its queue says or itself; it counts as lost and keeps its place and what it asks for. Others are unaffected.
pub async fn a_message_its_holder_is_silent_about_is_taken_back(
    backend: &dyn Backend,
    time: &dyn TimeTravel,
) {
    let options =
        QueueOptions { heartbeat: Some(secs(10)), policy: Policy::Singleton, ..QueueOptions::default() };
    created(backend, options).await;
    push_one(backend, keyed(1, "a")).await;
    push_one(backend, keyed(2, "a")).await;
    push_one(backend, with_heartbeat(keyed(3, "b"), secs(60))).await;
    push_one(backend, keyed(4, "c")).await;
    backend.queue().push(vec![NewMessage { queue: "plain".into(), ..message(5) }]).await.unwrap();
    let plain = ClaimRequest::new("plain", worker("w"), LEASE, 10);
    let plain = backend.queue().claim(plain).await.unwrap().deliveries.remove(0);
    let held = claim(backend, "w", 10).await;
    assert_eq!(numbers(&held), [1, 3, 4]);
    let heartbeats: Vec<_> = held.iter().chain([&plain]).map(|delivery| delivery.heartbeat).collect();
    assert_eq!(heartbeats, [Some(secs(10)), Some(secs(60)), Some(secs(10)), None]);
    for _ in 0..4 {
        time.advance(secs(8)).await;
        assert!(touch(backend, &[&held[2].lease, &plain.lease]).await.iter().all(Result::is_ok));
        backend.queue().maintain().await.unwrap();
    }
    assert_eq!(backend.queue().stats("plain").await.unwrap().claimed, 1);
    let again = claim(backend, "other", 10).await;
    assert_eq!(
        numbers(&again),
        [1],
        "only the one that was silent for too long, and before the next of its key"
    );
    assert_eq!((again[0].lost, again[0].failures, again[0].heartbeat), (1, 0, Some(secs(10))));
    let late = backend.queue().settle(vec![settled(&held[0], Settlement::Done)]).await.unwrap();
    assert!(late[0].as_ref().unwrap_err().is_fenced());
    time.advance(secs(9)).await;
    settle(backend, &again[0], Settlement::Done).await;
    time.advance(secs(2)).await;
    assert_eq!(
        backend.queue().maintain().await.unwrap().reclaimed,
        1,
        "the fourth, which nobody touches any more"
    );
    time.advance(secs(30)).await;
    assert_eq!(backend.queue().maintain().await.unwrap().reclaimed, 1, "the third; the first has ended");
    sound(backend).await;
}

/// Q12: of one that was settled, taken back, or is at work again.
pub async fn a_touch_is_fenced_as_a_settlement_is(backend: &dyn Backend, time: &dyn TimeTravel) {
    created(backend, QueueOptions { heartbeat: Some(secs(30)), ..QueueOptions::default() }).await;
    for n in 1..=3 {
        push_one(backend, message(n)).await;
    }
    let held = claim(backend, "w", 10).await;
    settle(backend, &held[0], Settlement::Done).await;
    time.advance(secs(20)).await;
    let answers = touch(backend, &[&held[0].lease, &held[1].lease]).await;
    assert!(answers[0].as_ref().unwrap_err().is_fenced() && answers[1].is_ok());
    time.advance(secs(11)).await;
    let again = claim_due(backend, "other").await;
    assert_eq!(numbers(&again), [3]);
    let answers = touch(backend, &[&held[2].lease, &again[0].lease, &held[1].lease]).await;
    let won: Vec<bool> = answers.iter().map(Result::is_ok).collect();
    assert_eq!(won, [false, true, true]);
    assert!(touch(backend, &[]).await.is_empty());
}

/// Q13.
pub async fn a_heartbeat_is_whole_seconds_and_ten_at_least(backend: &dyn Backend) {
    created(backend, QueueOptions::default()).await;
    for bad in [secs(9), Duration::ZERO, Duration::from_millis(10_500), hours(25)] {
        let options = QueueOptions { heartbeat: Some(bad), ..QueueOptions::default() };
        assert!(backend.queues().update_queue(QUEUE, options).await.unwrap_err().is_invalid(), "{bad:?}");
        let pushed = backend.queue().push(vec![with_heartbeat(message(1), bad)]).await;
        assert!(pushed.unwrap_err().is_invalid(), "{bad:?}");
    }
    push_one(backend, with_heartbeat(message(1), hours(24))).await;
    assert_eq!(claim(backend, "w", 1).await[0].heartbeat, Some(hours(24)));
}

/// Whatever is in front.
pub async fn a_claim_leaves_groups_out(backend: &dyn Backend) {
    created(backend, QueueOptions::default()).await;
    let grouped = |n, group: &str| NewMessage { group: Some(Group::new(group)), ..message(n) };
    for n in 0..5 {
        push_one(backend, grouped(n, "a")).await;
    }
    push_one(backend, grouped(5, "b")).await;
    push_one(backend, message(6)).await;
    let take = async |but: &[&str], by_age| {
        let but_groups = but.iter().map(|group| (*group).to_owned()).collect();
        let select = Select { but_groups, by_age, ..Select::default() };
        let request = ClaimRequest { select, ..ClaimRequest::new(QUEUE, worker("w"), LEASE, 2) };
        let deliveries = backend.queue().claim(request).await.unwrap().deliveries;
        for delivery in &deliveries {
            settle(backend, delivery, Settlement::PutBack).await;
        }
        numbers(&deliveries)
    };
    for by_age in [false, true] {
        assert_eq!(take(&["a"], by_age).await, [5, 6]);
        assert_eq!(take(&["a", "b", "c"], by_age).await, [6]);
        assert_eq!(take(&[], by_age).await, [0, 1]);
    }
}
