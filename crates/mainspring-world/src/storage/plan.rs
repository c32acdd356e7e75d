//! What the events that are asked for at one time come to: one change to commit, and what to answer each of them.

use mainspring_core::{
    Append, Backend, CancelSource, Cancellation, Changes, Error, Execution, ExecutionId, ExecutionStatus,
    ExecutionWrite, Expect, ExpectedPosition, Failure, NewEvent, NewMessage, Result, Settle, Timeouts,
    Timestamp, limits, nul,
};
use serde_json::{Value, json};

use super::{
    known::{Known, late_stream},
    token,
};
use crate::{
    Created, Event, EventType, Fact, NewRun, RunEvent, RunStatus,
    decide::{Moment, decide},
    ids::{DEPLOYMENT, SPEC_VERSION, check_run_id, version_of},
    state::{Before, HookState, Numbered},
};

/// The failure code of a run that gave none.
const RUN_FAILED: &str = "RUN_FAILED";

/// An event that is asked for.
pub(crate) struct Ask {
    pub(crate) event: RunEvent,
    /// Pushed in the same commit.
    pub(crate) messages: Vec<NewMessage>,
    /// Settled in the same commit, which is then about nothing else: others are not to fall with a lost lease.
    pub(crate) settle: Option<Settle>,
}

/// A change in the making. The state it stands on is already as it will be.
#[derive(Default)]
pub(crate) struct Plan<'l> {
    queue: &'l str,
    history: Vec<NewEvent>,
    late: Vec<NewEvent>,
    tokens: Vec<Append>,
    messages: Vec<NewMessage>,
    settle: Option<Settle>,
    undo: Vec<Before>,
    steps: u32,
    row_changed: bool,
    pub(crate) answers: Vec<Result<Created>>,
}

impl<'l> Plan<'l> {
    /// Nothing yet. A run that it creates is called by `queue`.
    pub(crate) fn new(queue: &'l str) -> Self {
        Self { queue, ..Self::default() }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.history.is_empty() && self.late.is_empty()
    }

    pub(crate) fn refuses(&self) -> bool {
        self.answers.iter().any(Result::is_err)
    }

    /// Takes in one more; `false` when it has to wait for the next commit. `known` is filled in when it creates the run.
    ///
    /// # Errors
    /// Those of the backend. Refusals are answers.
    pub(crate) async fn add(
        &mut self,
        backend: &dyn Backend,
        id: &ExecutionId,
        known: &mut Option<Known>,
        ask: &Ask,
    ) -> Result<bool> {
        if !self.answers.is_empty() && (self.settle.is_some() || ask.settle.is_some()) {
            return Ok(false);
        }
        let mut moment = Moment { now: backend.now(), taken_by: None };
        let mut claim = None;
        if let Fact::HookCreated { token, .. } = &ask.event.fact {
            let look = token::look(backend, token).await?;
            let stream = token::stream_of(token);
            if self.tokens.iter().any(|append| append.stream_id() == stream) {
                return Ok(false);
            }
            moment.taken_by = look.owner.map(|(run, _)| run).filter(|run| run != id);
            claim = Some((token.as_str(), look.head));
        }
        let decided = match decide(id, known.as_ref().map(|known| &known.state), &ask.event, &moment) {
            Ok(events) => events,
            Err(refusal) => {
                self.answers.push(Err(refusal));
                return Ok(true);
            }
        };
        if known.is_none() {
            match self.creation(backend, id, &ask.event.fact, moment.now).await {
                Ok(row) => *known = Some(Known::new(row)),
                Err(refusal) => {
                    self.answers.push(Err(refusal));
                    return Ok(true);
                }
            }
        }
        let Some(known) = known else { return Ok(true) };
        if !decided.is_empty() {
            self.messages.extend(ask.messages.iter().cloned());
            self.settle.clone_from(&ask.settle);
        }
        let mut last = None;
        for event in decided {
            last = Some(self.take(known, event, claim));
        }
        self.answers.push(Ok(created(known, &ask.event, last)));
        Ok(true)
    }

