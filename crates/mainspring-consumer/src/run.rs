//! The life of one processor: lease, work, lease given back; again when it was lost and the policy is to wait.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use mainspring_core::{BoxFuture, Error, Result};
use mainspring_pg::{Db, is_transient};
use tokio::time::{Instant, sleep, timeout};
use tokio_util::sync::CancellationToken;

use crate::{
    commits::Commits,
    consumer::StopWhen,
    feed::Feed,
    lease::{Acquired, Key, Lease, checked, fenced},
    processor::{Hook, LeasePolicy, Processor, StartFrom},
    progress::{Activity, Teller},
    work::Moved,
};

/// How often a position that moved on without any event to handle is written down.
const SAVE_EVERY: Duration = Duration::from_secs(1);

/// What all processors of a consumer share.
pub(crate) struct Shared {
    pub(crate) db: Db<'static>,
    pub(crate) feed: Feed,
    pub(crate) commits: Arc<dyn Commits>,
    pub(crate) stop: CancellationToken,
    pub(crate) stop_when: StopWhen,
    pub(crate) batch: usize,
    pub(crate) lease: Duration,
    pub(crate) holder: String,
    pub(crate) shard: (u32, u32),
}

/// One running processor.
pub(crate) struct Runner {
    pub(crate) shared: Arc<Shared>,
    pub(crate) processor: Processor,
    pub(crate) key: Key,
    pub(crate) teller: Teller,
    /// A transaction on the lease's row is open, which keeps the lease; renewing it would wait for that.
    pub(crate) in_transaction: AtomicBool,
}

/// A lease, and how far the processor is under it.
pub(crate) struct Term {
    /// `None` for an ephemeral processor.
    pub(crate) lease: Option<Lease>,
    /// Everything up to here is handled.
    pub(crate) position: i64,
    /// Everything up to here is written down.
    pub(crate) saved: i64,
    saved_at: Instant,
    /// There are parked events to be tried again.
    pub(crate) redrive: bool,
}

impl Runner {
    pub(crate) async fn run(self) -> Result<()> {
        let result = self.terms().await;
        self.teller.activity(if result.is_ok() { Activity::Stopped } else { Activity::Failed });
        if let Err(error) = &result {
            tracing::error!(processor = self.key.name, error = %error.chain(), "processor stopped");
        }
        result
    }

    async fn terms(&self) -> Result<()> {
        let mut start = self.processor.start;
        loop {
            let Some(mut term) = self.acquire(start).await? else { return Ok(()) };
            // A jump is made once: after a takeover it goes on where the other one was.
            start = StartFrom::Current;
            self.teller.position(term.position);
            let lease = term.lease;
            let result = match run_hook(self.processor.hooks.start.as_ref()).await {
                Ok(()) => {
                    self.teller.activity(Activity::Running);
                    tokio::select! {
                        result = self.work(&mut term) => result,
                        lost = self.keep(lease) => Err(lost),
                    }
                }
                Err(error) => Err(error),
            };
            let lost = result.as_ref().is_err_and(Error::is_fenced);
            if let Some(lease) = lease.filter(|_| !lost)
                && let Err(error) = lease.release(&self.shared.db).await
            {
                tracing::warn!(processor = self.key.name, error = %error.chain(), "lease not given back; it will run out");
            }
            if let Err(error) = run_hook(self.processor.hooks.close.as_ref()).await {
                tracing::warn!(processor = self.key.name, error = %error.chain(), "the hook at the close failed");
            }
            if lost && self.processor.policy == LeasePolicy::Wait {
                self.teller.activity(Activity::StandingBy);
                continue;
            }
            return match result {
                // It was told to stop while the database is away: what is written is where it goes on.
                Err(error) if is_passing(&error) && self.shared.stop.is_cancelled() => Ok(()),
                result => result,
            };
        }
    }

    /// `None` when it is to stop before it has got the lease.
    async fn acquire(&self, start: StartFrom) -> Result<Option<Term>> {
        let shared = &*self.shared;
        let mut tries = 0;
        loop {
            let (first, jump) = match start {
                StartFrom::Current => (0, None),
                StartFrom::Beginning => (0, Some(0)),
                StartFrom::End => (shared.feed.settled().await?, None),
                StartFrom::After(position) => (position, Some(position)),
            };
            if self.processor.ephemeral {
                return Ok(Some(Term::new(None, first)));
            }
            let taken =
                Lease::acquire(&shared.db, &self.key, &shared.holder, shared.lease, first, jump).await;
            let pause = match (taken, self.processor.policy) {
                (Ok(Some(Acquired { lease, position })), _) => {
                    return Ok(Some(Term::new(Some(lease), position)));
                }
                (Ok(None), LeasePolicy::Wait) => {
                    self.teller.activity(Activity::StandingBy);
                    (shared.lease / 4).min(Duration::from_secs(1))
                }
                (Ok(None), LeasePolicy::Retry { attempts, pause }) if tries + 1 < attempts => pause,
                (Ok(None), _) => {
                    let name = &self.key.name;
                    return Err(Error::conflict(format!("processor `{name}` runs in another instance")));
                }
                (Err(error), LeasePolicy::Wait) if error.is_retryable() => {
                    tracing::warn!(error = %error.chain(), "cannot ask for the lease");
                    shared.lease / 4
                }
                (Err(error), _) => return Err(error),
            };
            tries += 1;
            if self.pause(pause).await {
                return Ok(None);
            }
        }
    }

