//! An application that runs workflows by replaying their events, as a client library in any language would: its code is a
//! function of what has happened so far, and says what is to happen next.

use std::{
    collections::{BTreeMap, HashMap},
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use mainspring_core::{BoxFuture, Error, ExecutionId, NewMessage, Result, Timestamp};
use mainspring_http::{Call, Endpoint, Entrypoint, Reply};
use mainspring_world::{
    EventType, Fact, Fault, NewStep, Order, Paging, Resolve, RunEvent, RunStatus, Step, StepFailure,
    StepStatus, WaitStatus, World,
};
use serde_json::Value;

use crate::ground::{complete, complete_step, start, start_step};

/// The code of a workflow: `None` while it waits.
pub(crate) type Code = fn(&Replay, &Value) -> Option<Result<Value, String>>;
type Body = Arc<dyn Fn(Value, u32) -> Result<Value, StepFailure> + Send + Sync>;

/// How often a step is run.
const MOST_RUNS: u32 = 3;

#[derive(Clone)]
pub(crate) struct Sdk {
    world: World,
    workflows: BTreeMap<&'static str, Code>,
    steps: BTreeMap<&'static str, Body>,
    pub(crate) flows: Arc<AtomicUsize>,
    pub(crate) bodies: Arc<AtomicUsize>,
}

impl Sdk {
    /// On the application's side of this world.
    pub(crate) fn new(world: World) -> Self {
        let (flows, bodies) = (Arc::default(), Arc::default());
        Self { world, workflows: BTreeMap::new(), steps: BTreeMap::new(), flows, bodies }
    }

    pub(crate) fn workflow(mut self, name: &'static str, code: Code) -> Self {
        self.workflows.insert(name, code);
        self
    }

    pub(crate) fn step(
        mut self,
        name: &'static str,
        body: impl Fn(Value, u32) -> Result<Value, StepFailure> + Send + Sync + 'static,
    ) -> Self {
        self.steps.insert(name, Arc::new(body));
        self
    }

    pub(crate) fn counts(&self) -> (usize, usize) {
        (self.flows.load(Ordering::Relaxed), self.bodies.load(Ordering::Relaxed))
    }

    async fn event(
        &self,
        run: &ExecutionId,
        event: impl Into<RunEvent>,
        messages: Vec<NewMessage>,
    ) -> Result<()> {
        self.world.storage().events().create_with(Some(run), event, messages).await.map(drop)
    }

    async fn flow(&self, workflow: &str, run: &ExecutionId) -> Result<Reply> {
        let found = self.world.storage().runs().get(run, Resolve::All).await?;
        if found.status.is_terminal() || found.status == RunStatus::Paused {
            return Ok(Reply::ok());
        }
        let code = *self.workflows.get(workflow).ok_or_else(|| Error::invalid("workflow", "is unknown"))?;
        self.flows.fetch_add(1, Ordering::Relaxed);
        self.event(run, start(), Vec::new()).await?;
        let replay = Replay::load(&self.world, workflow, run).await?;
        for wait in &replay.due {
            conflict_is_fine(
                self.event(run, RunEvent::about(wait, Fact::WaitCompleted {}), Vec::new()).await,
            )?;
        }
        let ended = code(&replay, &found.input.unwrap_or_default());
        let next = std::mem::take(&mut *replay.next.lock().unwrap());
        for (event, messages) in next {
            conflict_is_fine(self.event(run, event, messages.clone()).await)?;
            // Whoever created it before may have died before its message: the key says whether it is there.
            self.world.storage().backend().queues().push_each(messages).await?;
        }
        match ended {
            Some(Ok(output)) => self.event(run, complete(output), Vec::new()).await?,
            Some(Err(error)) => {
                self.event(run, Fact::RunFailed { error: Fault::new(error) }, Vec::new()).await?;
            }
            None => {
                let left = *replay.left.lock().unwrap();
                return Ok(left.map_or(Reply::ok(), Reply::Again));
            }
        }
        Ok(Reply::ok())
    }

    async fn one_step(&self, workflow: &str, run: &ExecutionId, step: &str) -> Result<Reply> {
        let begun = self.world.storage().events().create(Some(run), start_step(step)).await;
        let begun = match begun {
            Ok(begun) => begun.step.unwrap(),
            Err(error) if error.is_too_early() => return Ok(Reply::Again(error.retry_after().unwrap())),
            Err(error) if error.is_conflict() || error.is_expired() => return Ok(Reply::ok()),
            Err(error) => return Err(error),
        };
        let body = self.steps.get(begun.step_name.as_str()).unwrap();
        self.bodies.fetch_add(1, Ordering::Relaxed);
        let wake = || Ok::<_, Error>(vec![self.world.flow_message(workflow, run)?]);
        let ended = match body(begun.input.unwrap_or_default(), begun.attempt) {
            Ok(result) => self.event(run, complete_step(step, result), wake()?).await,
            Err(StepFailure::Retry { message, after }) if begun.attempt < MOST_RUNS => {
                let after = after.unwrap_or(Duration::from_secs(1));
                let at = self.world.storage().backend().now() + after;
                let fact = Fact::StepRetrying { error: Fault::new(message), retry_after: Some(at) };
                self.event(run, RunEvent::about(step, fact), Vec::new()).await?;
                return Ok(Reply::Again(after));
            }
            Err(StepFailure::Fatal(message) | StepFailure::Retry { message, .. }) => {
                let fact = Fact::StepFailed { error: Fault::new(message) };
                self.event(run, RunEvent::about(step, fact), wake()?).await
            }
        };
        conflict_is_fine(ended)?;
        Ok(Reply::ok())
    }
}

fn conflict_is_fine(done: Result<()>) -> Result<()> {
    done.or_else(|error| if error.is_conflict() { Ok(()) } else { Err(error) })
}

impl Endpoint for Sdk {
    fn call(&self, call: Call) -> BoxFuture<'_, Reply> {
        Box::pin(async move {
            let text = |key: &str| call.message.data[key].as_str().unwrap_or_default();
            let run = |key: &str| ExecutionId::from_stored(text(key).to_owned());
            let done = match call.entrypoint() {
                Entrypoint::Flow => self.flow(&call.message.id, &run("runId")).await,
                Entrypoint::Step => {
                    self.one_step(text("workflowName"), &run("workflowRunId"), text("stepId")).await
                }
            };
            done.unwrap_or_else(|error| Reply::from_error(&error))
        })
    }
}

