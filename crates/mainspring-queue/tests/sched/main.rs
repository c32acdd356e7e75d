//! Schedules, topics, upkeep, counts, the SQL door, pushes that are large or in a caller's transaction, each on a database of
//! its own.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod callers;
mod firing;
mod large;
mod schedules;
mod sql_push;
mod stats;
mod topics;
mod upkeep;

use std::time::Duration;

use mainspring_core::{ClaimRequest, Delivery, NewMessage, QueueDriver, WorkerId};
use mainspring_queue::PgQueue;
use mainspring_testing::TestDb;
use serde_json::json;

const MINUTE: Duration = Duration::from_secs(60);
const HOUR: Duration = Duration::from_secs(3_600);
const DAY: Duration = Duration::from_secs(86_400);

fn message(queue: &str) -> NewMessage {
    NewMessage::new(queue, "report", json!({"of": "yesterday"}))
}

/// Everything that is ready in a queue.
async fn ready(test: &TestDb, queue: &str) -> Vec<Delivery> {
    let driver = PgQueue::new(&test.db());
    let (holder, lease) = (WorkerId::generate(), HOUR);
    let mut all = Vec::new();
    loop {
        let request = ClaimRequest::new(queue, holder.clone(), lease, 1_000);
        let deliveries = driver.claim(request).await.unwrap().deliveries;
        if deliveries.is_empty() {
            return all;
        }
        all.extend(deliveries);
    }
}