    /// Renews the lease until it is lost.
    async fn keep(&self, lease: Option<Lease>) -> Error {
        let Some(lease) = lease else { return std::future::pending().await };
        let lasts = self.shared.lease;
        loop {
            sleep(lasts / 3).await;
            if self.in_transaction.load(Ordering::Relaxed) {
                continue;
            }
            match timeout(lasts / 3, self.shared.db.run(lease.renew(lasts))).await {
                Ok(Ok(rows)) if rows.is_empty() => return fenced(),
                Ok(Ok(_)) => {}
                Ok(Err(error)) => tracing::warn!(error = %error.chain(), "lease not renewed"),
                Err(_) => tracing::warn!("renewing the lease takes too long"),
            }
        }
    }

    async fn work(&self, term: &mut Term) -> Result<()> {
        let shared = &*self.shared;
        let goal = match shared.stop_when {
            StopWhen::CaughtUp => Some(self.patiently(|| Box::pin(shared.feed.last())).await?),
            StopWhen::Never | StopWhen::NothingLeft => None,
        };
        let mut trouble = crate::work::Trouble::default();
        loop {
            if shared.stop.is_cancelled() || goal.is_some_and(|goal| term.position >= goal) {
                return self.save(term).await;
            }
            if term.redrive {
                term.redrive = self.redrive(term).await?;
            }
            let at = term.position;
            let Some(stretch) = self.patiently(|| Box::pin(shared.feed.next(at))).await? else {
                if shared.stop_when == StopWhen::NothingLeft {
                    return self.save(term).await;
                }
                self.idle(term).await?;
                continue;
            };
            if let Moved::Over = self.take(term, &stretch, &mut trouble).await? {
                return self.save(term).await;
            }
            self.save_now_and_then(term).await?;
        }
    }

    /// Nothing to do until something new is settled, a second is over and there is a position to write down, it is time to
    /// look for parked events again, or the consumer stops.
    async fn idle(&self, term: &mut Term) -> Result<()> {
        self.save_now_and_then(term).await?;
        let longest = if term.saved < term.position { SAVE_EVERY } else { self.shared.lease / 3 };
        tokio::select! {
            waited = timeout(longest, self.shared.feed.wait(term.position)) => {
                if let (Err(_), Some(lease)) = (waited, term.lease.filter(|_| term.saved == term.position)) {
                    let lasts = self.shared.lease;
                    let rows = self.patiently(|| Box::pin(self.shared.db.run(lease.renew(lasts)))).await?;
                    term.redrive = checked(&rows)?;
                }
            }
            () = self.shared.stop.cancelled() => {}
        }
        Ok(())
    }

    async fn save_now_and_then(&self, term: &mut Term) -> Result<()> {
        if term.saved < term.position && term.saved_at.elapsed() >= SAVE_EVERY {
            return self.save(term).await;
        }
        Ok(())
    }

    /// Writes the position down, when it moved on since.
    async fn save(&self, term: &mut Term) -> Result<()> {
        let Some(lease) = term.lease.filter(|_| term.saved < term.position) else { return Ok(()) };
        let (from, to, lasts) = (term.saved, term.position, self.shared.lease);
        let mut unknown = false;
        loop {
            match self.shared.db.run(lease.advance(from, to, lasts)).await {
                Ok(rows) if rows.is_empty() && unknown => {
                    let at = lease.position(&self.shared.db).await?;
                    return if at == Some(to) { self.saved(term, term.redrive) } else { Err(fenced()) };
                }
                Ok(rows) => return self.saved(term, checked(&rows)?),
                Err(error) if error.is_commit_unknown() => unknown = true,
                Err(error) if is_passing(&error) => {}
                Err(error) => return Err(error),
            }
            if self.pause(Duration::from_millis(200)).await {
                return Ok(()); // the next one begins at the position that is written
            }
        }
    }

    fn saved(&self, term: &mut Term, redrive: bool) -> Result<()> {
        term.wrote(term.position);
        term.redrive = redrive;
        Ok(())
    }

    /// Runs what only reads or may be repeated until the database is there.
    pub(crate) async fn patiently<'a, T>(&self, call: impl Fn() -> BoxFuture<'a, Result<T>>) -> Result<T> {
        let mut failures = 0;
        loop {
            match call().await {
                Err(error) if is_passing(&error) && !self.shared.stop.is_cancelled() => {
                    failures += 1;
                    tracing::warn!(processor = self.key.name, failures, error = %error.chain(), "the database is away");
                    self.pause(away(failures)).await;
                }
                result => return result,
            }
        }
    }

    /// Whether the consumer stops.
    pub(crate) async fn pause(&self, pause: Duration) -> bool {
        tokio::select! {
            () = sleep(pause) => false,
            () = self.shared.stop.cancelled() => true,
        }
    }
}

impl Term {
    fn new(lease: Option<Lease>, position: i64) -> Self {
        Self { lease, position, saved: position, saved_at: Instant::now(), redrive: lease.is_some() }
    }

    pub(crate) fn wrote(&mut self, position: i64) {
        (self.position, self.saved, self.saved_at) = (position, position, Instant::now());
    }
}

/// The same call may work later, and nobody's event is to blame.
pub(crate) fn is_passing(error: &Error) -> bool {
    error.is_retryable() || error.is_commit_unknown() || is_transient(error)
}

/// How long to wait for a database that was away so often.
pub(crate) fn away(failures: u32) -> Duration {
    Duration::from_millis(50).saturating_mul(2_u32.saturating_pow(failures)).min(Duration::from_secs(5))
}

pub(crate) async fn run_hook(hook: Option<&Hook>) -> Result<()> {
    match hook {
        Some(hook) => hook().await,
        None => Ok(()),
    }
}
