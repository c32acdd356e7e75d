//! The flow of the tests: every way a step can go on, and an effect in each of them.
//!
//! ```text
//! reserve ─► charge ─► ship ─► report ─► nap ─► close
//!    │      fails once   │    a job with    │
//!    │      and again    ▼    checkpoints   a short delay
//!    │               parcel: pack
//! ```

use mainspring::{
    Backend, Engine, EngineBuilder, ExecutionId, Flow, HandlerError, Invocation, JobHandler, JobRun,
    flow::{RetryPolicy, Step},
};
use mainspring_testing::Faults;
use serde_json::{Value, json};
use std::sync::Arc;

use crate::{LEASE, Ledger};

/// Different effects of one execution of `order`, its child's included.
pub const EFFECTS: usize = 8;
/// Commits of one execution of `order`, its child's and its job's included, from its first step on.
pub const COMMITS: u64 = 11;
/// Steps that begin in one execution of `order`, its child's included.
pub const STEPS: u64 = 8;
/// Items of the job.
const ITEMS: usize = 3;

/// `order`, the flow it starts, and `poison`, whose only step passes `poison.before`.
fn flows() -> [Flow; 3] {
    let retry = RetryPolicy { max_attempts: 3, ..RetryPolicy::default() };
    let order = Flow::builder("order", "1.0.0")
        .step(Step::new("reserve", "effect").on_success("charge"))
        .step(Step::new("charge", "flaky").retry(retry).on_success("ship"))
        .step(Step::new("ship", "sub-flow").config(json!({"flowId": "parcel"})).on_success("report"))
        .step(Step::new("report", Report::NAME).output_key("report").on_success("nap"))
        .step(Step::new("nap", "delay").config(json!({"ms": 20})).on_success("close"))
        .step(Step::new("close", "effect"));
    let parcel = Flow::builder("parcel", "1.0.0").step(Step::new("pack", "effect"));
    let poison = Flow::builder("poison", "1.0.0").step(Step::new("poison", "effect"));
    [order, parcel, poison].map(|flow| flow.build().unwrap())
}

/// An engine that runs `order`: its handlers note what they do in `ledger`, and pass a point of `faults` on the way: a step
/// before it does something, as `reserve.before`; the job after it did, as `report.after`.
pub fn builder(backend: impl Backend + 'static, ledger: &Ledger, faults: &Faults) -> EngineBuilder {
    let [order, parcel, poison] = flows();
    let backend: Arc<dyn Backend> = Arc::new(backend);
    let (book, points) = (ledger.clone(), faults.clone());
    let effect = move |call: Invocation, _input: Value| {
        let (book, points) = (book.clone(), points.clone());
        async move {
            points.pass(&format!("{}.before", call.step_id())).await?;
            note(&book, &call);
            Ok(json!({"done": call.step_id()}))
        }
    };
    let (book, points) = (ledger.clone(), faults.clone());
    let flaky = move |call: Invocation, _input: Value| {
        let (book, points) = (book.clone(), points.clone());
        async move {
            points.pass(&format!("{}.before", call.step_id())).await?;
            note(&book, &call);
            match call.attempt() {
                1 => Err(HandlerError::new("FLAKY", "the first attempt always fails")),
                attempt => Ok(json!({"attempt": attempt})),
            }
        }
    };
    Engine::builder(backend)
        .lease(LEASE)
        .handle_fn("effect", effect)
        .handle_fn("flaky", flaky)
        .job_handler(Report { ledger: ledger.clone(), faults: faults.clone() })
        .flow(order)
        .flow(parcel)
        .flow(poison)
}

/// Notes the effect of a step: the same key for every run that is to count once.
pub fn note(ledger: &Ledger, call: &Invocation) {
    let key = format!("{}/{}", call.idempotency_key(), call.attempt());
    ledger.note(id(call.execution_id()), call.step_id(), call.attempt(), &key);
}

fn id(id: &ExecutionId) -> &str {
    id.as_str()
}

/// A job of three items, with a checkpoint after each.
struct Report {
    ledger: Ledger,
    faults: Faults,
}

impl JobHandler for Report {
    const NAME: &'static str = "report";
    type Input = Value;
    type Output = Value;

    async fn run(&self, job: JobRun, _input: Value) -> Result<Value, HandlerError> {
        let done: usize = job.checkpoint("done")?.unwrap_or(0);
        for item in done + 1..=ITEMS {
            let step = format!("report#{item}");
            self.ledger.note(id(job.execution_id()), &step, job.attempt(), &format!("{}/{item}", job.id()));
            self.faults.pass("report.after").await?;
            job.save("done", item).await?;
        }
        Ok(json!({"items": ITEMS}))
    }
}
