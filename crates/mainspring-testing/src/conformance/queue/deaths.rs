//! A holder that dies while its messages keep others back, and two that end the same message at the same time.

use std::{collections::BTreeSet, time::Duration};

use futures_util::future::{join, join_all};
use mainspring_core::{
    Backend, ClaimRequest, Delivery, Failure, Group, GroupLimit, MessageQuery, MessageStatus, NewMessage,
    Policy, QueueOptions, QueueStats, RateLimit, Settlement, Unique,
};

use super::super::{
    make::{
        LEASE, QUEUE, claim, claim_due, message, number, push, retry_after, secs, settle, settled, worker,
    },
    on, on_time,
};
use super::{created, keyed, push_one, sound};
use crate::TimeTravel;

/// All cases.
pub async fn suite<B: Backend, T: TimeTravel>(fresh: impl AsyncFn() -> (B, T)) {
    on_time(&fresh, the_place_of_a_dead_holder_in_a_group_is_its_messages).await;
    on_time(&fresh, the_key_of_a_dead_holder_goes_on_in_order).await;
    on_time(&fresh, the_only_one_stays_the_only_one_when_its_holder_dies).await;
    on_time(&fresh, what_a_dead_holder_took_of_a_rate_is_spent).await;
    on_time(&fresh, a_delay_and_a_return_forget_lost_workers_and_a_failure_does_not).await;
    on_time(&fresh, many_dead_holders_are_all_found).await;
    on_time(&fresh, many_long_tries_are_all_found).await;
    on(&fresh, a_cancel_and_a_settlement_agree_on_the_end).await;
    on_time(&fresh, a_timeout_and_a_settlement_agree_on_the_end).await;
}

fn numbers(deliveries: &[Delivery]) -> Vec<u64> {
    deliveries.iter().map(number).collect()
}

/// Whatever a zombie says changes nothing.
async fn fenced(backend: &dyn Backend, zombie: &Delivery) {
    let before = backend.queue().stats(QUEUE).await.unwrap();
    let error = Failure::new("ZOMBIE", "too late");
    for settlement in [
        Settlement::Done,
        Settlement::DeadLetter(error.clone()),
        Settlement::Retry { error },
        Settlement::PutBack,
    ] {
        let late = backend.queue().settle(vec![settled(zombie, settlement)]).await.unwrap();
        assert!(late[0].as_ref().unwrap_err().is_fenced());
    }
    assert_eq!(backend.queue().stats(QUEUE).await.unwrap(), before);
    sound(backend).await;
}

async fn all_done(backend: &dyn Backend, count: usize) {
    let query = MessageQuery { statuses: vec![MessageStatus::Done], ..MessageQuery::default() };
    assert_eq!(backend.queues().find_messages(QUEUE, query).await.unwrap().len(), count);
    assert_eq!(backend.queue().stats(QUEUE).await.unwrap(), QueueStats::default());
    sound(backend).await;
}

/// faults F02, F07: no other takes its place before it, and none is lost.
pub async fn the_place_of_a_dead_holder_in_a_group_is_its_messages(
    backend: &dyn Backend,
    time: &dyn TimeTravel,
) {
    created(backend, QueueOptions { groups: Some(GroupLimit::new(2)), ..QueueOptions::default() }).await;
    let of = |group: &str, n| NewMessage { group: Some(Group::new(group)), ..message(n) };
    let pushed = vec![of("a", 0), of("a", 1), of("a", 2), of("b", 3), message(4)];
    backend.queues().push_each(pushed).await.unwrap();
    let dead = claim(backend, "dead", 10).await;
    assert_eq!(numbers(&dead), [0, 1, 3, 4]);
    time.advance(LEASE + secs(1)).await;
    let again = claim_due(backend, "next").await;
    assert_eq!((numbers(&again), again[0].lost), (vec![0, 1, 3, 4], 1));
    fenced(backend, &dead[0]).await;
    assert!(claim(backend, "next", 10).await.is_empty());
    settle(backend, &again[0], Settlement::Done).await;
    let last = claim(backend, "next", 10).await;
    assert_eq!(numbers(&last), [2]);
    for delivery in again[1..].iter().chain(&last) {
        settle(backend, delivery, Settlement::Done).await;
    }
    all_done(backend, 5).await;
}

