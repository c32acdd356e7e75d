//! What sessions of a pool still hold that nobody uses: what the next borrower would get without asking.

use mainspring_core::Error;

use super::{TestDb, broken};

/// Of one session, as it sees itself.
const LEFT: &str =
    "SELECT 'an advisory lock' FROM pg_locks WHERE pid = pg_backend_pid() AND locktype = 'advisory'
  UNION ALL SELECT 'the setting ' || name FROM pg_settings
    WHERE source = 'session' AND name <> 'client_connection_check_interval'
  UNION ALL SELECT 'the table ' || relname FROM pg_class
    WHERE relkind = 'r' AND relnamespace = pg_my_temp_schema()
  UNION ALL SELECT 'the channel ' || channel FROM pg_listening_channels() AS channel";

/// Of several, as others see them.
const OPEN: &str = "SELECT 'a transaction' FROM pg_stat_activity
  WHERE pid = ANY($1) AND state LIKE 'idle in transaction%'";

impl TestDb {
    /// What the sessions of the pool hold that are idle now: a transaction, an advisory lock, a setting, a temporary table, a
    /// channel. Empty, unless something was left in a session that was given back.
    pub async fn left_in_sessions(&self) -> Vec<String> {
        let (pool, mut sessions, mut pids, mut left) = (self.pool(), Vec::new(), Vec::new(), Vec::new());
        for _ in 0..pool.status().available {
            let session = pool.get().await;
            sessions.push(session.unwrap_or_else(|error| {
                broken(&Error::internal("no session of the pool").with_source(error))
            }));
        }
        for session in &sessions {
            match session.query_one("SELECT pg_backend_pid()", &[]).await {
                Ok(row) => pids.push(row.get::<_, i32>(0)),
                Err(_) => left.push("a failed transaction".to_owned()),
            }
            let held = session.query(LEFT, &[]).await.unwrap_or_default();
            left.extend(held.iter().map(|row| row.get::<_, String>(0)));
        }
        let open = self.client().await.query(OPEN, &[&pids]).await;
        let open =
            open.unwrap_or_else(|error| broken(&Error::internal("looking at sessions").with_source(error)));
        left.extend(open.iter().map(|row| row.get::<_, String>(0)));
        left
    }
}
