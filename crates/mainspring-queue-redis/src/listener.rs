//! The connection that hears what others say.
//!
//! ```text
//! connect ─► SUBSCRIBE ─► everybody looks ─► calls … ─► lost, or silent to the ping ─► pause ─► connect
//! ```

use std::{
    convert::Infallible,
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use mainspring_core::{Error, ErrorKind, Result};
use mainspring_pg::{Heard, pause_about};
use redis::{Msg, PushKind};
use tokio::{sync::mpsc, time::timeout};

use crate::{health::warning, line::failed, redis::Inner};

/// How often a silent connection is asked whether it is alive.
const PING: Duration = Duration::from_secs(2);
/// Longest pause before the first try to connect again; doubled five times.
const PAUSE: Duration = Duration::from_millis(50);
/// In front of a name: everybody who waits for it is to look.
pub(crate) const LOOK: char = '=';
/// In front of a queue: it has new tickets.
pub(crate) const TICKETS: char = '+';

/// Listens until it is aborted.
pub(crate) async fn run(inner: Arc<Inner>, heard: Heard) {
    let mut failures = 0;
    loop {
        let Err(error) = hear(&inner, &heard, &mut failures).await;
        inner.counts.listening.store(false, Ordering::Relaxed);
        tracing::debug!(%error, failures, "listening to redis again soon");
        pause_about(PAUSE.saturating_mul(1 << failures.min(5))).await;
        failures = failures.saturating_add(1_u32);
    }
}

async fn hear(inner: &Inner, heard: &Heard, failures: &mut u32) -> Result<Infallible> {
    let closed = || Error::new(ErrorKind::Unavailable, "the connection that listens was closed");
    let (sender, mut pushes) = mpsc::unbounded_channel();
    let reach = &inner.line.reach;
    let mut wire = reach.node(reach.config().set_push_sender(sender)).await.map_err(failed)?;
    wire.subscribe(inner.channel()).await.map_err(failed)?;
    inner.counts.listening.store(true, Ordering::Relaxed);
    heard.everything();
    if let Ok(Some(warning)) = warning(&mut wire).await {
        tracing::warn!("{warning}");
    }
    loop {
        match timeout(PING, pushes.recv()).await {
            Ok(Some(push)) if push.kind == PushKind::Disconnection => return Err(closed()),
            Ok(Some(push)) => pass(heard, Msg::from_push_info(push)),
            Ok(None) => return Err(closed()),
            Err(_) => {
                redis::cmd("PING").exec_async(&mut wire).await.map_err(failed)?;
                *failures = 0;
            }
        }
    }
}

fn pass(heard: &Heard, message: Option<Msg>) {
    let Some(said) = message.and_then(|message| message.get_payload::<String>().ok()) else { return };
    if let Some(name) = said.strip_prefix(LOOK) {
        heard.look(name);
    } else if let Some(queue) = said.strip_prefix(TICKETS) {
        heard.tickets(queue);
    }
}
