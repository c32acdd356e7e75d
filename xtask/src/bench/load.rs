//! Load: so many at the same time, for so long, counting what they did.

use std::{
    error::Error,
    sync::Arc,
    sync::atomic::{AtomicU64, Ordering},
    time::{Duration, Instant},
};

/// Runs `worker(n, stop, done)` for every n below `width` at the same time, and answers how much was done a second.
pub async fn per_second<F, Fut>(width: usize, time: Duration, worker: F) -> Result<f64, Box<dyn Error>>
where
    F: Fn(usize, Instant, Arc<AtomicU64>) -> Fut,
    Fut: Future<Output = Result<(), Box<dyn Error + Send + Sync>>> + Send + 'static,
{
    let done = Arc::new(AtomicU64::new(0));
    let begin = Instant::now();
    let tasks: Vec<_> =
        (0..width).map(|n| tokio::spawn(worker(n, begin + time, Arc::clone(&done)))).collect();
    for task in tasks {
        task.await?.map_err(|e| e.to_string())?;
    }
    Ok(done.load(Ordering::Relaxed) as f64 / begin.elapsed().as_secs_f64())
}
