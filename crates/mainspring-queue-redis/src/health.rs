//! How Redis is, as this process knows it.

use std::{
    collections::HashMap,
    sync::atomic::{AtomicBool, AtomicU64, Ordering},
};

use mainspring_core::Result;
use redis::aio::MultiplexedConnection;

use crate::line::failed;

/// How Redis is, as this process knows it. What waits in Postgres is in the statistics of the queue.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct RedisHealth {
    /// Whether it answered when it was last asked.
    pub up: bool,
    /// Whether this process hears what others say.
    pub listening: bool,
    /// What happened since the start of this process.
    pub tally: Tally,
}

/// Counts since the start of this process.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Tally {
    /// Hints that were sent.
    pub sent: u64,
    /// Hints that could not be sent: polling finds what they were about.
    pub lost: u64,
    /// Tickets that were taken.
    pub taken: u64,
    /// Tickets for which there was no message.
    pub ghosts: u64,
}

#[derive(Default)]
pub(crate) struct Counts {
    pub(crate) listening: AtomicBool,
    pub(crate) sent: AtomicU64,
    pub(crate) lost: AtomicU64,
    pub(crate) taken: AtomicU64,
    pub(crate) ghosts: AtomicU64,
}

impl Counts {
    pub(crate) fn health(&self, up: bool) -> RedisHealth {
        let count = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let (sent, lost) = (count(&self.sent), count(&self.lost));
        let tally = Tally { sent, lost, taken: count(&self.taken), ghosts: count(&self.ghosts) };
        RedisHealth { up, listening: self.listening.load(Ordering::Relaxed), tally }
    }
}

/// How a server keeps what it is given.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct RedisSettings {
    /// `maxmemory-policy`, such as `noeviction`.
    pub maxmemory_policy: String,
    /// Whether `appendonly` is on.
    pub append_only: bool,
}

/// Why a server may throw away what it was given, if it may.
pub(crate) async fn warning(wire: &mut MultiplexedConnection) -> Result<Option<String>> {
    Ok(evicts(&info(wire, "memory").await?))
}

/// How a server keeps what it is given; `None` when it does not say so.
pub(crate) async fn settings(wire: &mut MultiplexedConnection) -> Result<Option<RedisSettings>> {
    Ok(kept(&(info(wire, "memory").await? + &info(wire, "persistence").await?)))
}

/// Asked this way, as hosted servers refuse `CONFIG GET`.
async fn info(wire: &mut MultiplexedConnection, section: &str) -> Result<String> {
    redis::cmd("INFO").arg(section).query_async(wire).await.map_err(failed)
}

fn fields(info: &str) -> HashMap<&str, &str> {
    info.lines().filter_map(|line| line.trim().split_once(':')).collect()
}

fn kept(info: &str) -> Option<RedisSettings> {
    let fields = fields(info);
    let (policy, append_only) = (fields.get("maxmemory_policy")?, fields.get("aof_enabled")?);
    Some(RedisSettings { maxmemory_policy: (*policy).to_owned(), append_only: *append_only == "1" })
}

fn evicts(info: &str) -> Option<String> {
    let fields = fields(info);
    let (policy, limit) = (fields.get("maxmemory_policy")?, fields.get("maxmemory")?);
    (*policy != "noeviction").then(|| {
        format!(
            "redis may throw tickets away (maxmemory-policy {policy}, maxmemory {limit}): nothing is lost, but messages then wait \
             for the next poll; set maxmemory-policy to noeviction"
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whatever_drops_keys_is_reported() {
        let info = |policy: &str| format!("# Memory\r\nmaxmemory:100\r\nmaxmemory_policy:{policy}\r\n");
        assert_eq!(evicts(&info("noeviction")), None);
        for policy in ["allkeys-lru", "volatile-ttl"] {
            assert!(evicts(&info(policy)).unwrap().contains(policy));
        }
        assert_eq!(evicts("no such fields"), None);
    }
}
