//! A step: a side effect whose result is written down.

use std::{future::IntoFuture, time::Duration};

use mainspring_core::{
    BoxFuture, Failure, NewEvent,
    event::kind,
    flow::{RetryPolicy, code},
    limits,
    trace::{self, TraceContext},
};
use mainspring_worker::caught;
use serde::{Serialize, de::DeserializeOwned};
use serde_json::{Value, json};
use tokio::time::{Instant, sleep, timeout};
use tokio_util::sync::CancellationToken;
use tracing::Instrument;

use super::{
    Cx,
    error::{Halt, StepError},
    journal::{End, Note},
    live::Go,
    state::Wait,
};
use crate::{meter, spans};

/// The longest pause between two runs of a step that is spent awake; during a longer one the execution is parked.
const LONGEST_AWAKE: Duration = Duration::from_secs(1);

type Work<'a, T, E> = Box<dyn Fn(StepRun) -> BoxFuture<'a, Result<T, E>> + Send + Sync + 'a>;
type Fatal<'a, E> = Box<dyn Fn(&E) -> bool + Send + Sync + 'a>;

/// A step about to be taken; await it.
#[must_use = "a step does nothing until it is awaited"]
pub struct Step<'a, T, E> {
    cx: Cx,
    key: String,
    work: Work<'a, T, E>,
    policy: RetryPolicy,
    timeout: Option<Duration>,
    fatal: Option<Fatal<'a, E>>,
}

/// One run of a step's body.
#[derive(Debug, Clone)]
pub struct StepRun {
    /// The same for every run of this step of this execution, for services that keep apart what they have done already.
    pub idempotency_key: String,
    /// Which run this is: 1 for the first.
    pub attempt: u32,
    /// Fires when what the step does no longer counts: the execution is cancelled, or handed over to another worker.
    pub cancelled: CancellationToken,
}

/// Tries `max_attempts` times in all, with pauses of 100 ms, 200 ms, 400 ms … up to a minute.
pub fn exponential(max_attempts: u32) -> RetryPolicy {
    RetryPolicy { max_attempts, backoff: Duration::from_millis(100), ..RetryPolicy::default() }
}

impl<'a, T, E> Step<'a, T, E> {
    pub(crate) fn new(cx: Cx, name: &str, work: Work<'a, T, E>) -> Self {
        let key = cx.key(name);
        let policy = RetryPolicy { max_attempts: 1, ..RetryPolicy::default() };
        Self { cx, key, work, policy, timeout: None, fatal: None }
    }

    /// Runs the body again when it fails, as the policy says; timeouts and panics count as failures. A pause of more than a
    /// second parks the execution. Defaults to one run.
    pub fn retry(mut self, policy: RetryPolicy) -> Self {
        if let Err(error) = policy.check("step.retry") {
            self.cx.live.refuse(Failure::new(super::INVALID_STEP, error.to_string()));
        }
        self.policy = policy;
        self
    }

    /// How long one run may take; its future is dropped then. Defaults to no limit.
    pub fn timeout(mut self, longest: Duration) -> Self {
        self.timeout = Some(longest);
        self
    }

    /// Errors that no further run can help.
    pub fn non_retryable(mut self, is_fatal: impl Fn(&E) -> bool + Send + Sync + 'a) -> Self {
        self.fatal = Some(Box::new(is_fatal));
        self
    }
}

impl<'a, T, E> IntoFuture for Step<'a, T, E>
where
    T: Serialize + DeserializeOwned + Send + 'a,
    E: Serialize + DeserializeOwned + Send + 'a,
{
    type Output = Result<T, StepError<E>>;
    type IntoFuture = BoxFuture<'a, Self::Output>;

    /// The recorded result; without one, that of the body.
    fn into_future(self) -> Self::IntoFuture {
        Box::pin(self.take())
    }
}

/// How one run failed.
enum Failed<E> {
    App(E),
    Broken(Failure),
}

impl<E> Failed<E> {
    fn code(&self) -> &str {
        match self {
            Self::App(_) => code::STEP_FAILED,
            Self::Broken(failure) => &failure.code,
        }
    }
}

