//! An application that answers as its messages say, and remembers them.

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use mainspring_core::BoxFuture;
use mainspring_http::{Call, Endpoint, Entrypoint, HealthCheck, MessageData, QueueName, Reply, Secret};
use serde_json::{Value, json};

/// Answers what the payload asks for.
#[derive(Default)]
pub(crate) struct App {
    pub(crate) calls: Mutex<Vec<Call>>,
    pub(crate) checks: Mutex<Vec<HealthCheck>>,
}

impl App {
    pub(crate) fn calls(&self) -> usize {
        self.calls.lock().unwrap().len()
    }
}

impl Endpoint for App {
    fn call(&self, call: Call) -> BoxFuture<'_, Reply> {
        let data = call.message.data.clone();
        self.calls.lock().unwrap().push(call);
        Box::pin(async move {
            let after = data["after"].as_u64().map(Duration::from_secs);
            match data["do"].as_str().unwrap_or_default() {
                "echo" => Reply::Ok(data["output"].clone()),
                "again" => Reply::Again(after.unwrap_or_default()),
                "bad" => Reply::BadRequest("no such step".into()),
                "fail" => Reply::Failed {
                    error: "it broke".into(),
                    fatal: data["fatal"] == true,
                    retry_after: after,
                },
                "away" => Reply::Unavailable { error: "starting".into(), retry_after: after },
                "panic" => panic!("a step that panics"),
                "hang" => std::future::pending().await,
                _ => Reply::ok(),
            }
        })
    }

    fn health(&self, check: HealthCheck) -> BoxFuture<'_, Reply> {
        self.checks.lock().unwrap().push(check);
        Box::pin(async { Reply::Ok(json!("well")) })
    }
}

pub(crate) fn app() -> Arc<App> {
    Arc::default()
}

pub(crate) fn secret() -> Secret {
    Secret::new("kD83-sk20-Qpz9-11xX").unwrap()
}

pub(crate) fn step(data: Value) -> Call {
    Call::new(MessageData::new(QueueName::new(Entrypoint::Step, "add").unwrap(), data))
}

pub(crate) fn flow(data: Value) -> Call {
    Call::new(MessageData::new(QueueName::new(Entrypoint::Flow, "order").unwrap(), data))
}
