//! What a queue allows beside each other: policies, groups, rates.

use std::collections::BTreeMap;

use mainspring_core::{
    Available, Backend, ClaimRequest, Delivery, Failure, Group, GroupLimit, NewMessage, Policy, QueueOptions,
    RateLimit, Settlement,
};

use super::super::{
    make::{QUEUE, claim, claim_due, message, number, retry_after, secs, settle, worker},
    on, on_time,
};
use super::{created, kept, keyed, push_one, sound};
use crate::TimeTravel;

/// All cases.
pub async fn suite<B: Backend, T: TimeTravel>(fresh: impl AsyncFn() -> (B, T)) {
    on(&fresh, short_allows_one_waiting_for_its_first_run).await;
    on(&fresh, singleton_allows_one_of_a_key_at_work).await;
    on_time(&fresh, stately_allows_one_in_each_state).await;
    on(&fresh, exclusive_allows_one_in_all).await;
    on_time(&fresh, strict_fifo_goes_in_order_and_a_failure_blocks_its_key).await;
    on(&fresh, a_blocked_key_goes_on_when_its_message_is_retried_or_deleted).await;
    on(&fresh, a_group_has_no_more_at_work_than_its_limit).await;
    on(&fresh, the_tiers_of_one_group_have_their_own_limits).await;
    on(&fresh, a_changed_limit_counts_at_once).await;
    on_time(&fresh, a_lost_holder_frees_its_gate_once).await;
    on_time(&fresh, a_rate_limit_is_kept).await;
    on(&fresh, a_paused_queue_brings_nothing).await;
    on_time(&fresh, a_try_that_takes_too_long_counts_as_failed).await;
}

fn with(policy: Policy) -> QueueOptions {
    QueueOptions { policy, ..QueueOptions::default() }
}

fn numbers(deliveries: &[Delivery]) -> Vec<u64> {
    deliveries.iter().map(number).collect()
}

/// Q16, also for messages without a key. A claimed one does not count.
pub async fn short_allows_one_waiting_for_its_first_run(backend: &dyn Backend) {
    created(backend, with(Policy::Short)).await;
    let first = push_one(backend, keyed(1, "a")).await;
    let second = push_one(backend, keyed(2, "a")).await;
    assert_eq!((first.duplicate, second.duplicate, &second.id), (false, true, &first.id));
    assert!(!push_one(backend, keyed(3, "b")).await.duplicate);
    assert!(!push_one(backend, message(4)).await.duplicate);
    assert!(push_one(backend, message(5)).await.duplicate);
    assert_eq!(numbers(&claim(backend, "w", 10).await), [1, 3, 4]);
    assert!(!push_one(backend, keyed(6, "a")).await.duplicate);
    let later = NewMessage { available: Available::After(secs(60)), ..keyed(7, "c") };
    assert!(!push_one(backend, later).await.duplicate);
    assert!(push_one(backend, keyed(8, "c")).await.duplicate, "deferred counts too");
    sound(backend).await;
}

/// Q17: others of its key wait, other keys do not, and a batch brings one of each.
pub async fn singleton_allows_one_of_a_key_at_work(backend: &dyn Backend) {
    created(backend, with(Policy::Singleton)).await;
    let batch = vec![keyed(1, "a"), keyed(2, "a"), keyed(3, "b"), keyed(4, "a"), keyed(5, "b")];
    backend.queues().push_each(batch).await.unwrap();
    let first = claim(backend, "w", 10).await;
    assert_eq!(numbers(&first), [1, 3]);
    assert_eq!(backend.queue().stats(QUEUE).await.unwrap().held, 3);
    assert!(claim(backend, "w", 10).await.is_empty());
    settle(backend, &first[0], Settlement::Done).await;
    let second = claim(backend, "w", 10).await;
    assert_eq!(numbers(&second), [2]);
    settle(backend, &second[0], Settlement::DeadLetter(Failure::new("BAD", "no"))).await;
    settle(backend, &first[1], Settlement::PutBack).await;
    assert_eq!(numbers(&claim(backend, "w", 10).await), [3, 4]);
    sound(backend).await;
}

