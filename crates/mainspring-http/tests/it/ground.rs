//! An application that answers as its messages say, and remembers them.

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use mainspring_core::BoxFuture;
use mainspring_http::{
    Call, Endpoint, Entrypoint, Guard, HealthCheck, MessageData, QueueName, Reply, RouterOptions, Secret,
    ServeOptions, WebhookReply, WebhookRequest, router, serve,
};
use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
};

/// Answers what the payload asks for.
#[derive(Default)]
pub(crate) struct App {
    pub(crate) calls: Mutex<Vec<Call>>,
    pub(crate) checks: Mutex<Vec<HealthCheck>>,
    pub(crate) webhooks: Mutex<Vec<WebhookRequest>>,
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

    fn webhook(&self, request: WebhookRequest) -> BoxFuture<'_, WebhookReply> {
        let token = request.token.clone();
        self.webhooks.lock().unwrap().push(request);
        Box::pin(async move {
            match token.as_str() {
                "plain" => WebhookReply::accepted(),
                "own" => WebhookReply {
                    status: 201,
                    headers: vec![("x-own".into(), "yes".into()), ("bad name".into(), "x".into())],
                    body: "made".into(),
                },
                "broken" => WebhookReply::status(7),
                "panic" => panic!("a webhook that panics"),
                "hang" => std::future::pending().await,
                _ => WebhookReply::not_found(),
            }
        })
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

/// Serves an application until the test is over; its address.
pub(crate) async fn served(app: Arc<App>, guard: Guard, options: RouterOptions) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let router = router(app, guard, options).unwrap();
    let limits = ServeOptions { header_deadline: Duration::from_millis(300), ..ServeOptions::default() };
    tokio::spawn(serve(listener, router, limits, std::future::pending()));
    format!("http://{address}")
}

/// One request, byte for byte, and everything that is answered until the other side hangs up.
pub(crate) async fn raw(base: &str, request: impl AsRef<[u8]>) -> String {
    let mut stream = TcpStream::connect(base.trim_start_matches("http://")).await.unwrap();
    stream.write_all(request.as_ref()).await.unwrap();
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer).await;
    String::from_utf8_lossy(&answer).into_owned()
}

/// A POST of JSON with the right secret.
pub(crate) fn post(path: &str, body: &str) -> String {
    let secret = secret();
    let (length, secret) = (body.len(), secret.reveal());
    format!(
        "POST {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\nx-workflow-secret: {secret}\r\ncontent-length: {length}\r\n\r\n{body}"
    )
}

pub(crate) fn get(path: &str, headers: &str) -> String {
    format!("GET {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n{headers}\r\n")
}
