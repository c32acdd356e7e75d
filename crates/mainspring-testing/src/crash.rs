//! Crash a workflow everywhere: its process dies at every call that changes something, each time in a run of its own.
//!
//! ```text
//! undisturbed run ──► outcome
//! for every point (before and after each commit, claim, settlement) and every time it is passed:
//!     a worker runs until it is there and is gone · its lease runs out · another worker finishes ──► the same outcome
//! ```

#![allow(clippy::expect_used, clippy::panic, reason = "a workflow that does not survive is a failed test")]

use std::{collections::HashSet, sync::Arc, time::Duration};

use futures_util::future::LocalBoxFuture;
use mainspring_core::{
    Backend, Execution, ExecutionFilter, ExecutionId,
    event::{EXECUTIONS, kind},
};
use mainspring_engine::{Engine, EngineBuilder, ResultError, Workflow, WorkflowHandle};
use serde::{Serialize, de::DeserializeOwned};
use serde_json::{Value, json};
use tokio::sync::Notify;

use crate::{Action, Faults, FaultyBackend, MemoryBackend};

const POINTS: [&str; 6] =
    ["commit.before", "commit.after", "claim.before", "claim.after", "settle.before", "settle.after"];
/// How long a worker counts as alive: little, since it moves the clock of the runs that are disturbed.
const LEASE: Duration = Duration::from_millis(100);
/// Looks without any progress, after which nothing more is expected to happen.
const MOST_IDLE: u32 = 20;
/// More executions than any test of this kind has.
const MANY: u32 = 10_000;

/// What becomes durable once only, each with the step it is about.
const ONCE: [&str; 5] =
    [kind::STEP_COMPLETED, kind::STEP_FAILED, kind::STEP_WAITING, kind::CHILD_STARTED, kind::CHILD_FINISHED];

/// Runs a workflow on a [`MemoryBackend`] once without and then many times with one crash, in virtual time: a process dies
/// before and after each of its commits, claims and settlements, and another one goes on when the lease of the first has run
/// out. Every run has to end as the first did, with no step recorded twice and no gap in any history.
///
/// `register` adds the code of the workflow and of its children; it is called for each process. Time is moved to the next
/// thing that is due whenever everything rests, so a sleep of 30 days takes none. Pauses between the runs of a step are the
/// runtime's: let a test have `start_paused = true`, and they take no time either.
///
/// ```
/// use std::time::Duration;
/// use mainspring_engine::{Cx, Workflow, WorkflowResult};
/// use mainspring_testing::crash_everywhere;
///
/// const REMIND: Workflow<String, String, String> = Workflow::new("remind");
///
/// async fn remind(cx: Cx, who: String) -> WorkflowResult<String, String> {
///     let mail = cx.step("write", async || Ok::<_, String>(format!("Dear {who}"))).await?;
///     cx.sleep(Duration::from_secs(30 * 24 * 3600)).await;
///     let answer: String = cx.signal("answer").await?;
///     Ok(cx.step("send", async || Ok::<_, String>(format!("{mail}, {answer}!"))).await?)
/// }
///
/// # tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap().block_on(async {
/// let run = crash_everywhere(REMIND, &"Ada".to_owned(), |engine| engine.register(REMIND, remind))
///     .signal("answer", &"yes")
///     .run()
///     .await;
/// assert_eq!(run.result.unwrap(), "Dear Ada, yes!");
/// assert!(run.crashes > 10);
/// # });
/// ```
pub fn crash_everywhere<'a, I: Serialize, O, E>(
    workflow: Workflow<I, O, E>,
    input: &'a I,
    register: impl Fn(EngineBuilder) -> EngineBuilder + 'a,
) -> CrashEverywhere<'a, I, O, E> {
    CrashEverywhere {
        workflow,
        input,
        register: Box::new(register),
        signals: Vec::new(),
        outside: None,
        compare: None,
    }
}

