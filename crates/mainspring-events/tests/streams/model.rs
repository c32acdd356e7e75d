//! Random appends, archives, deletions, truncations and reads agree with a model, on Postgres and in memory.

use std::collections::BTreeMap;

use mainspring_core::{
    Append, Direction, EventId, EventStore, ExpectedPosition, NewEvent, Result, StreamId, StreamQuery,
};
use mainspring_events::PgEventStore;
use mainspring_testing::{MemoryBackend, TestDb};
use proptest::{
    collection::vec,
    prelude::*,
    strategy::ValueTree,
    test_runner::{Config, RngAlgorithm, TestRng, TestRunner},
};
use serde_json::json;

#[derive(Debug, Clone)]
enum Op {
    Append { stream: u8, expected: ExpectedPosition, events: Vec<Option<u8>> },
    Archive(u8),
    Restore(u8),
    Delete(u8),
    Truncate(u8, i64),
    Read { stream: u8, backward: bool, from: i64, to: i64, limit: u32 },
}

fn op() -> impl Strategy<Value = Op> {
    let expected = prop_oneof![
        4 => Just(ExpectedPosition::Any),
        1 => Just(ExpectedPosition::NoStream),
        1 => Just(ExpectedPosition::StreamExists),
        2 => (0..8_i64).prop_map(ExpectedPosition::Exact),
    ];
    // An event without an id, or with one of a few.
    let event = prop_oneof![3 => Just(None), 1 => (0..6_u8).prop_map(Some)];
    let stream = || 0..3_u8;
    prop_oneof![
        6 => (stream(), expected, vec(event, 0..4)).prop_map(|(stream, expected, events)| Op::Append { stream, expected, events }),
        1 => stream().prop_map(Op::Archive),
        1 => stream().prop_map(Op::Restore),
        1 => stream().prop_map(Op::Delete),
        1 => (stream(), 0..9_i64).prop_map(|(stream, position)| Op::Truncate(stream, position)),
        4 => (stream(), any::<bool>(), 0..9_i64, 0..12_i64, 1..6_u32)
            .prop_map(|(stream, backward, from, to, limit)| Op::Read { stream, backward, from, to, limit }),
    ]
}

/// What one operation came to, in words.
async fn run(store: &impl EventStore, case: usize, n: usize, op: &Op) -> String {
    let id = |stream: &u8| StreamId::new(format!("s-{stream}")).of_tenant(format!("t{case}"));
    fn told<T: std::fmt::Debug>(result: Result<T>) -> String {
        match result {
            Ok(value) => format!("{value:?}"),
            Err(error) => format!("{} at {:?}", error.code(), error.current_position()),
        }
    }
    match op {
        Op::Append { stream, expected, events } => {
            let events = events.iter().map(|id| {
                let event = NewEvent::new("e", json!(n));
                match id {
                    Some(id) => event.identified(EventId::new(format!("evt_{id}")).unwrap()),
                    None => event,
                }
            });
            let append = Append::to(id(stream), events.collect()).expecting(*expected);
            told(store.append(append).await.map(|a| (a.first, a.last, a.created_stream, a.repeated)))
        }
        Op::Archive(stream) => told(store.archive(&id(stream)).await),
        Op::Restore(stream) => told(store.restore(&id(stream)).await),
        Op::Delete(stream) => told(store.delete_stream(&id(stream)).await),
        Op::Truncate(stream, position) => told(store.truncate_before(&id(stream), *position).await),
        Op::Read { stream, backward, from, to, limit } => {
            let direction = if *backward { Direction::Backward } else { Direction::Forward };
            let (from, to) = (Some(*from), Some(*to));
            let query = StreamQuery { direction, from, to, limit: *limit, ..StreamQuery::of(id(stream)) };
            let page = store.read_page(query).await;
            told(page.map(|page| {
                let events = page.events.into_iter().map(|e| (e.position, e.event.data.as_u64().unwrap()));
                (events.collect::<Vec<_>>(), page.head.position)
            }))
        }
    }
}

/// One stream as it is meant to be.
#[derive(Default)]
struct Model {
    events: Vec<(i64, u64, Option<u8>)>,
    last: i64,
    archived: bool,
}

impl Model {
    fn position(&self) -> i64 {
        if self.archived || self.events.is_empty() { 0 } else { self.last }
    }

