//! Queues as rows, and messages seen from outside.

use std::time::Duration;

use mainspring_core::{
    Available, Backend, ClaimRequest, Failure, MessageOptions, MessageQuery, MessageStatus, MessageUpdate,
    NewMessage, Policy, QueueFilter, QueueOptions, QueueStats, Redrive, Retry, Select, Settlement, Target,
    Which,
};
use serde_json::json;

use super::super::{
    make::{
        LEASE, QUEUE, claim, claim_due, hours, message, number, retry_after, secs, settle, settled, worker,
    },
    on, on_time,
};
use super::{
    created, kept, keyed,
    lists::{listed, queues_are_found_by_what_they_say},
    push_one, sound,
};
use crate::TimeTravel;

/// All cases.
pub async fn suite<B: Backend, T: TimeTravel>(fresh: impl AsyncFn() -> (B, T)) {
    on(&fresh, a_queue_is_created_once_and_a_difference_is_told).await;
    on(&fresh, queues_are_found_by_what_they_say).await;
    on(&fresh, a_queue_with_messages_is_not_deleted).await;
    on_time(&fresh, messages_take_what_their_queue_says).await;
    on_time(&fresh, retries_go_by_the_policy_of_the_queue_or_of_the_message).await;
    on(&fresh, messages_are_found_by_id_key_data_and_state).await;
    on(&fresh, an_output_is_kept_with_what_is_done).await;
    on(&fresh, cancelled_messages_can_be_resumed).await;
    on(&fresh, a_cancelled_delivery_is_fenced).await;
    on(&fresh, waiting_messages_can_be_ended_as_done).await;
    on(&fresh, messages_are_deleted_by_what_they_are).await;
    on(&fresh, an_update_changes_what_it_names_and_nothing_that_is_claimed).await;
    on(&fresh, an_upsert_changes_the_waiting_one_or_stores_its_own).await;
    on(&fresh, a_dead_letter_goes_where_the_queue_says_and_comes_back).await;
    on(&fresh, a_redrive_skips_what_the_policy_there_refuses).await;
    on_time(&fresh, what_was_kept_long_enough_goes).await;
    on(&fresh, claims_select_by_priority_age_and_time).await;
}

fn ids(pushed: &[mainspring_core::Pushed]) -> Vec<mainspring_core::MessageId> {
    pushed.iter().map(|p| p.id.clone()).collect()
}

async fn find(backend: &dyn Backend, query: MessageQuery) -> Vec<u64> {
    let mut found: Vec<u64> = backend
        .queues()
        .find_messages(QUEUE, query)
        .await
        .unwrap()
        .iter()
        .map(|stored| stored.message.data["n"].as_u64().unwrap())
        .collect();
    found.sort_unstable();
    found
}

/// Q23: what differs is told, never ignored; a dead-letter queue is created by the option that names it.
pub async fn a_queue_is_created_once_and_a_difference_is_told(backend: &dyn Backend) {
    let queues = backend.queues();
    let options =
        QueueOptions { max_attempts: 7, dead_letter: Some("lost/mail".into()), ..QueueOptions::default() };
    let first = queues.create_queue("mail/out", options.clone()).await.unwrap();
    assert!(first.created && first.differences.is_empty() && !first.queue.paused);
    assert_eq!(first.queue.options, options);
    assert!(queues.get_queue("lost/mail").await.unwrap().is_some());
    let same = queues.create_queue("mail/out", options.clone()).await.unwrap();
    assert!(!same.created && same.differences.is_empty());
    let other = QueueOptions { max_attempts: 9, delay: secs(1), ..options.clone() };
    let differs = queues.create_queue("mail/out", other).await.unwrap();
    let names: Vec<&str> = differs.differences.iter().map(|(name, ..)| name.as_str()).collect();
    assert_eq!(names, ["delay", "max_attempts"]);
    assert_eq!((&differs.differences[1].1, &differs.differences[1].2), (&json!(9), &json!(7)));
    assert_eq!(queues.get_queue("mail/out").await.unwrap().unwrap().options, options);
    let changed = QueueOptions { max_attempts: 2, ..QueueOptions::default() };
    assert_eq!(queues.update_queue("mail/out", changed.clone()).await.unwrap().options, changed);
    let policy = QueueOptions { policy: Policy::Short, ..changed };
    assert!(queues.update_queue("mail/out", policy.clone()).await.unwrap_err().is_invalid());
    assert!(queues.update_queue("nobody", QueueOptions::default()).await.unwrap_err().is_not_found());
    assert_eq!(queues.recreate_queue("mail/out", policy).await.unwrap().options.policy, Policy::Short);
    let bad = QueueOptions { dead_letter: Some("x".into()), ..QueueOptions::default() };
    assert!(queues.create_queue("x", bad).await.unwrap_err().is_invalid());
    assert!(queues.create_queue("a\nb", QueueOptions::default()).await.unwrap_err().is_invalid());
    assert_eq!(listed(backend, QueueFilter::default()).await, ["lost/mail", "mail/out"]);
}