/// faults F02, F07: and a zombie cannot block it for ever.
pub async fn the_key_of_a_dead_holder_goes_on_in_order(backend: &dyn Backend, time: &dyn TimeTravel) {
    for policy in [Policy::KeyStrictFifo, Policy::Singleton] {
        let name = policy.as_str();
        if policy == Policy::KeyStrictFifo {
            created(backend, QueueOptions { policy, ..QueueOptions::default() }).await;
        } else {
            let options = QueueOptions { policy, ..QueueOptions::default() };
            backend.queues().recreate_queue(QUEUE, options).await.unwrap();
        }
        backend.queues().push_each((0..3).map(|n| keyed(n, "a")).collect()).await.unwrap();
        for n in 0..3 {
            let dead = claim(backend, "dead", 10).await;
            assert_eq!(numbers(&dead), [n], "{name}");
            time.advance(LEASE + secs(1)).await;
            let again = claim_due(backend, "next").await;
            assert_eq!((numbers(&again), again[0].lost), (vec![n], 1), "{name}");
            fenced(backend, &dead[0]).await;
            settle(backend, &again[0], Settlement::Done).await;
            fenced(backend, &dead[0]).await;
        }
        all_done(backend, 3).await;
    }
}

/// faults F02, F07: as long as it has not ended, whoever holds it.
pub async fn the_only_one_stays_the_only_one_when_its_holder_dies(
    backend: &dyn Backend,
    time: &dyn TimeTravel,
) {
    created(backend, QueueOptions { policy: Policy::Exclusive, ..QueueOptions::default() }).await;
    let mut second = keyed(9, "own");
    second.options.unique = Some(Unique::Unfinished);
    for n in 0..2 {
        let first = push_one(backend, keyed(n, "a")).await;
        let dead = claim(backend, "dead", 10).await;
        assert!(push_one(backend, keyed(7, "a")).await.duplicate);
        time.advance(LEASE + secs(1)).await;
        assert_eq!(push_one(backend, keyed(8, "a")).await.id, first.id, "it is lost, and not gone");
        let again = claim_due(backend, "next").await;
        assert_eq!(again[0].lost, 1);
        settle(backend, &again[0], Settlement::Done).await;
        fenced(backend, &dead[0]).await;
    }
    all_done(backend, 2).await;
}

/// faults F02, F07: a lost message takes of the rate again, and a zombie brings nothing back.
pub async fn what_a_dead_holder_took_of_a_rate_is_spent(backend: &dyn Backend, time: &dyn TimeTravel) {
    let rate = RateLimit { count: 2, per: secs(4_000) };
    created(backend, QueueOptions { rate: Some(rate), ..QueueOptions::default() }).await;
    push(backend, 0..4).await;
    let dead = claim(backend, "dead", 10).await;
    assert_eq!(numbers(&dead), [0, 1]);
    time.advance(LEASE + secs(1)).await;
    assert!(claim_due(backend, "next").await.is_empty(), "the others have to wait for the bucket");
    fenced(backend, &dead[0]).await;
    assert!(claim(backend, "next", 10).await.is_empty());
    let mut done = Vec::new();
    for _ in 0..4 {
        time.advance(secs(2_000)).await;
        let one = claim_due(backend, "next").await;
        assert_eq!(one.len(), 1);
        settle(backend, &one[0], Settlement::Done).await;
        done.push(number(&one[0]));
    }
    assert_eq!(done, [0, 1, 2, 3]);
    all_done(backend, 4).await;
}

/// fault F12: of a queue that was created and of one that was not. Whoever puts it off or brings it back says that it is worth
/// more workers; one that only fails between two deaths is found all the same.
pub async fn a_delay_and_a_return_forget_lost_workers_and_a_failure_does_not(
    backend: &dyn Backend,
    time: &dyn TimeTravel,
) {
    let next = async || {
        time.advance(LEASE + secs(1)).await;
        let mut claimed = claim_due(backend, "next").await;
        assert_eq!(claimed.len(), 1);
        claimed.remove(0)
    };
    let counts = |delivery: &Delivery| (delivery.failures, delivery.lost, delivery.delays);
    for managed in [false, true] {
        if managed {
            created(backend, QueueOptions::default()).await;
        }
        push(backend, 0..1).await;
        assert_eq!(counts(&next().await), (0, 0, 0));
        assert_eq!(counts(&next().await), (0, 1, 0));
        let third = next().await;
        assert_eq!(counts(&third), (0, 2, 0));
        settle(backend, &third, Settlement::SnoozeUntil(backend.now() + secs(5))).await;
        assert_eq!(counts(&next().await), (0, 0, 1), "it was put off");
        let second = next().await;
        assert_eq!(counts(&second), (0, 1, 1));
        settle(backend, &second, retry_after(secs(5))).await;
        assert_eq!(counts(&next().await), (1, 1, 1), "it failed");
        let poison = next().await;
        assert_eq!(counts(&poison), (1, 2, 1));
        let reason = Failure::new("WORKER_LOST", "two of them");
        settle(backend, &poison, Settlement::DeadLetter(reason)).await;
        let dead = backend.queue().dead_letters(QUEUE, 10).await.unwrap();
        assert_eq!(dead[0].lost, 2);
        if managed {
            let ids = vec![poison.message.id.clone()];
            assert_eq!(backend.queues().retry_messages(QUEUE, ids.clone()).await.unwrap(), ids);
            assert_eq!(counts(&next().await), (1, 0, 1), "it was brought back");
        }
    }
}

