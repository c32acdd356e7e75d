//! The verdict after a fault: what the log and the rows say about what happened.
//!
//! ```text
//! accepted ─► is it there? ─► has it ended? ─► is its history 1, 2, 3 … up to the row's position?
//!                                              does each step end once for each time it began?
//!                                              does the last event say what the row says?
//! ```
//!
//! A call whose outcome nobody knows may have happened or not; what is there of it is held to the same rules.

mod steps;
mod violation;

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
};

use mainspring_core::{
    Backend, Execution, ExecutionFilter, ExecutionId, ExecutionStatus, QueueStats, RecordedEvent, Result,
    event::{EXECUTIONS, kind},
};

use steps::Steps;
pub use violation::{StepProblem, Violation};

/// Events and executions read at once.
const PAGE: u32 = 1_000;

/// What is expected of a backend when the dust has settled.
///
/// ```
/// # tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap().block_on(async {
/// use mainspring_core::ExecutionId;
/// use mainspring_testing::{History, MemoryBackend, Violation};
///
/// let backend = MemoryBackend::new();
/// let lost = ExecutionId::new("order-42")?;
/// let report = History::new().accepted([lost.clone()]).check(&backend).await?;
/// assert_eq!(report.violations, [Violation::Lost(lost)]);
/// # Ok::<(), mainspring_core::Error>(()) }).unwrap();
/// ```
#[derive(Debug, Clone, Default)]
pub struct History {
    accepted: BTreeSet<ExecutionId>,
    unknown: BTreeSet<ExecutionId>,
    allowed: Vec<ExecutionStatus>,
    nothing_else: bool,
    drained: Vec<String>,
}

impl History {
    /// Nothing is expected; everything that is there is checked.
    pub fn new() -> Self {
        Self::default()
    }

    /// These were acknowledged: they have to be there and to have ended.
    #[must_use]
    pub fn accepted(mut self, ids: impl IntoIterator<Item = ExecutionId>) -> Self {
        self.accepted.extend(ids);
        self
    }

    /// Nobody knows of these: they may be there, and have to have ended then.
    #[must_use]
    pub fn unknown(mut self, ids: impl IntoIterator<Item = ExecutionId>) -> Self {
        self.unknown.extend(ids);
        self
    }

    /// Executions may be left with one of these statuses, too.
    #[must_use]
    pub fn allowing(mut self, statuses: impl IntoIterator<Item = ExecutionStatus>) -> Self {
        self.allowed.extend(statuses);
        self
    }

    /// There is no other execution, but for children.
    #[must_use]
    pub fn nothing_else(mut self) -> Self {
        self.nothing_else = true;
        self
    }

    /// This queue is empty, dead letters included.
    #[must_use]
    pub fn drained(mut self, queue: impl Into<String>) -> Self {
        self.drained.push(queue.into());
        self
    }

    /// Reads everything and says what it found.
    ///
    /// # Errors
    /// Those of the reads.
    pub async fn check(&self, backend: &dyn Backend) -> Result<Report> {
        let mut report = Report::default();
        let mut missing: BTreeSet<&ExecutionId> = self.accepted.iter().collect();
        let mut filter = ExecutionFilter { limit: PAGE, ..ExecutionFilter::default() };
        loop {
            let page = backend.executions().list(filter.clone()).await?;
            for execution in &page {
                missing.remove(&execution.id);
                self.check_one(execution, &history_of(backend, execution).await?, &mut report);
            }
            let Some(last) = page.last() else { break };
            filter.after = Some((last.created_at, last.id.clone()));
        }
        report.violations.extend(missing.into_iter().cloned().map(Violation::Lost));
        for queue in &self.drained {
            let stats = backend.queue().stats(queue).await?;
            if stats != QueueStats::default() {
                report.violations.push(Violation::NotDrained { queue: queue.clone(), stats });
            }
        }
        Ok(report)
    }

    fn check_one(&self, execution: &Execution, events: &[RecordedEvent], report: &mut Report) {
        let Execution { id, status, .. } = execution;
        report.executions += 1;
        *report.statuses.entry(*status).or_default() += 1;
        report.events += events.len() as u64;
        let known = self.accepted.contains(id) || self.unknown.contains(id) || execution.parent.is_some();
        if self.nothing_else && !known {
            report.violations.push(Violation::Unexpected(id.clone()));
        }
        if self.unknown.contains(id) {
            report.unknown_found += 1;
        }
        if !status.is_terminal() && !self.allowed.contains(status) {
            report.violations.push(Violation::Unfinished(id.clone(), *status));
        }
        check_positions(execution, events, report);
        check_end(execution, events, report);
        Steps::of(id).check(events, report);
    }
}