    async fn creation(
        &self,
        backend: &dyn Backend,
        id: &ExecutionId,
        fact: &Fact,
        now: Timestamp,
    ) -> Result<Execution> {
        let (Fact::RunCreated(run) | Fact::RunStarted { run_input: Some(run) }) = fact else {
            return Err(Error::not_found("run", id));
        };
        check_run_id(id, now)?;
        let mut row = row_of(id, run);
        self.queue.clone_into(&mut row.queue);
        if let Some(parent) = &run.parent_run_id {
            let found = backend.executions().get(parent).await?;
            let parent = found.ok_or_else(|| Error::not_found("parent run", parent))?;
            row.parent = Some(parent.id);
            row.root = parent.root;
        }
        Ok(row)
    }

    /// Takes in one event; where it will be.
    fn take(
        &mut self,
        known: &mut Known,
        event: NewEvent,
        claim: Option<(&str, i64)>,
    ) -> (NewEvent, bool, i64) {
        let event_type = EventType::of_log(&event.event_type).unwrap_or(EventType::RunCreated);
        let id = event.subject.clone().unwrap_or_default();
        let run = known.row.id.clone();
        match event_type {
            EventType::HookCreated => {
                self.tokens.extend(claim.map(|(token, seen)| token::claim(token, seen, &run, &id)));
            }
            EventType::HookDisposed => {
                let hook = known.state.hooks.get(&id).and_then(|hook| hook.entity.active());
                self.tokens.extend(hook.map(|hook| token::release(&hook.token, &run, &id)));
            }
            EventType::StepCreated => self.steps += 1,
            _ => {}
        }
        let late = known.state.run.status.is_terminal();
        self.row_changed |= !late;
        self.undo.push(known.state.before(event_type, event.subject.as_deref()));
        let data = nul::unescape(event.data.clone());
        known.state.evolve(&event.event_type, event.subject.as_deref(), data, crate::entity::NOT_YET);
        let (events, base) =
            if late { (&mut self.late, known.late) } else { (&mut self.history, known.row.position) };
        events.push(event.clone());
        (event, late, base + i64::try_from(events.len()).unwrap_or(0))
    }

    /// The change as a value.
    pub(crate) fn changes(&self, known: &Known, now: Timestamp) -> Changes {
        let mut changes = Changes {
            appends: self.tokens.clone(),
            messages: self.messages.clone(),
            settle: self.settle.clone(),
            ..Changes::default()
        };
        if self.row_changed {
            let row = written(known, self.steps, now);
            let expect = if row.revision == 0 { Expect::New } else { Expect::Revision(row.revision) };
            changes.executions.push(ExecutionWrite { expect, execution: row, events: self.history.clone() });
        }
        if !self.late.is_empty() {
            let late = Append::to(late_stream(&known.row), self.late.clone());
            changes.appends.push(late.expecting(ExpectedPosition::Exact(known.late)));
        }
        changes
    }

    /// It was committed.
    pub(crate) fn committed(&mut self, known: &mut Known, changes: Changes, at: Timestamp) {
        known.late += i64::try_from(self.late.len()).unwrap_or(0);
        if let Some(write) = changes.executions.into_iter().next() {
            known.row = write.applied(at);
        }
        for before in self.undo.drain(..) {
            known.state.stamp(&before, at);
        }
        for created in self.answers.iter_mut().flatten() {
            created.stamp(at);
        }
    }

    /// It was not, and the state is again as it was.
    pub(crate) fn take_back(&mut self, known: &mut Option<Known>) {
        if known.as_ref().is_some_and(|known| known.row.revision == 0) {
            *known = None;
            return;
        }
        if let Some(known) = known {
            self.undo.drain(..).rev().for_each(|before| known.state.restore(before));
        }
    }
}