/// Those of them that end a step.
const ENDS: [&str; 3] = [kind::STEP_COMPLETED, kind::STEP_FAILED, kind::CHILD_FINISHED];

type Compare<'a> = Box<dyn Fn(MemoryBackend) -> LocalBoxFuture<'a, Value> + 'a>;
type Outside<'a> = Box<dyn Fn(Engine, ExecutionId) -> LocalBoxFuture<'a, ()> + 'a>;

/// A workflow about to be crashed everywhere; [`run`](Self::run) does. See [`crash_everywhere`].
#[must_use = "nothing is run until `run`"]
pub struct CrashEverywhere<'a, I, O, E> {
    workflow: Workflow<I, O, E>,
    input: &'a I,
    register: Box<dyn Fn(EngineBuilder) -> EngineBuilder + 'a>,
    signals: Vec<(String, Value)>,
    outside: Option<Outside<'a>>,
    compare: Option<Compare<'a>>,
}

/// What a workflow survived.
#[derive(Debug)]
pub struct Crashes<O, E> {
    /// How the workflow ended, the same in every run.
    pub result: Result<O, ResultError<E>>,
    /// Runs in which a process died.
    pub crashes: u32,
    /// Steps that the undisturbed run recorded, those of children included.
    pub steps: usize,
}

/// How a run ended, and how many steps it recorded.
struct Ended {
    outcome: Value,
    steps: usize,
}

impl<'a, I, O, E> CrashEverywhere<'a, I, O, E>
where
    I: Serialize,
    O: DeserializeOwned + Send + 'static,
    E: DeserializeOwned + Send + 'static,
{
    /// Sends the workflow a signal right after its start, in the order of these calls.
    pub fn signal(mut self, name: &str, payload: &impl Serialize) -> Self {
        let payload = serde_json::to_value(payload).expect("the payload can be written as JSON");
        self.signals.push((name.to_owned(), payload));
        self
    }

    /// What others do whenever the workflow rests and is not over, such as to bring a payload for a hook. It has to count once
    /// however often it is called.
    pub fn outside<F, Fut>(mut self, act: F) -> Self
    where
        F: Fn(Engine, ExecutionId) -> Fut + 'a,
        Fut: Future<Output = ()> + 'a,
    {
        self.outside = Some(Box::new(move |engine, id| Box::pin(act(engine, id))));
        self
    }

    /// What else has to be the same at the end of every run, such as what it published.
    pub fn compare<F, Fut>(mut self, read: F) -> Self
    where
        F: Fn(MemoryBackend) -> Fut + 'a,
        Fut: Future<Output = Value> + 'a,
    {
        self.compare = Some(Box::new(move |backend| Box::pin(read(backend))));
        self
    }

    /// Runs it, once for each place where its process can die.
    ///
    /// # Panics
    /// Naming the place, when a run does not end or ends otherwise than the undisturbed one, or when a step is recorded twice
    /// or a history has a gap.
    pub async fn run(self) -> Crashes<O, E> {
        let memory = MemoryBackend::new();
        let engine = self.engine(memory.clone());
        let handle = self.start(&engine).await;
        let undisturbed = self.finish(&engine, &engine, &memory, &handle, "undisturbed").await;
        let mut crashes = 0;
        for point in POINTS {
            for nth in 1.. {
                if !self.crash(point, nth, &undisturbed).await {
                    break;
                }
                crashes += 1;
            }
        }
        Crashes { result: handle.result().await, crashes, steps: undisturbed.steps }
    }

    fn engine(&self, backend: impl Backend + 'static) -> Engine {
        let backend: Arc<dyn Backend> = Arc::new(backend);
        (self.register)(Engine::builder(backend)).build().expect("the engine is built")
    }

    async fn start(&self, engine: &Engine) -> WorkflowHandle<O, E> {
        let id = ExecutionId::new("it").expect("an id");
        for (n, (name, payload)) in self.signals.iter().enumerate() {
            let sent = engine.signal(&id, name, payload).id(n.to_string()).await;
            sent.expect("the signal is sent");
        }
        engine.start(self.workflow, self.input).id("it").await.expect("it is started")
    }

    /// Whether the process died; not when it never came to that point so often.
    async fn crash(&self, point: &str, nth: u64, undisturbed: &Ended) -> bool {
        let memory = MemoryBackend::new();
        let second = self.engine(memory.clone());
        let handle = self.start(&second).await;
        let place = format!("{point}, time {nth}");
        let faults = Faults::none();
        faults.arm(point, nth, Action::Pause(Arc::new(Notify::new())));
        let first = self.engine(FaultyBackend::new(memory.clone(), faults.clone()));
        let died = tokio::select! {
            () = faults.wait_fired(point, 1) => true,
            ended = self.finish(&first, &second, &memory, &handle, &place) => {
                assert_eq!(ended.outcome, undisturbed.outcome, "{place}");
                false
            }
        };
        drop(first);
        if died {
            memory.advance(LEASE * 2);
            let ended = self.finish(&second, &second, &memory, &handle, &place).await;
            assert_eq!(ended.outcome, undisturbed.outcome, "after a crash at {place}");
        }
        died
    }

    /// Works until the workflow is over, moving time to whatever is due next. The `outside` has an engine that does not die.
    async fn finish(
        &self,
        engine: &Engine,
        outside: &Engine,
        memory: &MemoryBackend,
        handle: &WorkflowHandle<O, E>,
        place: &str,
    ) -> Ended {
        let mut idle = 0;
        loop {
            engine.worker().lease(LEASE).drain().await.expect("the worker works");
            let last = handle.execution().await.expect("the execution is there");
            if last.status.is_terminal() {
                let more = match &self.compare {
                    Some(read) => read(memory.clone()).await,
                    None => Value::Null,
                };
                let outcome = json!([outcome(&last), more]);
                return Ended { outcome, steps: recorded(memory, place).await };
            }
            if let Some(act) = &self.outside {
                act(outside.clone(), handle.id().clone()).await;
            }
            let due = all(memory).await.into_iter().filter(|one| !one.status.is_terminal());
            let due = due.filter_map(|one| one.wake_at).min().filter(|at| *at > memory.now());
            idle = if due.is_some() { 0 } else { idle + 1 };
            assert!(idle < MOST_IDLE, "{place}: the workflow waits for ever: {last:#?}");
            memory.advance(due.map_or(LEASE * 2, |at| at.since(memory.now())));
        }
    }
}