/// fault F60: more than one round of upkeep looks at.
pub async fn many_dead_holders_are_all_found(backend: &dyn Backend, time: &dyn TimeTravel) {
    const HOLDERS: usize = 250;
    push(backend, 0..HOLDERS + 1).await;
    let holders: Vec<String> = (0..HOLDERS).map(|n| format!("w{n}")).collect();
    for some in holders.chunks(50) {
        let claims = some.iter().map(|holder| claim(backend, holder, 1));
        assert!(join_all(claims).await.iter().all(|claimed| claimed.len() == 1));
    }
    time.advance(LEASE + secs(1)).await;
    let mut reclaimed = 0;
    loop {
        match backend.queue().maintain().await.unwrap().reclaimed {
            0 => break,
            n => reclaimed += n,
        }
    }
    assert_eq!(reclaimed, HOLDERS as u64);
    assert_eq!(claim(backend, "next", 1_000).await.len(), HOLDERS + 1);
}

/// fault F60: those in front, which can never be saved, keep nobody behind them from it.
pub async fn many_long_tries_are_all_found(backend: &dyn Backend, time: &dyn TimeTravel) {
    const TRIES: usize = 250;
    created(backend, QueueOptions { timeout: Some(secs(60)), ..QueueOptions::default() }).await;
    push(backend, 0..TRIES).await;
    for n in 0..TRIES {
        let held = claim(backend, "w", 1).await;
        if n < 120 {
            settle(backend, &held[0], Settlement::Done).await; // its try is noted and not found again
        }
    }
    time.advance(secs(61)).await;
    let mut late = 0;
    for _ in 0..5 {
        late += backend.queue().maintain().await.unwrap().timed_out;
    }
    assert_eq!(late, TRIES as u64 - 120);
}

/// fault F54: one of them, whoever comes first and when they come at once.
pub async fn a_cancel_and_a_settlement_agree_on_the_end(backend: &dyn Backend) {
    created(backend, QueueOptions::default()).await;
    push(backend, 0..2).await;
    let held = claim(backend, "w", 10).await;
    let id = |delivery: &Delivery| vec![delivery.message.id.clone()];
    assert_eq!(backend.queues().cancel_messages(QUEUE, id(&held[0])).await.unwrap(), id(&held[0]));
    fenced(backend, &held[0]).await;
    settle(backend, &held[1], Settlement::Done).await;
    assert!(backend.queues().cancel_messages(QUEUE, id(&held[1])).await.unwrap().is_empty());

    push(backend, 10..50).await;
    let held = claim(backend, "w", 100).await;
    let cancels = held.iter().map(|delivery| backend.queues().cancel_messages(QUEUE, id(delivery)));
    let settles =
        held.iter().map(|delivery| backend.queue().settle(vec![settled(delivery, Settlement::Done)]));
    let (cancelled, done) = join(join_all(cancels), join_all(settles)).await;
    let cancelled: BTreeSet<_> = cancelled.into_iter().flat_map(Result::unwrap).collect();
    let mut expected = 0;
    for (delivery, result) in held.iter().zip(done) {
        let query = MessageQuery { ids: id(delivery), ..MessageQuery::default() };
        let status = backend.queues().find_messages(QUEUE, query).await.unwrap()[0].status;
        let was_cancelled = cancelled.contains(&delivery.message.id);
        assert_eq!(result.unwrap()[0].is_ok(), !was_cancelled);
        assert_eq!(status, if was_cancelled { MessageStatus::Cancelled } else { MessageStatus::Done });
        expected += 1;
    }
    assert_eq!(expected, 40);
    assert_eq!(backend.queue().stats(QUEUE).await.unwrap(), QueueStats::default());
}

/// fault F54: in both orders.
pub async fn a_timeout_and_a_settlement_agree_on_the_end(backend: &dyn Backend, time: &dyn TimeTravel) {
    let options = QueueOptions { timeout: Some(secs(60)), max_attempts: 1, ..QueueOptions::default() };
    created(backend, options).await;
    push(backend, 0..2).await;
    let held = claim(backend, "w", 10).await;
    settle(backend, &held[1], Settlement::Done).await;
    time.advance(secs(61)).await;
    assert_eq!(backend.queue().maintain().await.unwrap().timed_out, 1);
    fenced(backend, &held[0]).await;
    assert_eq!(backend.queue().stats(QUEUE).await.unwrap(), QueueStats { dead: 1, ..QueueStats::default() });
    let request = ClaimRequest::new(QUEUE, worker("w"), Duration::from_secs(60), 10);
    assert!(backend.queue().claim(request).await.unwrap().deliveries.is_empty());
}
