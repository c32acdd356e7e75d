//! What is done with a stretch of the log: batches, their effects and checkpoints in one transaction, and what becomes of
//! events that fail.
//!
//! ```text
//! batch ─► effect + checkpoint, one transaction ─► on
//!            │ failed                    event fails alone: again after a pause … attempts used up ─► parked, or stop
//!            └─► the same, event by event ──┘
//! ```

use std::{
    borrow::Cow, collections::HashSet, error::Error as StdError, panic::AssertUnwindSafe,
    sync::atomic::Ordering, time::Duration,
};

use futures_util::FutureExt;
use mainspring_core::{Changes, Error, RecordedEvent, Result, limits::clip_error};
use mainspring_pg::{Db, Query};
use tokio::time::Instant;
use tracing::Instrument;

use crate::{
    feed::Stretch,
    handler::{BoxError, Next, Projector, Reactor},
    lease::{checked, fenced},
    parked::park_query,
    processor::{Then, Work},
    run::{Runner, Term, away, is_passing},
    shard, spans,
};

/// A reactor's batch is committed after this time even when it is not full.
const FLUSH: Duration = Duration::from_millis(500);
/// Fails in a transaction that a failed statement aborted.
const GUARD: &str = "SELECT 1";

/// Whether a processor goes on.
pub(crate) enum Moved {
    On,
    Over,
}

/// What went wrong lately.
#[derive(Default)]
pub(crate) struct Trouble {
    /// How often the event at hand failed.
    failures: u32,
    /// Up to here events are handled one by one, since one of them makes its batch fail.
    alone_until: i64,
    /// How often the database was away in a row.
    away: u32,
}

/// Why a batch was not done.
pub(crate) enum Problem {
    /// Not the events' fault: the lease, the database, a defect.
    Ours(Error),
    /// The handler failed at this event of the batch, or at some event of it.
    Theirs { at: usize, error: String },
}

/// What a batch came to.
struct Done {
    /// So many events are handled and committed.
    events: usize,
    /// The processor wanted to stop behind them.
    over: bool,
    /// And this happened behind them.
    problem: Option<Problem>,
}

/// What is to happen in the transaction of a checkpoint.
pub(crate) enum Effect<'a> {
    Apply(&'a dyn Projector, &'a [RecordedEvent]),
    Write(&'a [Changes]),
}

impl Runner {
    /// Handles what of `stretch` lies beyond the position.
    pub(crate) async fn take(
        &self,
        term: &mut Term,
        stretch: &Stretch,
        trouble: &mut Trouble,
    ) -> Result<Moved> {
        let begin = stretch.events.partition_point(|event| event.global_position <= term.position);
        let ahead = stretch.events.get(begin..).unwrap_or_default();
        let wanted = self.wanted(ahead);
        let mut rest: &[RecordedEvent] = &wanted;
        while !rest.is_empty() {
            if self.shared.stop.is_cancelled() {
                return Ok(Moved::On);
            }
            let mut size =
                if term.position < trouble.alone_until { 1 } else { self.shared.batch.min(rest.len()) };
            let last = self.processor.until.as_ref();
            let last = last.and_then(|is_last| rest.iter().take(size).position(|event| is_last(event)));
            if let Some(last) = last {
                size = last + 1;
            }
            let (batch, later) = rest.split_at(size);
            // Behind the last event of a stretch there is nothing for this processor, unless it stops there.
            let to =
                if later.is_empty() && last.is_none() { stretch.to } else { end_of(batch, term.position) };
            let span = spans::process(&self.key.name, batch, term.position);
            let done = self.handle(term, batch, to).instrument(span.clone()).await;
            span.record("checkpoint", term.saved);
            if done.events > 0 {
                (trouble.failures, trouble.away) = (0, 0);
                rest = rest.get(done.events..).unwrap_or_default();
            }
            if done.over || (last.is_some() && done.events == size) {
                return Ok(Moved::Over);
            }
            match done.problem {
                None => {}
                Some(Problem::Ours(error)) if is_passing(&error) => {
                    trouble.away += 1;
                    tracing::warn!(processor = self.key.name, error = %error.chain(), "batch comes again");
                    self.pause(away(trouble.away)).await;
                }
                Some(Problem::Ours(error)) => return Err(error),
                Some(Problem::Theirs { .. }) if done.events == 0 && size > 1 && self.is_projector() => {
                    trouble.alone_until = end_of(batch, term.position);
                }
                Some(Problem::Theirs { at, error }) => {
                    let Some(event) = batch.get(at) else { return Err(Error::internal(error)) };
                    if self.failed(term, event, error, trouble).await? {
                        rest = rest.get(1..).unwrap_or_default();
                    }
                }
            }
        }
        if term.position < stretch.to {
            term.position = stretch.to;
            self.teller.position(term.position);
        }
        Ok(Moved::On)
    }

