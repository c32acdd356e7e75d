//! Connections that nobody uses.

use std::time::Duration;

use deadpool_postgres::Pool;
use tokio::{task::JoinHandle, time::sleep};

/// Closes the connections of a pool that nobody has used for a while, as long as this lives.
#[derive(Debug)]
pub struct IdleCloser(JoinHandle<()>);

impl IdleCloser {
    /// Closes what was not used for `after`, at most a quarter of that later. It does not keep the pool alive.
    pub fn start(pool: &Pool, after: Duration) -> Self {
        let pool = pool.weak();
        let every = (after / 4).max(Duration::from_millis(1));
        Self(tokio::spawn(async move {
            while let Some(pool) = pool.upgrade() {
                pool.retain(|_, metrics| metrics.last_used() < after);
                drop(pool);
                sleep(every).await;
            }
        }))
    }
}

impl Drop for IdleCloser {
    fn drop(&mut self) {
        self.0.abort();
    }
}
