//! `mainspring worker`: drives flows of the built-in handlers, and looks after queues and schedules.

use std::{process::ExitCode, sync::Arc};

use mainspring::{Engine, upkeep::QueueUpkeep};
use serde_json::json;

use super::{flows, world};
use crate::{Context, Outcome, Result, shutdown};

/// Handlers that need no code.
pub(crate) const BUILT_IN: [&str; 7] =
    ["conditional", "switch", "delay", "transform", "http", "batch", "sub-flow"];

#[derive(clap::Args)]
pub(crate) struct Worker {
    /// Files with flows to save and to drive; may be said several times.
    #[arg(long = "flow", value_name = "FILE")]
    flows: Vec<String>,
    /// Drive a world: its application is called over HTTP, at `app_url` and `app_port` with `security_token`.
    #[arg(long, conflicts_with_all = ["flows", "queue"])]
    world: bool,
    /// The queue [default: default].
    #[arg(long)]
    queue: Option<String>,
    /// Handlers at the same time [default: 10].
    #[arg(long, value_name = "N")]
    concurrency: Option<usize>,
}

impl Worker {
    pub(crate) async fn run(self, context: &Context) -> Outcome {
        let concurrency = match self.concurrency {
            Some(concurrency) => concurrency,
            None => context.config.parsed("concurrency")?.unwrap_or(10),
        };
        if self.world {
            return world::drive(context, concurrency).await;
        }
        let mut engine = Engine::builder(context.stores()?.clone());
        for file in &self.flows {
            engine = engine.flow(flows::read(file)?);
        }
        let queue = self
            .queue
            .as_deref()
            .or_else(|| context.config.get("queue"))
            .unwrap_or(mainspring::DEFAULT_QUEUE);
        let engine = engine.queue(queue).build()?;
        engine.publish().await?;
        let facts = json!({"worker": "started", "queue": queue, "flows": self.flows.len()});
        context.output.done(&format!("works on queue {queue}; Ctrl-C stops"), facts)?;
        drive(&engine, context.stores()?.upkeep(context.upkeep_options()?)?, concurrency).await?;
        Ok(ExitCode::SUCCESS)
    }
}

/// Drives executions and does the upkeep until somebody asks to stop; what runs is finished first.
pub(crate) async fn drive(engine: &Engine, upkeep: QueueUpkeep, concurrency: usize) -> Result<()> {
    let upkeep = Arc::new(upkeep).start();
    let driven = engine.worker().concurrency(concurrency).run_until(shutdown::asked()).await;
    upkeep.stop().await?;
    Ok(driven?)
}
