//! What every [`LeaseStore`](mainspring_core::LeaseStore) does.

use std::time::Duration;

use futures_util::future::join_all;
use mainspring_core::{Backend, Lease, LeaseFilter};

use super::{make::secs, on, on_time};
use crate::TimeTravel;

const MINUTE: Duration = secs(60);

/// All cases.
pub async fn suite<B: Backend, T: TimeTravel>(fresh: impl AsyncFn() -> (B, T)) {
    on(&fresh, one_of_many_gets_a_lease).await;
    on(&fresh, a_held_lease_is_refused_even_to_its_holder).await;
    on(&fresh, a_lease_is_released_by_its_token_alone).await;
    on(&fresh, what_makes_no_sense_is_refused).await;
    on(&fresh, leases_are_listed_by_name_in_pages).await;
    on_time(&fresh, leases_are_found_by_name_holder_and_time).await;
    on_time(&fresh, a_lease_ends_when_its_time_is_over).await;
    on_time(&fresh, an_extended_lease_lasts_longer).await;
    on_time(&fresh, a_lost_lease_is_fenced).await;
    on_time(&fresh, what_is_over_is_forgotten).await;
}

async fn acquire(backend: &dyn Backend, holder: &str) -> Option<Lease> {
    backend.leases().acquire("a", holder, MINUTE).await.unwrap()
}

/// A16, A21
pub async fn one_of_many_gets_a_lease(backend: &dyn Backend) {
    let holders: Vec<String> = (0..32).map(|n| format!("h{n}")).collect();
    let won = join_all(holders.iter().map(|holder| acquire(backend, holder))).await;
    assert_eq!(won.iter().flatten().count(), 1);
    assert!(backend.leases().acquire("b", "h1", MINUTE).await.unwrap().is_some());
}

/// Not re-entrant; A22
pub async fn a_held_lease_is_refused_even_to_its_holder(backend: &dyn Backend) {
    let lease = acquire(backend, "me").await.unwrap();
    assert_eq!((lease.name.as_str(), lease.holder.as_str()), ("a", "me"));
    assert_eq!(lease.expires_at.since(lease.acquired_at), MINUTE);
    assert_eq!(acquire(backend, "me").await, None);
    assert_eq!(backend.leases().get("a").await.unwrap(), Some(lease));
    assert_eq!(backend.leases().get("b").await.unwrap(), None);
}

/// A20
pub async fn a_lease_is_released_by_its_token_alone(backend: &dyn Backend) {
    let old = acquire(backend, "me").await.unwrap();
    assert!(backend.leases().release(&old).await.unwrap());
    assert!(!backend.leases().release(&old).await.unwrap());
    let new = acquire(backend, "me").await.unwrap();
    assert!(new.token > old.token);
    assert!(!backend.leases().release(&old).await.unwrap());
    assert_eq!(acquire(backend, "you").await, None);
}

/// Before any SQL.
pub async fn what_makes_no_sense_is_refused(backend: &dyn Backend) {
    let leases = backend.leases();
    for (name, holder, lasts) in
        [("", "h", MINUTE), ("a", "", MINUTE), ("a", "h", secs(0)), ("a", "h", secs(90_000))]
    {
        assert!(leases.acquire(name, holder, lasts).await.unwrap_err().is_invalid());
    }
}

/// Capitals first, as bytes go.
pub async fn leases_are_listed_by_name_in_pages(backend: &dyn Backend) {
    let leases = backend.leases();
    for name in ["b", "a", "C"] {
        leases.acquire(name, "h", MINUTE).await.unwrap();
    }
    let page = |after: Option<&str>, limit| LeaseFilter {
        after: after.map(str::to_owned),
        limit,
        ..LeaseFilter::default()
    };
    assert_eq!(names(backend, page(None, 0)).await, ["C", "a", "b"]);
    assert_eq!(names(backend, page(None, 2)).await, ["C", "a"]);
    assert_eq!(names(backend, page(Some("a"), 2)).await, ["b"]);
    assert!(leases.list(page(None, 10_001)).await.unwrap_err().is_invalid());
}

