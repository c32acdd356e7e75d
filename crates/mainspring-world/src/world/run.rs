//! Starting and stopping: in this process for as long as it lives, or for as long as a budget lasts.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use mainspring_core::{Queue, Result, UpkeepTask};
use mainspring_worker::{Worker, WorkerHandle};

use super::{World, calls, calls::CallDeliver};

/// How often an idle world is looked at.
const LOOK: Duration = Duration::from_millis(20);

/// What runs in this process.
pub(super) struct Started {
    workers: Vec<WorkerHandle>,
    upkeep: Option<Box<dyn UpkeepTask>>,
}

impl World {
    /// Starts the workers of this process, and the upkeep of the backend unless [told not to](super::WorldBuilder::upkeep).
    /// Starting again does nothing.
    ///
    /// # Errors
    /// Those of the backend and of the transport; invalid, naming the option.
    pub async fn start(&self) -> Result<()> {
        let mut started = self.0.started.lock().await;
        if started.is_some() {
            return Ok(());
        }
        let workers = self.workers().await?;
        let upkeep = if self.0.upkeep { self.0.storage.backend().start_upkeep()? } else { None };
        *started = Some(Started { workers, upkeep });
        drop(started);
        if let Some(transport) = &self.0.transport {
            transport.start(self.clone()).await?;
        }
        Ok(())
    }

    /// Stops them: what is in flight has the grace period to end, what was claimed ahead is given back at once. The database's
    /// pool stays open.
    ///
    /// # Errors
    /// Those of the backend; the leases expire then.
    pub async fn close(&self) -> Result<()> {
        let started = self.0.started.lock().await.take();
        if let Some(transport) = &self.0.transport {
            transport.stop().await;
        }
        if let Some(Started { workers, upkeep }) = started {
            stop(workers).await?;
            if let Some(upkeep) = upkeep {
                upkeep.stop().await?;
            }
        }
        self.0.engine.shutdown().await
    }

    /// Works until nothing is ready or under way, at most about `budget`: for environments that give a process only so long.
    /// Whether everything was done. What is not yet due waits for the next time. No upkeep is done.
    ///
    /// # Errors
    /// As [`start`](Self::start).
    pub async fn run_until_idle(&self, budget: Duration) -> Result<bool> {
        let begin = Instant::now();
        // What has become due while nobody was here counts as ready.
        self.0.storage.backend().queue().maintain().await?;
        let workers = self.workers().await?;
        let mut idle = 0;
        while idle < 2 && begin.elapsed() < budget {
            tokio::time::sleep(LOOK).await;
            idle = if self.is_idle().await? { idle + 1 } else { 0 };
        }
        stop(workers).await?;
        self.0.engine.shutdown().await?;
        Ok(idle >= 2)
    }

    /// Lets messages wait, or go again: after a secret was refused they wait until someone says so.
    ///
    /// # Errors
    /// Those of the backend.
    pub async fn pause_calls(&self, paused: bool) -> Result<Queue> {
        self.ready().await?;
        self.0.storage.backend().queues().pause_queue(self.calls_queue(), paused).await
    }

    /// Makes the queue of messages. [`start`](Self::start) does so by itself; a process that only pushes needs it once before
    /// its first [`start_run`](Self::start_run).
    ///
    /// # Errors
    /// Those of the backend.
    pub async fn ready(&self) -> Result<()> {
        let queues = self.0.storage.backend().queues();
        let make = || async { queues.create_queue(self.calls_queue(), calls::options()).await.map(drop) };
        self.0.ready.get_or_try_init(make).await.map(drop)
    }

    async fn is_idle(&self) -> Result<bool> {
        let queue = self.0.storage.backend().queue();
        let names = &self.0.names;
        for name in [&names.flows, &names.steps, &names.calls.queue] {
            let stats = queue.stats(name).await?;
            if stats.ready + stats.claimed + stats.held > 0 {
                return Ok(false);
            }
        }
        Ok(true)
    }

    async fn workers(&self) -> Result<Vec<WorkerHandle>> {
        self.ready().await?;
        let inner = &self.0;
        let names = &inner.names;
        let flows = inner.engine.worker().queue(&names.flows);
        let steps = inner.engine.worker().queue(&names.steps);
        let mut workers = vec![flows, steps];
        if let Some(invoker) = &inner.invoker {
            // What a transport was given it looks after itself.
            if inner.transport.is_none() && inner.recovers {
                inner.storage.backend().queues().push_each(vec![inner.recovery.message()]).await?;
            }
            let deliver = CallDeliver {
                storage: inner.storage.clone(),
                queue: names.calls.queue.clone(),
                recovery: Arc::clone(&inner.recovery),
                recovers: inner.recovers,
                invoker: Arc::clone(invoker),
                transport: inner.transport.clone(),
            };
            let backend = Arc::clone(inner.storage.backend());
            let calls = Worker::new(inner.engine.queue_driver(), Arc::new(deliver))
                .queue(&names.calls.queue)
                .clock(move || backend.now());
            workers.push(calls);
        }
        let mut handles = Vec::with_capacity(workers.len());
        for worker in workers {
            handles
                .push(worker.concurrency(inner.concurrency).grace(inner.grace).lease(inner.lease).start()?);
        }
        Ok(handles)
    }
}

async fn stop(workers: Vec<WorkerHandle>) -> Result<()> {
    let stopping = workers.iter().map(WorkerHandle::stop);
    for stopped in futures_util::future::join_all(stopping).await {
        stopped?;
    }
    Ok(())
}
