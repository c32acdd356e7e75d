//! Messages that wait for others.

use std::time::Duration;

use futures_util::future::join_all;
use mainspring_core::{
    Available, Backend, ClaimRequest, Delivery, Failure, MessageId, MessageOptions, MessageQuery, MessageRef,
    MessageStatus, MessageUpdate, NewMessage, ParentFailure, Policy, QueueOptions, QueueStats, Settlement,
    StoredMessage, Target, Unique, Which,
};
use serde_json::json;

use super::super::{
    make::{LEASE, QUEUE, claim, claim_due, hours, message, number, retry_after, secs, settle, worker},
    on, on_time,
};
use super::{created, keyed, push_one, sound, stats};
use crate::TimeTravel;

/// All cases.
pub async fn suite<B: Backend, T: TimeTravel>(fresh: impl AsyncFn() -> (B, T)) {
    on(&fresh, a_child_can_be_claimed_when_all_its_parents_are_done).await;
    on(&fresh, a_child_in_another_queue_follows_at_once).await;
    on_time(&fresh, a_child_waits_for_its_time_too).await;
    on_time(&fresh, only_success_lets_a_child_go).await;
    on(&fresh, parents_that_are_there_already_count_as_they_are).await;
    on_time(&fresh, a_child_of_a_failed_parent_waits_for_it_to_be_retried).await;
    on(&fresh, a_child_of_a_cancelled_parent_waits_for_it_to_be_resumed).await;
    on(&fresh, a_child_may_run_all_the_same).await;
    on(&fresh, a_child_may_fail_with_its_parent_and_so_on).await;
    on(&fresh, a_deleted_parent_has_failed).await;
    on(&fresh, a_circle_or_an_unknown_parent_refuses_the_whole_push).await;
    on(&fresh, siblings_that_end_at_once_let_their_child_go_once).await;
    on(&fresh, a_child_takes_its_key_at_once_and_its_place_when_it_may_go).await;
    on(&fresh, a_duplicate_stands_for_the_message_that_is_there).await;
    on(&fresh, a_blocked_message_can_be_changed_and_ended).await;
    on_time(&fresh, what_waits_for_a_failed_parent_is_not_kept_for_ever).await;
}

async fn push(backend: &dyn Backend, messages: &[NewMessage]) {
    backend.queues().push_each(messages.to_vec()).await.unwrap();
}

async fn find(backend: &dyn Backend, message: &NewMessage) -> StoredMessage {
    let query = MessageQuery { ids: vec![message.id.clone()], ..MessageQuery::default() };
    backend.queues().find_messages(&message.queue, query).await.unwrap().remove(0)
}

async fn status(backend: &dyn Backend, message: &NewMessage) -> MessageStatus {
    find(backend, message).await.status
}

fn numbers(deliveries: &[Delivery]) -> Vec<u64> {
    deliveries.iter().map(number).collect()
}

fn when_it_fails(verdict: ParentFailure, message: NewMessage) -> NewMessage {
    let options = MessageOptions { parent_failure: Some(verdict), ..message.options.clone() };
    NewMessage { options, ..message }
}

fn dead() -> Settlement {
    Settlement::DeadLetter(Failure::new("BAD", "no"))
}

fn id(message: &NewMessage) -> Vec<MessageId> {
    vec![message.id.clone()]
}

/// Q31: of two and through others, wherever they are in the push.
pub async fn a_child_can_be_claimed_when_all_its_parents_are_done(backend: &dyn Backend) {
    created(backend, QueueOptions::default()).await;
    let (a, b) = (message(1), message(2));
    let both = message(3).after([&a, &b]);
    let last = message(4).after([&both, &a]);
    push(backend, &[last.clone(), both.clone(), a.clone(), b.clone()]).await;
    assert_eq!(stats(backend).await, QueueStats { ready: 2, blocked: 2, ..QueueStats::default() });
    let waits = find(backend, &both).await;
    assert_eq!(waits.status, MessageStatus::Blocked);
    assert_eq!(waits.message.depends_on, [MessageRef::from(&a), MessageRef::from(&b)]);
    let first = claim(backend, "w", 10).await;
    assert_eq!(numbers(&first), [1, 2]);
    settle(backend, &first[0], Settlement::Done).await;
    assert!(claim(backend, "w", 10).await.is_empty());
    assert_eq!(find(backend, &both).await.message.depends_on, [MessageRef::from(&b)]);
    settle(backend, &first[1], Settlement::DoneWith(json!("b"))).await;
    let second = claim(backend, "w", 10).await;
    assert_eq!(numbers(&second), [3]);
    assert!(second[0].message.depends_on.is_empty());
    sound(backend).await;
    settle(backend, &second[0], Settlement::Done).await;
    assert_eq!(numbers(&claim(backend, "w", 10).await), [4]);
    assert_eq!(stats(backend).await, QueueStats { claimed: 1, ..QueueStats::default() });
}