fn created(known: &Known, asked: &RunEvent, last: Option<(NewEvent, bool, i64)>) -> Created {
    let mut created = Created::default();
    let state = &known.state;
    let id = asked.correlation_id.as_deref().unwrap_or_default();
    match asked.fact.event_type().as_str().split_once('_').map(|(noun, _)| noun) {
        Some("step") => created.step = state.steps.get(id).map(|step| step.entity.clone()),
        Some("hook") => {
            created.hook = match state.hooks.get(id) {
                Some(Numbered { entity: HookState::Active(hook), .. }) => Some(hook.clone()),
                _ => None,
            }
        }
        Some("wait") => created.wait = state.waits.get(id).map(|wait| wait.entity.clone()),
        _ => created.run = Some(state.run.clone()),
    }
    created.event = last.map(|(event, late, position)| {
        let event_type = EventType::of_log(&event.event_type).unwrap_or(EventType::RunCreated);
        Event {
            event_id: super::event_id(&known.row.id, late, position),
            run_id: known.row.id.clone(),
            event_type,
            correlation_id: event.subject,
            event_data: Some(nul::unescape(event.data)),
            created_at: crate::entity::NOT_YET,
        }
    });
    created
}

/// The row of a new run.
fn row_of(id: &ExecutionId, run: &NewRun) -> Execution {
    let version = version_of(run.spec_version.unwrap_or(SPEC_VERSION));
    let mut row = Execution::new(id.clone(), &run.workflow_name, version, &run.workflow_name);
    // It waits for whoever writes its events, for as long as they like.
    let ever = u64::try_from(limits::MAX_DURATION.as_millis()).unwrap_or(u64::MAX);
    row.timeouts = Timeouts { execution_timeout_ms: ever, wait_timeout_ms: ever };
    row
}

/// The row as it is to be.
fn written(known: &Known, steps: u32, now: Timestamp) -> Execution {
    let run = &known.state.run;
    let mut row = known.row.clone();
    row.step_count = row.step_count.saturating_add(steps);
    (row.wait_reason, row.wait_started_at) = (None, None);
    row.status = match run.status {
        RunStatus::Pending => ExecutionStatus::Pending,
        RunStatus::Running => ExecutionStatus::Running,
        RunStatus::Paused => ExecutionStatus::Waiting,
        RunStatus::Completed => ExecutionStatus::Completed,
        RunStatus::Failed => ExecutionStatus::Failed,
        RunStatus::Cancelled => ExecutionStatus::Cancelled,
    };
    let mut keep = |key: &str, value: Option<Value>| {
        if let Some(value) = value {
            row.context.insert(key.to_owned(), nul::escape(value));
        }
    };
    keep("startedAt", run.started_at.map(|at| json!(at)));
    keep("deploymentId", run.deployment_id.as_ref().filter(|id| *id != DEPLOYMENT).map(|id| json!(id)));
    let had_attributes = known.row.context.contains_key("attributes");
    let attributes = had_attributes || !run.attributes.is_empty();
    keep("attributes", attributes.then(|| Value::Object(run.attributes.clone())));
    match run.status {
        RunStatus::Paused => {
            row.wait_reason = Some("paused".to_owned());
            row.wait_started_at = Some(now);
        }
        RunStatus::Completed => keep("output", run.output.clone()),
        RunStatus::Failed => {
            let fault = run.error.clone().unwrap_or_default();
            let code = fault.code.clone().unwrap_or_else(|| RUN_FAILED.to_owned());
            let mut failure = Failure::new(limits::clip_error(&code), &fault.message);
            failure.details = nul::escape(json!({"fault": fault}));
            failure.timestamp = Some(now);
            row.error = Some(failure);
        }
        RunStatus::Cancelled => {
            row.cancellation =
                Some(Cancellation { source: CancelSource::User, reason: None, cancelled_at: now });
        }
        RunStatus::Pending | RunStatus::Running => {}
    }
    row
}
