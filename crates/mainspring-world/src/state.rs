//! What the events of a run add up to.
//!
//! A pure fold. It also reads the histories of the engine's own workflows, whose steps are not created before they end.

use std::collections::{HashMap, HashSet};

use mainspring_core::{Execution, ExecutionStatus, RecordedEvent, Timestamp, event::kind, limits, nul};
use serde_json::{Map, Value};

use crate::{
    EventType, Fault, Hook, Run, RunStatus, Step, StepStatus, Wait, WaitStatus,
    entity::NOT_YET,
    ids::{DEPLOYMENT, is_world, spec_of},
};

/// Which values a fold keeps.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Keep {
    /// All.
    All,
    /// Those of what is not over: enough to decide.
    Open,
}

/// A run with everything in it.
#[derive(Debug, Clone)]
pub(crate) struct RunState {
    pub(crate) run: Run,
    /// A cancel of the engine's is under way.
    pub(crate) cancelling: bool,
    pub(crate) steps: HashMap<String, Numbered<Step>>,
    pub(crate) hooks: HashMap<String, Numbered<HookState>>,
    pub(crate) waits: HashMap<String, Numbered<Wait>>,
    /// Correlation ids under which attributes were set.
    pub(crate) marks: HashSet<String>,
    /// Position of the last event its code waits for, of those that were read from the log.
    pub(crate) woken: i64,
    /// About how many bytes of values it holds.
    pub(crate) weight: usize,
    next: u64,
    keep: Keep,
}

/// With its place in the order of creation.
#[derive(Debug, Clone)]
pub(crate) struct Numbered<T> {
    pub(crate) number: u64,
    pub(crate) entity: T,
}

#[derive(Debug, Clone)]
pub(crate) enum HookState {
    Active(Hook),
    Disposed,
    /// It never was one: its token was taken.
    Refused,
}

impl HookState {
    pub(crate) fn active(&self) -> Option<&Hook> {
        match self {
            Self::Active(hook) => Some(hook),
            Self::Disposed | Self::Refused => None,
        }
    }
}

/// A part of a state as it was before an event, to take the event back.
pub(crate) enum Before {
    /// With the correlation id that is new in `marks`.
    Run(Box<Run>, Option<String>),
    Step(String, Option<Numbered<Step>>),
    Hook(String, Option<Numbered<HookState>>),
    Wait(String, Option<Numbered<Wait>>),
}

impl RunState {
    /// The run of a row before any of its events.
    pub(crate) fn of(row: &Execution, keep: Keep) -> Self {
        Self {
            run: run_of_row(row),
            cancelling: row.status == ExecutionStatus::Cancelling,
            steps: HashMap::new(),
            hooks: HashMap::new(),
            waits: HashMap::new(),
            marks: HashSet::new(),
            woken: 0,
            weight: 0,
            next: 0,
            keep,
        }
    }

    /// Takes in the next recorded event.
    pub(crate) fn read(&mut self, recorded: RecordedEvent) {
        let RecordedEvent { event, created_at, position, .. } = recorded;
        if EventType::of_log(&event.event_type).is_some_and(EventType::wakes) {
            self.woken = position;
        }
        let data = if is_world_spec(&self.run) { nul::unescape(event.data) } else { event.data };
        self.evolve(&event.event_type, event.subject.as_deref(), data, created_at);
    }

    /// What an event of this type about this may change.
    pub(crate) fn before(&self, event_type: EventType, subject: Option<&str>) -> Before {
        let id = subject.unwrap_or_default().to_owned();
        match event_type.as_str().split_once('_').map(|(noun, _)| noun) {
            Some("step") => Before::Step(id.clone(), self.steps.get(&id).cloned()),
            Some("hook") => Before::Hook(id.clone(), self.hooks.get(&id).cloned()),
            Some("wait") => Before::Wait(id.clone(), self.waits.get(&id).cloned()),
            _ => {
                let mark = subject.filter(|id| !self.marks.contains(*id)).map(ToOwned::to_owned);
                Before::Run(Box::new(self.run.clone()), mark)
            }
        }
    }

