//! Load: so many at the same time, for so long, counting what they did and what it cost.

use std::{
    error::Error,
    sync::Arc,
    sync::atomic::{AtomicU64, Ordering},
    time::{Duration, Instant},
};

use super::cpu::{Meter, Reading};

/// How long a measurement lasts, and who counts its processor time.
#[derive(Clone, Copy)]
pub struct Load {
    pub meter: Meter,
    pub time: Duration,
}

/// How fast something was done, and the microseconds of processor time each one took.
#[derive(Clone, Copy)]
pub struct Rate {
    pub per_second: f64,
    /// Of this process.
    pub client_us: f64,
    /// Of the server; not a number when it runs elsewhere.
    pub server_us: f64,
}

/// A measurement under way.
pub struct Watch {
    meter: Meter,
    begin: Instant,
    spent: Reading,
}

impl Load {
    /// Runs `worker(n, stop, done)` for every n below `width` at the same time, until all of them have ended.
    pub async fn run<F, Fut>(self, width: usize, worker: F) -> Result<Rate, Box<dyn Error>>
    where
        F: Fn(usize, Instant, Arc<AtomicU64>) -> Fut,
        Fut: Future<Output = Result<(), Box<dyn Error + Send + Sync>>> + Send + 'static,
    {
        let done = Arc::new(AtomicU64::new(0));
        let watch = self.watch();
        let stop = watch.begin + self.time;
        let tasks: Vec<_> = (0..width).map(|n| tokio::spawn(worker(n, stop, Arc::clone(&done)))).collect();
        for task in tasks {
            task.await?.map_err(|e| e.to_string())?;
        }
        Ok(watch.stop(done.load(Ordering::Relaxed)))
    }

    /// Begins to measure.
    pub fn watch(self) -> Watch {
        Watch { meter: self.meter, spent: self.meter.read(), begin: Instant::now() }
    }
}

impl Watch {
    /// So many were done.
    pub fn stop(self, count: u64) -> Rate {
        let (elapsed, spent) = (self.begin.elapsed(), self.meter.read().since(&self.spent));
        let count = count as f64;
        let each = |spent: Duration| spent.as_secs_f64() * 1e6 / count;
        Rate {
            per_second: count / elapsed.as_secs_f64(),
            client_us: each(spent.client),
            server_us: spent.server.map_or(f64::NAN, each),
        }
    }
}

impl Rate {
    /// The medians of all.
    pub fn median(rates: &[Self]) -> Self {
        let of = |value: fn(&Self) -> f64| super::median(rates.iter().map(value).collect());
        Self {
            per_second: of(|rate| rate.per_second),
            client_us: of(|rate| rate.client_us),
            server_us: of(|rate| rate.server_us),
        }
    }

    /// Processor time of both sides.
    pub fn cpu_us(&self) -> f64 {
        self.client_us + self.server_us
    }
}
