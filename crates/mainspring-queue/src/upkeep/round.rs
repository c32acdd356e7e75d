//! One round: the lease first, then each part by itself, so that one that fails takes no other with it.

use std::{
    sync::Mutex,
    time::{Duration, SystemTime},
};

use mainspring_core::{Error, QueueDriver, Result, Timestamp, Upkeep, WorkerId};
use mainspring_pg::{Db, Hints, row::get};
use mainspring_retention::Retention;
use tokio::time::Instant;

use super::{
    options::{Part, UpkeepEvent, UpkeepOptions},
    skew::{ClockSkew, Skew},
    term::{Done, Renewed, Term},
};
use crate::{
    PgQueue,
    schedule::{PgSchedules, Ticked},
    stats::{self, Finding},
};

/// Counting takes at most this part of the time.
const COUNTING_SHARE: u32 = 20;
/// Batches of one kind in one round; what is left is for the next.
const BATCHES: u32 = 20;
const LEAST_SLEEP: Duration = Duration::from_millis(10);

/// The upkeep of all queues of one database: see the [module](super).
pub struct QueueUpkeep {
    db: Db<'static>,
    pub(super) hints: Option<Hints>,
    retention: Retention,
    pub(super) options: UpkeepOptions,
    holder: WorkerId,
    memory: Mutex<Memory>,
}

/// What is remembered from round to round; all of it may be forgotten.
#[derive(Default)]
struct Memory {
    term: Option<Term>,
    skew: Skew,
    cost_of_counting: Duration,
    counting_failed: Option<Instant>,
}

/// What one round did.
#[derive(Debug, Clone, Default)]
#[non_exhaustive]
pub struct Round {
    /// The term in which this process did it; `None` when another process does the upkeep.
    pub term: Option<i64>,
    /// What became of schedules.
    pub ticked: Ticked,
    /// What became of messages.
    pub messages: Upkeep,
    /// Old rows that were forgotten.
    pub forgotten: u64,
    /// Whether messages were counted.
    pub counted: bool,
    /// Parts that failed; see [`UpkeepEvent::Failed`].
    pub failed: u32,
    /// How long nothing will be due, as far as is known.
    pub rest: Duration,
}

impl QueueUpkeep {
    /// Upkeep that is not done yet: see [`start`](Self::start).
    ///
    /// # Errors
    /// Invalid, naming the option and its limit.
    pub fn new(db: &Db<'static>, options: UpkeepOptions) -> Result<Self> {
        options.check()?;
        let (holder, memory) = (WorkerId::generate(), Mutex::default());
        let retention = Retention::new(db, options.retention.clone())?;
        Ok(Self { db: db.clone(), hints: None, retention, options, holder, memory })
    }

    /// With hints: it notices a changed schedule at once, and workers what it makes ready.
    #[must_use]
    pub fn with_hints(mut self, hints: Hints) -> Self {
        self.hints = Some(hints);
        self
    }

    /// How far this process' clock was off when it was last compared, which every round that reaches the database does. `None`
    /// before the first. Nothing depends on it.
    pub fn skew(&self) -> Option<ClockSkew> {
        self.remembered(|memory| memory.skew.latest())
    }

    /// One round, for programs that have a loop of their own, and for tests.
    pub async fn round(&self) -> Round {
        let mut round = Round { rest: self.options.pause, ..Round::default() };
        let begin = Instant::now();
        match Term::renew(&self.db, &self.holder, self.options.lease).await {
            Ok(Some(renewed)) => {
                self.compare_clocks(renewed.now, begin.elapsed(), &mut round).await;
                round.term = Some(renewed.term.number);
                self.in_term(Some(&renewed.term));
                self.do_all(&renewed, &mut round).await;
            }
            Ok(None) => {
                self.in_term(None);
                self.follow(&mut round).await;
            }
            Err(error) => self.failed(&mut round, Part::Election, error),
        }
        round
    }

    /// Another process does it: wait until its lease would be over.
    async fn follow(&self, round: &mut Round) {
        let begin = Instant::now();
        match Term::free_at(&self.db).await {
            Ok((free, now)) => {
                self.compare_clocks(now, begin.elapsed(), round).await;
                round.rest = free.since(now).max(LEAST_SLEEP);
            }
            Err(error) => self.failed(round, Part::Election, error),
        }
    }

