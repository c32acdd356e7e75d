//! Who may settle what: liveness, fencing and giving back.

use futures_util::future::join_all;
use mainspring_core::{Backend, ClaimRequest, NewMessage, QueueStats, Settlement};

use crate::{
    TimeTravel,
    conformance::{
        make::{
            LEASE, QUEUE, claim, claim_due, claim_one, message, number, push, retry_after, secs, settle,
            settled, worker,
        },
        on, on_time,
    },
};

/// All cases.
pub async fn suite<B: Backend, T: TimeTravel>(fresh: impl AsyncFn() -> (B, T)) {
    on(&fresh, a_lease_settles_once).await;
    on(&fresh, a_lease_settles_once_however_many_try).await;
    on(&fresh, a_release_gives_all_back_at_once_and_counts_nothing).await;
    on(&fresh, what_is_put_back_is_as_if_it_had_not_been_claimed).await;
    on_time(&fresh, a_dead_holder_loses_everything_at_once).await;
    on_time(&fresh, a_late_settlement_of_the_dead_is_fenced).await;
    on_time(&fresh, a_revived_holder_with_an_old_lease_is_fenced).await;
    on_time(&fresh, a_holder_that_extends_keeps_its_leases).await;
    on_time(&fresh, a_claim_keeps_its_holder_alive).await;
    on_time(&fresh, lost_runs_use_up_no_attempt).await;
    on_time(&fresh, suspects_are_claimed_apart).await;
    on_time(&fresh, a_late_holder_nobody_missed_has_lost_nothing).await;
}

/// A second settlement with the same lease changes nothing.
pub async fn a_lease_settles_once(backend: &dyn Backend) {
    push(backend, 0..1).await;
    let delivery = claim_one(backend, "w").await;
    settle(backend, &delivery, retry_after(secs(0))).await;
    for settlement in [Settlement::Done, retry_after(secs(0))] {
        let results = backend.queue().settle(vec![settled(&delivery, settlement)]).await.unwrap();
        assert!(results[0].as_ref().unwrap_err().is_fenced());
    }
    let again = claim_due(backend, "w").await;
    assert_eq!((again.len(), again[0].failures), (1, 1));
    assert!(again[0].lease.token > delivery.lease.token);
    let results = backend.queue().settle(vec![settled(&delivery, Settlement::Done)]).await.unwrap();
    assert!(results[0].as_ref().unwrap_err().is_fenced());
    settle(backend, &again[0], Settlement::Done).await;
}

/// Sixteen at once.
pub async fn a_lease_settles_once_however_many_try(backend: &dyn Backend) {
    push(backend, 0..1).await;
    let delivery = claim_one(backend, "w").await;
    let attempts = (0..16).map(|_| backend.queue().settle(vec![settled(&delivery, Settlement::Done)]));
    let results: Vec<_> =
        join_all(attempts).await.into_iter().map(|results| results.unwrap().remove(0)).collect();
    assert_eq!(results.iter().filter(|result| result.is_ok()).count(), 1);
    assert!(results.into_iter().filter_map(Result::err).all(|error| error.is_fenced()));
}

/// In its old place, beside a message that is done in the same call (Q29).
pub async fn what_is_put_back_is_as_if_it_had_not_been_claimed(backend: &dyn Backend) {
    push(backend, 0..4).await;
    let held = claim(backend, "w", 3).await;
    let batch = vec![
        settled(&held[0], Settlement::PutBack),
        settled(&held[1], Settlement::Done),
        settled(&held[2], Settlement::PutBack),
    ];
    assert!(backend.queue().settle(batch).await.unwrap().iter().all(Result::is_ok));
    let again = claim(backend, "other", 10).await;
    assert_eq!(again.iter().map(number).collect::<Vec<_>>(), [0, 2, 3]);
    assert!(again.iter().all(|d| (d.failures, d.lost, d.delays, d.attempt()) == (0, 0, 0, 1)));
    let late = backend.queue().settle(vec![settled(&held[0], Settlement::PutBack)]).await.unwrap();
    assert!(late[0].as_ref().unwrap_err().is_fenced());
    assert_eq!(backend.queue().stats(QUEUE).await.unwrap().claimed, 3);
}

