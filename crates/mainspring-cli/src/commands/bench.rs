//! `mainspring bench`: what this database does with messages, seen from here.

use std::{process::ExitCode, sync::Arc, time::Instant};

use mainspring::{NewMessage, QueueDriver, Settlement, Verdict, Worker, deliver_fn};
use serde_json::json;
use tokio::sync::Semaphore;

use crate::{Context, Outcome};

/// Messages of one push.
const BATCH: u32 = 100;

#[derive(clap::Args)]
pub(crate) struct Bench {
    /// How many messages.
    #[arg(long, default_value_t = 1_000, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    messages: u32,
    /// The queue, which must be one that nobody uses.
    #[arg(long, default_value = "mainspring_bench")]
    queue: String,
    /// Handlers at the same time.
    #[arg(long, default_value_t = 16, value_name = "N")]
    concurrency: usize,
}

impl Bench {
    /// Pushes messages and works them off, with the durability the server is set to.
    pub(crate) async fn run(self, context: &Context) -> Outcome {
        let queue = &context.stores()?.queue;
        let there = queue.stats(&self.queue).await?;
        if there.ready + there.claimed + there.deferred > 0 {
            let problem = format!("queue `{}` has messages already", self.queue);
            return Err(mainspring::Error::conflict(problem).into());
        }
        if !context.confirmed("push", self.messages.into(), "messages")? {
            return Ok(ExitCode::SUCCESS);
        }
        let bar = context.bar(u64::from(self.messages) * 2);
        let begin = Instant::now();
        let mut left = self.messages;
        while left > 0 {
            let now = left.min(BATCH);
            let batch = (0..now).map(|n| NewMessage::new(&*self.queue, "bench", json!({"n": n}))).collect();
            queue.push(batch).await?;
            left -= now;
            bar.inc(now.into());
        }
        let pushed = begin.elapsed();
        let (done, counted) = (Arc::new(Semaphore::new(0)), bar.clone());
        let handled = Arc::clone(&done);
        let handler = deliver_fn(move |_, _| {
            handled.add_permits(1);
            counted.inc(1);
            async { Verdict::Settle(Settlement::Done) }
        });
        let begin = Instant::now();
        let worker = Worker::new(Arc::new(queue.clone()), Arc::new(handler)).queue(&*self.queue);
        let worker = worker.concurrency(self.concurrency).prefetch(1_000).start()?;
        let all = done.acquire_many(self.messages).await;
        let handled = begin.elapsed();
        worker.stop().await?;
        drop(all);
        bar.finish_and_clear();
        let rate = |time: std::time::Duration| f64::from(self.messages) / time.as_secs_f64().max(0.001);
        let facts = json!({"messages": self.messages, "pushed_per_second": rate(pushed).round(),
            "handled_per_second": rate(handled).round()});
        let text = format!("{:.0} pushed and {:.0} handled in a second", rate(pushed), rate(handled));
        context.output.done(&text, facts)?;
        Ok(ExitCode::SUCCESS)
    }
}
