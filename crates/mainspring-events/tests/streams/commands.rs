//! E46, E47: load, decide, append; and again after a conflict.

use std::{
    pin::pin,
    sync::atomic::{AtomicU32, Ordering},
    task::{Context, Waker},
    time::Duration,
};

use mainspring_core::{Append, Decider, DomainEvent, EventStore, ExpectedPosition};
use mainspring_events::{CommandError, ConflictRetry, EventStoreExt, PgEventStore, Snapshots, Streams};
use mainspring_testing::{MemoryBackend, TestDb};
use serde::{Deserialize, Serialize};

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
enum Moved {
    In { cents: i64 },
    Out { cents: i64 },
    Closed,
}

impl DomainEvent for Moved {}

#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
struct Balance {
    cents: i64,
    open: bool,
}

enum Ask {
    Move(i64),
    MoveTwice(i64),
    Close,
}

/// Counts its decisions, to tell how often a command was decided.
#[derive(Default)]
struct Account {
    decided: AtomicU32,
}

impl Decider for Account {
    type Command = Ask;
    type Event = Moved;
    type State = Balance;
    type Error = String;

    fn initial(&self) -> Balance {
        Balance { cents: 0, open: true }
    }

    fn decide(&self, ask: &Ask, now: &Balance) -> Result<Vec<Moved>, String> {
        self.decided.fetch_add(1, Ordering::Relaxed);
        let one = |cents: i64| if cents < 0 { Moved::Out { cents: -cents } } else { Moved::In { cents } };
        match ask {
            Ask::Close if !now.open => Ok(Vec::new()),
            _ if !now.open => Err("it is closed".into()),
            Ask::Close => Ok(vec![Moved::Closed]),
            Ask::Move(cents) | Ask::MoveTwice(cents) if now.cents + cents < 0 => {
                Err(format!("{} is less than {}", now.cents, -cents))
            }
            Ask::Move(0) => Ok(Vec::new()),
            Ask::Move(cents) => Ok(vec![one(*cents)]),
            Ask::MoveTwice(cents) => Ok(vec![one(*cents), one(*cents)]),
        }
    }

    fn evolve(&self, now: Balance, event: &Moved) -> Balance {
        match event {
            Moved::In { cents } => Balance { cents: now.cents + cents, ..now },
            Moved::Out { cents } => Balance { cents: now.cents - cents, ..now },
            Moved::Closed => Balance { open: false, ..now },
        }
    }
}

/// Everything a command can come to, on any store.
async fn every_outcome(store: &(impl EventStore + ?Sized)) {
    let account = Account::default();
    let on = || store.decide(&account, "account-1");

    let nothing = on().handle(&Ask::Move(0)).await.unwrap();
    assert_eq!((nothing.position, nothing.appended, nothing.events), (0, None, vec![]));
    assert!(!store.head(&"account-1".into()).await.unwrap().exists());

    let first = on().handle(&Ask::Move(700)).await.unwrap();
    assert_eq!((first.position, first.state.cents), (1, 700));
    assert!(first.appended.unwrap().created_stream);
    let many = on().handle(&Ask::MoveTwice(-100)).await.unwrap();
    assert_eq!((many.position, many.state.cents, many.events.len()), (3, 500, 2));

    // Several together: each on the state after the one before, and none when one is refused.
    let together = on().handle_all(&[&Ask::Move(-400), &Ask::Move(-100), &Ask::Move(5)]).await.unwrap();
    assert_eq!((together.position, together.state.cents), (6, 5));
    let refused = on().handle_all(&[&Ask::Move(1), &Ask::Move(-100)]).await.unwrap_err();
    assert_eq!(refused.to_string(), "6 is less than 100");
    assert!(matches!(refused, CommandError::Refused(_)) && refused.current_position().is_none());
    assert_eq!(store.head(&"account-1".into()).await.unwrap().position, 6);

    // An explicit position is the caller's to be wrong about.
    account.decided.store(0, Ordering::Relaxed);
    for wrong in [ExpectedPosition::Exact(5), ExpectedPosition::NoStream] {
        let conflict = on().expecting(wrong).handle(&Ask::Move(1)).await.unwrap_err();
        assert!(conflict.is_conflict() && conflict.current_position() == Some(6), "{conflict}");
    }
    assert_eq!(account.decided.load(Ordering::Relaxed), 0);
    let right = on().expecting(ExpectedPosition::Exact(6)).handle(&Ask::Move(1)).await.unwrap();
    assert_eq!(right.position, 7);

    let caused =
        on().annotated(|event| event.caused_by("request-1", "msg_1")).handle(&Ask::Close).await.unwrap();
    let read = store.read("account-1").from(caused.position).all().await.unwrap();
    assert_eq!(read.events[0].event.correlation_id.as_deref(), Some("request-1"));
    assert_eq!((read.events[0].event.event_type.as_str(), read.head.position), ("Closed", 8));
}