/// Q18: the second that would wait for a retry is given up.
pub async fn stately_allows_one_in_each_state(backend: &dyn Backend, time: &dyn TimeTravel) {
    created(backend, with(Policy::Stately)).await;
    push_one(backend, keyed(1, "a")).await;
    let one = claim(backend, "w", 10).await.remove(0);
    push_one(backend, keyed(2, "a")).await;
    assert!(push_one(backend, keyed(3, "a")).await.duplicate);
    assert!(!push_one(backend, keyed(4, "b")).await.duplicate);
    assert_eq!(numbers(&claim(backend, "w", 10).await), [4], "one of a key at work");
    settle(backend, &one, retry_after(secs(60))).await;
    let two = claim(backend, "w", 10).await.remove(0);
    assert_eq!(number(&two), 2);
    settle(backend, &two, retry_after(secs(60))).await;
    let dead = backend.queue().dead_letters(QUEUE, 10).await.unwrap();
    assert_eq!((dead.len(), dead[0].message.data["n"].as_u64()), (1, Some(2)));
    time.advance(secs(61)).await;
    assert_eq!(numbers(&claim_due(backend, "w").await), [1]);
    sound(backend).await;
}

/// Q19: until it has ended.
pub async fn exclusive_allows_one_in_all(backend: &dyn Backend) {
    created(backend, with(Policy::Exclusive)).await;
    let first = push_one(backend, keyed(1, "a")).await;
    let delivery = claim(backend, "w", 10).await.remove(0);
    let again = push_one(backend, keyed(2, "a")).await;
    assert_eq!((again.duplicate, again.id), (true, first.id));
    settle(backend, &delivery, retry_after(secs(600))).await;
    assert!(push_one(backend, keyed(3, "a")).await.duplicate, "while it waits for a retry too");
    assert!(!push_one(backend, keyed(4, "b")).await.duplicate);
    let other = claim(backend, "w", 10).await.remove(0);
    settle(backend, &other, Settlement::Done).await;
    assert!(!push_one(backend, keyed(5, "b")).await.duplicate);
    sound(backend).await;
}

/// Q20: a key is required, and at work, waiting for a retry and given up each block it.
pub async fn strict_fifo_goes_in_order_and_a_failure_blocks_its_key(
    backend: &dyn Backend,
    time: &dyn TimeTravel,
) {
    created(backend, QueueOptions { max_attempts: 2, ..with(Policy::KeyStrictFifo) }).await;
    assert!(backend.queue().push(vec![message(0)]).await.unwrap_err().is_invalid());
    assert!(backend.queues().push_each(vec![keyed(0, "a"), message(0)]).await.unwrap_err().is_invalid());
    for n in 1..=3 {
        push_one(backend, NewMessage { priority: Some(n), ..keyed(usize::try_from(n).unwrap(), "a") }).await;
    }
    push_one(backend, keyed(9, "b")).await;
    let first = claim(backend, "w", 10).await;
    assert_eq!(numbers(&first), [1, 9], "in the order of the pushes, whatever the priority");
    settle(backend, &first[0], retry_after(secs(60))).await;
    settle(backend, &first[1], Settlement::Done).await;
    assert!(claim_due(backend, "w").await.is_empty());
    time.advance(secs(61)).await;
    let again = claim_due(backend, "w").await;
    assert_eq!((again.len(), number(&again[0]), again[0].failures), (1, 1, 1));
    settle(backend, &again[0], retry_after(secs(60))).await;
    time.advance(secs(61)).await;
    assert!(claim_due(backend, "w").await.is_empty(), "given up, it blocks");
    let blocked = backend.queues().blocked_keys(QUEUE).await.unwrap();
    assert_eq!(blocked.len(), 1);
    assert_eq!((blocked[0].key.as_str(), &blocked[0].by, blocked[0].waiting), ("a", &first[0].message.id, 2));
    time.advance(secs(30 * 24 * 3600)).await;
    backend.queues().sweep().await.unwrap();
    assert_eq!(backend.queues().blocked_keys(QUEUE).await.unwrap().len(), 1, "it is not forgotten");
    sound(backend).await;
}

/// Q21, and an error on other policies.
pub async fn a_blocked_key_goes_on_when_its_message_is_retried_or_deleted(backend: &dyn Backend) {
    created(backend, with(Policy::KeyStrictFifo)).await;
    for n in 1..=2 {
        push_one(backend, keyed(n, "a")).await;
    }
    let one = claim(backend, "w", 10).await.remove(0);
    settle(backend, &one, Settlement::DeadLetter(Failure::new("BAD", "no"))).await;
    assert!(claim(backend, "w", 10).await.is_empty());
    let ids = vec![one.message.id.clone()];
    assert_eq!(backend.queues().retry_messages(QUEUE, ids.clone()).await.unwrap(), ids);
    let again = claim(backend, "w", 10).await;
    assert_eq!(numbers(&again), [1], "itself first");
    settle(backend, &again[0], Settlement::DeadLetter(Failure::new("BAD", "no"))).await;
    assert_eq!(backend.queues().delete_messages(QUEUE, mainspring_core::Which::Ids(ids)).await.unwrap(), 1);
    assert_eq!(numbers(&claim(backend, "w", 10).await), [2]);
    assert!(backend.queues().blocked_keys(QUEUE).await.unwrap().is_empty());
    backend.queues().create_queue("plain", QueueOptions::default()).await.unwrap();
    assert!(backend.queues().blocked_keys("plain").await.unwrap_err().is_invalid());
    assert!(backend.queues().blocked_keys("nobody").await.unwrap_err().is_not_found());
    sound(backend).await;
}