/// What has happened to a run, and what its code wants to happen next.
pub(crate) struct Replay {
    world: World,
    workflow: String,
    run: ExecutionId,
    now: Timestamp,
    steps: HashMap<String, Step>,
    waits: HashMap<String, (WaitStatus, Timestamp)>,
    payloads: HashMap<String, Vec<Value>>,
    due: Vec<String>,
    next: Mutex<Vec<(RunEvent, Vec<NewMessage>)>>,
    left: Mutex<Option<Duration>>,
}

impl Replay {
    async fn load(world: &World, workflow: &str, run: &ExecutionId) -> Result<Self> {
        let (storage, now) = (world.storage(), world.storage().backend().now());
        let all = Paging::limit(1_000);
        let steps = storage.steps().list(run, &all, Resolve::All).await?.data;
        let waits = storage.waits().list(run, &all).await?.data;
        let log = storage.events().list(run, &all.order(Order::Ascending), Resolve::All).await?.data;
        let mut payloads: HashMap<String, Vec<Value>> = HashMap::new();
        for event in log {
            let id = event.correlation_id.unwrap_or_default();
            match event.event_type {
                EventType::HookCreated => drop(payloads.entry(id).or_default()),
                EventType::HookReceived => {
                    payloads.entry(id).or_default().push(event.event_data.unwrap()["payload"].clone());
                }
                _ => {}
            }
        }
        let is_due = |status, at| status == WaitStatus::Waiting && at <= now;
        let due = waits.iter().filter(|wait| is_due(wait.status, wait.resume_at));
        Ok(Self {
            world: world.clone(),
            workflow: workflow.to_owned(),
            run: run.clone(),
            now,
            due: due.map(|wait| wait.wait_id.clone()).collect(),
            steps: steps.into_iter().map(|step| (step.step_id.clone(), step)).collect(),
            waits: waits.into_iter().map(|wait| (wait.wait_id, (wait.status, wait.resume_at))).collect(),
            payloads,
            next: Mutex::default(),
            left: Mutex::default(),
        })
    }

    fn new_step(name: &str, input: Value) -> NewStep {
        NewStep { step_name: name.to_owned(), input: Some(input) }
    }

    /// A step of its own message.
    pub(crate) fn step(&self, id: &str, name: &str, input: Value) -> Option<Result<Value, String>> {
        match self.steps.get(id) {
            Some(step) if step.status == StepStatus::Completed => Some(Ok(step.output.clone().unwrap())),
            Some(step) if step.status == StepStatus::Failed => {
                Some(Err(step.error.clone().unwrap_or_default().message))
            }
            _ => {
                let message = self.world.step_message(&self.workflow, &self.run, name, id).unwrap();
                let event = RunEvent::about(id, Fact::StepCreated(Self::new_step(name, input)));
                self.next.lock().unwrap().push((event, vec![message]));
                None
            }
        }
    }

    /// How many steps are done.
    pub(crate) fn steps_done(&self) -> usize {
        self.steps.values().filter(|step| step.status == StepStatus::Completed).count()
    }

    /// A step that is done in the middle of the code.
    pub(crate) fn inline(&self, id: &str, body: impl FnOnce() -> Value) -> Value {
        if let Some(step) = self.steps.get(id) {
            return step.output.clone().unwrap();
        }
        let result = body();
        let claim = Fact::StepStarted { create: Some(Self::new_step("inline", Value::Null)) };
        let mut next = self.next.lock().unwrap();
        next.push((RunEvent::about(id, claim), Vec::new()));
        next.push((complete_step(id, result.clone()), Vec::new()));
        result
    }

    pub(crate) fn sleep(&self, id: &str, time: Duration) -> Option<()> {
        let until = match self.waits.get(id) {
            Some((_, at)) if *at <= self.now => return Some(()),
            Some((_, at)) => *at,
            None => {
                let at = self.now + time;
                let event = RunEvent::about(id, Fact::WaitCreated { resume_at: at });
                self.next.lock().unwrap().push((event, Vec::new()));
                at
            }
        };
        *self.left.lock().unwrap() = Some(until.since(self.now));
        None
    }

    /// What has come in for a hook so far.
    pub(crate) fn hook(&self, id: &str, token: &str) -> Vec<Value> {
        self.payloads.get(id).cloned().unwrap_or_else(|| {
            let fact = Fact::HookCreated { token: token.to_owned(), metadata: None, is_webhook: false };
            self.next.lock().unwrap().push((RunEvent::about(id, fact), Vec::new()));
            Vec::new()
        })
    }
}
