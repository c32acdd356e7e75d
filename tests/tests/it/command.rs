//! The command `mainspring` with its feature `otel`. Secrets are planted wherever it reads some, and nothing that it exports, logs
//! or answers has one.

use std::{
    fs::{File, read_to_string},
    process::Command,
};

use axum::{Router, http::StatusCode};
use mainspring::{
    ExecutionStatus, ExecutionStore, NewMessage, QueueDriver, World,
    world::http::{ServeOptions, serve},
};
use mainspring_testing::ChildWorker;
use mainspring_tests::{Lab, PATIENCE, until};
use serde_json::json;
use tempfile::TempDir;
use tokio::sync::mpsc::unbounded_channel;

use crate::collector::{Collector, text};

const PROGRAM: &str = env!("CARGO_BIN_EXE_command");
/// What both sides of a world know.
const SECRET: &str = "canary-5e1f-is-the-secret-of-calls";

/// The program with these arguments in a folder of its own, with secrets in everything that it is told.
struct Planted {
    folder: TempDir,
    collector: String,
    url: String,
}

impl Planted {
    fn new(lab: &Lab, collector: &str) -> Self {
        let (host, port) = lab.db().address().unwrap();
        let rest = lab.db().url().split_once("://").unwrap().1;
        let account = rest.rsplit_once('@').map_or("postgres", |(account, _)| account);
        let user = account.split(':').next().unwrap();
        let url = format!("postgres://{user}:canary@{host}:{port}/{}?sslmode=disable", lab.db().name());
        let folder = tempfile::tempdir().unwrap();
        let flow = json!({"id": "pay", "version": "1.0.0", "initialStepId": "copy", "steps": {
            "copy": {"id": "copy", "type": "transform", "input": {"type": "full"}, "outputKey": "card",
                     "transitions": {"onSuccess": "call"}},
            "call": {"id": "call", "type": "http", "input": {"type": "full"},
                     "config": {"url": "http://ada:canary@127.0.0.1:1/canary?token=canary", "method": "POST",
                                "headers": {"authorization": "canary"}}}}});
        std::fs::write(folder.path().join("pay.json"), flow.to_string()).unwrap();
        std::fs::write(folder.path().join("mainspring.toml"), format!("security_token = '{SECRET}'"))
            .unwrap();
        Self { folder, collector: collector.to_owned(), url }
    }

    /// It begins; what it logs goes to a file.
    fn spawn(&self, name: &str, arguments: &[&str], more: &[(&str, &str)]) -> ChildWorker {
        let mut command = Command::new(PROGRAM);
        command.args(arguments).current_dir(self.folder.path()).env_clear();
        command.env("MAINSPRING_DATABASE_URL", &self.url).env("REDIS_URL", "redis://:canary@127.0.0.1:1/0");
        command.env("OTEL_EXPORTER_OTLP_ENDPOINT", &self.collector).env("OTEL_SERVICE_NAME", name);
        command.env("PGPASSWORD", "canary").env("RUST_LOG", "trace").envs(more.iter().copied());
        command.stderr(File::create(self.folder.path().join(name)).unwrap());
        ChildWorker::spawn(&mut command).unwrap()
    }

    /// It ended well when it was asked to, or by itself, and neither its answer nor its log has a secret.
    async fn ended(&self, name: &str, mut child: ChildWorker) {
        let log = || read_to_string(self.folder.path().join(name)).unwrap();
        assert!(child.exit(PATIENCE).await.unwrap().success(), "{child:?}\n{}", log());
        let _ = child.next_line("the end of what it says", PATIENCE).await;
        let (said, log) = (child.lines().join("\n"), log());
        for line in said.lines().chain(log.lines()) {
            assert!(!line.contains("canary"), "{name}: {line}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_command_exports_logs_and_answers_no_secret() {
    let lab = Lab::new().await;
    let (address, collector) = Collector::start().await;
    let planted = Planted::new(&lab, &address);

    let mut worker = planted.spawn("worker", &["worker", "--flow", "pay.json"], &[]);
    worker.line("works on queue", PATIENCE).await.unwrap();
    let input = r#"{"card":"canary"}"#;
    let start = ["start", "pay", "--input", input, "--key", "order-1", "-o", "json"];
    planted.ended("start", planted.spawn("start", &start, &[])).await;
    let unknown = NewMessage::new(mainspring::DEFAULT_QUEUE, "nobody.knows", json!("canary"));
    lab.near().queue.push(vec![unknown]).await.unwrap();
    let counted = async || lab.near().queue.stats(mainspring::DEFAULT_QUEUE).await.unwrap();
    until("both are given up or done", async || {
        let stats = counted().await;
        stats.dead == 1 && stats.ready + stats.claimed + stats.deferred == 0
    })
    .await;
    let failed = lab.near().executions.count_by_status().await.unwrap();
    assert_eq!(failed, [(ExecutionStatus::Failed, 1)]);
    worker.terminate().unwrap();
    planted.ended("worker", worker).await;

    let (called, mut calls) = unbounded_channel();
    let app = Router::new().fallback(async move || {
        let _ = called.send(());
        (StatusCode::BAD_REQUEST, "canary")
    });
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let app_url = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(serve(listener, app, ServeOptions::default(), std::future::pending()));
    let variables = [("WORKFLOW_POSTGRES_APP_URL", &*app_url), ("WORKFLOW_TARGET_WORLD", "postgres")];
    let world = planted.spawn("world", &["worker", "--world"], &variables);
    let theirs = World::builder(lab.stores(2)).build().unwrap();
    theirs.queue("__wkf_workflow_pay", json!({"card": "canary"}), Default::default()).await.unwrap();
    calls.recv().await.unwrap();
    world.terminate().unwrap();
    planted.ended("world", world).await;

    let spans = collector.spans();
    let of = |service: &str, name: &str| {
        let mut found = spans.iter().filter(|(of, span)| of == service && span.name == name);
        found.next().unwrap_or_else(|| panic!("{service} exports no {name}")).1.clone()
    };
    assert_eq!(text(&of("worker", "mainspring.step"), "flow"), Some("pay"));
    of("worker", "mainspring.deliver");
    of("world", "mainspring.deliver");
    assert!(spans.iter().all(|(service, _)| service != "start"), "{spans:?}");
}