    async fn do_all(&self, renewed: &Renewed, round: &mut Round) {
        let term = &renewed.term;
        let schedules = PgSchedules { db: self.db.clone(), hints: self.hints.clone() };
        let ticked = self.part(Part::Schedules, term, round, schedules.tick_in(Some(term))).await;
        round.ticked = ticked.unwrap_or_default();
        let messages = self.part(Part::Messages, term, round, self.messages(term)).await;
        round.messages = messages.unwrap_or_default();
        if is_due(renewed.retained_at, self.options.retain_every, renewed.now) {
            let forgotten = self.part(Part::Retention, term, round, self.retain(term)).await;
            round.forgotten = forgotten.unwrap_or_default();
        }
        if is_due(renewed.counted_at, self.count_every(), renewed.now) && self.may_count() {
            round.counted = self.part(Part::Stats, term, round, self.count(term)).await.is_some();
        }
        match self.rest().await {
            Ok(rest) => round.rest = rest.clamp(LEAST_SLEEP, self.options.pause),
            Err(error) => self.failed(round, Part::Election, error),
        }
    }

    /// Does one part and warns when it is slow. `None` when it failed, which is told.
    async fn part<T>(
        &self,
        part: Part,
        term: &Term,
        round: &mut Round,
        work: impl Future<Output = Result<T>>,
    ) -> Option<T> {
        let begin = Instant::now();
        let done = work.await;
        let (took, most) = (begin.elapsed(), self.options.thresholds.slow);
        if took > most
            && let Err(error) = self.warn(Some(term), Finding::slow(part.as_str(), took, most)).await
        {
            self.failed_in(round, part, error, term);
        }
        match done {
            Ok(done) => Some(done),
            Err(error) => {
                self.failed_in(round, part, error, term);
                None
            }
        }
    }

    /// Safe from any process, so it needs no fence; asking first only spares the work.
    async fn messages(&self, term: &Term) -> Result<Upkeep> {
        term.check(&self.db).await?;
        let mut queue = PgQueue::new(&self.db);
        if let Some(hints) = &self.hints {
            queue = queue.with_hints(hints.clone());
        }
        queue.maintain().await
    }

    async fn retain(&self, term: &Term) -> Result<u64> {
        let mut forgotten = self.retention.round(term, BATCHES).await?;
        for _ in 0..BATCHES {
            let gone = self.sweep(term).await?;
            forgotten += gone;
            if gone == 0 {
                break;
            }
        }
        self.note(term, Done::Retained).await?;
        Ok(forgotten)
    }

    /// Messages that nobody claimed for as long as their queue says, and keys without one.
    async fn sweep(&self, term: &Term) -> Result<u64> {
        let gone = self.db.with_tx(async |tx| {
            term.check(tx).await?;
            PgQueue::new(tx).sweep_unclaimed().await
        });
        gone.await
    }

    /// With a lease that is whole again: nothing else takes as long.
    async fn count(&self, term: &Term) -> Result<()> {
        Term::renew(&self.db, &self.holder, self.options.lease).await?;
        let begin = Instant::now();
        let thresholds = &self.options.thresholds;
        let counted = self.db.with_tx(async |tx| {
            term.check(tx).await?;
            let warnings = stats::count(tx, thresholds).await?;
            term.note(tx, Done::Counted).await?;
            Ok(warnings)
        });
        let counted = counted.await;
        self.remembered(|memory| {
            memory.cost_of_counting = begin.elapsed();
            memory.counting_failed = counted.is_err().then(Instant::now);
        });
        counted?.into_iter().for_each(|warning| self.tell(UpkeepEvent::Warning(warning)));
        Ok(())
    }

    fn count_every(&self) -> Duration {
        let cost = self.remembered(|memory| memory.cost_of_counting);
        self.options.count_every.max(cost * COUNTING_SHARE)
    }

    /// A count that failed may have taken as long as a statement may; it is not tried again at once.
    fn may_count(&self) -> bool {
        let failed = self.remembered(|memory| memory.counting_failed);
        failed.is_none_or(|failed| failed.elapsed() >= self.count_every())
    }

    async fn note(&self, term: &Term, what: Done) -> Result<()> {
        let noted = self.db.with_tx(async |tx| {
            term.check(tx).await?;
            term.note(tx, what).await
        });
        noted.await
    }