/// Q23: nor one that others send their dead letters to.
pub async fn a_queue_with_messages_is_not_deleted(backend: &dyn Backend) {
    let queues = backend.queues();
    created(backend, QueueOptions { dead_letter: Some("lost".into()), ..QueueOptions::default() }).await;
    push_one(backend, message(1)).await;
    assert!(queues.delete_queue(QUEUE).await.unwrap_err().is_conflict());
    assert!(queues.delete_queue("lost").await.unwrap_err().is_conflict());
    let delivery = claim(backend, "w", 1).await.remove(0);
    settle(backend, &delivery, Settlement::Done).await;
    queues.delete_queue(QUEUE).await.unwrap();
    queues.delete_queue("lost").await.unwrap();
    assert!(queues.delete_queue(QUEUE).await.unwrap_err().is_not_found());
    assert!(queues.push_each(vec![message(2)]).await.unwrap_err().is_not_found());
    created(backend, QueueOptions::default()).await;
    assert!(queues.find_messages(QUEUE, MessageQuery::default()).await.unwrap().is_empty());
}

/// Q01: unless they say something else.
pub async fn messages_take_what_their_queue_says(backend: &dyn Backend, time: &dyn TimeTravel) {
    let options = QueueOptions {
        priority: 5,
        max_attempts: 9,
        delay: secs(60),
        timeout: Some(hours(1)),
        ..QueueOptions::default()
    };
    created(backend, options).await;
    push_one(backend, message(1)).await;
    let own =
        NewMessage { priority: Some(-1), max_attempts: Some(2), available: Available::Now, ..message(2) };
    push_one(backend, own).await;
    let now = claim_due(backend, "w").await;
    assert_eq!((now.len(), number(&now[0]), now[0].lease.priority), (1, 2, -1));
    assert_eq!((now[0].message.max_attempts, now[0].timeout), (Some(2), Some(hours(1))));
    time.advance(secs(61)).await;
    let then = claim_due(backend, "w").await;
    assert_eq!((then.len(), number(&then[0]), then[0].lease.priority), (1, 1, 5));
    assert_eq!(then[0].message.max_attempts, Some(9));
}

