//! The checker finds nothing in what the engine's own interpreter writes, and finds what is wrong with anything else.

use std::time::Duration;

use mainspring_core::{
    Backend, Changes, ContextLimits, Execution, ExecutionId, ExecutionStatus, ExecutionWrite, Failure, Flow,
    NewEvent, NewMessage,
    event::kind,
    flow::{Drive, RetryPolicy, Step, StepOutcome, StepResult, Then, advance, created},
};
use mainspring_testing::{History, MemoryBackend, StepProblem, Violation};
use serde_json::{Value, json};

fn id(text: &str) -> ExecutionId {
    ExecutionId::new(text).unwrap()
}

async fn read(backend: &dyn Backend, of: &ExecutionId) -> Execution {
    backend.executions().get(of).await.unwrap().unwrap()
}

fn flow() -> Flow {
    let step = |name| Step::new(name, "any").input(json!({"full": true}));
    let retry = RetryPolicy { max_attempts: 3, ..RetryPolicy::default() };
    Flow::builder("order", "1.0.0")
        .step(step("charge").retry(retry).on_success("ship"))
        .step(step("ship").on_success("tell"))
        .step(step("tell"))
        .build()
        .unwrap()
}

/// A run with a retry and a wait, as the engine would commit it.
async fn run(backend: &MemoryBackend, text: &str) {
    let (flow, of) = (flow(), id(text));
    let new = Execution::new(of.clone(), "order", "1.0.0", "charge");
    backend.commit(created(new, Drive::Queue)).await.unwrap();
    let outcomes = [
        StepOutcome::Failure(Failure::new("BOOM", "no")),
        StepOutcome::Success(json!(1)),
        StepOutcome::Wait { delay: Duration::from_secs(1), reason: "later".into() },
        StepOutcome::Success(json!(2)),
    ];
    let mut then = Then::Run;
    for outcome in outcomes {
        let (execution, before) = mainspring_core::flow::woken(read(backend, &of).await);
        let result = StepResult::new(outcome, backend.now());
        let step = advance(&flow, execution, before, result, &ContextLimits::default(), backend.now());
        backend.commit(step.changes).await.unwrap();
        then = step.then;
    }
    assert_eq!(then, Then::Ended);
}

#[tokio::test]
async fn a_good_run_is_clean_and_counted() {
    let backend = MemoryBackend::new();
    for text in ["a", "b", "c"] {
        run(&backend, text).await;
    }
    let history = History::new().accepted([id("a"), id("b")]).unknown([id("c"), id("nobody")]).nothing_else();
    let report = history.check(&backend).await.unwrap().expect_clean();
    assert_eq!((report.executions, report.with_status(ExecutionStatus::Completed)), (3, 3));
    assert_eq!((report.unknown_found, report.steps_started), (1, 12));
    assert_eq!((report.steps_completed, report.steps_retried, report.steps_waited), (6, 3, 3));
    assert!(report.to_string().starts_with("3 executions, 3 completed; "), "{report}");
}

/// An execution with this status and history.
async fn written(status: ExecutionStatus, events: &[(&str, &str, u64)]) -> MemoryBackend {
    let backend = MemoryBackend::new();
    let execution = Execution { status, ..Execution::new(id("e"), "order", "1.0.0", "a") };
    let event = |(kind, step, attempt): &(&str, &str, u64)| {
        let event = NewEvent::new(*kind, json!({"attempt": attempt}));
        if step.is_empty() { event } else { event.about(*step) }
    };
    let write = ExecutionWrite::create(execution, events.iter().map(event).collect());
    backend.commit(Changes { executions: vec![write], ..Changes::default() }).await.unwrap();
    backend
}

async fn problems(events: &[(&str, &str, u64)]) -> Vec<StepProblem> {
    let backend = written(ExecutionStatus::Running, events).await;
    let report = History::new().allowing([ExecutionStatus::Running]).check(&backend).await.unwrap();
    let problem = |violation| match violation {
        Violation::Step { problem, .. } => problem,
        other => panic!("{other}"),
    };
    report.violations.into_iter().map(problem).collect()
}

