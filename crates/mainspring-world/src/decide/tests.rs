//! The guards by example.

use std::time::Duration;

use mainspring_core::{Error, ErrorKind, Execution, ExecutionId, NewEvent, Result, Timestamp};
use serde_json::{Value, json};

use super::{Moment, decide};
use crate::{
    Fact, Fault, NewRun, NewStep, RunEvent, RunStatus, StepStatus,
    ids::version_of,
    state::{Keep, RunState},
};

/// A run that is decided about and changed, without a database.
struct Case {
    id: ExecutionId,
    spec: u32,
    now: Timestamp,
    state: Option<RunState>,
    taken_by: Option<ExecutionId>,
}

impl Case {
    fn absent() -> Self {
        let now = Timestamp::from_micros(1_700_000_000_000_000);
        let id = ExecutionId::new("wrun_1").unwrap();
        Self { id, spec: crate::SPEC_VERSION, now, state: None, taken_by: None }
    }

    fn created() -> Self {
        let mut case = Self::absent();
        case.does(Fact::RunCreated(NewRun::new("add", json!([1, 2]))));
        case
    }

    fn running() -> Self {
        let mut case = Self::created();
        case.does(Fact::RunStarted { run_input: None });
        case
    }

    fn over() -> Self {
        let mut case = Self::running();
        case.does(Fact::RunCompleted { output: None });
        case
    }

    fn attempt(&self, event: impl Into<RunEvent>) -> Result<Vec<NewEvent>> {
        let event = event.into();
        event.check()?;
        let moment = Moment { now: self.now, taken_by: self.taken_by.clone() };
        decide(&self.id, self.state.as_ref(), &event, &moment)
    }

    /// The types of the events that happened.
    fn does(&mut self, event: impl Into<RunEvent>) -> Vec<String> {
        let events = self.attempt(event).unwrap();
        let row = Execution::new(self.id.clone(), "add", version_of(self.spec), "add");
        let state = self.state.get_or_insert_with(|| RunState::of(&row, Keep::All));
        for event in &events {
            state.evolve(&event.event_type, event.subject.as_deref(), event.data.clone(), self.now);
        }
        events.into_iter().map(|event| event.event_type).collect()
    }

    #[track_caller]
    fn refuses(&self, event: impl Into<RunEvent>, kind: ErrorKind) -> Error {
        let error = self.attempt(event).unwrap_err();
        assert_eq!(error.kind(), kind, "{error}");
        error
    }

    fn status(&self) -> RunStatus {
        self.state.as_ref().unwrap().run.status
    }

    fn step(&self, id: &str) -> &crate::Step {
        &self.state.as_ref().unwrap().steps[id].entity
    }
}

const NOT_FOUND: ErrorKind = ErrorKind::NotFound;
const CONFLICT: ErrorKind = ErrorKind::Conflict;
const GONE: ErrorKind = ErrorKind::Expired;

fn step(id: &str, fact: Fact) -> RunEvent {
    RunEvent::about(id, fact)
}

fn create_step() -> RunEvent {
    step("s", Fact::StepCreated(NewStep { step_name: "plus".into(), input: Some(json!(1)) }))
}

fn start_step() -> RunEvent {
    step("s", Fact::StepStarted { create: None })
}

fn lazy_step() -> RunEvent {
    step("s", Fact::StepStarted { create: Some(NewStep { step_name: "plus".into(), input: None }) })
}

fn complete_step() -> RunEvent {
    step("s", Fact::StepCompleted { result: Some(json!(3)) })
}

fn create_hook(id: &str) -> RunEvent {
    step(id, Fact::HookCreated { token: "t".into(), metadata: None, is_webhook: false })
}

fn receive(id: &str) -> RunEvent {
    step(id, Fact::HookReceived { payload: Some(Value::Null) })
}

fn dispose(id: &str) -> RunEvent {
    step(id, Fact::HookDisposed {})
}

fn create_wait(case: &Case) -> RunEvent {
    step("w", Fact::WaitCreated { resume_at: case.now })
}

fn complete_wait() -> RunEvent {
    step("w", Fact::WaitCompleted {})
}

fn attributes(value: Value) -> Fact {
    match value {
        Value::Object(attributes) => Fact::AttrSet { attributes },
        _ => unreachable!(),
    }
}

#[test]
fn a_run_is_created_once_and_started_at_once() {
    // W01, W03, W25
    let mut case = Case::created();
    case.refuses(Fact::RunCreated(NewRun::new("add", json!(1))), CONFLICT);
    assert_eq!(case.does(Fact::RunStarted { run_input: None }), ["execution.started"]);
    let first = case.state.as_ref().unwrap().run.started_at;
    case.now = case.now + Duration::from_secs(9);
    assert!(case.does(Fact::RunStarted { run_input: None }).is_empty());
    assert_eq!(case.state.as_ref().unwrap().run.started_at, first);
}

