//! Two servers, one of which follows the other and takes over.

use mainspring::{Migrator, Names, Settings};
use mainspring_pg::Session;
use mainspring_testing::{Cluster, ClusterOptions, Proxy};
use tokio::task::block_in_place;

use crate::{Lab, until};

/// What a server needs that is followed; what it acknowledges is with the kernel.
const FOLLOWED: [(&str, &str); 4] = [
    ("wal_level", "replica"),
    ("max_wal_senders", "4"),
    ("synchronous_commit", "on"),
    ("wal_keep_size", "64MB"),
];

/// Whether the first acknowledges a commit before the second has it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Replication {
    /// No: nothing that was acknowledged is lost when the second takes over.
    Synchronous,
    /// Yes.
    Asynchronous,
}

/// Two migrated servers. Needs a runtime of several threads.
pub struct Pair {
    /// The one that is written to at first.
    pub first: Cluster,
    /// The one that follows it.
    pub second: Cluster,
    /// The way from the second to the first.
    pub wire: Proxy,
}

impl Pair {
    /// Starts both.
    ///
    /// # Panics
    /// When they do not start.
    pub async fn start(replication: Replication) -> Self {
        let options = FOLLOWED
            .iter()
            .fold(ClusterOptions::throwaway(), |options, (name, value)| options.setting(name, value));
        let mut first = block_in_place(|| Cluster::start(options)).expect("the first server");
        let settings = Settings::parse(&first.url("postgres")).expect("an address");
        Migrator::new(settings.clone(), Names::default()).up().await.expect("migrated");
        let wire = Proxy::start("127.0.0.1", first.port(), &settings).await.expect("a way");
        let second = block_in_place(|| first.standby(&upstream(wire.port()))).expect("the second server");
        let pair = Self { first, second, wire };
        if replication == Replication::Synchronous {
            // After the copy was made: the second is to wait for nobody when it has taken over.
            let first = pair.client(&pair.first).await;
            for sql in ["ALTER SYSTEM SET synchronous_standby_names = '*'", "SELECT pg_reload_conf()"] {
                first.batch_execute(sql).await.expect("synchronous");
            }
        }
        let state = match replication {
            Replication::Synchronous => "sync",
            Replication::Asynchronous => "async",
        };
        pair.until_followed(state).await;
        pair
    }

    async fn until_followed(&self, state: &str) {
        const FOLLOWS: &str =
            "SELECT count(*) > 0 FROM pg_stat_replication WHERE state = 'streaming' AND sync_state = $1";
        let first = self.client(&self.first).await;
        until("the second server follows", async || {
            first.query_one(FOLLOWS, &[&state]).await.is_ok_and(|row| row.get(0))
        })
        .await;
    }

    /// The address of both, in this order, with more parameters, such as `?target_session_attrs=any`.
    pub fn url(&self, parameters: &str) -> String {
        let (first, second) = (self.first.port(), self.second.port());
        format!("postgres://postgres@127.0.0.1:{first},127.0.0.1:{second}/postgres{parameters}")
    }

    /// A lab on both.
    ///
    /// # Panics
    /// Never: the address is valid.
    pub fn lab(&self) -> Lab {
        let url = self.url("");
        Lab::at(&url, Settings::parse(&url).expect("an address"))
    }

    /// A connection to one of them.
    ///
    /// # Panics
    /// When there is none.
    pub async fn client(&self, server: &Cluster) -> Session {
        let settings = Settings::parse(&server.url("postgres")).expect("an address");
        settings.connect().await.expect("a connection")
    }

    /// Waits until the second has done again what the first has written.
    pub async fn caught_up(&self) {
        let written: String = {
            let row =
                self.client(&self.first).await.query_one("SELECT pg_current_wal_lsn()::text", &[]).await;
            row.expect("the end of the log").get(0)
        };
        let second = self.client(&self.second).await;
        const REPLAYED: &str = "SELECT pg_last_wal_replay_lsn() >= $1::text::pg_lsn";
        until("the second has it", async || {
            second.query_one(REPLAYED, &[&written]).await.is_ok_and(|row| row.get(0))
        })
        .await;
    }

    /// The first dies as by a power cut, and the second takes over.
    ///
    /// # Panics
    /// When it does not.
    pub fn fail_over(&mut self) {
        block_in_place(|| {
            self.first.kill9().expect("killed");
            self.second.promote().expect("promoted");
        });
    }

    /// The first stops as it should, the second takes over, and the first follows it.
    ///
    /// # Panics
    /// When they do not.
    pub fn switch_over(&mut self) {
        block_in_place(|| {
            self.first.stop_fast();
            self.second.promote().expect("promoted");
            self.first.follow(&upstream(self.second.port())).expect("the first follows");
        });
    }
}

fn upstream(port: u16) -> String {
    format!("host=127.0.0.1 port={port} user=postgres")
}