    pub(crate) fn restore(&mut self, before: Before) {
        fn put<T>(map: &mut HashMap<String, T>, id: String, entity: Option<T>) {
            match entity {
                Some(entity) => drop(map.insert(id, entity)),
                None => drop(map.remove(&id)),
            }
        }
        match before {
            Before::Run(run, mark) => {
                self.run = *run;
                mark.map(|mark| self.marks.remove(&mark));
            }
            Before::Step(id, step) => put(&mut self.steps, id, step),
            Before::Hook(id, hook) => put(&mut self.hooks, id, hook),
            Before::Wait(id, wait) => put(&mut self.waits, id, wait),
        }
    }

    /// Gives what `before` names the time of its commit.
    pub(crate) fn stamp(&mut self, before: &Before, at: Timestamp) {
        match before {
            Before::Run(..) => self.run.stamp(at),
            Before::Step(id, _) => drop(self.steps.get_mut(id).map(|step| step.entity.stamp(at))),
            Before::Hook(id, _) => {
                if let Some(Numbered { entity: HookState::Active(hook), .. }) = self.hooks.get_mut(id) {
                    hook.stamp(at);
                }
            }
            Before::Wait(id, _) => drop(self.waits.get_mut(id).map(|wait| wait.entity.stamp(at))),
        }
    }

    /// The state after an event. `data` is not escaped any more.
    pub(crate) fn evolve(&mut self, kind: &str, subject: Option<&str>, mut data: Value, at: Timestamp) {
        let Some(event_type) = EventType::of_log(kind) else {
            match kind {
                kind::EXECUTION_CANCELLING => self.cancelling = true,
                kind::STEP_WAITING => self.waits_until(subject, &data, at),
                _ => {}
            }
            return;
        };
        match (event_type, subject) {
            (EventType::RunCreated, _) => self.created(&mut data, at),
            (EventType::RunStarted, _) => {
                let started =
                    data.get("startedAt").and_then(Value::as_str).and_then(|text| text.parse().ok());
                self.run.started_at.get_or_insert(started.unwrap_or(at));
                self.moved(RunStatus::Running, at);
            }
            (EventType::RunPaused, _) if is_world_spec(&self.run) => self.moved(RunStatus::Paused, at),
            (EventType::RunResumed, _) if is_world_spec(&self.run) => self.moved(RunStatus::Running, at),
            (EventType::RunPaused | EventType::RunResumed, _) => {}
            (EventType::RunCompleted, _) => {
                self.run.output = data.get_mut("output").map(Value::take);
                self.moved(RunStatus::Completed, at);
            }
            (EventType::RunFailed, _) => {
                self.run.error = fault(&mut data);
                self.moved(RunStatus::Failed, at);
            }
            (EventType::RunCancelled, _) => self.moved(RunStatus::Cancelled, at),
            (EventType::AttrSet, subject) => {
                self.marks.extend(subject.map(ToOwned::to_owned));
                set_attributes(&mut self.run.attributes, &data);
                self.run.updated_at = at;
            }
            (event_type, Some(id)) => self.part(event_type, id, data, at),
            (_, None) => {}
        }
    }

    fn part(&mut self, event_type: EventType, id: &str, data: Value, at: Timestamp) {
        match event_type {
            EventType::HookCreated | EventType::HookDisposed | EventType::HookConflict => {
                self.hook(event_type, id, data, at);
            }
            EventType::HookReceived => {}
            EventType::WaitCreated => self.wait(id, &data, at),
            EventType::WaitCompleted => {
                if let Some(wait) = self.waits.get_mut(id) {
                    wait.entity.status = WaitStatus::Completed;
                    wait.entity.completed_at = Some(at);
                }
            }
            _ => self.step(event_type, id, data, at),
        }
    }