    fn append(&mut self, n: usize, expected: ExpectedPosition, events: &[Option<u8>]) -> String {
        let known = |id: &&Option<u8>| id.is_some() && self.events.iter().any(|(_, _, have)| have == *id);
        let distinct: std::collections::BTreeSet<u8> = events.iter().flatten().copied().collect();
        if distinct.len() < events.iter().flatten().count() {
            return "invalid at None".into();
        }
        if self.archived {
            return "conflict at Some(0)".into();
        }
        let recorded = events.iter().filter(known).count();
        if recorded > 0 && recorded < events.len() {
            return "conflict at None".into();
        }
        if recorded > 0 {
            let at =
                |id: &Option<u8>| self.events.iter().find(|(_, _, have)| have == id).map_or(0, |(p, ..)| *p);
            let places: Vec<i64> = events.iter().map(at).collect();
            return format!(
                "{:?}",
                (places.iter().min().unwrap(), places.iter().max().unwrap(), false, true)
            );
        }
        let current = self.position();
        if !expected.holds(current) {
            return format!("conflict at Some({current})");
        }
        if events.is_empty() {
            return format!("{:?}", (current + 1, current, false, false));
        }
        let (first, created) = (self.last + 1, self.events.is_empty());
        for id in events {
            self.last += 1;
            self.events.push((self.last, n as u64, *id));
        }
        format!("{:?}", (first, self.last, created, false))
    }

    fn run(&mut self, n: usize, op: &Op) -> String {
        match op {
            Op::Append { expected, events, .. } => self.append(n, *expected, events),
            Op::Archive(_) => {
                let does = self.position() > 0;
                self.archived |= does;
                does.to_string()
            }
            Op::Restore(_) => std::mem::take(&mut self.archived).to_string(),
            Op::Delete(_) => {
                self.archived = false;
                std::mem::take(&mut self.events).len().to_string()
            }
            Op::Truncate(_, 0) => "invalid at None".into(),
            Op::Truncate(_, position) => {
                let before = self.events.len();
                if !self.archived {
                    self.events.retain(|(at, ..)| at >= position || *at == self.last);
                }
                (before - self.events.len()).to_string()
            }
            Op::Read { backward, from, to, limit, .. } => {
                let mut events: Vec<(i64, u64)> = if self.archived {
                    Vec::new()
                } else {
                    self.events.iter().map(|(p, n, _)| (*p, *n)).collect()
                };
                events.retain(|(position, _)| position >= from && position <= to);
                if *backward {
                    events.reverse();
                }
                events.truncate(*limit as usize);
                format!("{:?}", (events, self.position()))
            }
        }
    }
}

fn stream_of(op: &Op) -> u8 {
    match op {
        Op::Append { stream, .. } | Op::Read { stream, .. } => *stream,
        Op::Archive(stream) | Op::Restore(stream) | Op::Delete(stream) | Op::Truncate(stream, _) => *stream,
    }
}

fn rand_seed() -> u64 {
    std::time::SystemTime::UNIX_EPOCH.elapsed().unwrap().subsec_nanos().into()
}

#[tokio::test]
async fn random_use_agrees_with_a_model_on_both_stores() {
    let db = TestDb::new().await;
    let (postgres, memory) = (PgEventStore::new(&db.db()), MemoryBackend::new());
    // To see a failure again, put its seed here.
    let seed: u64 = rand_seed();
    let mut bytes = [0; 32];
    bytes[..8].copy_from_slice(&seed.to_le_bytes());
    let rng = TestRng::from_seed(RngAlgorithm::ChaCha, &bytes);
    let mut runner = TestRunner::new_with_rng(Config::default(), rng);
    for case in 0..24 {
        let ops = vec(op(), 40..60).new_tree(&mut runner).unwrap().current();
        let mut model: BTreeMap<u8, Model> = BTreeMap::new();
        for (n, op) in ops.iter().enumerate() {
            let wanted = model.entry(stream_of(op)).or_default().run(n, op);
            assert_eq!(run(&memory, case, n, op).await, wanted, "seed {seed}: memory, {n} of {ops:#?}");
            assert_eq!(run(&postgres, case, n, op).await, wanted, "seed {seed}: Postgres, {n} of {ops:#?}");
        }
    }
}
