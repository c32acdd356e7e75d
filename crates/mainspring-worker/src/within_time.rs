//! Code of the application that has only so long.

use mainspring_core::{Delivery, Failure};
use tokio::time::{Instant, timeout_at};

use crate::caught;

/// Until when a delivery that was just claimed may be handled; `None` for ever. An eighth of its time is left, so that whoever
/// delivers hears of it before the queue takes the message back and tells nobody.
pub fn deadline(delivery: &Delivery) -> Option<Instant> {
    delivery.timeout.and_then(|limit| Instant::now().checked_add(limit - limit / 8))
}

/// Awaits code of the application, until then at most.
///
/// # Errors
/// Its panic, and with the code `TIMEOUT` that it was dropped because it was not done in time.
pub async fn within_time<F: Future>(until: Option<Instant>, code: F) -> Result<F::Output, Failure> {
    let code = caught(code);
    let ended = match until {
        None => code.await,
        Some(until) => match timeout_at(until, code).await {
            Ok(ended) => ended,
            Err(_) => return Err(Failure::new("TIMEOUT", "not done in time")),
        },
    };
    ended.map_err(|panic| {
        tracing::error!(%panic, "a handler panicked");
        panic.into()
    })
}
