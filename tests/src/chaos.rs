//! What the chaos run shares with the processes it kills: messages that end in a known way, and a book the database keeps.

use std::{sync::Arc, time::Duration};

use mainspring::{
    BatchVerdict, Deliver, Delivery, Failure, NewMessage, QueueDriver, Settlement, Verdict, Worker,
};
use mainspring_core::BoxFuture;
use mainspring_pg::Session;
use mainspring_testing::Faults;
use serde_json::json;
use tokio_util::sync::CancellationToken;

use crate::{LEASE, LOOK, Ledger};

/// The queue of the chaos run.
pub const QUEUE: &str = "chaos";

/// How a message is to end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// Done.
    Done,
    /// Given up.
    Dead,
}

/// The `n`th message.
pub fn message(n: u64) -> NewMessage {
    NewMessage { max_attempts: Some(2), ..NewMessage::new(QUEUE, "chaos", json!({"n": n})) }
}

/// How the `n`th message is to end, whatever happens to the workers that run it.
pub const fn end_of(n: u64) -> End {
    if n.is_multiple_of(50) { End::Dead } else { End::Done }
}

/// Handles the messages: of every fifty one is given up, five fail at first, two are put off, and the rest take a moment.
#[derive(Debug)]
struct Handler {
    ledger: Ledger,
    faults: Faults,
}

impl Handler {
    async fn handle(&self, delivery: &Delivery) -> Verdict {
        let n = delivery.message.data["n"].as_u64().unwrap_or_default();
        let _ = self.faults.pass("handle.before").await; // no error is ever armed here
        self.ledger.note(
            delivery.message.id.as_str(),
            "run",
            delivery.attempt(),
            delivery.message.id.as_str(),
        );
        let _ = self.faults.pass("handle.after").await;
        let soon = Duration::from_millis(50);
        match n {
            _ if end_of(n) == End::Dead => Settlement::DeadLetter(Failure::new("CHAOS", "never")).into(),
            _ if n % 10 == 3 && delivery.failures == 0 => {
                Settlement::RetryAfter { delay: soon, error: Failure::new("CHAOS", "not yet") }.into()
            }
            _ => {
                tokio::time::sleep(Duration::from_millis(n % 20)).await;
                Settlement::Done.into()
            }
        }
    }
}

impl Deliver for Handler {
    fn deliver(&self, delivery: Delivery, _: CancellationToken) -> BoxFuture<'_, Verdict> {
        Box::pin(async move { self.handle(&delivery).await })
    }

    fn deliver_batch(&self, deliveries: Vec<Delivery>, _: CancellationToken) -> BoxFuture<'_, BatchVerdict> {
        Box::pin(async move {
            let mut verdicts = Vec::new();
            for delivery in deliveries {
                verdicts.push((delivery.message.id.clone(), self.handle(&delivery).await));
            }
            BatchVerdict::Each(verdicts)
        })
    }
}

/// A worker of the chaos run; every other one takes batches, and all of them claim ahead.
/// It passes `handle.before` and `handle.after` of `faults`, before its effect and after it.
pub fn worker(queue: Arc<dyn QueueDriver>, ledger: &Ledger, faults: &Faults, concurrency: usize) -> Worker {
    Worker::new(queue, Arc::new(Handler { ledger: ledger.clone(), faults: faults.clone() }))
        .queue(QUEUE)
        .concurrency(concurrency)
        .prefetch(3 * concurrency)
        .batch_size(if std::process::id().is_multiple_of(2) { 1 } else { 4 })
        .max_lost(1_000) // nothing is given up because its workers were killed
        .lease(LEASE)
        .poll_interval(LOOK)
        .maintenance_interval(LOOK)
}

/// Lets the database keep book of every message that leaves or enters a table, in the transaction in which it does.
///
/// # Panics
/// When the database refuses.
pub async fn keep_book(client: &Session, names: &mainspring::Names) {
    client.batch_execute(&names.render(include_str!("chaos.sql"))).await.expect("the book is made");
}

/// What became of one message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Page {
    /// Its number.
    pub n: u64,
    /// How often it was done.
    pub done: i64,
    /// How often it was given up.
    pub dead: i64,
    /// Whether it is still there.
    pub left: bool,
}

/// What became of every message.
///
/// # Panics
/// When the database cannot be asked.
pub async fn read_book(client: &Session, names: &mainspring::Names) -> Vec<Page> {
    const PAGES: &str = "SELECT b.n,
        count(*) FILTER (WHERE b.what = 'messages gone') - count(*) FILTER (WHERE b.what = 'deferred again')
          - count(*) FILTER (WHERE b.what = 'dead') AS done,
        count(*) FILTER (WHERE b.what = 'dead') AS dead,
        EXISTS (SELECT FROM {messages} m WHERE m.data->'n' = to_jsonb(b.n)) OR
        EXISTS (SELECT FROM {deferred} d WHERE d.data->'n' = to_jsonb(b.n)) AS left
      FROM {prefix}book b GROUP BY b.n ORDER BY b.n";
    let pages = names.render(PAGES);
    let rows = client.query(&*pages, &[]).await.expect("the book is read");
    let page = |row: &mainspring_pg::Row| Page {
        n: u64::try_from(row.get::<_, i64>(0)).unwrap_or(u64::MAX),
        done: row.get(1),
        dead: row.get(2),
        left: row.get(3),
    };
    rows.iter().map(page).collect()
}