fn grouped(n: usize, group: &str, tier: Option<&str>) -> NewMessage {
    let group = Group { id: group.to_owned(), tier: tier.map(str::to_owned) };
    NewMessage { group: Some(group), ..message(n) }
}

/// Q28: limits, tiers, those without a group, and a saturated group in front of the queue.
pub async fn a_group_has_no_more_at_work_than_its_limit(backend: &dyn Backend) {
    let groups = GroupLimit { limit: 2, tiers: BTreeMap::from([("gold".into(), 3), ("free".into(), 1)]) };
    created(backend, QueueOptions { groups: Some(groups), ..QueueOptions::default() }).await;
    let saturating: Vec<_> = (0..50).map(|n| grouped(n, "a", None)).collect();
    backend.queues().push_each(saturating).await.unwrap();
    let gold = (60..65).map(|n| grouped(n, "b", Some("gold")));
    let free = (70..73).map(|n| grouped(n, "c", Some("free")));
    let unknown = (80..83).map(|n| grouped(n, "d", Some("platinum")));
    let rest: Vec<_> = gold.chain(free).chain(unknown).chain((90..94).map(message)).collect();
    backend.queues().push_each(rest).await.unwrap();
    let first = claim(backend, "w", 100).await;
    assert_eq!(numbers(&first), [0, 1, 60, 61, 62, 70, 80, 81, 90, 91, 92, 93]);
    for delivery in &first {
        settle(backend, delivery, Settlement::Done).await;
    }
    assert_eq!(numbers(&claim(backend, "w", 100).await), [2, 3, 63, 64, 71, 82]);
    sound(backend).await;
}

/// Q28: each tier of one group has its own room, and one that has none keeps nobody waiting behind it.
pub async fn the_tiers_of_one_group_have_their_own_limits(backend: &dyn Backend) {
    let groups = GroupLimit { limit: 2, tiers: BTreeMap::from([("gold".into(), 4), ("free".into(), 1)]) };
    created(backend, QueueOptions { groups: Some(groups), ..QueueOptions::default() }).await;
    let free = (0..9).map(|n| grouped(n, "a", Some("free")));
    let plain = (10..13).map(|n| grouped(n, "a", None));
    let gold = (20..24).map(|n| grouped(n, "a", Some("gold")));
    backend.queues().push_each(free.chain(plain).chain(gold).collect()).await.unwrap();
    let first = claim(backend, "w", 100).await;
    assert_eq!(numbers(&first), [0, 10, 20, 21]);
    settle(backend, &first[3], Settlement::Done).await;
    assert_eq!(numbers(&claim(backend, "w", 100).await), [22], "three are too many for the others");
    for delivery in &first[..3] {
        settle(backend, delivery, Settlement::Done).await;
    }
    let gold = claim(backend, "w", 100).await;
    assert_eq!(numbers(&gold), [23]);
    settle(backend, &gold[0], Settlement::Done).await;
    assert_eq!(numbers(&claim(backend, "w", 100).await), [11], "one is left, so there is room for two");
    sound(backend).await;
}

/// Higher admits more, none admits all.
pub async fn a_changed_limit_counts_at_once(backend: &dyn Backend) {
    let limited = |limit| QueueOptions { groups: Some(GroupLimit::new(limit)), ..QueueOptions::default() };
    created(backend, limited(1)).await;
    backend.queues().push_each((0..9).map(|n| grouped(n, "a", None)).collect()).await.unwrap();
    assert_eq!(numbers(&claim(backend, "w", 100).await), [0]);
    backend.queues().update_queue(QUEUE, limited(4)).await.unwrap();
    assert_eq!(numbers(&claim(backend, "w", 100).await), [1, 2, 3]);
    backend.queues().update_queue(QUEUE, QueueOptions::default()).await.unwrap();
    assert_eq!(numbers(&claim(backend, "w", 100).await), [4, 5, 6, 7, 8]);
}

