//! `flow.steps`: five steps that do nothing, each durable before the next one runs.

use std::{error::Error, sync::atomic::Ordering, time::Instant};

use mainspring::{Engine, ExecutionStatus, Flow, PgStores, flow::Step};
use serde_json::json;

use super::load::{Load, Rate};

const STEPS: u64 = 5;

pub async fn steps(stores: &PgStores<'static>, width: usize, load: Load) -> Result<Rate, Box<dyn Error>> {
    let mut flow = Flow::builder("bench", "1.0.0");
    for n in 1..=STEPS {
        let step = Step::new(format!("s{n}"), "transform")
            .input(json!({"static": {"ok": n}}))
            .output_key(format!("s{n}"));
        flow = flow.step(if n < STEPS { step.on_success(format!("s{}", n + 1)) } else { step });
    }
    let engine = Engine::builder(stores.clone()).flow(flow.build()?).build()?;
    engine.publish().await?;
    let rate = load
        .run(width, |_, stop, done| {
            let engine = engine.clone();
            async move {
                while Instant::now() < stop {
                    let execution =
                        engine.create("bench", json!({"n": 1, "to": "user@example.com"})).run().await?;
                    if execution.status != ExecutionStatus::Completed {
                        return Err(format!("ended as {}", execution.status).into());
                    }
                    done.fetch_add(STEPS, Ordering::Relaxed);
                }
                Ok(())
            }
        })
        .await;
    engine.shutdown().await?;
    rate
}
