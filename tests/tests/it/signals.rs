//! A flow that waits for someone outside.

use std::sync::{Arc, Mutex};

use mainspring::{
    Backend, Engine, ExecutionId, ExecutionStatus, Flow, Invocation, Outcome, TokenOptions, TokenSecret,
    flow::Step,
};
use mainspring_testing::Faults;
use mainspring_tests::{Lab, eventually, order};
use serde_json::{Value, json};

/// An engine that also runs `ask`: a step that hands out a token and waits, and an effect after it.
pub(crate) struct Asking {
    pub(crate) engine: Engine,
    token: Arc<Mutex<Option<TokenSecret>>>,
}

pub(crate) fn engine(lab: &Lab, backend: impl Backend + 'static) -> Asking {
    let flow = Flow::builder("ask", "1.0.0")
        .step(Step::new("ask", "ask").on_resume("close"))
        .step(Step::new("close", "effect"));
    let token = Arc::<Mutex<Option<TokenSecret>>>::default();
    let handed_out = token.clone();
    let ask = move |call: Invocation, _input: Value| {
        let handed_out = handed_out.clone();
        async move {
            *handed_out.lock().unwrap() = Some(call.resume_token(TokenOptions::default())?);
            Ok(Outcome::wait_for_signal("an answer"))
        }
    };
    let builder = order::builder(backend, &lab.ledger, &Faults::none());
    Asking { engine: builder.handle_fn("ask", ask).flow(flow.build().unwrap()).build().unwrap(), token }
}

impl Asking {
    /// A new execution that waits, and its token. A worker has to be there.
    pub(crate) async fn waiting(&self) -> (ExecutionId, TokenSecret) {
        let id = self.engine.create("ask", json!({})).await.unwrap().execution.id;
        let token = eventually("it waits", async || {
            let execution = self.engine.get(&id).await.ok()??;
            let waits = execution.status == ExecutionStatus::Waiting;
            waits.then(|| self.token.lock().unwrap().clone()).flatten()
        });
        let token = token.await;
        (id, token)
    }
}

/// How often an event stands in the history of an execution.
pub(crate) async fn count(lab: &Lab, id: &ExecutionId, kind: &str) -> usize {
    let events = lab.near().events().get_by_execution(id).await.unwrap();
    events.iter().filter(|event| event.event.event_type == kind).count()
}