/// Q09: the delay is never longer than it says, with jitter it may be shorter.
pub async fn retries_go_by_the_policy_of_the_queue_or_of_the_message(
    backend: &dyn Backend,
    time: &dyn TimeTravel,
) {
    let doubling = Retry { delay: secs(10), longest: secs(30), jitter: false, ..Retry::default() };
    created(backend, QueueOptions { retry: doubling, max_attempts: 9, ..QueueOptions::default() }).await;
    push_one(backend, message(1)).await;
    let own = MessageOptions { retry: Some(Retry::fixed(secs(100))), ..MessageOptions::default() };
    push_one(backend, NewMessage { options: own, ..message(2) }).await;
    let fail = || Settlement::Retry { error: Failure::new("BOOM", "it failed") };
    for delivery in claim(backend, "w", 10).await {
        settle(backend, &delivery, fail()).await;
    }
    for wait in [10, 20, 30, 30] {
        time.advance(secs(wait - 2)).await;
        assert!(claim_due(backend, "w").await.is_empty());
        time.advance(secs(3)).await;
        let due = claim_due(backend, "w").await;
        assert_eq!(due.iter().map(number).collect::<Vec<_>>(), [1]);
        settle(backend, &due[0], fail()).await;
    }
    time.advance(secs(8)).await;
    assert_eq!(claim_due(backend, "w").await.iter().map(number).collect::<Vec<_>>(), [2]);
}

/// Q36, and Q05: all of it can be read.
pub async fn messages_are_found_by_id_key_data_and_state(backend: &dyn Backend) {
    created(backend, QueueOptions { policy: Policy::Singleton, ..QueueOptions::default() }).await;
    let coloured =
        |n, key, colour: &str| NewMessage { data: json!({"n": n, "c": {"is": colour}}), ..keyed(n, key) };
    let batch = vec![
        coloured(1, "a", "red"),
        coloured(2, "a", "blue"),
        coloured(3, "b", "red"),
        coloured(4, "c", "red"),
    ];
    let later = NewMessage { available: Available::After(hours(1)), ..coloured(5, "a", "red") };
    let pushed = backend.queues().push_each(batch.into_iter().chain([later]).collect()).await.unwrap();
    let held = claim(backend, "w", 2).await;
    settle(backend, &held[1], Settlement::DeadLetter(Failure::new("BAD", "no"))).await;
    let all = MessageQuery::default();
    assert_eq!(find(backend, all.clone()).await, [1, 2, 3, 4, 5]);
    let of = |id: usize| vec![pushed[id].id.clone()];
    assert_eq!(find(backend, MessageQuery { ids: of(1), ..all.clone() }).await, [2]);
    assert_eq!(find(backend, MessageQuery { key: Some("a".into()), ..all.clone() }).await, [1, 2, 5]);
    let red = Some(json!({"c": {"is": "red"}}));
    assert_eq!(find(backend, MessageQuery { data: red.clone(), ..all.clone() }).await, [1, 3, 4, 5]);
    let both = MessageQuery {
        data: red,
        key: Some("a".into()),
        statuses: vec![MessageStatus::Deferred],
        ..all.clone()
    };
    assert_eq!(find(backend, both).await, [5]);
    for (status, numbers) in [
        (MessageStatus::Claimed, vec![1]),
        (MessageStatus::Held, vec![2]),
        (MessageStatus::Dead, vec![3]),
        (MessageStatus::Ready, vec![4]),
        (MessageStatus::Deferred, vec![5]),
        (MessageStatus::Done, vec![]),
    ] {
        assert_eq!(
            find(backend, MessageQuery { statuses: vec![status], ..all.clone() }).await,
            numbers,
            "{status:?}"
        );
    }
    let dead = backend
        .queues()
        .find_messages(QUEUE, MessageQuery { ids: of(2), ..all.clone() })
        .await
        .unwrap()
        .remove(0);
    assert_eq!((dead.status, dead.reason.unwrap().code), (MessageStatus::Dead, "BAD".to_owned()));
    assert!(dead.finished_at.is_some() && dead.message.key.as_deref() == Some("b"));
    assert_eq!(find(backend, MessageQuery { limit: 2, ..all }).await, [4, 5], "the newest");
    sound(backend).await;
}

