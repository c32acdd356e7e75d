//! A reminder after thirty days, in virtual time: `cargo run -p mainspring --example reminder`.

#![allow(clippy::print_stdout, reason = "an example shows what it does")]

use std::time::{Duration, Instant};

use mainspring::{Cx, Either, Engine, ExecutionStatus, Workflow, WorkflowResult};
use mainspring_testing::{MemoryBackend, crash_everywhere};

pub(crate) const TRIAL: Workflow<String, String, String> = Workflow::new("trial");
const DAY: Duration = Duration::from_secs(24 * 3600);

pub(crate) async fn trial(cx: Cx, user: String) -> WorkflowResult<String, String> {
    cx.step("welcome", async || Ok::<_, String>(format!("Welcome, {user}"))).await?;
    match cx.race(cx.signal::<String>("bought"), cx.sleep(30 * DAY)).await {
        Either::Left(plan) => Ok(format!("{user} bought {}", plan?)),
        Either::Right(()) => {
            Ok(cx.step("remind", async || Ok::<_, String>(format!("{user} was reminded"))).await?)
        }
    }
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let begun = Instant::now();
    let time = MemoryBackend::new(); // a whole backend, whose time stands still until it is moved
    let engine = Engine::builder(time.clone()).register(TRIAL, trial).build()?;
    let (ada, bob) =
        (engine.start(TRIAL, &"Ada".to_owned()).await?, engine.start(TRIAL, &"Bob".to_owned()).await?);
    engine.worker().drain().await?;

    time.advance(29 * DAY);
    bob.signal("bought", &"the small one").await?;
    engine.worker().drain().await?;
    assert_eq!(bob.result().await?, "Bob bought the small one");
    assert_eq!(ada.status().await?, ExecutionStatus::Waiting);

    time.advance(DAY);
    engine.worker().drain().await?;
    assert_eq!(ada.result().await?, "Ada was reminded");

    // And the same with a process that dies before and after each of its commits.
    let cleo = "Cleo".to_owned();
    let run = crash_everywhere(TRIAL, &cleo, |engine| engine.register(TRIAL, trial)).run().await;
    assert_eq!(run.result?, "Cleo was reminded");
    println!("thirty days, {} times, in {:?}", run.crashes + 2, begun.elapsed());
    Ok(())
}