/// Q31: and whoever waits there hears of it.
pub async fn a_child_in_another_queue_follows_at_once(backend: &dyn Backend) {
    created(backend, QueueOptions::default()).await;
    backend.queues().create_queue("next", QueueOptions::default()).await.unwrap();
    let parent = message(1);
    let child = NewMessage { queue: "next".into(), ..message(2) }.after([&parent]);
    push(backend, &[parent, child]).await;
    let delivery = claim(backend, "w", 10).await.remove(0);
    let wait = backend.queue().wait("next", secs(50));
    let done = async {
        tokio::time::sleep(Duration::from_millis(50)).await;
        settle(backend, &delivery, Settlement::Done).await;
    };
    let both = futures_util::future::join(wait, done);
    assert!(tokio::time::timeout(secs(20), both).await.is_ok());
    let request = ClaimRequest::new("next", worker("w"), LEASE, 10);
    assert_eq!(numbers(&backend.queue().claim(request).await.unwrap().deliveries), [2]);
}

/// Q31: whichever is later.
pub async fn a_child_waits_for_its_time_too(backend: &dyn Backend, time: &dyn TimeTravel) {
    created(backend, QueueOptions::default()).await;
    let (a, b) = (message(1), NewMessage { available: Available::After(hours(5)), ..message(2) });
    let late = NewMessage { available: Available::After(hours(2)), ..message(3) }.after([&a]);
    let early = NewMessage { available: Available::After(hours(1)), ..message(4) }.after([&b]);
    push(backend, &[a, b, late.clone(), early.clone()]).await;
    let first = claim_due(backend, "w").await;
    assert_eq!(numbers(&first), [1]);
    settle(backend, &first[0], Settlement::Done).await;
    assert_eq!(status(backend, &late).await, MessageStatus::Deferred);
    for (passes, expected) in [(hours(2), vec![3]), (hours(3), vec![2]), (secs(1), vec![4])] {
        time.advance(passes + secs(1)).await;
        let due = claim_due(backend, "w").await;
        assert_eq!(numbers(&due), expected);
        settle(backend, &due[0], Settlement::Done).await;
    }
    sound(backend).await;
}

/// Not a retry, a delay, a lost worker or a message that was put back.
pub async fn only_success_lets_a_child_go(backend: &dyn Backend, time: &dyn TimeTravel) {
    created(backend, QueueOptions::default()).await;
    let parent = message(1);
    let child = message(2).after([&parent]);
    push(backend, &[parent, child.clone()]).await;
    for n in 0..4 {
        let due = claim_due(backend, "w").await;
        assert_eq!(numbers(&due), [1], "{n}");
        match n {
            0 => settle(backend, &due[0], retry_after(secs(1))).await,
            1 => settle(backend, &due[0], Settlement::SnoozeUntil(backend.now() + secs(1))).await,
            2 => settle(backend, &due[0], Settlement::PutBack).await,
            _ => {}
        }
        assert_eq!(status(backend, &child).await, MessageStatus::Blocked);
        time.advance(if n < 3 { secs(2) } else { LEASE + secs(1) }).await;
    }
    let due = claim_due(backend, "other").await;
    assert_eq!((numbers(&due), due[0].lost), (vec![1], 1));
    settle(backend, &due[0], Settlement::Done).await;
    assert_eq!(numbers(&claim(backend, "other", 10).await), [2]);
}