async fn names(backend: &dyn Backend, filter: LeaseFilter) -> Vec<String> {
    backend.leases().list(filter).await.unwrap().into_iter().map(|lease| lease.name).collect()
}

/// A filter is no pattern: `%` and `_` are letters.
pub async fn leases_are_found_by_name_holder_and_time(backend: &dyn Backend, time: &dyn TimeTravel) {
    let leases = backend.leases();
    for (name, holder, lasts) in [("job/1", "a", secs(1)), ("job/2", "b", MINUTE), ("job%", "a", MINUTE)] {
        leases.acquire(name, holder, lasts).await.unwrap();
    }
    time.advance(secs(2)).await;
    let any = LeaseFilter::default;
    let prefix = |text: &str| Some(text.to_owned());
    assert_eq!(names(backend, LeaseFilter { prefix: prefix("job/"), ..any() }).await, ["job/1", "job/2"]);
    assert_eq!(names(backend, LeaseFilter { prefix: prefix("job%"), ..any() }).await, ["job%"]);
    assert_eq!(names(backend, LeaseFilter { prefix: prefix("j_b"), ..any() }).await, [""; 0]);
    assert_eq!(names(backend, LeaseFilter { held: Some(true), ..any() }).await, ["job%", "job/2"]);
    assert_eq!(names(backend, LeaseFilter { held: Some(false), ..any() }).await, ["job/1"]);
    let of_a = LeaseFilter { holder: Some("a".to_owned()), ..any() };
    assert_eq!(names(backend, of_a.clone()).await, ["job%", "job/1"]);
    assert_eq!(names(backend, LeaseFilter { held: Some(true), limit: 1, ..of_a }).await, ["job%"]);
}

/// A19
pub async fn a_lease_ends_when_its_time_is_over(backend: &dyn Backend, time: &dyn TimeTravel) {
    let first = acquire(backend, "me").await.unwrap();
    time.advance(secs(59)).await;
    assert_eq!(acquire(backend, "you").await, None);
    time.advance(secs(2)).await;
    let second = acquire(backend, "you").await.unwrap();
    assert!(second.token > first.token && second.acquired_at >= first.expires_at);
}

/// As long as nobody took it, even late.
pub async fn an_extended_lease_lasts_longer(backend: &dyn Backend, time: &dyn TimeTravel) {
    let lease = acquire(backend, "me").await.unwrap();
    time.advance(secs(59)).await;
    let longer = backend.leases().extend(&lease, MINUTE).await.unwrap();
    assert!(longer.expires_at > lease.expires_at && longer.token == lease.token);
    assert!(backend.leases().extend(&lease, secs(1)).await.unwrap().expires_at >= longer.expires_at);
    time.advance(secs(59)).await;
    assert_eq!(acquire(backend, "you").await, None);
    time.advance(secs(2)).await;
    backend.leases().extend(&lease, MINUTE).await.unwrap();
    assert_eq!(acquire(backend, "you").await, None);
}

/// The zombie takes nothing from its successor.
pub async fn a_lost_lease_is_fenced(backend: &dyn Backend, time: &dyn TimeTravel) {
    let lost = acquire(backend, "me").await.unwrap();
    time.advance(secs(61)).await;
    let held = acquire(backend, "you").await.unwrap();
    assert!(backend.leases().extend(&lost, MINUTE).await.unwrap_err().is_fenced());
    assert!(!backend.leases().release(&lost).await.unwrap());
    assert_eq!(backend.leases().get("a").await.unwrap(), Some(held));
}

/// Nobody has to, for a lease to be free.
pub async fn what_is_over_is_forgotten(backend: &dyn Backend, time: &dyn TimeTravel) {
    acquire(backend, "me").await.unwrap();
    time.advance(secs(61)).await;
    backend.leases().acquire("b", "me", MINUTE).await.unwrap();
    assert_eq!(backend.leases().delete_expired().await.unwrap(), 1);
    assert_eq!(backend.leases().get("a").await.unwrap(), None);
    assert!(backend.leases().get("b").await.unwrap().is_some());
}