impl<T, E> Step<'_, T, E>
where
    T: Serialize + DeserializeOwned + Send,
    E: Serialize + DeserializeOwned + Send,
{
    async fn take(self) -> Result<T, StepError<E>> {
        match self.cx.live.turn(&self.key).await {
            Go::Return(end) => decode(&self.key, end),
            Go::Work { note, loose } => self.work(note, loose).await,
        }
    }

    async fn work(self, note: Note, loose: bool) -> Result<T, StepError<E>> {
        let live = &*self.cx.live;
        let mut attempt = note.attempts + 1;
        if let Some(until) = note.until {
            live.wait(&self.key, Wait::Until(until)).await;
        }
        let mut before = None;
        loop {
            live.gate().await;
            let failed = match self.run(attempt, &mut before).await {
                Ok(value) => match keep(&value) {
                    Ok((stored, value)) => {
                        let end = End::Completed(stored);
                        live.record_end(kind::STEP_COMPLETED, &self.key, &end, loose, None);
                        return Ok(value);
                    }
                    // Another run would return the same.
                    Err(failure) => return Err(self.give_up(Failed::Broken(failure), loose)),
                },
                Err(failed) => failed,
            };
            let fatal = match &failed {
                Failed::App(error) => self.fatal.as_ref().is_some_and(|fatal| fatal(error)),
                Failed::Broken(_) => false,
            };
            if fatal || !self.policy.allows(failed.code(), attempt - 1) {
                return Err(self.give_up(failed, loose));
            }
            let text = match &failed {
                Failed::App(error) => limits::clip_error(&serde_json::to_string(error).unwrap_or_default()),
                Failed::Broken(failure) => failure.to_string(),
            };
            drop(failed);
            self.pause(attempt, &text).await;
            attempt += 1;
        }
    }

    /// `before` is the span of the try before, and then of this one.
    async fn run(&self, attempt: u32, before: &mut Option<TraceContext>) -> Result<T, Failed<E>> {
        let live = &*self.cx.live;
        let _active = live.activate();
        let run = StepRun {
            idempotency_key: format!("{}/{}", live.facts.id, self.key),
            attempt,
            cancelled: live.cancel.clone(),
        };
        // The call is inside: a closure may panic before it has made its future.
        let begin = Instant::now();
        let span = spans::step(&live.facts.id, &live.facts.flow, &self.key, attempt, before.as_ref());
        *before = if span.is_disabled() { None } else { span.in_scope(trace::span) };
        let work = caught(async { (self.work)(run).await }).instrument(span.clone());
        let ended = match self.timeout {
            Some(longest) => timeout(longest, work).await,
            None => Ok(work.await),
        };
        meter::step(&live.facts.flow, &self.key, begin.elapsed());
        let ran = match ended {
            Ok(Ok(Ok(value))) => Ok(value),
            Ok(Ok(Err(error))) => Err(Failed::App(error)),
            Ok(Err(panic)) => {
                tracing::error!(execution = %live.facts.id, step = %self.key, %panic, "a step panicked");
                Err(Failed::Broken(panic.into()))
            }
            Err(_) => {
                let message = format!("took longer than {:?}", self.timeout.unwrap_or_default());
                Err(Failed::Broken(Failure::new(code::TIMEOUT, message)))
            }
        };
        if let Err(failed) = &ran {
            spans::failed(&span, failed.code());
        }
        ran
    }

    async fn pause(&self, attempt: u32, error: &str) {
        let live = &*self.cx.live;
        let delay = self.policy.delay(attempt - 1);
        let mut data = json!({"attempt": attempt, "delayMs": delay.as_millis() as u64, "error": error});
        if delay <= LONGEST_AWAKE {
            live.record(NewEvent::new(kind::STEP_RETRY, data).about(&*self.key), false);
            let _active = live.activate();
            sleep(delay).await;
        } else {
            let until = live.backend.now() + delay;
            data["until"] = json!(until);
            live.record(NewEvent::new(kind::STEP_RETRY, data).about(&*self.key), false);
            live.wait(&self.key, Wait::Until(until)).await;
        }
    }

    fn give_up(&self, failed: Failed<E>, loose: bool) -> StepError<E> {
        let (end, error) = match failed {
            Failed::App(error) => match keep(&error) {
                Ok((stored, error)) => (End::App(stored), StepError::App(error)),
                Err(failure) => broken(failure),
            },
            Failed::Broken(failure) => broken(failure),
        };
        self.cx.live.record_end(kind::STEP_FAILED, &self.key, &end, loose, None);
        error
    }
}

fn broken<E>(mut failure: Failure) -> (End, StepError<E>) {
    failure.message = limits::clip_error(&failure.message);
    (End::Broken(failure.clone()), StepError::Halted(Halt::new(failure)))
}

/// The value as it is stored, and as it will come back: what cannot is found out now and not at the replay.
pub(crate) fn keep<T: Serialize + DeserializeOwned>(value: &T) -> Result<(Value, T), Failure> {
    let unstorable = |error: String| Failure::new(super::UNSTORABLE, error);
    let stored = serde_json::to_value(value).map_err(|error| unstorable(error.to_string()))?;
    limits::check_json("step.result", &stored).map_err(|error| unstorable(error.to_string()))?;
    let back = T::deserialize(&stored)
        .map_err(|error| unstorable(format!("cannot be read back from what is stored: {error}")))?;
    Ok((stored, back))
}

/// The recorded end of the step `key` as the code gets it.
pub(crate) fn decode<T: DeserializeOwned, E: DeserializeOwned>(
    key: &str,
    end: End,
) -> Result<T, StepError<E>> {
    let halted = |failure| StepError::Halted(Halt::new(failure));
    match end {
        End::Completed(value) => {
            T::deserialize(&value).map_err(|error| halted(other_type::<T>(key, &value, &error)))
        }
        End::App(value) => Err(match E::deserialize(&value) {
            Ok(error) => StepError::App(error),
            Err(error) => halted(other_type::<E>(key, &value, &error)),
        }),
        End::Broken(failure) => Err(halted(failure)),
    }
}

/// What is recorded for `key` is not of the type the code asks for.
pub(crate) fn other_type<T>(key: &str, recorded: &Value, error: &serde_json::Error) -> Failure {
    let recorded = match recorded {
        Value::Null => "null",
        Value::Bool(_) => "a boolean",
        Value::Number(_) => "a number",
        Value::String(_) => "a string",
        Value::Array(_) => "an array",
        Value::Object(_) => "an object",
    };
    let asked = std::any::type_name::<T>();
    let message = format!(
        "`{key}` is recorded as {recorded}, which is not of the type `{asked}` the code asks for: {error}"
    );
    let mut failure = Failure::new(super::OTHER_TYPE, limits::clip_error(&message));
    failure.details = json!({"step": key, "recorded": recorded, "asked": asked});
    failure.step_id = Some(key.to_owned());
    failure
}
