//! Leases in memory.

use std::{collections::HashMap, time::Duration};

use mainspring_core::{
    BoxFuture, Lease, LeaseFilter, LeaseStore, Result, execution::page_size, lease::check_acquire,
    message::check_lease,
};

use super::MemoryBackend;

#[derive(Default)]
pub(super) struct Leases {
    rows: HashMap<String, Lease>,
    last_token: i64,
}

impl Leases {
    pub(super) fn forget(&mut self, name: &str) {
        self.rows.remove(name);
    }
}

impl LeaseStore for MemoryBackend {
    fn acquire<'a>(
        &'a self,
        name: &'a str,
        holder: &'a str,
        lasts: Duration,
    ) -> BoxFuture<'a, Result<Option<Lease>>> {
        self.run(move |state, at| {
            check_acquire(name, holder, lasts)?;
            let leases = &mut state.leases;
            if leases.rows.get(name).is_some_and(|lease| lease.expires_at > at) {
                return Ok(None);
            }
            leases.last_token += 1;
            let lease = Lease {
                name: name.to_owned(),
                holder: holder.to_owned(),
                token: leases.last_token,
                acquired_at: at,
                expires_at: at + lasts,
            };
            leases.rows.insert(name.to_owned(), lease.clone());
            Ok(Some(lease))
        })
    }

    fn extend<'a>(&'a self, lease: &'a Lease, lasts: Duration) -> BoxFuture<'a, Result<Lease>> {
        self.run(move |state, at| {
            check_lease(lasts)?;
            let row = state.leases.rows.get_mut(&lease.name).filter(|row| row.token == lease.token);
            let row = row.ok_or_else(|| lease.fenced())?;
            row.expires_at = row.expires_at.max(at + lasts);
            Ok(row.clone())
        })
    }

    fn release<'a>(&'a self, lease: &'a Lease) -> BoxFuture<'a, Result<bool>> {
        self.run(move |state, _| {
            let rows = &mut state.leases.rows;
            let held = rows.get(&lease.name).is_some_and(|row| row.token == lease.token);
            if held {
                rows.remove(&lease.name);
            }
            Ok(held)
        })
    }

    fn get<'a>(&'a self, name: &'a str) -> BoxFuture<'a, Result<Option<Lease>>> {
        self.run(move |state, _| Ok(state.leases.rows.get(name).cloned()))
    }

    fn list(&self, filter: LeaseFilter) -> BoxFuture<'_, Result<Vec<Lease>>> {
        self.run(move |state, at| {
            let limit = usize::try_from(page_size(filter.limit)?).unwrap_or(usize::MAX);
            let matches = |row: &&Lease| {
                filter.after.as_ref().is_none_or(|after| row.name > *after)
                    && filter.prefix.as_ref().is_none_or(|prefix| row.name.starts_with(prefix))
                    && filter.holder.as_ref().is_none_or(|holder| row.holder == *holder)
                    && filter.held.is_none_or(|held| (row.expires_at > at) == held)
            };
            let mut found: Vec<Lease> = state.leases.rows.values().filter(matches).cloned().collect();
            found.sort_by(|a, b| a.name.cmp(&b.name));
            found.truncate(limit);
            Ok(found)
        })
    }

    fn delete_expired(&self) -> BoxFuture<'_, Result<u64>> {
        self.run(move |state, at| {
            let before = state.leases.rows.len();
            state.leases.rows.retain(|_, lease| lease.expires_at > at);
            Ok((before - state.leases.rows.len()) as u64)
        })
    }
}
