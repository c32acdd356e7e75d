//! What every test stands on: a log, and tables that show what was done to it.

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use mainspring_consumer::{Consumer, Projector, Reactor, projector_fn, reactor_fn};
use mainspring_core::{Append, EventStore, NewEvent};
use mainspring_events::PgEventStore;
use mainspring_pg::Db;
use mainspring_testing::TestDb;
use serde_json::json;

/// Long enough for a busy machine; what waits for it fails the test when it is over.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

pub(crate) struct Ground {
    pub(crate) test: TestDb,
    pub(crate) db: Db<'static>,
}

impl Ground {
    /// A log, and the table `seen (processor, n)` for [`noting`].
    pub(crate) async fn new() -> Self {
        let test = TestDb::new().await;
        let sql = "CREATE TABLE seen (id bigint GENERATED ALWAYS AS IDENTITY, processor text, n bigint)";
        test.client().await.batch_execute(sql).await.unwrap();
        Self { db: test.db(), test }
    }

    pub(crate) fn log(&self) -> PgEventStore<'static> {
        PgEventStore::new(&self.db)
    }

    /// Appends `Added` events with these numbers, each to the stream `s<n % 3>`.
    pub(crate) async fn append(&self, numbers: impl IntoIterator<Item = i64>) {
        for n in numbers {
            self.append_to(&format!("s{}", n % 3), "Added", n).await;
        }
    }

    pub(crate) async fn append_to(&self, stream: &str, event_type: &str, n: i64) {
        let event = NewEvent::new(event_type, json!({"n": n}));
        self.log().append(Append::to(stream, vec![event])).await.unwrap();
    }

    /// A consumer that looks for news often.
    pub(crate) fn consumer(&self) -> Consumer {
        Consumer::new(&self.db, "test").poll_interval(Duration::from_millis(50))
    }

    /// What a processor noted, in the order it did.
    pub(crate) async fn seen(&self, processor: &str) -> Vec<i64> {
        let sql = "SELECT n FROM seen WHERE processor = $1 ORDER BY id";
        self.db.all(sql, &[&processor]).await.unwrap().iter().map(|row| row.get(0)).collect()
    }

    /// Runs these to the end of the log.
    pub(crate) async fn run_to_end(&self, consumer: Consumer) {
        consumer.run_to_end().await.unwrap();
    }
}

pub(crate) fn n_of(event: &mainspring_core::RecordedEvent) -> i64 {
    event.event.data["n"].as_i64().unwrap()
}

pub(crate) async fn note(tx: &Db<'_>, processor: &str, n: i64) -> mainspring_core::Result<()> {
    tx.exec("INSERT INTO seen (processor, n) VALUES ($1, $2)", &[&processor, &n]).await.map(drop)
}

/// A projector that notes the number of each event.
pub(crate) fn noting(processor: &'static str) -> impl Projector {
    projector_fn(async move |tx, events| {
        for event in events {
            note(tx, processor, n_of(event)).await?;
        }
        Ok(())
    })
}

/// What a reactor was called with, by itself.
#[derive(Clone, Default)]
pub(crate) struct Heard(Arc<Mutex<Vec<i64>>>);

impl Heard {
    pub(crate) fn all(&self) -> Vec<i64> {
        self.0.lock().unwrap().clone()
    }

    pub(crate) fn push(&self, n: i64) {
        self.0.lock().unwrap().push(n);
    }

    /// A reactor that remembers the numbers here.
    pub(crate) fn reactor(&self) -> impl Reactor + use<> {
        let heard = self.clone();
        reactor_fn(move |event| {
            let heard = heard.clone();
            async move {
                heard.push(n_of(&event));
                Ok(())
            }
        })
    }
}
