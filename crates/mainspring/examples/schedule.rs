//! A report every night, fired once over all processes: `cargo run -p mainspring --example schedule`.

#![allow(clippy::print_stdout, reason = "an example shows what it does")]

use std::time::Duration;

use mainspring::{
    NewMessage, PgStoreOptions, QueueDriver, create_pg_stores,
    schedule::{Missed, PgSchedules, Schedule, Timing},
    upkeep::UpkeepOptions,
};
use mainspring_testing::TestDb;
use serde_json::json;

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let db = TestDb::new().await; // in production: a database of your own, set up with `mainspring setup`
    let stores = create_pg_stores(db.pool(), PgStoreOptions::default())?;

    // ANCHOR: put
    let schedules = PgSchedules::new(stores.db());
    let report = NewMessage::new("reports", "nightly", json!({"kind": "sales"}));
    let mut nightly = Schedule::new("nightly", Timing::cron("30 2 * * *").in_zone("Europe/Berlin"), report);
    nightly.missed = Missed::Once; // after an outage of a week, one report and not seven
    schedules.put(&nightly).await?; // in every process that starts: it is put once
    // ANCHOR_END: put
    schedules.put(&nightly).await?;

    let next = schedules.preview("reports", "nightly", 3).await?;
    next.iter().for_each(|at| println!("due at {at:?}"));
    assert_eq!(next.len(), 3);

    // Two processes do upkeep, a week passes: one of them fires, once.
    db.advance(Duration::from_secs(7 * 24 * 3600)).await;
    let (one, two) = (stores.upkeep(UpkeepOptions::default())?, stores.upkeep(UpkeepOptions::default())?);
    let (first, second) = (one.round().await, two.round().await);
    assert!(first.term.is_some() && second.term.is_none(), "one is elected");
    assert_eq!(stores.queue.stats("reports").await?.ready, 1);
    for fire in schedules.history("reports", "nightly", 10).await? {
        println!("{fire:?}");
    }
    Ok(())
}