    fn created(&mut self, data: &mut Value, at: Timestamp) {
        let mut take = |key: &str| data.get_mut(key).map(Value::take);
        self.run.input = take("input");
        self.run.execution_context = take("executionContext");
        self.run.deployment_id = take("deploymentId").and_then(text).or(self.run.deployment_id.take());
        if let Some(Value::Object(attributes)) = take("attributes") {
            self.run.attributes = attributes;
        }
        self.weight += self.run.input.as_ref().map_or(0, limits::json_size);
        self.run.created_at = at;
        self.run.updated_at = at;
    }

    fn moved(&mut self, status: RunStatus, at: Timestamp) {
        self.run.status = status;
        self.run.updated_at = at;
        if status.is_terminal() {
            self.run.completed_at.get_or_insert(at);
        }
    }

    fn number(&mut self) -> u64 {
        self.next += 1;
        self.next
    }

    fn step(&mut self, event_type: EventType, id: &str, mut data: Value, at: Timestamp) {
        let number = self.number();
        let run = &self.run.run_id;
        let step = self.steps.entry(id.to_owned()).or_insert_with(|| {
            let step_name = id.split(['#', '[']).next().unwrap_or(id).to_owned();
            Numbered { number, entity: Step::new(run.clone(), id, step_name, at) }
        });
        let step = &mut step.entity;
        step.updated_at = at;
        let mut take = |key: &str| data.get_mut(key).map(Value::take);
        match event_type {
            EventType::StepCreated => {
                step.step_name = take("stepName").and_then(text).unwrap_or_default();
                step.input = take("input");
                self.weight += 200 + step.input.as_ref().map_or(0, limits::json_size);
            }
            EventType::StepStarted => {
                step.attempt += 1;
                step.started_at.get_or_insert(at);
                step.retry_after = None;
                step.status = StepStatus::Running;
            }
            EventType::StepRetrying => {
                step.status = StepStatus::Pending;
                let until = take("retryAfter").or_else(|| take("until")).and_then(text);
                step.retry_after = until.and_then(|text| text.parse().ok());
                step.error = fault(&mut data);
            }
            _ => {
                let failed = event_type == EventType::StepFailed;
                step.status = if failed { StepStatus::Failed } else { StepStatus::Completed };
                step.completed_at = Some(at);
                let result = take("result");
                let error = if failed { fault(&mut data) } else { None };
                if self.keep == Keep::All {
                    step.output = result;
                    step.error = error;
                } else if let Some(input) = step.input.take() {
                    self.weight = self.weight.saturating_sub(limits::json_size(&input));
                }
            }
        }
    }

    fn hook(&mut self, event_type: EventType, id: &str, mut data: Value, at: Timestamp) {
        let mut take = |key: &str| data.get_mut(key).map(Value::take);
        let entity = match event_type {
            EventType::HookCreated => HookState::Active(Hook {
                run_id: self.run.run_id.clone(),
                hook_id: id.to_owned(),
                token: take("token").and_then(text).unwrap_or_default(),
                metadata: take("metadata"),
                is_webhook: take("isWebhook").and_then(|is| is.as_bool()).unwrap_or(false),
                created_at: at,
            }),
            EventType::HookDisposed => HookState::Disposed,
            _ => HookState::Refused,
        };
        let number = self.number();
        let number = self.hooks.get(id).map_or(number, |hook| hook.number);
        self.weight += 200;
        self.hooks.insert(id.to_owned(), Numbered { number, entity });
    }

    fn wait(&mut self, id: &str, data: &Value, at: Timestamp) {
        let resume_at = data.get("resumeAt").and_then(Value::as_str).and_then(|text| text.parse().ok());
        let entity = Wait {
            run_id: self.run.run_id.clone(),
            wait_id: id.to_owned(),
            status: WaitStatus::Waiting,
            resume_at: resume_at.unwrap_or(at),
            created_at: at,
            completed_at: None,
        };
        let number = self.number();
        self.waits.insert(id.to_owned(), Numbered { number, entity });
    }