    async fn warn(&self, term: Option<&Term>, finding: Finding) -> Result<()> {
        let findings = [finding];
        let repeat = self.options.thresholds.repeat;
        let stored = self.db.with_tx(async |tx| {
            if let Some(term) = term {
                term.check(tx).await?;
            }
            stats::record(tx, &findings, repeat).await
        });
        stored.await?.into_iter().for_each(|warning| self.tell(UpkeepEvent::Warning(warning)));
        Ok(())
    }

    /// Every process compares its own clock, whoever does the upkeep. When the database does not answer, the last result stays.
    async fn compare_clocks(&self, now: Timestamp, round_trip: Duration, round: &mut Round) {
        let most = self.options.thresholds.clock_skew;
        let off = self.remembered(|memory| memory.skew.learn(now, round_trip));
        if let Some(off) = off.filter(|off| *off > most)
            && let Err(error) = self.warn(None, Finding::skew(&self.holder, off, most)).await
        {
            self.failed(round, Part::Stats, error);
        }
    }

    /// Until a schedule, a deferred message, a lease or a try that takes too long is due.
    async fn rest(&self) -> Result<Duration> {
        let row = self.db.one(NEXT, &[]).await?;
        let now: Timestamp = get::<SystemTime>(&row, 1)?.into();
        let next = get::<Option<SystemTime>>(&row, 0)?.map(Timestamp::from);
        Ok(next.map_or(Duration::MAX, |next| next.since(now)))
    }

    /// Gives the lease back, so that another process takes over at once.
    pub(super) async fn resign(&self) -> Result<()> {
        match self.remembered(|memory| memory.term.take()) {
            Some(term) => {
                let released = term.release(&self.db).await;
                self.tell(UpkeepEvent::Deposed(term.number));
                released
            }
            None => Ok(()),
        }
    }

    fn in_term(&self, term: Option<&Term>) {
        let before = self.remembered(|memory| std::mem::replace(&mut memory.term, term.cloned()));
        if before.as_ref() == term {
            return;
        }
        if let Some(before) = before {
            self.tell(UpkeepEvent::Deposed(before.number));
        }
        if let Some(term) = term {
            self.tell(UpkeepEvent::Elected(term.number));
        }
    }

    /// Who finds its term over is told by the next round; until then it is no failure.
    fn failed_in(&self, round: &mut Round, part: Part, error: Error, term: &Term) {
        if error.is_fenced() {
            tracing::info!(term = term.number, "another process does the upkeep now");
            round.rest = LEAST_SLEEP;
        } else {
            self.failed(round, part, error);
        }
    }

    fn failed(&self, round: &mut Round, part: Part, error: Error) {
        tracing::warn!(?part, error = %error.chain(), "a part of upkeep failed");
        round.failed += 1;
        self.tell(UpkeepEvent::Failed { part, error });
    }

    fn tell(&self, event: UpkeepEvent) {
        match &event {
            UpkeepEvent::Elected(term) => tracing::info!(term, holder = %self.holder, "does the upkeep"),
            UpkeepEvent::Deposed(term) => {
                tracing::info!(term, holder = %self.holder, "does the upkeep no longer");
            }
            UpkeepEvent::Warning(warning) => {
                tracing::warn!(kind = warning.kind.as_str(), subject = warning.subject, "{warning}");
            }
            UpkeepEvent::Failed { .. } => {}
        }
        if let Some(on_event) = &self.options.on_event {
            on_event(&event);
        }
    }

    fn remembered<T>(&self, work: impl FnOnce(&mut Memory) -> T) -> T {
        work(&mut self.memory.lock().unwrap_or_else(std::sync::PoisonError::into_inner))
    }
}

impl PgQueue<'static> {
    /// The upkeep of this and all other queues, with the hints of this one; not done yet.
    ///
    /// # Errors
    /// Invalid, naming the option and its limit.
    pub fn upkeep(&self, options: UpkeepOptions) -> Result<QueueUpkeep> {
        let upkeep = QueueUpkeep::new(&self.db, options)?;
        Ok(QueueUpkeep { hints: self.hints.clone(), ..upkeep })
    }
}

fn is_due(last: Option<Timestamp>, every: Duration, now: Timestamp) -> bool {
    last.is_none_or(|last| last + every <= now)
}

const NEXT: &str = "SELECT least((SELECT min(due_at) FROM {schedules} WHERE due_at IS NOT NULL),
    (SELECT min(available_at) FROM {deferred}), (SELECT min(expires_at) FROM {workers}),
    (SELECT min(expires_at) FROM {tries})), {now}()";