/// A graceful stop.
pub async fn a_release_gives_all_back_at_once_and_counts_nothing(backend: &dyn Backend) {
    push(backend, 0..5).await;
    let mine = claim(backend, "leaving", 3).await;
    let theirs = claim(backend, "staying", 1).await;
    assert_eq!(backend.queue().release(&worker("leaving")).await.unwrap(), 3);
    assert_eq!(backend.queue().release(&worker("leaving")).await.unwrap(), 0);
    let results = backend.queue().settle(vec![settled(&mine[0], Settlement::Done)]).await.unwrap();
    assert!(results[0].as_ref().unwrap_err().is_fenced());
    let again = claim(backend, "next", 10).await;
    assert_eq!(again.iter().map(number).collect::<Vec<_>>(), [0, 1, 2, 4]);
    assert!(again.iter().all(|delivery| (delivery.attempt(), delivery.lost, delivery.delays) == (1, 0, 0)));
    settle(backend, &theirs[0], Settlement::Done).await;
    assert!(backend.queue().extend(&worker("leaving"), LEASE).await.unwrap_err().is_fenced());
}

/// One liveness row stands for all it holds.
pub async fn a_dead_holder_loses_everything_at_once(backend: &dyn Backend, time: &dyn TimeTravel) {
    push(backend, 0..5).await;
    claim(backend, "dead", 3).await;
    time.advance(LEASE - secs(10)).await;
    claim(backend, "alive", 1).await;
    assert_eq!(backend.queue().maintain().await.unwrap().reclaimed, 0);
    time.advance(secs(20)).await;
    let upkeep = backend.queue().maintain().await.unwrap();
    assert_eq!((upkeep.reclaimed, upkeep.dead_holders), (3, 1));
    assert_eq!(backend.queue().maintain().await.unwrap().reclaimed, 0);
    let again = claim(backend, "next", 10).await;
    assert_eq!(again.iter().map(number).collect::<Vec<_>>(), [0, 1, 2, 4]);
    assert_eq!(again.iter().map(|delivery| delivery.lost).collect::<Vec<_>>(), [1, 1, 1, 0]);
    assert!(again.iter().all(|delivery| delivery.failures == 0 && delivery.delays == 0));
}

/// fault F07: the zombie comes back after another has finished its work.
pub async fn a_late_settlement_of_the_dead_is_fenced(backend: &dyn Backend, time: &dyn TimeTravel) {
    push(backend, 0..1).await;
    let zombie = claim_one(backend, "zombie").await;
    time.advance(LEASE + secs(1)).await;
    let next = claim_due(backend, "next").await;
    assert_eq!(next[0].attempt(), 2);
    for settlement in [Settlement::Done, retry_after(secs(9)), Settlement::SnoozeUntil(zombie.created_at)] {
        let results = backend.queue().settle(vec![settled(&zombie, settlement)]).await.unwrap();
        assert!(results[0].as_ref().unwrap_err().is_fenced());
    }
    assert!(backend.queue().extend(&worker("zombie"), LEASE).await.unwrap_err().is_fenced());
    settle(backend, &next[0], Settlement::Done).await;
    assert_eq!(backend.queue().stats(QUEUE).await.unwrap(), QueueStats::default());
}

/// fault F08: the same worker claims its own lost message again; only the new claim counts.
pub async fn a_revived_holder_with_an_old_lease_is_fenced(backend: &dyn Backend, time: &dyn TimeTravel) {
    push(backend, 0..1).await;
    let old = claim_one(backend, "w").await;
    time.advance(LEASE + secs(1)).await;
    let new = claim_due(backend, "w").await;
    assert!(new[0].lease.token > old.lease.token);
    let results = backend.queue().settle(vec![settled(&old, Settlement::Done)]).await.unwrap();
    assert!(results[0].as_ref().unwrap_err().is_fenced());
    settle(backend, &new[0], Settlement::Done).await;
}