    fn wanted<'s>(&self, events: &'s [RecordedEvent]) -> Cow<'s, [RecordedEvent]> {
        let wants =
            |event: &RecordedEvent| self.processor.wants(event) && shard::is_in(self.shared.shard, event);
        if events.iter().all(wants) {
            return Cow::Borrowed(events);
        }
        Cow::Owned(events.iter().filter(|event| wants(event)).cloned().collect())
    }

    fn is_projector(&self) -> bool {
        matches!(self.processor.work, Work::Project(_))
    }

    async fn handle(&self, term: &mut Term, batch: &[RecordedEvent], to: i64) -> Done {
        match &self.processor.work {
            Work::Project(projector) => {
                match self.advance(term, to, Effect::Apply(&**projector, batch)).await {
                    Ok(()) => Done { events: batch.len(), over: false, problem: None },
                    Err(problem) => Done { events: 0, over: false, problem: Some(problem) },
                }
            }
            Work::React(reactor) => self.react(term, &**reactor, batch, to).await,
        }
    }

    async fn react(&self, term: &mut Term, reactor: &dyn Reactor, batch: &[RecordedEvent], to: i64) -> Done {
        let begin = Instant::now();
        let mut changes = Vec::new();
        let (mut over, mut problem) = (false, None);
        let mut keys = HashSet::new();
        for (at, event) in batch.iter().enumerate() {
            if !changes.is_empty() && (begin.elapsed() > FLUSH || self.shared.stop.is_cancelled()) {
                break;
            }
            if reactor.order_key(event).is_some_and(|key| !keys.insert(key)) {
                break;
            }
            let reacted = spans::reacting(event, called(reactor.react(event)));
            let reacted = reacted.instrument(spans::react(&self.key.name, event));
            match reacted.await {
                Ok(Next::Go(wanted)) => changes.push(*wanted),
                Ok(Next::Skip(reason)) => {
                    tracing::debug!(
                        processor = self.key.name,
                        position = event.global_position,
                        reason,
                        "skipped"
                    );
                    changes.push(Changes::default());
                }
                Ok(Next::Stop(reason)) => {
                    tracing::info!(
                        processor = self.key.name,
                        position = event.global_position,
                        reason,
                        "stops"
                    );
                    changes.push(Changes::default());
                    over = true;
                    break;
                }
                Ok(Next::Fail(reason)) => {
                    problem = Some(Problem::Ours(stopped_at(&self.key.name, event, &reason)));
                    break;
                }
                Err(failure) => {
                    problem = Some(failure.at(at));
                    break;
                }
            }
        }
        // One of them may be refused: then what lies before it is committed.
        while !changes.is_empty() {
            let all = changes.len() == batch.len();
            let to = if all && !over {
                to
            } else {
                end_of(batch.get(..changes.len()).unwrap_or_default(), term.position)
            };
            match self.advance(term, to, Effect::Write(&changes)).await {
                Ok(()) => break,
                Err(refused) => {
                    let before = if let Problem::Theirs { at, .. } = refused { at } else { 0 };
                    changes.truncate(before);
                    (over, problem) = (false, Some(refused));
                }
            }
        }
        Done { events: changes.len(), over, problem }
    }

    /// The event failed alone; whether it is dealt with, so that the next one's turn comes.
    async fn failed(
        &self,
        term: &mut Term,
        event: &RecordedEvent,
        error: String,
        trouble: &mut Trouble,
    ) -> Result<bool> {
        trouble.failures += 1;
        let on_error = &self.processor.on_error;
        let (processor, position, attempt) = (&self.key.name, event.global_position, trouble.failures);
        if attempt < on_error.attempts {
            tracing::warn!(processor, position, attempt, error, "event failed; comes again");
            self.pause(on_error.pause(attempt)).await;
            return Ok(false);
        }
        if on_error.then == Then::Stop {
            return Err(stopped_at(processor, event, &error));
        }
        tracing::error!(processor, position, attempt, error, "event failed for good; parked");
        if let Some(lease) = term.lease {
            let (from, error) = (term.saved, clip_error(&error));
            let db = &self.shared.db;
            let park = || park_query(lease, from, event, attempt, &error);
            let rows = self.patiently(|| Box::pin(db.run(park()))).await?;
            // Whether an earlier try was committed after all can be seen from the position.
            if rows.is_empty() && lease.position(&self.shared.db).await? != Some(position) {
                return Err(fenced());
            }
            term.wrote(position);
        }
        term.position = position;
        self.teller.position(position);
        trouble.failures = 0;
        Ok(true)
    }

    /// Moves the position on together with `effect`.
    async fn advance(&self, term: &mut Term, to: i64, effect: Effect<'_>) -> Result<(), Problem> {
        let lasts = self.shared.lease;
        let checkpoint = term.lease.map(|lease| lease.advance(term.saved, to, lasts));
        match self.transact(checkpoint.into_iter().collect(), &effect).await {
            Ok(redrive) => term.redrive = redrive,
            Err(Problem::Ours(error)) if error.is_commit_unknown() => {
                let Some(lease) = term.lease else { return Err(Problem::Ours(error)) };
                let read = self.patiently(|| Box::pin(lease.position(&self.shared.db))).await;
                match read.map_err(Problem::Ours)? {
                    Some(position) if position == to => {}
                    Some(_) => return Err(Problem::Ours(error)),
                    None => return Err(Problem::Ours(fenced())),
                }
            }
            Err(problem) => return Err(problem),
        }
        term.wrote(to);
        self.teller.position(to);
        if let Effect::Write(changes) = effect {
            self.shared.commits.committed(&changes.iter().collect::<Vec<_>>());
        }
        Ok(())
    }

    /// Runs `first`, of which the first statement is the fence, and then `effect`, in one transaction; whether parked events
    /// wait to be tried again.
    pub(crate) async fn transact(&self, first: Vec<Query>, effect: &Effect<'_>) -> Result<bool, Problem> {
        let _open = Open::new(&self.in_transaction);
        let db = &self.shared.db;
        let is_fenced = !first.is_empty();
        if is_fenced
            && matches!(effect, Effect::Write(changes) if changes.iter().all(Changes::is_empty))
            && first.len() == 1
        {
            let mut first = first;
            let rows = db.run(first.remove(0)).await.map_err(Problem::Ours)?;
            return checked(&rows).map_err(Problem::Ours);
        }
        let (flight, rows) = db.begin_plain(first).await.map_err(Problem::Ours)?;
        let redrive = match rows.first().map(|rows| checked(rows)).transpose() {
            Ok(redrive) => redrive.unwrap_or(false),
            Err(error) => {
                flight.rollback().await.map_err(Problem::Ours)?;
                return Err(Problem::Ours(error));
            }
        };
        let done = match flight.db() {
            Ok(tx) => self.effect(&tx, effect).await,
            Err(error) => Err(Problem::Ours(error)),
        };
        if let Err(problem) = done {
            flight.rollback().await.map_err(Problem::Ours)?;
            return Err(problem);
        }
        match flight.commit(vec![Query::new(GUARD)]).await {
            Ok(_) => Ok(redrive),
            Err(error) if is_passing(&error) => Err(Problem::Ours(error)),
            // A constraint that is checked at the commit, or a failed statement nobody minded.
            Err(error) => Err(Problem::Theirs { at: 0, error: error.chain() }),
        }
    }

    async fn effect(&self, tx: &Db<'_>, effect: &Effect<'_>) -> Result<(), Problem> {
        match effect {
            Effect::Apply(projector, events) => {
                called(projector.apply(tx, events)).await.map_err(|f| f.at(0))
            }
            Effect::Write(changes) => {
                for (at, changes) in changes.iter().enumerate().filter(|(_, changes)| !changes.is_empty()) {
                    let write = async { Ok(self.shared.commits.write(tx, changes).await?) };
                    called(write).await.map_err(|failure| failure.at(at))?;
                }
                Ok(())
            }
        }
    }
}

