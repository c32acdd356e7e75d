//! Secrets that are planted wherever there may be some, and looked for in everything the program says.

use mainspring::{
    Append, EventStore, Failure, Job, JobStore, NewEvent, NewMessage, QueueDriver, QueueStore, TokenOptions,
    TokenStore,
};
use serde_json::json;

use crate::{
    executions::engine,
    ground::{Ground, run_in, with_password},
};

/// Commands that look and change nothing. None asks for payloads.
const LOOKS: &[&str] = &[
    "config show --origin",
    "executions list",
    "executions list --status completed",
    "executions get x",
    "executions get failed",
    "executions watch x",
    "executions export x --redacted",
    "flows list",
    "flows graph copy",
    "tokens list --execution x",
    "queues list",
    "queues stats mail",
    "messages list mail",
    "messages get mail m",
    "dlq list mail",
    "jobs list --status pending",
    "schedules list",
    "events read cart-1",
    "events tail --no-follow",
    "consumers list",
    "streams list --execution x",
    "locks list",
    "migrate status",
    "doctor",
    "executions get none",
    "messages push mail hello --data {canary",
    "tokens resume rt_canary",
    "start copy --input {canary --wait",
    "config show --profile none",
];

#[tokio::test]
async fn no_secret_is_ever_shown_unasked() {
    let ground = Ground::new().await;
    let stores = ground.stores();
    let engine = engine(&ground);
    engine.create("copy", json!({"secret": "canary"})).id("x").run().await.unwrap();
    let failed = mainspring::Execution {
        status: mainspring::ExecutionStatus::Failed,
        error: Some(Failure::new("DECLINED", "canary")),
        ..mainspring::Execution::new(mainspring::ExecutionId::new("failed").unwrap(), "copy", "1.0.0", "a")
    };
    mainspring::ExecutionStore::create(&stores.executions, failed).await.unwrap();
    let x = mainspring::ExecutionId::new("x").unwrap();
    let (secret, _) = stores.resume_tokens.generate(&x, "a", TokenOptions::default()).await.unwrap();
    stores.jobs.create(Job::new(x, "a", "charge", json!("canary"))).await.unwrap();
    stores.queue.create_queue("mail", Default::default()).await.unwrap();
    let message = NewMessage {
        id: mainspring::MessageId::new("m").unwrap(),
        ..NewMessage::new("mail", "t", json!("canary"))
    };
    stores.queue.push(vec![message]).await.unwrap();
    let event = NewEvent::new("Added", json!({"card": "canary"}));
    stores.events.append(Append::to("cart-1", vec![event])).await.unwrap();

    let url = with_password(&ground.db);
    std::fs::write(ground.folder.path().join("mainspring.toml"), "security_token = 'canary'").unwrap();
    let variables = [
        ("MAINSPRING_DATABASE_URL", &*url),
        ("REDIS_URL", "redis://:canary@r/0"),
        ("PGPASSWORD", "canary"),
        ("RUST_LOG", "trace"),
    ];
    for command in LOOKS {
        for format in ["table", "json", "jsonl"] {
            let mut arguments: Vec<&str> = command.split_whitespace().collect();
            arguments.extend(["-o", format, "-vv"]);
            let said = run_in(&ground.folder, &arguments, &variables);
            let text = said.out.clone() + &said.err;
            assert!(!text.is_empty() || format == "jsonl", "{command} says nothing"); // no line is an empty list
            assert!(!text.contains("canary"), "{command} -o {format}: {}", line_with(&text));
            assert!(!text.contains(&secret.reveal()[3..40]), "{command} shows a token");
        }
    }
}

fn line_with(text: &str) -> &str {
    text.lines().find(|line| line.contains("canary")).unwrap_or_default()
}
