//! Leases on names: who may act on a thing right now.
//!
//! ```text
//! free ──acquire──► held(holder, token, expires_at) ──release · expiry──► free
//!                      └──────extend──────┘
//! ```
//! The database's clock decides expiry. Every acquisition has a new token; who carries an old one extends and releases nothing.

use std::time::Duration;

use crate::{BoxFuture, Error, Result, Timestamp, limits, message::check_lease};

/// The right to act on a name until a time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lease {
    /// What it is on.
    pub name: String,
    /// Who has it.
    pub holder: String,
    /// Grows with every acquisition.
    pub token: i64,
    /// Since when.
    pub acquired_at: Timestamp,
    /// Until when, unless it is extended.
    pub expires_at: Timestamp,
}

impl Lease {
    /// The error of a lease that somebody else has now, or that was released.
    pub fn fenced(&self) -> Error {
        Error::fenced(format!("the lease on `{}` was lost", self.name))
    }
}

/// Which leases are listed; all conditions hold.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct LeaseFilter {
    /// On names that begin so. Defaults to any.
    pub prefix: Option<String>,
    /// Of this holder. Defaults to any.
    pub holder: Option<String>,
    /// Only those whose time goes on, or with `false` those whose time is over. Defaults to both.
    pub held: Option<bool>,
    /// Only those behind this name: the last of the page before.
    pub after: Option<String>,
    /// At most so many, up to 10,000; 0 is 100.
    pub limit: u32,
}

/// Checks what is asked for: name and holder are ids, and it lasts 100 ms to 1 day.
///
/// # Errors
/// Invalid, naming the field.
pub fn check_acquire(name: &str, holder: &str, lasts: Duration) -> Result<()> {
    limits::check_id("lease.name", name)?;
    limits::check_id("lease.holder", holder)?;
    check_lease(lasts)
}

/// Leases on names.
pub trait LeaseStore: Send + Sync {
    /// Takes a lease that is free or whose time is over; `None` when somebody has it, even `holder` itself.
    fn acquire<'a>(
        &'a self,
        name: &'a str,
        holder: &'a str,
        lasts: Duration,
    ) -> BoxFuture<'a, Result<Option<Lease>>>;

    /// Keeps a lease for `lasts` from now; as it is then. One whose time is over is kept too as long as nobody took it.
    ///
    /// # Errors
    /// Fenced, when it was taken or released.
    fn extend<'a>(&'a self, lease: &'a Lease, lasts: Duration) -> BoxFuture<'a, Result<Lease>>;

    /// Gives a lease back; false when it was lost before.
    fn release<'a>(&'a self, lease: &'a Lease) -> BoxFuture<'a, Result<bool>>;

    /// The lease on a name, over or not.
    fn get<'a>(&'a self, name: &'a str) -> BoxFuture<'a, Result<Option<Lease>>>;

    /// A page of those that match, by name.
    ///
    /// # Errors
    /// Invalid for a bad limit.
    fn list(&self, filter: LeaseFilter) -> BoxFuture<'_, Result<Vec<Lease>>>;

    /// Forgets leases whose time is over, at most a thousand; how many.
    fn delete_expired(&self) -> BoxFuture<'_, Result<u64>>;
}