/// A handler failed, or the database under it.
pub(crate) enum Failure {
    Passing(Error),
    Failed(String),
}

impl Failure {
    pub(crate) fn at(self, at: usize) -> Problem {
        match self {
            Self::Passing(error) => Problem::Ours(error),
            Self::Failed(error) => Problem::Theirs { at, error },
        }
    }
}

/// Runs code of the user: a panic is a failure, and a failure of the database is not the event's.
pub(crate) async fn called<T>(code: impl Future<Output = Result<T, BoxError>>) -> Result<T, Failure> {
    match AssertUnwindSafe(code).catch_unwind().await {
        Ok(Ok(value)) => Ok(value),
        Ok(Err(error)) => match error.downcast::<Error>() {
            Ok(error) if is_passing(&error) => Err(Failure::Passing(*error)),
            Ok(error) => Err(Failure::Failed(error.chain())),
            Err(error) => Err(Failure::Failed(chain(&*error))),
        },
        Err(panic) => {
            let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
            let text = text.or_else(|| panic.downcast_ref::<String>().cloned()).unwrap_or_default();
            Err(Failure::Failed(format!("panicked: {text}")))
        }
    }
}

fn chain(error: &(dyn StdError + 'static)) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    text
}

fn end_of(batch: &[RecordedEvent], position: i64) -> i64 {
    batch.last().map_or(position, |event| event.global_position)
}

fn stopped_at(processor: &str, event: &RecordedEvent, reason: &str) -> Error {
    let RecordedEvent { stream, position, global_position, .. } = event;
    Error::internal(format!(
        "processor `{processor}` stopped before event {position} of stream `{stream}` (global {global_position}): {reason}"
    ))
}

/// While this lives, a transaction on the processor's row is open.
struct Open<'a>(&'a std::sync::atomic::AtomicBool);

impl<'a> Open<'a> {
    fn new(flag: &'a std::sync::atomic::AtomicBool) -> Self {
        flag.store(true, Ordering::Relaxed);
        Self(flag)
    }
}

impl Drop for Open<'_> {
    fn drop(&mut self) {
        self.0.store(false, Ordering::Relaxed);
    }
}
