//! A world whose code is called: `order`, three steps side by side, each with an effect that is noted.
//!
//! An application may create a step together with its message, in one commit, or apart, as the first versions of such
//! applications did: then a process that dies in between leaves a step that nobody is told of, and a replay finds the step there
//! and pushes nothing. It passes these points:
//!
//! | point | when |
//! |---|---|
//! | `created.after` | a step was created and, when that is done apart, not yet pushed |
//! | `effect.after` | the effect of a step was done and is not yet recorded |
//! | `result.after` | it is recorded |

use std::{str::FromStr, sync::Arc, time::Duration};

use mainspring::{
    Backend, BoxFuture, Error, ExecutionId, NewMessage, Result, World,
    world::{
        Fact, NewRun, NewStep, Order, Paging, Resolve, RunEvent,
        http::{
            Call, Credential, Endpoint, Entrypoint, FunctionInvoker, Guard, HttpInvoker, HttpOptions,
            Invoker, Reply, RouterOptions, Secret, ServeOptions, serve,
        },
    },
};
use mainspring_testing::Faults;
use serde_json::json;
use tokio::net::TcpListener;

use crate::{LEASE, Ledger};

/// How many steps a run has.
pub const STEPS: usize = 3;
/// How long nothing has happened to a run that is recovered.
const SILENCE: Duration = Duration::from_millis(300);

/// What kind of application, and how it is reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Kind {
    /// Over HTTP, else in the same process.
    pub http: bool,
    /// A step and its message are two commits.
    pub apart: bool,
}

impl Kind {
    /// For the environment of a child.
    pub(crate) fn as_text(self) -> String {
        format!("{} {}", self.http, self.apart)
    }
}

impl FromStr for Kind {
    type Err = std::str::ParseBoolError;

    fn from_str(text: &str) -> std::result::Result<Self, Self::Err> {
        let (http, apart) = text.split_once(' ').unwrap_or_default();
        Ok(Self { http: http.parse()?, apart: apart.parse()? })
    }
}

struct App {
    world: World,
    kind: Kind,
    ledger: Ledger,
    faults: Faults,
}

impl App {
    async fn event(
        &self,
        run: &ExecutionId,
        event: impl Into<RunEvent>,
        messages: Vec<NewMessage>,
    ) -> Result<()> {
        let done = self.world.storage().events().create_with(Some(run), event, messages).await;
        // It has happened already.
        done.map(drop).or_else(|error| if error.is_conflict() { Ok(()) } else { Err(error) })
    }

    async fn flow(&self, run: &ExecutionId) -> Result<Reply> {
        let storage = self.world.storage();
        if storage.runs().get(run, Resolve::None).await?.status.is_terminal() {
            return Ok(Reply::ok());
        }
        self.event(run, Fact::RunStarted { run_input: None }, Vec::new()).await?;
        let steps = storage.steps().list(run, &Paging::default(), Resolve::All).await?.data;
        for n in 0..STEPS {
            let id = format!("s{n}");
            if !steps.iter().any(|step| step.step_id == id) {
                self.create(run, &id).await?;
            }
        }
        if steps.iter().filter(|step| step.output.is_some()).count() == STEPS {
            self.event(run, Fact::RunCompleted { output: Some(json!(STEPS)) }, Vec::new()).await?;
        }
        Ok(Reply::ok())
    }

    async fn create(&self, run: &ExecutionId, id: &str) -> Result<()> {
        let message = self.world.step_message("order", run, "note", id)?;
        let step = NewStep { step_name: "note".to_owned(), input: None };
        let event = RunEvent::about(id, Fact::StepCreated(step));
        let (together, apart) =
            if self.kind.apart { (vec![], vec![message]) } else { (vec![message], vec![]) };
        self.event(run, event, together).await?;
        self.faults.pass("created.after").await?;
        self.world.storage().backend().queues().push_each(apart).await.map(drop)
    }

    async fn step(&self, run: &ExecutionId, id: &str) -> Result<Reply> {
        let begun = RunEvent::about(id, Fact::StepStarted { create: None });
        let begun = match self.world.storage().events().create(Some(run), begun).await {
            Ok(begun) => begun.step.ok_or_else(|| Error::internal("no step"))?,
            Err(error) if error.is_conflict() || error.is_expired() => return Ok(Reply::ok()),
            Err(error) => return Err(error),
        };
        self.ledger.note(run.as_str(), id, begun.attempt, &format!("{run}/{id}"));
        self.faults.pass("effect.after").await?;
        let wake = self.world.flow_message("order", run)?;
        self.event(run, RunEvent::about(id, Fact::StepCompleted { result: Some(json!(1)) }), vec![wake])
            .await?;
        self.faults.pass("result.after").await?;
        Ok(Reply::ok())
    }
}

impl Endpoint for App {
    fn call(&self, call: Call) -> BoxFuture<'_, Reply> {
        Box::pin(async move {
            let text = |key: &str| call.message.data[key].as_str().unwrap_or_default();
            let run = |key: &str| ExecutionId::new(text(key));
            let done = match call.entrypoint() {
                Entrypoint::Flow => async { self.flow(&run("runId")?).await }.await,
                Entrypoint::Step => async { self.step(&run("workflowRunId")?, text("stepId")).await }.await,
            };
            done.unwrap_or_else(|error| Reply::from_error(&error))
        })
    }
}

/// A world of this kind with its application, in this process.
///
/// # Panics
/// When there is no port.
pub async fn world(backend: impl Backend + 'static, kind: Kind, ledger: &Ledger, faults: &Faults) -> World {
    let backend: Arc<dyn Backend> = Arc::new(backend);
    let side = World::builder(Arc::clone(&backend)).build().expect("a world");
    let app = App { world: side.clone(), kind, ledger: ledger.clone(), faults: faults.clone() };
    let secret = Secret::generate().expect("a secret");
    let invoker: Arc<dyn Invoker> = if kind.http {
        let guard = Guard::secret(secret.clone());
        let router = side.router(Arc::new(app), guard, RouterOptions::default()).expect("a router");
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let base = format!("http://{}", listener.local_addr().expect("an address"));
        tokio::spawn(serve(listener, router, ServeOptions::default(), std::future::pending()));
        Arc::new(
            HttpInvoker::new(&base, Credential::secret(secret), HttpOptions::default()).expect("an invoker"),
        )
    } else {
        Arc::new(FunctionInvoker::new(side.endpoint(Arc::new(app)), secret))
    };
    // One at a time, so that it is known what is under way at a point.
    let world = World::builder(backend).invoker(invoker).concurrency(1).lease(LEASE).recovery(SILENCE);
    world.build().expect("a world")
}

/// Starts a run.
///
/// # Panics
/// When that cannot be.
pub async fn start(world: &World) -> ExecutionId {
    world.ready().await.expect("a queue");
    world.start_run(NewRun::new("order", json!(1))).await.expect("a run").run_id
}

/// The types of what happened to a run, in order.
///
/// # Panics
/// When it cannot be read.
pub async fn log(world: &World, run: &ExecutionId) -> Vec<&'static str> {
    let page = Paging::limit(1_000).order(Order::Ascending);
    let events = world.storage().events().list(run, &page, Resolve::None).await.expect("a log");
    events.data.iter().map(|event| event.event_type.as_str()).collect()
}