/// Q07, Q27; zero keeps nothing.
pub async fn an_output_is_kept_with_what_is_done(backend: &dyn Backend) {
    created(backend, QueueOptions::default()).await;
    push_one(backend, message(1)).await;
    let brief = MessageOptions { keep_finished: Some(Duration::ZERO), ..MessageOptions::default() };
    push_one(backend, NewMessage { options: brief, ..message(2) }).await;
    push_one(backend, message(3)).await;
    for delivery in claim(backend, "w", 10).await {
        let settlement = match number(&delivery) {
            3 => Settlement::Done,
            n => Settlement::DoneWith(json!({"was": n})),
        };
        settle(backend, &delivery, settlement).await;
    }
    let done = backend.queues().find_messages(QUEUE, MessageQuery::default()).await.unwrap();
    let outputs: Vec<_> = done.iter().map(|stored| (stored.status, stored.output.clone())).collect();
    assert_eq!(outputs, [(MessageStatus::Done, None), (MessageStatus::Done, Some(json!({"was": 1})))]);
    assert_eq!(backend.queue().stats(QUEUE).await.unwrap(), QueueStats::default());
}

/// Q14: what has ended cannot be cancelled, and the rest of the batch is.
pub async fn cancelled_messages_can_be_resumed(backend: &dyn Backend) {
    created(backend, QueueOptions { policy: Policy::Singleton, ..QueueOptions::default() }).await;
    let later = NewMessage { available: Available::After(hours(1)), ..keyed(4, "d") };
    let batch = vec![keyed(1, "a"), keyed(2, "b"), keyed(3, "b"), later];
    let pushed = backend.queues().push_each(batch).await.unwrap();
    let delivery = claim(backend, "w", 1).await.remove(0);
    settle(backend, &delivery, Settlement::Done).await;
    let cancelled = backend.queues().cancel_messages(QUEUE, ids(&pushed)).await.unwrap();
    assert_eq!(cancelled.len(), 3);
    assert!(!cancelled.contains(&pushed[0].id));
    assert!(claim_due(backend, "w").await.is_empty());
    sound(backend).await;
    assert_eq!(backend.queues().resume_messages(QUEUE, ids(&pushed)).await.unwrap().len(), 3);
    let again = claim(backend, "w", 10).await;
    assert_eq!(again.iter().map(number).collect::<Vec<_>>(), [2, 4], "at once, and still one of a key");
    assert!(backend.queues().resume_messages(QUEUE, ids(&pushed)).await.unwrap().is_empty());
    sound(backend).await;
}

/// And its gate is free for the next.
pub async fn a_cancelled_delivery_is_fenced(backend: &dyn Backend) {
    created(backend, QueueOptions { policy: Policy::Singleton, ..QueueOptions::default() }).await;
    let pushed = backend.queues().push_each(vec![keyed(1, "a"), keyed(2, "a")]).await.unwrap();
    let held = claim(backend, "w", 10).await;
    assert_eq!(backend.queues().cancel_messages(QUEUE, vec![pushed[0].id.clone()]).await.unwrap().len(), 1);
    let late = backend.queue().settle(vec![settled(&held[0], Settlement::Done)]).await.unwrap();
    assert!(late[0].as_ref().unwrap_err().is_fenced());
    assert_eq!(claim(backend, "w", 10).await.iter().map(number).collect::<Vec<_>>(), [2]);
    sound(backend).await;
}

/// Q07: what is claimed is its worker's to end.
pub async fn waiting_messages_can_be_ended_as_done(backend: &dyn Backend) {
    created(backend, QueueOptions::default()).await;
    let pushed = backend.queues().push_each(vec![message(1), message(2)]).await.unwrap();
    claim(backend, "w", 1).await;
    let done = backend.queues().finish_messages(QUEUE, ids(&pushed), json!("by hand")).await.unwrap();
    assert_eq!(done, vec![pushed[1].id.clone()]);
    let query = MessageQuery { statuses: vec![MessageStatus::Done], ..MessageQuery::default() };
    let found = backend.queues().find_messages(QUEUE, query).await.unwrap();
    assert_eq!((found.len(), found[0].output.clone()), (1, Some(json!("by hand"))));
}

