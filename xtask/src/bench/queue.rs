//! `queue.push`, `queue.drain`: the same batches and consumers as the floor.

use std::{
    error::Error,
    sync::atomic::Ordering,
    time::{Duration, Instant},
};

use mainspring::{ClaimRequest, NewMessage, PgStores, QueueDriver, Settle, Settlement, WorkerId};

use super::{
    floor::{CLAIM_BATCH, CONSUMERS, PUSH_BATCH, payload},
    load::per_second,
};

pub async fn push(stores: &PgStores<'static>, time: Duration) -> Result<f64, Box<dyn Error>> {
    empty(stores).await?;
    per_second(1, time, |_, stop, done| {
        let queue = stores.queue.clone();
        async move {
            while Instant::now() < stop {
                queue.push(batch("bench")).await?;
                done.fetch_add(PUSH_BATCH as u64, Ordering::Relaxed);
            }
            Ok(())
        }
    })
    .await
}

pub async fn drain(stores: &PgStores<'static>, time: Duration) -> Result<f64, Box<dyn Error>> {
    empty(stores).await?;
    for _ in 0..200 {
        stores.queue.push(batch("drain")).await?;
    }
    stores.db().exec("ANALYZE {messages}", &[]).await?;
    stores.db().exec("CHECKPOINT", &[]).await?;
    per_second(CONSUMERS, time, |_, stop, done| {
        let queue = stores.queue.clone();
        async move {
            let holder = WorkerId::generate();
            let max = u32::try_from(CLAIM_BATCH)?;
            while Instant::now() < stop {
                let lease = Duration::from_secs(30);
                let request =
                    ClaimRequest { queue: "drain".into(), holder: holder.clone(), lease, max, suspects: max };
                let deliveries = queue.claim(request).await?.deliveries;
                if deliveries.is_empty() {
                    break;
                }
                let settles: Vec<Settle> = deliveries
                    .into_iter()
                    .map(|d| Settle { lease: d.lease, settlement: Settlement::Done })
                    .collect();
                let settled = queue.settle(settles).await?.into_iter().filter(Result::is_ok).count();
                done.fetch_add(settled as u64, Ordering::Relaxed);
            }
            Ok(())
        }
    })
    .await
}

async fn empty(stores: &PgStores<'static>) -> Result<(), Box<dyn Error>> {
    stores.db().exec("TRUNCATE {messages}", &[]).await?;
    Ok(())
}

fn batch(queue: &str) -> Vec<NewMessage> {
    (0..PUSH_BATCH).map(|n| NewMessage::new(queue, "bench", payload(n))).collect()
}