fn outcome(execution: &Execution) -> Value {
    let error = execution.error.as_ref();
    let error = error.map(|error| json!([error.code, error.message, error.step_id, error.details]));
    json!([execution.status.as_str(), execution.context.get("output"), error])
}

async fn all(memory: &MemoryBackend) -> Vec<Execution> {
    let filter = ExecutionFilter { limit: MANY, ..ExecutionFilter::default() };
    memory.executions().list(filter).await.expect("the executions are read")
}

/// How many steps all executions recorded, each fact once, in histories without gaps.
async fn recorded(memory: &MemoryBackend, place: &str) -> usize {
    let mut seen = HashSet::new();
    for execution in all(memory).await {
        let id = &execution.id;
        let events = memory.events().get_by_execution(id).await.expect("the history is read");
        for (event, position) in events.into_iter().filter(|event| event.partition == EXECUTIONS).zip(1..) {
            assert_eq!(event.position, position, "{place}: the history of `{id}` has a gap");
            let event = event.event;
            let Some(step) = event.subject.filter(|_| ONCE.contains(&&*event.event_type)) else { continue };
            let what = format!("{place}: `{}` of `{step}` is recorded twice", event.event_type);
            assert!(seen.insert((id.clone(), event.event_type, step)), "{what}");
        }
    }
    seen.iter().filter(|(_, kind, _)| ENDS.contains(&&**kind)).count()
}
