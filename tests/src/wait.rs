//! Waiting for what is to come, without guessing how long it takes.

use std::time::Duration;

use tokio::time::{Instant, sleep};

use crate::PATIENCE;

/// Between two looks.
const PAUSE: Duration = Duration::from_millis(10);

/// The first answer of `probe`, or a panic that names `what` after a minute.
pub async fn eventually<T>(what: &str, mut probe: impl AsyncFnMut() -> Option<T>) -> T {
    let begin = Instant::now();
    loop {
        if let Some(answer) = probe().await {
            return answer;
        }
        assert!(begin.elapsed() < PATIENCE, "{what}: not within {PATIENCE:?}");
        sleep(PAUSE).await;
    }
}

/// Waits until `probe` says so, or panics and names `what` after a minute.
pub async fn until(what: &str, mut probe: impl AsyncFnMut() -> bool) {
    eventually(what, async || probe().await.then_some(())).await;
}
