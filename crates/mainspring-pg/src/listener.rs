//! The one LISTEN connection of a process.
//!
//! ```text
//! connect ─► LISTEN ─► wake everybody ─► hints … ─► lost, or silent to the ping ─► pause ─► connect
//! ```

use std::{future::poll_fn, sync::Arc, time::Duration};

use mainspring_core::{Error, ErrorKind, Result, metric};
use metrics::counter;
use tokio::time::{sleep, timeout};
use tokio_postgres::{AsyncMessage, Client};

use crate::{board::Board, connect::Wire, error::failed, jitter::pause, names::quoted, settings::Settings};

/// A longer silence after a ping means that the connection is dead.
const PING_LIMIT: Duration = Duration::from_secs(5);

/// Listens until it is aborted.
pub(crate) async fn run(settings: Settings, channel: String, board: Arc<Board>, ping: Duration) {
    let mut failures = 0;
    loop {
        let error = match settings.open().await {
            Ok((client, wire)) => {
                let heard = async { Err(hear(wire, &board).await) };
                tokio::select! {
                    ended = heard => ended,
                    ended = keep(&client, &channel, &board, ping, &mut failures) => ended,
                }
            }
            Err(error) => Err(error),
        };
        let Err(error) = error;
        tracing::debug!(error = %error, failures, "listening again soon");
        counter!(metric::LISTENER_RECONNECTS).increment(1);
        sleep(pause(failures, Duration::from_millis(100), Duration::from_secs(5))).await;
        failures = failures.saturating_add(1);
    }
}

type Never = std::convert::Infallible;

/// Moves the bytes of the connection and passes hints on, until it ends.
async fn hear(mut wire: Wire, board: &Board) -> Error {
    loop {
        match poll_fn(|context| wire.poll_message(context)).await {
            // Some other client may send a hint for everybody by naming no queue.
            Some(Ok(AsyncMessage::Notification(hint))) if hint.payload().is_empty() => board.wake_all(),
            Some(Ok(AsyncMessage::Notification(hint))) => board.wake(hint.payload()),
            Some(Ok(_)) => {}
            Some(Err(error)) => return failed("listening", error),
            None => return Error::new(ErrorKind::Unavailable, "the listening connection was closed"),
        }
    }
}

/// Starts to listen and then asks from time to time whether the server is still there: a dead peer sends nothing (T7).
async fn keep(
    client: &Client,
    channel: &str,
    board: &Board,
    every: Duration,
    failures: &mut u32,
) -> Result<Never> {
    let limit = PING_LIMIT.min(every);
    ask(client, &format!("LISTEN {}", quoted(channel)), PING_LIMIT).await?;
    board.wake_all();
    loop {
        sleep(every).await;
        ask(client, "SELECT 1", limit).await?;
        *failures = 0;
    }
}

async fn ask(client: &Client, sql: &str, limit: Duration) -> Result<()> {
    match timeout(limit, client.batch_execute(sql)).await {
        Ok(answer) => answer.map_err(|error| failed("listening", error)),
        Err(_) => Err(Error::new(ErrorKind::Unavailable, "the listening connection is silent")),
    }
}