/// Done: nothing to wait for. Claimed, deferred, held or blocked: to be waited for.
pub async fn parents_that_are_there_already_count_as_they_are(backend: &dyn Backend) {
    created(backend, QueueOptions { policy: Policy::Singleton, ..QueueOptions::default() }).await;
    let (done, claimed, held) = (keyed(1, "a"), keyed(2, "b"), keyed(3, "b"));
    let deferred = NewMessage { available: Available::After(hours(1)), ..keyed(4, "c") };
    push(backend, &[done.clone(), claimed.clone(), held.clone(), deferred.clone()]).await;
    let first = claim(backend, "w", 10).await;
    assert_eq!(numbers(&first), [1, 2]);
    settle(backend, &first[0], Settlement::Done).await;
    let blocked = keyed(9, "z").after([&deferred]);
    push(backend, std::slice::from_ref(&blocked)).await;
    let children: Vec<NewMessage> = [&done, &claimed, &held, &deferred, &blocked]
        .into_iter()
        .enumerate()
        .map(|(n, parent)| keyed(10 + n, &format!("child {n}")).after([parent]))
        .collect();
    for child in &children {
        push(backend, std::slice::from_ref(child)).await;
    }
    assert_eq!(stats(backend).await.blocked, 5);
    assert_eq!(numbers(&claim(backend, "w", 10).await), [10]);
    settle(backend, &first[1], Settlement::Done).await;
    let next = claim(backend, "w", 10).await;
    assert_eq!(numbers(&next), [3, 11]);
    settle(backend, &next[0], Settlement::Done).await;
    assert_eq!(numbers(&claim(backend, "w", 10).await), [12]);
    backend.queues().finish_messages(QUEUE, id(&deferred), json!(null)).await.unwrap();
    let rest = claim(backend, "w", 10).await;
    assert_eq!(numbers(&rest), [9, 13]);
    settle(backend, &rest[0], Settlement::Done).await;
    assert_eq!(numbers(&claim(backend, "w", 10).await), [14]);
    sound(backend).await;
}

/// Q32: given up when its attempts are used up, or at once.
pub async fn a_child_of_a_failed_parent_waits_for_it_to_be_retried(
    backend: &dyn Backend,
    time: &dyn TimeTravel,
) {
    created(backend, QueueOptions { max_attempts: 2, ..QueueOptions::default() }).await;
    let parent = message(1);
    let child = message(2).after([&parent]);
    push(backend, &[parent.clone(), child.clone()]).await;
    for _ in 0..2 {
        let due = claim_due(backend, "w").await;
        settle(backend, &due[0], retry_after(secs(1))).await;
        time.advance(secs(2)).await;
    }
    assert_eq!(status(backend, &parent).await, MessageStatus::Dead);
    let late = message(3).after([&parent]);
    push(backend, &[late]).await;
    assert_eq!(stats(backend).await, QueueStats { dead: 1, blocked: 2, ..QueueStats::default() });
    backend.queues().retry_messages(QUEUE, id(&parent)).await.unwrap();
    let again = claim(backend, "w", 10).await;
    settle(backend, &again[0], dead()).await;
    backend.queues().retry_messages(QUEUE, id(&parent)).await.unwrap();
    let again = claim(backend, "w", 10).await;
    assert_eq!(numbers(&again), [1]);
    settle(backend, &again[0], Settlement::Done).await;
    assert_eq!(numbers(&claim(backend, "w", 10).await), [2, 3]);
    sound(backend).await;
}

/// Q32.
pub async fn a_child_of_a_cancelled_parent_waits_for_it_to_be_resumed(backend: &dyn Backend) {
    created(backend, QueueOptions::default()).await;
    let parents = [message(1), NewMessage { available: Available::After(hours(1)), ..message(2) }];
    let child = message(3).after(&parents);
    push(backend, &[parents[0].clone(), parents[1].clone(), child.clone()]).await;
    let all: Vec<MessageId> = parents.iter().map(|parent| parent.id.clone()).collect();
    assert_eq!(backend.queues().cancel_messages(QUEUE, all.clone()).await.unwrap().len(), 2);
    assert_eq!(status(backend, &child).await, MessageStatus::Blocked);
    backend.queues().resume_messages(QUEUE, all).await.unwrap();
    for delivery in claim(backend, "w", 10).await {
        settle(backend, &delivery, Settlement::Done).await;
    }
    assert_eq!(numbers(&claim(backend, "w", 10).await), [3]);
}

