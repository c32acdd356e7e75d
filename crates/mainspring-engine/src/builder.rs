//! Putting an engine together.

use std::{collections::HashMap, fmt, sync::Arc, time::Duration};

use mainspring_core::{
    Backend, ContextLimits, DEFAULT_QUEUE, Error, Execution, Flow, Result, limits, message::check_lease,
};
use serde::{Serialize, de::DeserializeOwned};
use serde_json::Value;

use crate::{
    Engine, Handler, HandlerError, HandlerRegistry, Invocation, JobHandler, JobRun, Lifecycle, Outcome,
    builtin,
    cancel::CancelHook,
    engine::Options,
    listener::Listeners,
    workflow::{Cx, KeptLive, Workflow, WorkflowResult, Workflows},
};

/// An [`Engine`] being put together; see [`Engine::builder`].
#[must_use = "a builder does nothing until it builds"]
pub struct EngineBuilder {
    backend: Arc<dyn Backend>,
    handlers: HandlerRegistry,
    flows: Vec<Flow>,
    workflows: Workflows,
    hooks: HashMap<String, CancelHook>,
    listeners: Arc<Listeners>,
    options: Options,
    builtins: bool,
    settings: builtin::Settings,
    problem: Option<Error>,
}

impl EngineBuilder {
    pub(crate) fn new(backend: Arc<dyn Backend>) -> Self {
        Self {
            backend,
            handlers: HandlerRegistry::default(),
            flows: Vec::new(),
            workflows: Workflows::default(),
            hooks: HashMap::new(),
            listeners: Arc::default(),
            options: Options {
                queue: DEFAULT_QUEUE.to_owned(),
                step_queue: None,
                max_steps: 1_000,
                step_timeout: Duration::from_secs(30),
                limits: ContextLimits::default(),
                lease: Duration::from_secs(30),
                detect_foreign_awaits: false,
                retention: HashMap::new(),
            },
            builtins: true,
            settings: builtin::Settings::default(),
            problem: None,
        }
    }

    fn noting(mut self, registered: Result<()>) -> Self {
        self.problem = self.problem.or(registered.err());
        self
    }

    /// Adds a handler.
    pub fn handler<H: Handler>(mut self, handler: H) -> Self {
        let registered = self.handlers.register(handler);
        self.noting(registered)
    }

    /// Adds a handler whose steps are done as jobs.
    pub fn job_handler<H: JobHandler>(mut self, handler: H) -> Self {
        let registered = self.handlers.register_job(handler);
        self.noting(registered)
    }

    /// Adds an async function as a handler: `|call: Invocation, input: Value| async move { Ok(json!(1)) }`.
    pub fn handle_fn<F, I, Fut, R>(mut self, name: &str, function: F) -> Self
    where
        F: Fn(Invocation, I) -> Fut + Send + Sync + 'static,
        I: DeserializeOwned + Send + 'static,
        Fut: Future<Output = Result<R, HandlerError>> + Send + 'static,
        R: Into<Outcome<Value>> + 'static,
    {
        let registered = self.handlers.register_fn(name, function);
        self.noting(registered)
    }

    /// Adds a flow, to be saved before the first execution is created.
    pub fn flow(mut self, flow: Flow) -> Self {
        self.flows.push(flow);
        self
    }

    /// Adds the code of a workflow: an `async fn(Cx, I) -> WorkflowResult<O, E>`. Several versions of one workflow may be
    /// registered side by side.
    pub fn register<I, O, E, F, Fut>(mut self, workflow: Workflow<I, O, E>, function: F) -> Self
    where
        F: Fn(Cx, I) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = WorkflowResult<O, E>> + Send + 'static,
        I: DeserializeOwned + 'static,
        O: Serialize + 'static,
        E: Serialize + 'static,
    {
        let registered = self.workflows.register(workflow, function);
        self.noting(registered)
    }

    /// The queue of executions that name none. Defaults to `default`.
    pub fn queue(mut self, name: impl Into<String>) -> Self {
        self.options.queue = name.into();
        self
    }

    /// The queue of steps that workflows [call](Cx::call). Defaults to the queue of the execution that calls.
    pub fn step_queue(mut self, name: impl Into<String>) -> Self {
        self.options.step_queue = Some(name.into());
        self
    }

    /// Adds an async function as a handler of steps that are done as jobs, such as those that workflows [call](Cx::call):
    /// `|job: JobRun, input: Value| async move { Ok(json!(1)) }`.
    pub fn step_fn<F, I, Fut, R>(mut self, name: &str, function: F) -> Self
    where
        F: Fn(JobRun, I) -> Fut + Send + Sync + 'static,
        I: DeserializeOwned + Send + 'static,
        Fut: Future<Output = Result<R, HandlerError>> + Send + 'static,
        R: Serialize + 'static,
    {
        let registered = self.handlers.register_job_fn(name, function);
        self.noting(registered)
    }

    /// Does the jobs of all handlers that have no code here, such as by calling another process.
    pub fn other_steps<F, Fut>(mut self, function: F) -> Self
    where
        F: Fn(JobRun, Value) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<Value, HandlerError>> + Send + 'static,
    {
        self.handlers.set_other_jobs(function);
        self
    }

