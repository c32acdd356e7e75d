//! How to test what is built on Mainspring: without a database, in virtual time, crashed everywhere:
//! `cargo run -p mainspring --example testing`. In a project of yours these are tests.

#![allow(clippy::print_stdout, reason = "an example shows what it does")]

use std::{sync::Arc, time::Duration};

use mainspring::{
    Cx, Engine, NewMessage, QueueDriver, Settlement, Spy, SpyState, Verdict, Worker, Workflow,
    WorkflowResult, deliver_fn,
};
use mainspring_testing::{MemoryBackend, crash_everywhere};
use serde_json::json;

const TRIAL: Workflow<String, String, String> = Workflow::new("trial");
const MONTH: Duration = Duration::from_secs(30 * 24 * 3600);

async fn trial(cx: Cx, user: String) -> WorkflowResult<String, String> {
    let account = cx.step("open", async || Ok::<_, String>(format!("account of {user}"))).await?;
    cx.sleep(MONTH).await;
    Ok(cx.step("close", async || Ok::<_, String>(format!("{account} closed"))).await?)
}

// ANCHOR: time
/// A month passes in no time, because the time of the memory backend stands still until it is moved.
async fn a_trial_ends_after_a_month() -> Result<(), Box<dyn std::error::Error>> {
    let backend = MemoryBackend::new();
    let engine = Engine::builder(backend.clone()).register(TRIAL, trial).build()?;
    let handle = engine.start(TRIAL, &"Ada".to_owned()).await?;
    engine.worker().drain().await?;
    backend.advance(MONTH);
    engine.worker().drain().await?;
    assert_eq!(handle.result().await?, "account of Ada closed");
    Ok(())
}
// ANCHOR_END: time

// ANCHOR: crash
/// A process dies before and after each commit, claim and settlement, each time in a run of its own.
async fn a_trial_survives_every_crash() {
    let user = "Bob".to_owned();
    let run = crash_everywhere(TRIAL, &user, |engine| engine.register(TRIAL, trial)).run().await;
    assert_eq!(run.result.ok().as_deref(), Some("account of Bob closed"));
    println!("survived {} crashes", run.crashes);
}
// ANCHOR_END: crash

// ANCHOR: spy
/// What a worker did is waited for and not slept for.
async fn a_mail_is_sent_once() -> Result<(), Box<dyn std::error::Error>> {
    let queue = Arc::new(MemoryBackend::new());
    let mail = NewMessage::new("mail", "welcome", json!({"to": "ada"}));
    let id = mail.id.clone();
    queue.push(vec![mail]).await?;
    let spy = Spy::new();
    let handler = deliver_fn(|_delivery, _cancel| async { Verdict::Settle(Settlement::Done) });
    let worker = Worker::new(queue, Arc::new(handler)).queue("mail").spy(&spy).start()?;
    spy.wait_for(&id, SpyState::Completed).await;
    worker.stop().await?;
    assert_eq!(spy.states(&id), [SpyState::Claimed, SpyState::Completed]);
    Ok(())
}
// ANCHOR_END: spy

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    a_trial_ends_after_a_month().await?;
    a_trial_survives_every_crash().await;
    a_mail_is_sent_once().await
}