async fn history_of(backend: &dyn Backend, execution: &Execution) -> Result<Vec<RecordedEvent>> {
    let (stream, mut events) = (execution.stream(), Vec::new());
    loop {
        let from = events.len() as i64 + 1;
        let page = backend.events().read_stream(EXECUTIONS, &execution.tenant, &stream, from, PAGE).await?;
        let last = page.len() < PAGE as usize;
        events.extend(page);
        if last {
            return Ok(events);
        }
    }
}

/// 1, 2, 3 … up to the position of the row, in the order of the log.
fn check_positions(execution: &Execution, events: &[RecordedEvent], report: &mut Report) {
    let id = &execution.id;
    for (expected, event) in (1..).zip(events) {
        if event.position != expected {
            report.violations.push(Violation::Gap { id: id.clone(), expected, found: event.position });
            return;
        }
    }
    if events.windows(2).any(|pair| pair[0].global_position >= pair[1].global_position) {
        report.violations.push(Violation::Disorder(id.clone()));
    }
    let log = events.len() as i64;
    if log != execution.position {
        report.violations.push(Violation::Head { id: id.clone(), row: execution.position, log });
    }
}

/// The end is told once, last, and as the row has it.
fn check_end(execution: &Execution, events: &[RecordedEvent], report: &mut Report) {
    let ends = |kind: &str| match kind {
        kind::EXECUTION_COMPLETED => Some(ExecutionStatus::Completed),
        kind::EXECUTION_FAILED => Some(ExecutionStatus::Failed),
        kind::EXECUTION_CANCELLED => Some(ExecutionStatus::Cancelled),
        _ => None,
    };
    let told: Vec<_> = events.iter().filter_map(|e| Some((e.position, ends(&e.event.event_type)?))).collect();
    let right = match told[..] {
        [] => !execution.status.is_terminal() || events.is_empty(),
        [(position, status)] => status == execution.status && position == execution.position,
        _ => false,
    };
    if !right {
        let told = told.into_iter().map(|(_, status)| status).collect();
        report.violations.push(Violation::End { id: execution.id.clone(), row: execution.status, told });
    }
}

/// What was found, with counts, so that a test can also assert that enough has happened.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Report {
    /// Executions that are there.
    pub executions: u64,
    /// How many have which status.
    pub statuses: BTreeMap<ExecutionStatus, u64>,
    /// Of the unknown ones, those that are there.
    pub unknown_found: u64,
    /// Events in their histories.
    pub events: u64,
    /// Steps that began.
    pub steps_started: u64,
    /// Steps that ended well.
    pub steps_completed: u64,
    /// Steps that ended badly.
    pub steps_failed: u64,
    /// Steps that were put off to another attempt.
    pub steps_retried: u64,
    /// Steps that parked their execution.
    pub steps_waited: u64,
    /// Executions taken over from dead workers.
    pub recovered: u64,
    /// What must not be.
    pub violations: Vec<Violation>,
}

impl Report {
    /// Whether nothing is there that must not be.
    pub fn is_clean(&self) -> bool {
        self.violations.is_empty()
    }

    /// The same report, or a panic that lists what must not be.
    #[track_caller]
    pub fn expect_clean(self) -> Self {
        assert!(self.is_clean(), "{self}");
        self
    }

    /// Executions with this status.
    pub fn with_status(&self, status: ExecutionStatus) -> u64 {
        self.statuses.get(&status).copied().unwrap_or(0)
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} executions", self.executions)?;
        for (status, count) in &self.statuses {
            write!(f, ", {count} {status}")?;
        }
        write!(
            f,
            "; {} events, {} steps begun, {} completed",
            self.events, self.steps_started, self.steps_completed
        )?;
        write!(f, ", {} retried, {} taken over", self.steps_retried, self.recovered)?;
        for violation in &self.violations {
            write!(f, "\n  {violation}")?;
        }
        Ok(())
    }
}
