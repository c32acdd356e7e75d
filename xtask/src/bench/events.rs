//! `events.append`, `events.append.batch`, `events.append.hot`, `events.read`: the same streams and facts as the floor;
//! `events.fence`: batches beside the same without the position fence.

use std::{
    error::Error,
    sync::atomic::{AtomicU64, Ordering},
    time::Instant,
};

use mainspring::{Append, EventStore, EventStoreExt, ExpectedPosition, NewEvent, PgStores};
use serde_json::{Value, json};

use super::{
    floor::Floor,
    load::{Load, Rate},
};

/// The type of every event, on both sides.
pub const TYPE: &str = "ProductItemAdded";
/// The stream that is read.
pub const STREAM: &str = "read";

static RUNS: AtomicU64 = AtomicU64::new(0);

pub fn fact(n: usize) -> Value {
    json!({"productId": format!("p-{n}"), "quantity": 2})
}

fn facts(events: usize) -> Vec<NewEvent> {
    (0..events).map(|n| NewEvent::new(TYPE, fact(n))).collect()
}

pub async fn append(
    stores: &PgStores<'static>,
    width: usize,
    events: usize,
    load: Load,
) -> Result<Rate, Box<dyn Error>> {
    let run = RUNS.fetch_add(1, Ordering::Relaxed);
    load.run(width, |n, stop, done| {
        let log = stores.events.clone();
        async move {
            let (stream, mut position) = (format!("s-{run}-{n}"), 0);
            while Instant::now() < stop {
                let append =
                    Append::to(stream.as_str(), facts(events)).expecting(ExpectedPosition::Exact(position));
                position = log.append(append).await?.last;
                done.fetch_add(events as u64, Ordering::Relaxed);
            }
            Ok(())
        }
    })
    .await
}

/// Appends of 100 events while the function of the position fence does nothing.
pub async fn append_unfenced(
    floor: &Floor,
    stores: &PgStores<'static>,
    load: Load,
) -> Result<Rate, Box<dyn Error>> {
    const WHOLE: &str = "SELECT pg_get_functiondef('{event_fence}()'::regprocedure)";
    const EMPTY: &str =
        "CREATE OR REPLACE FUNCTION {event_fence}() RETURNS void LANGUAGE plpgsql VOLATILE AS 'BEGIN END'";
    let whole: String = stores.db().one(WHOLE, &[]).await?.try_get(0)?;
    stores.db().exec(EMPTY, &[]).await?;
    let rate = append(stores, 4, 100, load).await;
    floor.client().await?.batch_execute(&whole).await?;
    rate
}

pub async fn hot(stores: &PgStores<'static>, width: usize, load: Load) -> Result<Rate, Box<dyn Error>> {
    let stream = format!("hot-{}", RUNS.fetch_add(1, Ordering::Relaxed));
    load.run(width, |_, stop, done| {
        let (log, stream) = (stores.events.clone(), stream.clone());
        async move {
            while Instant::now() < stop {
                log.append(Append::to(stream.as_str(), facts(1))).await?;
                done.fetch_add(1, Ordering::Relaxed);
            }
            Ok(())
        }
    })
    .await
}

pub async fn read(stores: &PgStores<'static>, events: usize, load: Load) -> Result<Rate, Box<dyn Error>> {
    if !stores.events.head(&STREAM.into()).await?.exists() {
        stores.events.append(Append::to(STREAM, facts(events))).await?;
        stores.db().exec("ANALYZE {events}", &[]).await?;
    }
    load.run(1, |_, stop, done| {
        let log = stores.events.clone();
        async move {
            while Instant::now() < stop {
                let read = log.read(STREAM).all().await?;
                let quantities = read.events.iter().filter_map(|event| event.event.data["quantity"].as_i64());
                assert_eq!(quantities.sum::<i64>(), 2 * i64::try_from(events)?);
                done.fetch_add(events as u64, Ordering::Relaxed);
            }
            Ok(())
        }
    })
    .await
}