/// Neither a dead worker nor its late settlement opens a gate twice.
pub async fn a_lost_holder_frees_its_gate_once(backend: &dyn Backend, time: &dyn TimeTravel) {
    created(backend, with(Policy::Singleton)).await;
    for n in 1..=3 {
        push_one(backend, keyed(n, "a")).await;
    }
    let lost = claim(backend, "dead", 10).await.remove(0);
    time.advance(super::super::make::LEASE + secs(1)).await;
    let again = claim_due(backend, "w").await;
    assert_eq!((numbers(&again), again[0].lost), (vec![1], 1), "its place is still its own");
    let late =
        backend.queue().settle(vec![super::super::make::settled(&lost, Settlement::Done)]).await.unwrap();
    assert!(late[0].as_ref().unwrap_err().is_fenced());
    assert!(claim(backend, "w", 10).await.is_empty());
    settle(backend, &again[0], Settlement::Done).await;
    assert_eq!(numbers(&claim(backend, "w", 10).await), [2]);
    sound(backend).await;
}

/// As many at once as its count, then as time passes; a claim that comes back short says when there is more.
pub async fn a_rate_limit_is_kept(backend: &dyn Backend, time: &dyn TimeTravel) {
    let rate = RateLimit { count: 4, per: secs(400) };
    created(backend, QueueOptions { rate: Some(rate), ..QueueOptions::default() }).await;
    super::super::make::push(backend, 0..20).await;
    let mut taken = claim(backend, "w", 3).await.len() + claim(backend, "w", 3).await.len();
    assert_eq!(taken, 4);
    let request = ClaimRequest::new(QUEUE, worker("w"), super::super::make::LEASE, 10);
    let short = backend.queue().claim(request).await.unwrap();
    assert!(short.deliveries.is_empty() && short.next_due.is_some());
    time.advance(secs(101)).await;
    taken += claim(backend, "w", 10).await.len();
    time.advance(secs(50)).await;
    taken += claim(backend, "w", 10).await.len();
    assert_eq!(taken, 5);
    time.advance(secs(10_000)).await;
    assert_eq!(claim(backend, "w", 10).await.len(), 4, "no more than its count, however long the pause");
}

/// Every process sees it; pushes and settlements go on.
pub async fn a_paused_queue_brings_nothing(backend: &dyn Backend) {
    created(backend, QueueOptions::default()).await;
    super::super::make::push(backend, 0..2).await;
    let held = claim(backend, "w", 1).await;
    assert!(backend.queues().pause_queue(QUEUE, true).await.unwrap().paused);
    super::super::make::push(backend, 2..3).await;
    settle(backend, &held[0], Settlement::Done).await;
    assert!(claim(backend, "w", 10).await.is_empty());
    assert!(!backend.queues().pause_queue(QUEUE, false).await.unwrap().paused);
    assert_eq!(numbers(&claim(backend, "w", 10).await), [1, 2]);
    assert!(backend.queues().pause_queue("nobody", true).await.unwrap_err().is_not_found());
}

/// Q11: per queue, or as the message says; its late settlement is fenced and its gate is free.
pub async fn a_try_that_takes_too_long_counts_as_failed(backend: &dyn Backend, time: &dyn TimeTravel) {
    let options = QueueOptions { timeout: Some(secs(60)), max_attempts: 2, ..with(Policy::Singleton) };
    created(backend, QueueOptions { retry: mainspring_core::Retry::fixed(secs(5)), ..options }).await;
    push_one(backend, keyed(1, "a")).await;
    let mut patient = keyed(2, "b");
    patient.options.timeout = Some(secs(500));
    push_one(backend, patient).await;
    push_one(backend, keyed(3, "a")).await;
    let held = claim(backend, "w", 10).await;
    assert_eq!(
        (numbers(&held), held[0].timeout, held[1].timeout),
        (vec![1, 2], Some(secs(60)), Some(secs(500)))
    );
    time.advance(secs(61)).await;
    assert_eq!(backend.queue().maintain().await.unwrap().timed_out, 1);
    let late =
        backend.queue().settle(vec![super::super::make::settled(&held[0], Settlement::Done)]).await.unwrap();
    assert!(late[0].as_ref().unwrap_err().is_fenced());
    let next = claim(backend, "w", 10).await;
    assert_eq!(numbers(&next), [3]);
    settle(backend, &next[0], Settlement::Done).await;
    time.advance(secs(6)).await;
    let again = claim_due(backend, "w").await;
    assert_eq!((numbers(&again), again[0].failures), (vec![1], 1));
    time.advance(secs(61)).await;
    assert_eq!(backend.queue().maintain().await.unwrap().timed_out, 1);
    let dead = backend.queue().dead_letters(QUEUE, 10).await.unwrap();
    assert_eq!((dead.len(), dead[0].reason.code.as_str()), (1, "TIMEOUT"));
    settle(backend, &held[1], Settlement::Done).await;
    kept(backend, 3).await;
    sound(backend).await;
}