    /// Most steps of one execution, retries included. Defaults to 1,000.
    pub fn max_steps(mut self, steps: u32) -> Self {
        self.options.max_steps = steps;
        self
    }

    /// How long one run of a step may take that says nothing itself. Defaults to 30 seconds.
    pub fn step_timeout(mut self, timeout: Duration) -> Self {
        self.options.step_timeout = timeout;
        self
    }

    /// What a context may hold. Defaults to 1 MiB a value, 10 MiB in all, 500 keys, 15 levels.
    pub fn limits(mut self, limits: ContextLimits) -> Self {
        self.options.limits = limits;
        self
    }

    /// How long this process counts as alive after a sign of life, for executions it drives without a queue; also how long a
    /// result in hand is offered to a database that is away. Defaults to 30 seconds.
    pub fn lease(mut self, lease: Duration) -> Self {
        self.options.lease = lease;
        self
    }

    /// Parks a workflow whose code awaits something that is not recorded, such as a request outside of a step, with the failure
    /// code `FOREIGN_AWAIT`, which names the step after which it does. For tests and for finding such code: it stands where
    /// nothing but the foreign future is awaited, and what it brings is lost. Defaults to off.
    pub fn detect_foreign_awaits(mut self) -> Self {
        self.options.detect_foreign_awaits = true;
        self
    }

    /// Removes executions of this flow or workflow so long after they ended, with their history and what was sent to them: some
    /// hundreds in every round of a worker. Whoever asks for them then finds nothing, and their idempotency keys are free.
    /// Defaults to keeping them for ever.
    pub fn retention(mut self, flow_id: impl Into<String>, keep: Duration) -> Self {
        self.options.retention.insert(flow_id.into(), keep);
        self
    }

    /// Keeps the futures of parked workflows for so long, at most so many: one that is woken here in time goes on where it stood,
    /// all others are replayed. A worker drops what is idle for longer with its next heartbeat. Zero keeps none. Defaults to 5
    /// seconds and 1,000.
    pub fn keep_parked(mut self, idle: Duration, most: usize) -> Self {
        self.workflows.kept = KeptLive::new(idle, most);
        self
    }

    /// Adds a listener for as long as the engine lives; see [`Engine::subscribe`].
    pub fn listener(self, pattern: &str, listener: impl Fn(&Lifecycle) + Send + Sync + 'static) -> Self {
        self.listeners.subscribe(pattern, listener).forever();
        self
    }

    /// Cleans up after every cancelled execution of a flow, once it was committed by this process.
    pub fn on_cancel<F, Fut>(mut self, flow_id: impl Into<String>, clean_up: F) -> Self
    where
        F: Fn(Execution) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = ()> + Send + 'static,
    {
        let hook: CancelHook = Arc::new(move |execution| Box::pin(clean_up(execution)));
        self.hooks.insert(flow_id.into(), hook);
        self
    }

    /// Whether the built-in handlers are there. A handler of one's own goes before a built-in of the same name. Defaults to
    /// true.
    pub fn builtins(mut self, wanted: bool) -> Self {
        self.builtins = wanted;
        self
    }

    /// Whom the built-in handler `http` may talk to. Defaults to [public addresses only](crate::HttpAccess::public).
    #[cfg(feature = "http")]
    pub fn http_access(mut self, access: crate::HttpAccess) -> Self {
        self.settings.http = access;
        self
    }

    /// Checks everything: options, handlers, and every flow with the handlers its steps name.
    ///
    /// # Errors
    /// Invalid, naming the option, or the flow's step and the handler; conflict when a handler is registered twice, or a
    /// flow's version with two contents.
    pub fn build(mut self) -> Result<Engine> {
        if let Some(problem) = self.problem {
            return Err(problem);
        }
        check(&self.options)?;
        if self.builtins {
            builtin::register(&mut self.handlers, self.settings)?;
        }
        for (i, flow) in self.flows.iter().enumerate() {
            flow.validate()?;
            flow.check_handlers(&|name| self.handlers.contains(name))?;
            let same = |other: &&Flow| other.id == flow.id && other.version == flow.version && *other != flow;
            if let Some(twice) = self.flows[..i].iter().find(same) {
                let problem = format!("flow `{}` {} is registered twice", twice.id, twice.version);
                return Err(Error::conflict(problem));
            }
        }
        Ok(Engine::new(
            self.backend,
            self.handlers,
            self.flows,
            self.workflows,
            self.hooks,
            self.listeners,
            self.options,
        ))
    }
}

fn check(options: &Options) -> Result<()> {
    limits::check_name("engine.queue", &options.queue)?;
    if options.max_steps == 0 {
        return Err(Error::invalid("engine.max_steps", "must be at least 1"));
    }
    if options.step_timeout.is_zero() {
        return Err(Error::invalid("engine.step_timeout", "must be longer than 0"));
    }
    limits::check_duration("engine.step_timeout", options.step_timeout)?;
    for (flow_id, keep) in &options.retention {
        limits::check_name("engine.retention", flow_id)?;
        limits::check_duration("engine.retention", *keep)?;
    }
    check_lease(options.lease).map_err(|e| Error::invalid("engine.lease", "out of range").with_source(e))
}

impl fmt::Debug for EngineBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EngineBuilder").field("flows", &self.flows.len()).finish_non_exhaustive()
    }
}