/// Q15: by id, waiting, ended, all; a gate whose messages are gone is free.
pub async fn messages_are_deleted_by_what_they_are(backend: &dyn Backend) {
    created(backend, QueueOptions { policy: Policy::Singleton, ..QueueOptions::default() }).await;
    let fill = async || {
        let batch = (1..=8).map(|n| keyed(n, if n % 2 == 0 { "a" } else { "b" })).collect();
        let pushed = backend.queues().push_each(batch).await.unwrap();
        let held = claim(backend, "w", 1).await;
        settle(backend, &held[0], Settlement::Done).await;
        claim(backend, "w", 1).await;
        pushed
    };
    let queues = backend.queues();
    let pushed = fill().await;
    let some = vec![pushed[0].id.clone(), pushed[1].id.clone(), pushed[7].id.clone()];
    assert_eq!(queues.delete_messages(QUEUE, Which::Ids(some)).await.unwrap(), 3);
    sound(backend).await;
    assert_eq!(queues.delete_messages(QUEUE, Which::All).await.unwrap(), 5);
    kept(backend, 0).await;
    fill().await;
    assert_eq!(queues.delete_messages(QUEUE, Which::Stored).await.unwrap(), 1);
    assert_eq!(queues.delete_messages(QUEUE, Which::Queued).await.unwrap(), 6);
    sound(backend).await;
    kept(backend, 1).await;
    assert_eq!(queues.delete_messages(QUEUE, Which::All).await.unwrap(), 1);
    push_one(backend, keyed(9, "a")).await;
    assert_eq!(claim(backend, "w", 10).await.len(), 1);
    sound(backend).await;
}

/// Q34.
pub async fn an_update_changes_what_it_names_and_nothing_that_is_claimed(backend: &dyn Backend) {
    created(backend, QueueOptions::default()).await;
    let later = NewMessage { available: Available::After(hours(1)), ..keyed(3, "a") };
    let pushed =
        backend.queues().push_each(vec![keyed(1, "a"), keyed(2, "a"), later, keyed(4, "b")]).await.unwrap();
    let held = claim(backend, "w", 1).await;
    let data = |n: u64| MessageUpdate { data: Some(json!({"n": n})), ..MessageUpdate::default() };
    let change =
        async |target, update| backend.queues().update_messages(QUEUE, target, update).await.unwrap();
    assert_eq!(change(Target::Id(held[0].message.id.clone()), data(11)).await, 0);
    assert_eq!(change(Target::Oldest("a".into()), data(12)).await, 1);
    assert_eq!(change(Target::Newest("a".into()), data(13)).await, 1);
    assert_eq!(find(backend, MessageQuery::default()).await, [1, 4, 12, 13]);
    let sooner =
        MessageUpdate { available: Some(Available::Now), priority: Some(3), ..MessageUpdate::default() };
    assert_eq!(change(Target::Key("a".into()), sooner).await, 2);
    let put_off = MessageUpdate { available: Some(Available::After(hours(2))), ..MessageUpdate::default() };
    assert_eq!(change(Target::Id(pushed[3].id.clone()), put_off).await, 1);
    let now = claim_due(backend, "w").await;
    assert_eq!(now.iter().map(|d| (number(d), d.lease.priority)).collect::<Vec<_>>(), [(12, 3), (13, 3)]);
    let none = backend.queues().update_messages("nobody", Target::Key("a".into()), data(1)).await;
    assert!(none.unwrap_err().is_not_found());
    sound(backend).await;
}

/// Q35: fresh when the other is at work.
pub async fn an_upsert_changes_the_waiting_one_or_stores_its_own(backend: &dyn Backend) {
    created(backend, QueueOptions::default()).await;
    let upsert = async |message| backend.queues().upsert_message(message).await.unwrap();
    let first = upsert(keyed(1, "a")).await;
    let second = upsert(keyed(2, "a")).await;
    assert_eq!((first.duplicate, second.duplicate, &second.id), (false, true, &first.id));
    let held = claim(backend, "w", 10).await;
    assert_eq!(held.iter().map(number).collect::<Vec<_>>(), [2]);
    let third = upsert(keyed(3, "a")).await;
    assert!(!third.duplicate && third.id != first.id);
    assert_eq!(claim(backend, "w", 10).await.len(), 1);
    assert!(backend.queues().upsert_message(message(4)).await.unwrap_err().is_invalid());
}