/// However long its work takes.
pub async fn a_holder_that_extends_keeps_its_leases(backend: &dyn Backend, time: &dyn TimeTravel) {
    push(backend, 0..1).await;
    backend.queue().register(&worker("w"), LEASE).await.unwrap();
    let delivery = claim_one(backend, "w").await;
    for _ in 0..4 {
        time.advance(LEASE - secs(60)).await;
        backend.queue().extend(&worker("w"), LEASE).await.unwrap();
        assert!(claim_due(backend, "other").await.is_empty());
    }
    settle(backend, &delivery, Settlement::Done).await;
    assert!(backend.queue().extend(&worker("never seen"), LEASE).await.unwrap_err().is_fenced());
}

/// One that brings something.
pub async fn a_claim_keeps_its_holder_alive(backend: &dyn Backend, time: &dyn TimeTravel) {
    push(backend, 0..5).await;
    let first = claim(backend, "w", 1).await;
    for _ in 0..4 {
        time.advance(LEASE - secs(60)).await;
        backend.queue().maintain().await.unwrap();
        assert_eq!(claim(backend, "w", 1).await.len(), 1);
    }
    settle(backend, &first[0], Settlement::Done).await;
}

/// Counted apart from failures.
pub async fn lost_runs_use_up_no_attempt(backend: &dyn Backend, time: &dyn TimeTravel) {
    backend.queue().push(vec![NewMessage { max_attempts: Some(1), ..message(1) }]).await.unwrap();
    for lost in 0..4 {
        let due = claim_due(backend, &format!("w{lost}")).await;
        assert_eq!((due.len(), due[0].lost, due[0].failures), (1, lost, 0));
        assert_eq!(due[0].attempt(), lost + 1);
        time.advance(LEASE + secs(1)).await;
    }
    let last = claim_due(backend, "last").await;
    settle(backend, &last[0], retry_after(secs(0))).await;
    let dead = backend.queue().dead_letters(QUEUE, 10).await.unwrap();
    assert_eq!((dead.len(), dead[0].failures, dead[0].lost), (1, 1, 4));
}

/// Its leases end when they are taken back, not before.
pub async fn a_late_holder_nobody_missed_has_lost_nothing(backend: &dyn Backend, time: &dyn TimeTravel) {
    push(backend, 0..2).await;
    let held = claim(backend, "w", 2).await;
    time.advance(LEASE + secs(1)).await;
    settle(backend, &held[0], Settlement::Done).await;
    backend.queue().extend(&worker("w"), LEASE).await.unwrap();
    assert_eq!(backend.queue().maintain().await.unwrap().reclaimed, 0);
    settle(backend, &held[1], Settlement::Done).await;
}

/// A message that has cost two workers is a suspect: a claim brings no more of those than it asks for.
pub async fn suspects_are_claimed_apart(backend: &dyn Backend, time: &dyn TimeTravel) {
    push(backend, 0..3).await;
    for holder in ["w1", "w2"] {
        assert_eq!(claim(backend, holder, 2).await.len(), 2);
        time.advance(LEASE + LEASE).await;
        assert_eq!(backend.queue().maintain().await.unwrap().reclaimed, 2);
    }
    let careful = |suspects| ClaimRequest { suspects, ..ClaimRequest::new(QUEUE, worker("w3"), LEASE, 10) };
    let none = backend.queue().claim(careful(0)).await.unwrap().deliveries;
    assert_eq!(none.iter().map(|d| d.lost).collect::<Vec<_>>(), [0], "what never cost a worker goes on");
    let one = backend.queue().claim(careful(1)).await.unwrap().deliveries;
    assert_eq!(one.iter().map(|d| d.lost).collect::<Vec<_>>(), [2]);
    assert_eq!(backend.queue().claim(careful(5)).await.unwrap().deliveries.len(), 1);
}