/// As it says, or as its queue does.
pub async fn a_child_may_run_all_the_same(backend: &dyn Backend) {
    created(backend, QueueOptions::default()).await;
    let lenient = QueueOptions { parent_failure: ParentFailure::Run, ..QueueOptions::default() };
    backend.queues().create_queue("lenient", lenient).await.unwrap();
    let (a, b) = (message(1), message(2));
    let own = when_it_fails(ParentFailure::Run, message(3)).after([&a, &b]);
    let by_queue = NewMessage { queue: "lenient".into(), ..message(4) }.after([&a]);
    let strict = NewMessage { queue: "lenient".into(), ..message(5) }.after([&a]);
    let strict = when_it_fails(ParentFailure::Wait, strict);
    push(backend, &[a, b, own, by_queue, strict.clone()]).await;
    let parents = claim(backend, "w", 10).await;
    settle(backend, &parents[0], dead()).await;
    assert!(claim(backend, "w", 10).await.is_empty());
    settle(backend, &parents[1], Settlement::Done).await;
    assert_eq!(numbers(&claim(backend, "w", 10).await), [3]);
    let request = ClaimRequest::new("lenient", worker("w"), LEASE, 10);
    assert_eq!(numbers(&backend.queue().claim(request).await.unwrap().deliveries), [4]);
    assert_eq!(status(backend, &strict).await, MessageStatus::Blocked);
    sound(backend).await;
}

/// Each of those further on as it says; its key is free, and its copy goes where dead letters go.
pub async fn a_child_may_fail_with_its_parent_and_so_on(backend: &dyn Backend) {
    let options = QueueOptions {
        parent_failure: ParentFailure::Fail,
        policy: Policy::Exclusive,
        dead_letter: Some("lost".into()),
        ..QueueOptions::default()
    };
    created(backend, options).await;
    let a = keyed(1, "a");
    let b = keyed(2, "b").after([&a]);
    let c = keyed(3, "c").after([&b]);
    let run = when_it_fails(ParentFailure::Run, keyed(4, "d")).after([&c]);
    let wait = when_it_fails(ParentFailure::Wait, keyed(5, "e")).after([&c]);
    let after_run = keyed(6, "f").after([&run]);
    push(backend, &[a.clone(), b.clone(), c.clone(), run, wait.clone(), after_run.clone()]).await;
    let parent = claim(backend, "w", 10).await.remove(0);
    settle(backend, &parent, dead()).await;
    for gone in [&a, &b, &c] {
        assert_eq!(status(backend, gone).await, MessageStatus::Dead);
    }
    let because = find(backend, &c).await.reason.unwrap();
    assert_eq!(because.code, "PARENT_FAILED");
    assert!(because.message.contains(b.id.as_str()), "{}", because.message);
    assert_eq!(numbers(&claim(backend, "w", 10).await), [4]);
    for waits in [&wait, &after_run] {
        assert_eq!(status(backend, waits).await, MessageStatus::Blocked);
    }
    assert!(!push_one(backend, keyed(7, "b")).await.duplicate);
    assert_eq!(backend.queue().stats("lost").await.unwrap().ready, 3);
    assert_eq!(backend.queues().retry_messages(QUEUE, id(&c)).await.unwrap(), id(&c));
    assert_eq!(status(backend, &c).await, MessageStatus::Ready);
    let late = keyed(8, "late").after([&a]);
    push(backend, std::slice::from_ref(&late)).await;
    assert_eq!(status(backend, &late).await, MessageStatus::Dead, "as when it had waited");
    sound(backend).await;
}

/// Wherever it was, also with all of its queue.
pub async fn a_deleted_parent_has_failed(backend: &dyn Backend) {
    created(backend, QueueOptions { policy: Policy::Singleton, ..QueueOptions::default() }).await;
    let run = QueueOptions { parent_failure: ParentFailure::Run, ..QueueOptions::default() };
    backend.queues().create_queue("children", run).await.unwrap();
    let parents: Vec<NewMessage> = (0..4)
        .map(|n| match n {
            3 => NewMessage { available: Available::After(hours(1)), ..keyed(3, "b") },
            n => keyed(n, "a"),
        })
        .collect();
    push(backend, &parents).await;
    let child = |n: usize| NewMessage { queue: "children".into(), ..message(n) };
    let children: Vec<NewMessage> =
        parents.iter().enumerate().map(|(n, parent)| child(n).after([parent])).collect();
    push(backend, &children).await;
    claim(backend, "w", 1).await;
    let ready = async || backend.queue().stats("children").await.unwrap().ready;
    assert_eq!(ready().await, 0);
    for n in [0, 3] {
        assert_eq!(backend.queues().delete_messages(QUEUE, Which::Ids(id(&parents[n]))).await.unwrap(), 1);
    }
    assert_eq!(ready().await, 2);
    backend.queues().delete_messages(QUEUE, Which::All).await.unwrap();
    assert_eq!(ready().await, 4);
    sound(backend).await;
}