/// Q24, Q25: payload, error, source, attempts, key, group and priority; the options of its own too when it comes back.
pub async fn a_dead_letter_goes_where_the_queue_says_and_comes_back(backend: &dyn Backend) {
    created(backend, QueueOptions { dead_letter: Some("lost".into()), ..QueueOptions::default() }).await;
    let own = MessageOptions { timeout: Some(secs(77)), ..MessageOptions::default() };
    let group = Some(mainspring_core::Group::new("g"));
    let given = NewMessage { priority: Some(4), group, max_attempts: Some(1), options: own, ..keyed(1, "a") };
    let elsewhere = MessageOptions { dead_letter: Some("other".into()), ..MessageOptions::default() };
    push_one(backend, given.clone()).await;
    push_one(backend, NewMessage { options: elsewhere, ..message(2) }).await;
    let held = claim(backend, "w", 10).await;
    settle(backend, &held[0], retry_after(secs(0))).await;
    settle(backend, &held[1], Settlement::DeadLetter(Failure::new("BAD", "no"))).await;
    assert_eq!(backend.queue().stats("other").await.unwrap().ready, 1);
    let request = ClaimRequest::new("lost", worker("w"), LEASE, 10);
    let letter = backend.queue().claim(request).await.unwrap().deliveries.remove(0);
    let origin = letter.origin.clone().unwrap();
    assert_eq!((origin.queue.as_str(), &origin.id, origin.failures), (QUEUE, &given.id, 1));
    assert_eq!((origin.reason.code.as_str(), letter.failures), ("BOOM", 0));
    assert_eq!(
        (&letter.message.data, letter.lease.priority, &letter.message.key),
        (&given.data, 4, &given.key)
    );
    assert_eq!((&letter.message.group, letter.timeout), (&given.group, None));
    settle(backend, &letter, Settlement::PutBack).await;
    assert_eq!(
        backend
            .queues()
            .redrive("lost", Redrive { from: Some("nobody".into()), ..Redrive::default() })
            .await
            .unwrap()
            .moved,
        0
    );
    let redriven = backend.queues().redrive("lost", Redrive::default()).await.unwrap();
    assert_eq!((redriven.moved, redriven.skipped), (1, 0));
    let back = claim(backend, "w", 10).await.remove(0);
    assert_eq!((&back.message.data, back.failures, back.timeout), (&given.data, 0, Some(secs(77))));
    assert!(back.message.id != given.id && back.origin.is_none());
    let to = Redrive { to: Some("lost".into()), limit: 5, ..Redrive::default() };
    assert_eq!(backend.queues().redrive("other", to).await.unwrap().moved, 1);
    assert_eq!(backend.queue().stats("lost").await.unwrap().ready, 1);
    assert_eq!(backend.queue().stats("other").await.unwrap(), QueueStats::default());
    sound(backend).await;
}

/// Q25: and goes on with the rest.
pub async fn a_redrive_skips_what_the_policy_there_refuses(backend: &dyn Backend) {
    let options = QueueOptions {
        dead_letter: Some("lost".into()),
        policy: Policy::Exclusive,
        ..QueueOptions::default()
    };
    created(backend, options).await;
    backend.queues().push_each(vec![keyed(1, "a"), keyed(2, "b")]).await.unwrap();
    for delivery in claim(backend, "w", 10).await {
        settle(backend, &delivery, Settlement::DeadLetter(Failure::new("BAD", "no"))).await;
    }
    push_one(backend, keyed(3, "a")).await;
    let redriven = backend.queues().redrive("lost", Redrive::default()).await.unwrap();
    assert_eq!((redriven.moved, redriven.skipped), (1, 1));
    assert_eq!(claim(backend, "w", 10).await.iter().map(number).collect::<Vec<_>>(), [3, 2]);
    assert_eq!(backend.queue().stats("lost").await.unwrap().ready, 1);
}

