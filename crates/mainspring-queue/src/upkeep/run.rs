//! The loop: a round, a rest, until it is stopped.

use std::{sync::Arc, time::Duration};

use mainspring_core::{BoxFuture, Error, Result, UpkeepTask};
use tokio::{
    sync::watch,
    task::JoinHandle,
    time::{sleep, timeout},
};

use super::round::QueueUpkeep;
use crate::schedule::WAKE;

/// A round that takes longer is given up; its transaction rolls back.
const LONGEST_ROUND: Duration = Duration::from_secs(600);
const MOST_PATIENCE: Duration = Duration::from_secs(10);
const LAST_WORDS: Duration = Duration::from_secs(5);

/// Upkeep that is being done. Dropping it ends it at once, and the lease runs out; [`stop`](Self::stop) is kinder.
#[must_use = "upkeep ends when this is dropped"]
pub struct RunningUpkeep {
    stop: watch::Sender<bool>,
    task: JoinHandle<()>,
}

impl QueueUpkeep {
    /// Does the upkeep from now on, or waits until whoever does it is gone, in a task of its own. Errors are told and do not
    /// end it. It can be started again after it was stopped; several in one process compete like several processes only
    /// when they are several [`QueueUpkeep`].
    pub fn start(self: &Arc<Self>) -> RunningUpkeep {
        let (stop, stopped) = watch::channel(false);
        let task = tokio::spawn(run(Arc::clone(self), stopped));
        RunningUpkeep { stop, task }
    }
}

impl RunningUpkeep {
    /// Ends it after the round that is under way, and gives the lease to whoever wants it.
    ///
    /// # Errors
    /// Internal when the task panicked, which it does not unless a listener does.
    pub async fn stop(mut self) -> Result<()> {
        self.stop.send_replace(true);
        let ended = (&mut self.task).await;
        ended.map_err(|error| Error::internal("upkeep ended early").with_source(error))
    }
}

impl UpkeepTask for RunningUpkeep {
    fn stop(self: Box<Self>) -> BoxFuture<'static, Result<()>> {
        Box::pin(Self::stop(*self))
    }
}

impl Drop for RunningUpkeep {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn run(upkeep: Arc<QueueUpkeep>, mut stopped: watch::Receiver<bool>) {
    let mut failures = 0_u32;
    while !*stopped.borrow() {
        // before the round, so that no hint in between is missed
        let hints = upkeep.hints.as_ref().map(|hints| hints.subscribe(WAKE));
        let round = timeout(LONGEST_ROUND, upkeep.round()).await;
        let rest = match round {
            Ok(round) if round.failed == 0 => {
                failures = 0;
                round.rest.min(upkeep.options.lease)
            }
            failed => {
                if failed.is_err() {
                    tracing::warn!(limit = ?LONGEST_ROUND, "a round of upkeep was given up");
                }
                failures = u32::min(failures + 1, 10);
                upkeep.options.pause.saturating_mul(1 << failures).min(MOST_PATIENCE)
            }
        };
        let rested = async {
            match hints {
                Some(mut hints) => drop(hints.wait(rest).await),
                None => sleep(rest).await,
            }
        };
        tokio::select! {
            () = rested => {}
            _ = stopped.wait_for(|stop| *stop) => {}
        }
    }
    match timeout(LAST_WORDS, upkeep.resign()).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => tracing::warn!(error = %error.chain(), "the lease on the upkeep will run out"),
        Err(_) => tracing::warn!("giving back the lease on the upkeep takes too long; it will run out"),
    }
}