/// Q33: nothing of it is stored.
pub async fn a_circle_or_an_unknown_parent_refuses_the_whole_push(backend: &dyn Backend) {
    created(backend, QueueOptions::default()).await;
    let (mut a, b) = (message(1), message(2));
    let c = message(3).after([&b]);
    a = a.after([&c]);
    let b = NewMessage { depends_on: vec![MessageRef::from(&a)], ..b };
    for bad in [
        vec![message(9), a, b, c],
        vec![message(9), message(1).after([&message(2)])],
        vec![message(9), message(1).after([&NewMessage { queue: "nobody".into(), ..message(2) }])],
        vec![message(9), NewMessage { queue: "nobody".into(), ..message(1) }.after([&message(2)])],
    ] {
        assert!(backend.queue().push(bad).await.unwrap_err().is_invalid());
    }
    let plain = NewMessage { queue: "plain".into(), ..message(1) };
    let waits = message(2).after([&plain]);
    let refused = backend.queue().push(vec![plain.clone(), waits.clone()]).await;
    assert!(
        refused.unwrap_err().is_invalid(),
        "a queue that was never created knows nothing of its messages"
    );
    backend.queue().push(vec![plain]).await.unwrap();
    assert!(backend.queue().push(vec![waits]).await.unwrap_err().is_invalid());
    assert_eq!(stats(backend).await, QueueStats::default());
    let upsert = keyed(1, "k").after([&message(2)]);
    assert!(backend.queues().upsert_message(upsert).await.unwrap_err().is_invalid());
}

/// Q32: whoever of them is the last, and though some are begun by one claim and some by another.
pub async fn siblings_that_end_at_once_let_their_child_go_once(backend: &dyn Backend) {
    created(backend, QueueOptions::default()).await;
    for round in 0..5 {
        let parents: Vec<NewMessage> = (0..12).map(message).collect();
        let children = (100..103).map(|n| message(n).after(&parents));
        push(backend, &parents.iter().cloned().chain(children).collect::<Vec<_>>()).await;
        let held = claim(backend, "w", 100).await;
        assert_eq!(held.len(), 12, "{round}");
        join_all(held.chunks(3).map(async |some| {
            for delivery in some {
                settle(backend, delivery, Settlement::Done).await;
            }
        }))
        .await;
        let free = claim(backend, "w", 100).await;
        assert_eq!(numbers(&free), [100, 101, 102], "{round}");
        for delivery in &free {
            settle(backend, delivery, Settlement::Done).await;
        }
    }
    assert_eq!(stats(backend).await, QueueStats::default());
}

/// Another of its key is a duplicate while it waits; in the line of its key others go before it.
pub async fn a_child_takes_its_key_at_once_and_its_place_when_it_may_go(backend: &dyn Backend) {
    created(backend, QueueOptions { policy: Policy::KeyStrictFifo, ..QueueOptions::default() }).await;
    let once = |n: usize, key: &str| {
        let options = MessageOptions { unique: Some(Unique::Unfinished), ..MessageOptions::default() };
        NewMessage { options, ..keyed(n, key) }
    };
    let parent = keyed(1, "p");
    let child = once(2, "k").after([&parent]);
    push(backend, &[parent, child.clone(), keyed(3, "k")]).await;
    let same = push_one(backend, once(4, "k")).await;
    assert_eq!((same.duplicate, &same.id), (true, &child.id));
    let first = claim(backend, "w", 10).await;
    assert_eq!(numbers(&first), [1, 3]);
    settle(backend, &first[0], Settlement::Done).await;
    assert!(claim(backend, "w", 10).await.is_empty(), "its key is at work");
    assert_eq!(status(backend, &child).await, MessageStatus::Held);
    sound(backend).await;
    settle(backend, &first[1], Settlement::Done).await;
    let second = claim(backend, "w", 10).await;
    assert_eq!(numbers(&second), [2]);
    settle(backend, &second[0], Settlement::Done).await;
    assert!(!push_one(backend, once(5, "k")).await.duplicate);
    sound(backend).await;
}

/// And when that has ended and is gone there is nothing to wait for.
pub async fn a_duplicate_stands_for_the_message_that_is_there(backend: &dyn Backend) {
    created(backend, QueueOptions { keep_finished: Duration::ZERO, ..QueueOptions::default() }).await;
    let daily = |n: usize| {
        let options = MessageOptions { unique: Some(Unique::For(hours(24))), ..MessageOptions::default() };
        NewMessage { options, ..keyed(n, "report") }
    };
    push(backend, &[daily(1)]).await;
    let same = daily(2);
    push(backend, &[same.clone(), message(3).after([&same])]).await;
    let first = claim(backend, "w", 10).await;
    assert_eq!(numbers(&first), [1]);
    settle(backend, &first[0], Settlement::Done).await;
    assert_eq!(numbers(&claim(backend, "w", 10).await), [3]);
    let again = daily(4);
    push(backend, &[again.clone(), message(5).after([&again])]).await;
    assert_eq!(numbers(&claim(backend, "w", 10).await), [5]);
    assert!(backend.queue().push(vec![message(6).after([&again])]).await.unwrap_err().is_invalid());
}