/// Q41: each as long as it says; a message nobody claims, and a held one; a deferred one counts from when it is due.
pub async fn what_was_kept_long_enough_goes(backend: &dyn Backend, time: &dyn TimeTravel) {
    let (keep_queued, keep_finished) = (hours(10), hours(2));
    let policy = Policy::Singleton;
    created(backend, QueueOptions { keep_queued, keep_finished, policy, ..QueueOptions::default() }).await;
    let brief = MessageOptions { keep_queued: Some(hours(1)), ..MessageOptions::default() };
    let late = NewMessage { available: Available::After(hours(9)), ..keyed(5, "c") };
    let batch = vec![
        keyed(1, "a"),
        keyed(2, "b"),
        keyed(3, "b"),
        NewMessage { options: brief, ..keyed(4, "d") },
        late,
    ];
    backend.queues().push_each(batch).await.unwrap();
    let done = claim(backend, "w", 1).await.remove(0);
    settle(backend, &done, Settlement::Done).await;
    assert_eq!(backend.queues().sweep().await.unwrap(), 0);
    for (passes, left) in [(1, vec![1, 2, 3, 5]), (1, vec![2, 3, 5]), (8, vec![5]), (8, vec![5]), (2, vec![])]
    {
        time.advance(hours(passes) + secs(1)).await;
        backend.queue().maintain().await.unwrap();
        let _ = backend.queues().sweep().await.unwrap();
        backend.queues().sweep().await.unwrap(); // what the first has admitted
        assert_eq!(find(backend, MessageQuery::default()).await, left);
        sound(backend).await;
    }
}

/// Q02, Q03: windows, age before priority, also what is not yet due; paused all the same.
pub async fn claims_select_by_priority_age_and_time(backend: &dyn Backend) {
    let select = async |select| {
        let request = ClaimRequest { select, ..ClaimRequest::new(QUEUE, worker("w"), LEASE, 3) };
        let deliveries = backend.queue().claim(request).await.unwrap().deliveries;
        for delivery in &deliveries {
            settle(backend, delivery, Settlement::PutBack).await;
        }
        deliveries.iter().map(number).collect::<Vec<_>>()
    };
    for known in [false, true] {
        if known {
            backend.queue().release(&worker("w")).await.unwrap();
            for delivery in claim(backend, "w", 10).await {
                settle(backend, &delivery, Settlement::Done).await;
            }
            created(backend, QueueOptions::default()).await;
        }
        for (n, priority) in [(1, 0), (2, 9), (3, 5), (4, -3), (5, 0)] {
            let message = NewMessage { priority: Some(priority), ..message(n) };
            backend.queue().push(vec![message]).await.unwrap();
        }
        assert_eq!(select(Select::default()).await, [2, 3, 1]);
        assert_eq!(select(Select { priorities: 0..=5, ..Select::default() }).await, [3, 1, 5]);
        assert_eq!(select(Select { by_age: true, ..Select::default() }).await, [1, 2, 3]);
        assert_eq!(select(Select { by_age: true, priorities: -9..=0, ..Select::default() }).await, [1, 4, 5]);
    }
    let later = NewMessage { available: Available::After(hours(9)), priority: Some(50), ..message(6) };
    backend.queue().push(vec![later]).await.unwrap();
    assert_eq!(select(Select::default()).await, [2, 3, 1]);
    assert_eq!(select(Select { ignore_delay: true, ..Select::default() }).await, [6, 2, 3]);
    backend.queues().pause_queue(QUEUE, true).await.unwrap();
    assert!(select(Select { by_age: true, ..Select::default() }).await.is_empty());
}
