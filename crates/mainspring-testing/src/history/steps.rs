//! Each step ends once for each time it began.
//!
//! ```text
//!        started            completed · failed · retry
//! idle ───────────► begun ──────────────────────────────► idle
//!   ▲                 │ waiting
//!   │    started      ▼           job or child ended
//! begun ◄────────── parked ────────────────────────► begun
//! ```

use std::collections::BTreeMap;

use mainspring_core::{ExecutionId, RecordedEvent, event::kind};

use super::{Report, Violation, violation::StepProblem};

/// The steps of one execution.
pub(super) struct Steps<'a> {
    id: &'a ExecutionId,
    steps: BTreeMap<&'a str, Step>,
}

#[derive(Default)]
struct Step {
    state: State,
    /// The attempt that is under way, or the last.
    attempt: u64,
    /// The attempt the last retry asked for.
    next: Option<u64>,
}

#[derive(Default, Clone, Copy, PartialEq, Eq)]
enum State {
    #[default]
    Idle,
    Begun,
    Parked,
}

impl<'a> Steps<'a> {
    pub(super) fn of(id: &'a ExecutionId) -> Self {
        Self { id, steps: BTreeMap::new() }
    }

    pub(super) fn check(mut self, events: &'a [RecordedEvent], report: &mut Report) {
        for event in events {
            count(&event.event.event_type, report);
            let open = event.event.event_type == kind::EXECUTION_COMPLETED && self.begun().is_some();
            let step = if open { self.begun() } else { event.event.subject.as_deref() };
            let Some(step) = step else { continue };
            let problem = if open { Some(StepProblem::LeftOpen) } else { self.take(step, event) };
            if let Some(problem) = problem {
                let (step, position) = (step.to_owned(), event.position);
                report.violations.push(Violation::Step { id: self.id.clone(), step, position, problem });
            }
        }
    }

    fn begun(&self) -> Option<&'a str> {
        self.steps.iter().find(|(_, step)| step.state == State::Begun).map(|(name, _)| *name)
    }

    fn take(&mut self, name: &'a str, event: &RecordedEvent) -> Option<StepProblem> {
        let attempt = event.event.data.get("attempt").and_then(serde_json::Value::as_u64);
        let step = self.steps.entry(name).or_default();
        let was = step.state;
        match event.event.event_type.as_str() {
            kind::STEP_STARTED => {
                let expected = step.next.take().unwrap_or(1);
                step.state = State::Begun;
                step.attempt = attempt.unwrap_or(expected);
                if was == State::Begun {
                    return Some(StepProblem::BegunTwice);
                }
                (step.attempt != expected).then_some(StepProblem::WrongAttempt)
            }
            kind::STEP_COMPLETED | kind::STEP_FAILED | kind::STEP_RETRY | kind::STEP_WAITING => {
                let waits = event.event.event_type == kind::STEP_WAITING;
                step.state = if waits { State::Parked } else { State::Idle };
                step.next = (event.event.event_type == kind::STEP_RETRY).then_some(step.attempt + 1);
                if was != State::Begun {
                    return Some(StepProblem::NotBegun);
                }
                (attempt.is_some_and(|attempt| attempt != step.attempt)).then_some(StepProblem::WrongAttempt)
            }
            kind::JOB_COMPLETED | kind::JOB_FAILED | kind::CHILD_FINISHED if was == State::Parked => {
                step.state = State::Begun;
                None
            }
            _ => None,
        }
    }
}

fn count(kind: &str, report: &mut Report) {
    let counter = match kind {
        kind::STEP_STARTED => &mut report.steps_started,
        kind::STEP_COMPLETED => &mut report.steps_completed,
        kind::STEP_FAILED => &mut report.steps_failed,
        kind::STEP_RETRY => &mut report.steps_retried,
        kind::STEP_WAITING => &mut report.steps_waited,
        kind::EXECUTION_RECOVERED => &mut report.recovered,
        _ => return,
    };
    *counter += 1;
}