#[test]
fn a_start_with_input_creates_the_run_that_is_missing() {
    // W25
    let mut case = Case::absent();
    case.refuses(Fact::RunStarted { run_input: None }, NOT_FOUND);
    let start = Fact::RunStarted { run_input: Some(NewRun::new("add", json!(7))) };
    assert_eq!(case.does(start), ["execution.created", "execution.started"]);
    assert_eq!(case.status(), RunStatus::Running);
    assert_eq!(case.state.as_ref().unwrap().run.input, Some(json!(7)));
}

#[test]
fn a_run_that_is_over_stays_so() {
    // W24, W25, W26
    let case = Case::over();
    case.refuses(Fact::RunStarted { run_input: None }, GONE);
    case.refuses(Fact::RunCompleted { output: None }, CONFLICT);
    case.refuses(Fact::RunFailed { error: Fault::new("x") }, CONFLICT);
    case.refuses(Fact::RunCancelled { reason: None }, CONFLICT);
    case.refuses(Fact::RunPaused {}, CONFLICT);
    case.refuses(create_step(), CONFLICT);
    case.refuses(create_hook("h"), CONFLICT);
    case.refuses(create_wait(&case), CONFLICT);
    case.refuses(attributes(json!({"a": 1})), CONFLICT);
    case.refuses(lazy_step(), GONE);
    case.refuses(receive("h"), GONE);
    let mut case = Case::running();
    case.does(Fact::RunCancelled { reason: None });
    assert_eq!(case.does(Fact::RunCancelled { reason: None }), ["execution.cancelled"]);
}

#[test]
fn only_a_paused_run_is_resumed() {
    // W05
    let mut case = Case::running();
    case.refuses(Fact::RunResumed {}, NOT_FOUND);
    case.does(Fact::RunPaused {});
    assert_eq!(case.status(), RunStatus::Paused);
    case.refuses(Fact::RunPaused {}, CONFLICT);
    case.refuses(Fact::RunStarted { run_input: None }, CONFLICT);
    case.does(Fact::RunResumed {});
    assert_eq!(case.status(), RunStatus::Running);
}

#[test]
fn what_is_missing_is_not_found() {
    // W23, W31
    let case = Case::absent();
    for event in [create_step(), start_step(), create_hook("h"), receive("h"), create_wait(&case)] {
        case.refuses(event, NOT_FOUND);
    }
    let case = Case::running();
    for event in [start_step(), complete_step(), receive("h"), dispose("h"), complete_wait()] {
        case.refuses(event, NOT_FOUND);
    }
    let nameless = RunEvent::from(Fact::StepCompleted { result: None });
    assert!(nameless.check().unwrap_err().is_invalid());
}

#[test]
fn attempts_are_counted_as_they_begin() {
    // W07, W16
    let mut case = Case::running();
    case.does(create_step());
    case.refuses(create_step(), CONFLICT);
    assert_eq!((case.step("s").attempt, case.step("s").status), (0, StepStatus::Pending));
    case.does(start_step());
    assert_eq!((case.step("s").attempt, case.step("s").status), (1, StepStatus::Running));
    case.does(step("s", Fact::StepRetrying { error: Fault::new("later"), retry_after: None }));
    assert_eq!(case.step("s").status, StepStatus::Pending);
    case.does(start_step());
    case.does(complete_step());
    assert_eq!((case.step("s").attempt, case.step("s").output.clone()), (2, Some(json!(3))));
}

#[test]
fn a_step_that_is_over_stays_so() {
    // W27
    let mut case = Case::running();
    case.does(create_step());
    case.does(start_step());
    case.does(complete_step());
    case.refuses(start_step(), CONFLICT);
    case.refuses(complete_step(), CONFLICT);
    case.refuses(step("s", Fact::StepFailed { error: Fault::new("x") }), CONFLICT);
    case.refuses(step("s", Fact::StepRetrying { error: Fault::new("x"), retry_after: None }), CONFLICT);
}

#[test]
fn a_running_step_may_end_after_its_run() {
    // W27
    let mut case = Case::running();
    case.does(create_step());
    case.does(start_step());
    case.does(step("p", Fact::StepCreated(NewStep { step_name: "plus".into(), input: None })));
    case.does(Fact::RunFailed { error: Fault::new("x") });
    case.refuses(step("p", Fact::StepStarted { create: None }), GONE);
    case.refuses(step("p", Fact::StepCompleted { result: None }), GONE);
    assert_eq!(case.does(complete_step()), ["step.completed"]);
}

#[test]
fn a_step_is_not_begun_before_its_time() {
    // W28
    let mut case = Case::running();
    case.does(create_step());
    case.does(start_step());
    let at = case.now + Duration::from_millis(2_500);
    case.does(step("s", Fact::StepRetrying { error: Fault::new("x"), retry_after: Some(at) }));
    let error = case.refuses(start_step(), ErrorKind::TooEarly);
    assert_eq!(error.retry_after(), Some(Duration::from_secs(3)));
    case.now = at;
    case.does(start_step());
    assert_eq!(case.step("s").retry_after, None);
}

#[test]
fn whoever_creates_a_step_by_beginning_it_has_it() {
    // W29
    let mut case = Case::running();
    assert_eq!(case.does(lazy_step()), ["step.created", "step.started"]);
    assert_eq!((case.step("s").attempt, case.step("s").step_name.as_str()), (1, "plus"));
    case.refuses(lazy_step(), CONFLICT);
}