#[tokio::test]
async fn a_command_comes_to_the_same_on_both_stores() {
    every_outcome(&MemoryBackend::new()).await;
    every_outcome(&PgEventStore::new(&TestDb::new().await.db())).await;
}

fn at_once() -> ConflictRetry {
    ConflictRetry { pause: Duration::ZERO, ..ConflictRetry::default() }
}

#[tokio::test]
async fn commands_at_once_are_all_decided_on_what_the_others_left() {
    let db = TestDb::with_pool(8).await;
    let store = PgEventStore::new(&db.db());
    let account = Account::default();
    let retry = ConflictRetry { max_attempts: 100, ..at_once() };
    let all = (0..8).map(|_| store.decide(&account, "account-1").retrying(retry).handle(&Ask::Move(1)));
    let handled = futures_util::future::join_all(all).await;
    let mut cents: Vec<i64> = handled.into_iter().map(|handled| handled.unwrap().state.cents).collect();
    cents.sort_unstable();
    assert_eq!(cents, (1..=8).collect::<Vec<_>>());
}

/// A decider whose stream is always changed by someone else between its reading and its append.
struct Raced<'a> {
    decided: AtomicU32,
    streams: Streams<'a, MemoryBackend>,
}

impl Decider for Raced<'_> {
    type Command = ();
    type Event = Moved;
    type State = ();
    type Error = String;

    fn initial(&self) {}

    fn decide(&self, (): &(), (): &()) -> Result<Vec<Moved>, String> {
        self.decided.fetch_add(1, Ordering::Relaxed);
        let mut other = pin!(self.streams.append("raced", vec![Moved::Closed.encode().unwrap()]));
        // The memory backend gives way once before it looks.
        let mut context = Context::from_waker(Waker::noop());
        while other.as_mut().poll(&mut context).is_pending() {}
        Ok(vec![Moved::In { cents: 1 }])
    }

    fn evolve(&self, (): (), _: &Moved) {}
}

#[tokio::test]
async fn a_conflict_is_retried_as_often_as_is_said() {
    let memory = MemoryBackend::new();
    for (retry, decided) in
        [(at_once(), 4), (ConflictRetry { max_attempts: 2, ..at_once() }, 2), (ConflictRetry::NONE, 1)]
    {
        let raced = Raced { decided: AtomicU32::new(0), streams: memory.tenant("t") };
        let before = memory.tenant("t").head("raced").await.unwrap().position;
        let error = memory.tenant("t").decide(&raced, "raced").retrying(retry).handle(&()).await.unwrap_err();
        assert!(error.is_conflict(), "{error}");
        assert_eq!(raced.decided.load(Ordering::Relaxed), decided);
        assert_eq!(error.current_position(), Some(before + i64::from(decided)));
    }
}

#[tokio::test]
async fn in_a_transaction_nobody_waits_for_another_try() {
    let db = TestDb::new().await;
    let store = PgEventStore::new(&db.db());
    store.append(Append::to("account-1", vec![Moved::In { cents: 9 }.encode().unwrap()])).await.unwrap();
    let account = Account::default();
    let mut client = db.client().await;
    let tx = client.transaction().await.unwrap();
    let handled = store.on(&tx).decide(&account, "account-1").handle(&Ask::Move(-4)).await.unwrap();
    assert_eq!((handled.state.cents, handled.position), (5, 2));
    assert_eq!(store.head(&"account-1".into()).await.unwrap().position, 1);
    tx.commit().await.unwrap();
    assert_eq!(store.head(&"account-1".into()).await.unwrap().position, 2);
}

#[tokio::test]
async fn a_decider_is_loaded_from_its_snapshots() {
    let memory = MemoryBackend::new();
    let account = Account::default();
    let snapshots = Snapshots::new("balance", 1).made_every(3);
    for n in 1..=7 {
        let handled =
            memory.decide(&account, "a").from_snapshots(&snapshots).handle(&Ask::Move(10)).await.unwrap();
        assert_eq!((handled.state.cents, handled.position), (n * 10, n));
    }
    let kept = memory.snapshot(&"a".into(), "balance").await.unwrap().unwrap();
    assert_eq!((kept.position, &kept.state["cents"]), (6, &60.into()));
    // What is in it is not folded again.
    memory.truncate_before(&"a".into(), 7).await.unwrap();
    let handled =
        memory.decide(&account, "a").from_snapshots(&snapshots).handle(&Ask::Move(1)).await.unwrap();
    assert_eq!(handled.state.cents, 71);
}