#[tokio::test]
async fn a_step_ends_once_for_each_time_it_began() {
    use StepProblem::{BegunTwice, NotBegun, WrongAttempt};
    use kind::{JOB_COMPLETED, STEP_COMPLETED, STEP_FAILED, STEP_RETRY, STEP_STARTED, STEP_WAITING};
    let (began, ended) = ((STEP_STARTED, "a", 1), (STEP_COMPLETED, "a", 1));
    for (events, expected) in [
        (vec![began, ended, began, ended], vec![]),
        (vec![began, (STEP_RETRY, "a", 1), (STEP_STARTED, "a", 2), (STEP_COMPLETED, "a", 2)], vec![]),
        (vec![began, (STEP_WAITING, "a", 1), (JOB_COMPLETED, "a", 0), ended], vec![]),
        (vec![began, (STEP_WAITING, "a", 1), began, ended], vec![]),
        (vec![began, (STEP_STARTED, "b", 1), ended, (STEP_FAILED, "b", 1)], vec![]),
        (vec![ended], vec![NotBegun]),
        (vec![began, ended, ended], vec![NotBegun]),
        (vec![began, (STEP_WAITING, "a", 1), ended], vec![NotBegun]),
        (vec![began, began, ended], vec![BegunTwice]),
        (vec![began, (STEP_COMPLETED, "a", 2)], vec![WrongAttempt]),
        (vec![began, (STEP_RETRY, "a", 1), began], vec![WrongAttempt]),
        (vec![(STEP_STARTED, "a", 2), (STEP_COMPLETED, "a", 2)], vec![WrongAttempt]),
    ] {
        assert_eq!(problems(&events).await, expected, "{events:?}");
    }
}

#[tokio::test]
async fn the_end_is_told_once_last_and_as_it_is() {
    use ExecutionStatus::{Completed, Failed};
    let (done, failed) = ((kind::EXECUTION_COMPLETED, "", 0), (kind::EXECUTION_FAILED, "", 0));
    let began = (kind::STEP_STARTED, "a", 1);
    for (status, events, told) in [
        (Completed, vec![began], vec![]),
        (Failed, vec![done], vec![Completed]),
        (Completed, vec![done, failed], vec![Completed, Failed]),
        (Failed, vec![failed, began], vec![Failed]),
    ] {
        let report = History::new().check(&written(status, &events).await).await.unwrap();
        assert_eq!(report.violations, [Violation::End { id: id("e"), row: status, told }], "{events:?}");
    }
    let report = History::new().check(&written(Completed, &[began, done]).await).await.unwrap();
    let (step, position, problem) = ("a".to_owned(), 2, StepProblem::LeftOpen);
    assert_eq!(report.violations, [Violation::Step { id: id("e"), step, position, problem }]);
}

#[tokio::test]
async fn what_is_lost_unfinished_or_unexpected_is_told() {
    let backend = written(ExecutionStatus::Waiting, &[]).await;
    backend.queue().push(vec![NewMessage::new("work", "note", Value::Null)]).await.unwrap();
    let history = History::new().accepted([id("lost")]).nothing_else().drained("work").drained("other");
    let report = history.check(&backend).await.unwrap();
    assert_eq!(report.violations.len(), 4);
    assert_eq!(report.violations[0], Violation::Unexpected(id("e")));
    assert_eq!(report.violations[1], Violation::Unfinished(id("e"), ExecutionStatus::Waiting));
    assert_eq!(report.violations[2], Violation::Lost(id("lost")));
    assert!(matches!(&report.violations[3], Violation::NotDrained { queue, .. } if queue == "work"));
    assert!(!report.is_clean() && report.to_string().contains("\n  lost: was acknowledged"), "{report}");
}