#[test]
fn a_hook_takes_payloads_until_it_is_disposed_of() {
    // W12, W31, W32
    let mut case = Case::running();
    case.does(create_hook("h"));
    case.refuses(create_hook("h"), CONFLICT);
    case.does(receive("h"));
    case.does(receive("h"));
    case.does(dispose("h"));
    case.refuses(dispose("h"), CONFLICT);
    case.refuses(receive("h"), NOT_FOUND);
    assert_eq!(case.does(create_hook("h2")), ["hook.created"]); // the token is free again
}

#[test]
fn a_token_that_is_taken_is_recorded_as_a_conflict() {
    // W32
    let mut case = Case::running();
    case.taken_by = Some(ExecutionId::new("wrun_2").unwrap());
    let events = case.attempt(create_hook("h")).unwrap();
    assert_eq!((events.len(), events[0].event_type.as_str()), (1, "hook.conflict"));
    assert_eq!(events[0].data, json!({"token": "t", "conflictingRunId": "wrun_2"}));
    case.does(create_hook("h"));
    case.refuses(create_hook("h"), CONFLICT);
    case.refuses(receive("h"), NOT_FOUND);
    case.taken_by = None;
    case.does(create_hook("mine"));
    assert_eq!(case.does(create_hook("other")), ["hook.conflict"]);
}

#[test]
fn a_wait_is_over_once_even_after_its_run() {
    // W34
    let mut case = Case::running();
    case.does(create_wait(&case));
    case.refuses(create_wait(&case), CONFLICT);
    case.does(Fact::RunCancelled { reason: None });
    case.does(complete_wait());
    case.refuses(complete_wait(), CONFLICT);
}

#[test]
fn runs_of_other_rules_are_told_apart() {
    // W36
    let mut case = Case::running();
    case.does(create_hook("h"));
    case.does(create_wait(&case));
    case.state.as_mut().unwrap().run.spec_version = 1;
    for event in [create_step(), create_hook("x"), Fact::RunCompleted { output: None }.into()] {
        assert!(case.refuses(event, ErrorKind::Invalid).to_string().starts_with("eventType"));
    }
    for event in [receive("h"), complete_wait(), Fact::RunCancelled { reason: None }.into()] {
        case.attempt(event).unwrap();
    }
    case.state.as_mut().unwrap().run.spec_version = crate::SPEC_VERSION + 1;
    let error = case.refuses(Fact::RunCancelled { reason: None }, ErrorKind::Invalid);
    assert!(error.to_string().starts_with("specVersion"));
}

#[test]
fn attributes_are_merged_once_for_each_change() {
    let mut case = Case::running();
    case.does(RunEvent::about("a1", attributes(json!({"a": 1, "b": 2}))));
    case.refuses(RunEvent::about("a1", attributes(json!({"c": 3}))), CONFLICT);
    case.does(attributes(json!({"a": null, "c": 3})));
    assert_eq!(Value::Object(case.state.as_ref().unwrap().run.attributes.clone()), json!({"b": 2, "c": 3}));
    let many: serde_json::Map<_, _> = (0..64).map(|n| (n.to_string(), json!(n))).collect();
    case.refuses(Fact::AttrSet { attributes: many }, ErrorKind::Invalid);
}

#[test]
fn nothing_happens_to_a_run_that_is_being_cancelled() {
    let mut case = Case::running();
    case.state.as_mut().unwrap().cancelling = true;
    case.refuses(create_step(), CONFLICT);
    case.does(Fact::RunCancelled { reason: None });
}

#[test]
fn what_was_taken_back_never_happened() {
    let mut case = Case::running();
    case.does(create_step());
    let state = case.state.as_mut().unwrap();
    let before = state.before(crate::EventType::StepStarted, Some("s"));
    state.evolve("step.started", Some("s"), json!({}), case.now);
    state.restore(before);
    assert_eq!(state.steps["s"].entity.attempt, 0);
    let before = state.before(crate::EventType::StepCreated, Some("n"));
    state.evolve("step.created", Some("n"), json!({"stepName": "x"}), case.now);
    state.restore(before);
    assert!(!state.steps.contains_key("n"));
}

#[test]
fn events_are_read_as_others_write_them() {
    let read = |value| RunEvent::from_json(value).unwrap();
    let lazy = json!({"eventType": "step_started", "correlationId": "s", "eventData": {"stepName": "plus", "input": null}});
    let create = Some(NewStep { step_name: "plus".into(), input: Some(Value::Null) });
    assert_eq!(read(lazy), step("s", Fact::StepStarted { create }));
    assert_eq!(read(json!({"eventType": "step_started", "correlationId": "s"})), start_step());
    assert_eq!(read(json!({"eventType": "run_completed"})), Fact::RunCompleted { output: None }.into());
    let null = json!({"eventType": "run_completed", "eventData": {"output": null}});
    assert_eq!(read(null), Fact::RunCompleted { output: Some(Value::Null) }.into());
    assert!(RunEvent::from_json(json!({"eventType": "step_vanished"})).unwrap_err().is_invalid());
}