/// Q34, Q14, Q15, Q07: as any that waits, and those that wait for it learn of it.
pub async fn a_blocked_message_can_be_changed_and_ended(backend: &dyn Backend) {
    created(backend, QueueOptions::default()).await;
    let parent = message(1);
    let child = keyed(2, "k").after([&parent]);
    let [run, done] = [3, 4].map(|n| when_it_fails(ParentFailure::Run, message(n)));
    let (run, skipped) = (run.after([&child]), message(5).after([&parent]));
    let done = done.after([&skipped]);
    push(backend, &[parent.clone(), child.clone(), run, skipped.clone(), done]).await;
    let update =
        MessageUpdate { data: Some(json!({"n": 22})), priority: Some(3), ..MessageUpdate::default() };
    let target = Target::Oldest("k".into());
    assert_eq!(backend.queues().update_messages(QUEUE, target, update).await.unwrap(), 1);
    let now = find(backend, &child).await;
    assert_eq!(
        (&now.message.data, now.message.priority, now.status),
        (&json!({"n": 22}), Some(3), MessageStatus::Blocked)
    );
    let ups = backend.queues().upsert_message(keyed(23, "k")).await.unwrap();
    assert_eq!((ups.duplicate, &ups.id), (true, &child.id));
    assert_eq!(find(backend, &child).await.status, MessageStatus::Blocked);
    assert!(backend.queues().delete_queue(QUEUE).await.unwrap_err().is_conflict());
    let ended = backend.queues().finish_messages(QUEUE, id(&skipped), json!("by hand")).await.unwrap();
    assert_eq!(ended, id(&skipped));
    assert_eq!(backend.queues().cancel_messages(QUEUE, id(&child)).await.unwrap(), id(&child));
    assert_eq!(status(backend, &child).await, MessageStatus::Cancelled);
    assert_eq!(numbers(&claim(backend, "w", 10).await), [1, 3, 4]);
    assert_eq!(backend.queues().resume_messages(QUEUE, id(&child)).await.unwrap(), id(&child));
    assert_eq!(numbers(&claim(backend, "w", 10).await), [23], "what is brought back waits for nothing");
    push(backend, &[message(6).after([&parent]), message(7).after([&parent])]).await;
    assert_eq!(backend.queues().delete_messages(QUEUE, Which::Queued).await.unwrap(), 2);
    assert_eq!(stats(backend).await.blocked, 0);
    sound(backend).await;
}

/// Q41: as long as one that nobody claims, from when its parent failed; one whose parents are only slow stays.
pub async fn what_waits_for_a_failed_parent_is_not_kept_for_ever(
    backend: &dyn Backend,
    time: &dyn TimeTravel,
) {
    let options =
        QueueOptions { keep_queued: hours(10), keep_finished: hours(100), ..QueueOptions::default() };
    created(backend, options).await;
    let parent = message(1);
    let slow = NewMessage { available: Available::After(hours(50)), ..message(2) };
    let (stuck, patient) = (keyed(3, "k").after([&parent]), message(4).after([&slow]));
    push(backend, &[parent, slow, stuck.clone(), patient.clone()]).await;
    let held = claim(backend, "w", 1).await;
    time.advance(hours(5)).await;
    settle(backend, &held[0], dead()).await;
    for (passes, left) in [(9, 2), (2, 1), (30, 1)] {
        time.advance(hours(passes)).await;
        backend.queues().sweep().await.unwrap();
        assert_eq!(stats(backend).await.blocked, left);
    }
    assert_eq!(status(backend, &patient).await, MessageStatus::Blocked);
    time.advance(hours(5)).await;
    let late = claim_due(backend, "w").await;
    assert_eq!(numbers(&late), [2]);
    settle(backend, &late[0], Settlement::Done).await;
    backend.queues().sweep().await.unwrap();
    assert_eq!(numbers(&claim(backend, "w", 10).await), [4], "it counts from when it could be claimed");
    sound(backend).await;
}