    /// A sleep of one of the engine's workflows, or a step of it that is done elsewhere.
    fn waits_until(&mut self, subject: Option<&str>, data: &Value, at: Timestamp) {
        if let (Some(id), Some(handler)) = (subject, data.get("handler")) {
            self.step(EventType::StepCreated, id, serde_json::json!({"stepName": handler}), at);
        } else if let (Some(id), Some(until)) = (subject, data.get("until")) {
            self.wait(id, &serde_json::json!({"resumeAt": until}), at);
        }
    }
}

impl Step {
    fn new(run_id: mainspring_core::ExecutionId, id: &str, step_name: String, at: Timestamp) -> Self {
        Self {
            run_id,
            step_id: id.to_owned(),
            step_name,
            status: StepStatus::Pending,
            input: None,
            output: None,
            error: None,
            attempt: 0,
            started_at: None,
            completed_at: None,
            created_at: at,
            updated_at: at,
            retry_after: None,
        }
    }
}

fn is_world_spec(run: &Run) -> bool {
    run.spec_version > 0
}

pub(crate) fn set_attributes(attributes: &mut Map<String, Value>, data: &Value) {
    let Some(Value::Object(changes)) = data.get("attributes") else { return };
    for (key, value) in changes {
        match value {
            Value::Null => drop(attributes.remove(key)),
            value => drop(attributes.insert(key.clone(), value.clone())),
        }
    }
}

fn text(value: Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text),
        _ => None,
    }
}

/// An error as the World writes it, or as the engine does.
fn fault(data: &mut Value) -> Option<Fault> {
    let found = ["error", "failure"].into_iter().find_map(|key| data.get_mut(key).map(Value::take));
    let value = match found {
        Some(value) => value,
        None if data.get("message").is_some() => data.take(),
        None => return None,
    };
    match serde_json::from_value(value.clone()) {
        Ok(fault) => Some(fault),
        Err(_) => Some(Fault::new(text(value.clone()).unwrap_or_else(|| value.to_string()))),
    }
}

/// What a row alone says of its run.
pub(crate) fn run_of_row(row: &Execution) -> Run {
    let world = is_world(row);
    let kept = |key: &str| {
        let value = row.context.get(key).cloned();
        if world { value.map(nul::unescape) } else { value }
    };
    let started_at = kept("startedAt").and_then(text).and_then(|text| text.parse().ok());
    let attributes = match kept("attributes") {
        Some(Value::Object(attributes)) if world => attributes,
        _ => Map::new(),
    };
    let error = row.error.as_ref().filter(|_| row.status == ExecutionStatus::Failed).map(|failure| {
        let whole = failure.details.get("fault").cloned().map(nul::unescape);
        let whole = whole.and_then(|fault| serde_json::from_value(fault).ok());
        let short = || Fault { code: Some(failure.code.clone()), ..Fault::new(&failure.message) };
        whole.unwrap_or_else(short)
    });
    Run {
        run_id: row.id.clone(),
        workflow_name: row.flow_id.clone(),
        status: status_of_row(row),
        deployment_id: kept("deploymentId").and_then(text).or_else(|| Some(DEPLOYMENT.to_owned())),
        spec_version: spec_of(row),
        input: None,
        output: kept("output").filter(|_| row.status == ExecutionStatus::Completed),
        error,
        execution_context: None,
        attributes,
        parent_run_id: row.parent.clone(),
        root_run_id: row.root.clone(),
        created_at: if row.revision == 0 { NOT_YET } else { row.created_at },
        updated_at: if row.revision == 0 { NOT_YET } else { row.updated_at },
        started_at,
        completed_at: row.finished_at,
    }
}

fn status_of_row(row: &Execution) -> RunStatus {
    match row.status {
        ExecutionStatus::Pending => RunStatus::Pending,
        ExecutionStatus::Waiting if is_world(row) => RunStatus::Paused,
        ExecutionStatus::Running | ExecutionStatus::Waiting | ExecutionStatus::Cancelling => {
            RunStatus::Running
        }
        ExecutionStatus::Completed => RunStatus::Completed,
        ExecutionStatus::Failed => RunStatus::Failed,
        ExecutionStatus::Cancelled => RunStatus::Cancelled,
    }
}
