//! What something cost: time, log, commits and processor time.

use std::{fmt, time::Instant};

use tokio_postgres::Client;

use super::{Bench, Result};
use crate::bench::cpu::Reading;

/// What each of a number of messages cost.
#[derive(Clone, Copy)]
pub struct Cost {
    /// How many a second.
    pub rate: f64,
    /// Bytes of log.
    pub wal: f64,
    commits: f64,
    /// Microseconds of processor time, of this process and of the server.
    client_us: f64,
    server_us: f64,
}

/// The state of the server before something.
pub struct Before {
    watch: Client,
    wal: i64,
    transactions: i64,
    begin: Instant,
    spent: Reading,
}

const STATE: &str =
    "SELECT (pg_current_wal_insert_lsn() - '0/0'::pg_lsn)::bigint, pg_current_xact_id()::text::bigint";

impl Before {
    pub async fn now(bench: &Bench) -> Result<Self> {
        let watch = bench.floor.client().await?;
        let row = watch.query_one(STATE, &[]).await?;
        let (wal, transactions) = (row.get(0), row.get(1));
        Ok(Self { watch, wal, transactions, begin: Instant::now(), spent: bench.floor.meter.read() })
    }

    /// What was spent on `count` messages since.
    pub async fn cost(self, bench: &Bench, count: usize) -> Result<Cost> {
        let (elapsed, spent) = (self.begin.elapsed(), bench.floor.meter.read().since(&self.spent));
        let row = self.watch.query_one(STATE, &[]).await?;
        let count = count as f64;
        let each = |spent: std::time::Duration| spent.as_secs_f64() * 1e6 / count;
        Ok(Cost {
            rate: count / elapsed.as_secs_f64(),
            wal: (row.get::<_, i64>(0) - self.wal) as f64 / count,
            commits: (row.get::<_, i64>(1) - self.transactions - 1) as f64 / count,
            client_us: each(spent.client),
            server_us: spent.server.map_or(f64::NAN, each),
        })
    }
}

impl Cost {
    /// The medians of all.
    pub fn median(costs: &[Self]) -> Self {
        let of = |value: fn(&Self) -> f64| super::median(costs.iter().map(value).collect());
        Self {
            rate: of(|c| c.rate),
            wal: of(|c| c.wal),
            commits: of(|c| c.commits),
            client_us: of(|c| c.client_us),
            server_us: of(|c| c.server_us),
        }
    }

    /// As a machine reads it.
    pub fn json(&self) -> serde_json::Value {
        serde_json::json!({"wal_bytes": self.wal.round(), "commits": (self.commits * 1e4).round() / 1e4,
            "client_us": super::round(self.client_us), "server_us": super::round(self.server_us)})
    }
}

impl fmt::Display for Cost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { wal, commits, client_us, server_us, .. } = self;
        write!(f, "{wal:.0} B of log, {commits:.4} commits, {client_us:.1}+{server_us:.1} us client+server")
    }
}
