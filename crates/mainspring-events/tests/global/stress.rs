//! Twelve writers with slow and rolled-back transactions, four readers, and a transaction in another database that never
//! ends. `MAINSPRING_STRESS_SECONDS=30` for the long form.

use std::{
    collections::{HashMap, HashSet},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use mainspring_core::{Error, EventQuery, EventStore, RecordedEvent};
use mainspring_events::{GlobalReader, PgEventStore};
use mainspring_pg::Db;
use mainspring_testing::TestDb;

use crate::events;

const WRITERS: u64 = 12;
const READERS: usize = 4;
const STREAMS: u64 = 8;

type Place = (String, i64);

/// What the readers did wrong, over all of them.
#[derive(Debug, Default, PartialEq)]
struct Wrong {
    skipped: usize,
    inverted: usize,
    duplicated: usize,
    phantom: usize,
}

/// A small generator: the load differs from run to run only in timing.
struct Dice(u64);

impl Dice {
    fn below(&mut self, n: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % n
    }
}

async fn write(db: Db<'static>, seed: u64, stop: Arc<AtomicBool>) -> HashSet<Place> {
    let mut dice = Dice(seed);
    let mut written = HashSet::new();
    while !stop.load(Ordering::Relaxed) {
        // Streams in one order, so that writers do not wait in a circle.
        let mut streams: Vec<u64> =
            (0..[1, 1, 1, 3][dice.below(4) as usize]).map(|_| dice.below(STREAMS)).collect();
        streams.sort_unstable();
        let pauses: Vec<u64> =
            streams.iter().map(|_| if dice.below(10) < 3 { dice.below(3_000) } else { 0 }).collect();
        let slow = if dice.below(50) == 0 { 40_000 } else { 0 };
        let fails = dice.below(20) == 0;
        let each = 1 + dice.below(2) as usize;
        let done = db
            .with_tx(async |tx| {
                let log = PgEventStore::new(tx);
                let mut places: Vec<Place> = Vec::new();
                for (stream, pause) in streams.iter().zip(&pauses) {
                    let stream = format!("s{stream}");
                    let last = log.append(events(&stream, each)).await?.last;
                    places.extend((0..each as i64).map(|n| (stream.clone(), last - n)));
                    tokio::time::sleep(Duration::from_micros(*pause)).await;
                }
                tokio::time::sleep(Duration::from_micros(slow)).await;
                if fails { Err(Error::internal("rolled back")) } else { Ok(places) }
            })
            .await;
        written.extend(done.into_iter().flatten());
    }
    written
}

/// The next events after `position`, and where to go on.
async fn next(db: &Db<'static>, naive: bool, position: i64) -> (Vec<RecordedEvent>, i64) {
    if naive {
        let query = EventQuery { after_position: Some(position), ..EventQuery::default() };
        let events = PgEventStore::new(db).query(query).await.unwrap();
        let next = events.last().map_or(position, |event| event.global_position);
        return (events, next);
    }
    let reader = GlobalReader::new(db).unwrap();
    let settled = reader.settled().await.unwrap();
    let page = reader.read(position, settled, 500).await.unwrap();
    (page.events, page.next)
}

async fn read(db: Db<'static>, naive: bool, over: Arc<AtomicBool>) -> (HashSet<Place>, Wrong) {
    let (mut seen, mut wrong, mut position) = (HashSet::new(), Wrong::default(), 0);
    let mut last: HashMap<String, i64> = HashMap::new();
    loop {
        let was_over = over.load(Ordering::Relaxed);
        let (events, next) = next(&db, naive, position).await;
        for event in events {
            let newest = last.entry(event.stream.clone()).or_default();
            wrong.inverted += usize::from(event.position < *newest);
            *newest = event.position;
            wrong.duplicated += usize::from(!seen.insert((event.stream, event.position)));
        }
        if was_over && next == position {
            return (seen, wrong);
        }
        position = next;
    }
}

async fn stress(naive: bool, time: Duration) -> (usize, Wrong) {
    let test = TestDb::with_pool(WRITERS as usize).await;
    let readers = TestDb::empty().await; // another database, for the transaction that never ends
    let mut idle = readers.client().await;
    let idle = idle.transaction().await.unwrap();
    idle.batch_execute("CREATE TABLE t (); SELECT pg_current_xact_id()").await.unwrap();

    let (stop, over) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicBool::new(false)));
    let db = test.db();
    let writers: Vec<_> =
        (0..WRITERS).map(|n| tokio::spawn(write(db.clone(), n + 1, stop.clone()))).collect();
    let pool = mainspring_pg::pool(test.settings(), READERS).unwrap();
    let reading = Db::new(pool, test.names().clone());
    let all: Vec<_> =
        (0..READERS).map(|_| tokio::spawn(read(reading.clone(), naive, over.clone()))).collect();
    tokio::time::sleep(time).await;
    stop.store(true, Ordering::Relaxed);
    let mut written = HashSet::new();
    for writer in writers {
        written.extend(writer.await.unwrap());
    }
    over.store(true, Ordering::Relaxed);
    let mut total = Wrong::default();
    for reader in all {
        let (seen, wrong) = reader.await.unwrap();
        total.skipped += written.difference(&seen).count();
        total.phantom += seen.difference(&written).count();
        total.inverted += wrong.inverted;
        total.duplicated += wrong.duplicated;
    }
    (written.len(), total)
}

fn seconds() -> Duration {
    let text = std::env::var("MAINSPRING_STRESS_SECONDS").ok();
    Duration::from_secs_f64(text.and_then(|text| text.parse().ok()).unwrap_or(2.5))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reader_behind_the_fence_skips_inverts_and_repeats_nothing() {
    let (written, wrong) = stress(false, seconds()).await;
    println!("{written} events, {READERS} readers: {wrong:?}");
    assert_eq!(wrong, Wrong::default(), "of {written} events");
    assert!(written > 200, "only {written} events were written");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reader_that_goes_by_the_last_position_skips_events() {
    // The proof that the stress above can fail.
    let begin = Instant::now();
    while begin.elapsed() < Duration::from_secs(60) {
        let (written, wrong) = stress(true, Duration::from_secs(1)).await;
        println!("naive: {written} events, {READERS} readers: {wrong:?}");
        if wrong.skipped > 0 {
            return;
        }
    }
    panic!("nothing was skipped: the stress proves nothing");
}
