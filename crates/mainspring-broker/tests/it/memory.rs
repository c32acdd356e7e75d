//! Machine memory: A01 to A26, and what the seed gets wrong.

use std::{sync::Arc, time::Duration};

use futures_util::future::join_all;
use mainspring_broker::{MachineMemory, MemoryOptions, Metadata};
use serde_json::{Map, Value, json};

use crate::ground::{Ground, on_both};

on_both! {
    what_was_written_is_read_with_its_revision;
    the_status_the_parent_and_the_initiator_are_told;
    a_stale_write_changes_nothing;
    two_writers_of_one_revision_have_one_winner;
    any_json_comes_back_as_it_went;
    families_are_known_from_the_top_and_from_below;
    one_of_many_gets_a_lock;
    a_lock_is_asked_for_as_often_as_is_said;
    a_lock_ends_with_its_time_and_its_successor_keeps_it;
    who_outlives_its_lock_changes_nothing;
    unlocking_is_for_who_has_it;
    nothing_is_removed_unless_it_is_enabled;
    what_is_removed_leaves_the_others;
    a_failure_takes_the_place_of_any_state;
    a_subject_may_have_any_length;
    what_makes_no_sense_is_refused;
}

fn memory(ground: &Ground, options: MemoryOptions) -> MachineMemory {
    MachineMemory::new(Arc::clone(&ground.backend), options).unwrap()
}

fn plain(ground: &Ground) -> MachineMemory {
    memory(ground, MemoryOptions::default())
}

/// Asks once.
fn hasty() -> MemoryOptions {
    MemoryOptions { max_retries: 0, ..MemoryOptions::default() }
}

fn object(value: Value) -> Map<String, Value> {
    value.as_object().cloned().unwrap()
}

fn normal() -> Map<String, Value> {
    object(json!({"executionStatus": "normal", "n": 1}))
}

fn about() -> Metadata {
    Metadata { source: "arvo.orc.a".into(), ..Metadata::default() }
}

fn below(parent: &str) -> Metadata {
    Metadata { parent_subject: Some(parent.into()), ..about() }
}

/// A01, A02, A03, A07: the revision stands beside the data
async fn what_was_written_is_read_with_its_revision(ground: Ground) {
    let memory = plain(&ground);
    assert_eq!(memory.read("s").await.unwrap(), None);
    assert_eq!(memory.info("s").await.unwrap(), None);
    assert_eq!(memory.write("s", normal(), None, &about()).await.unwrap(), 1);
    let read = memory.read("s").await.unwrap().unwrap();
    assert_eq!((&read.data, read.revision), (&normal(), 1));
    assert_eq!(memory.root_of("s").await.unwrap().as_deref(), Some("s"));
    for revision in 1..4 {
        assert_eq!(memory.write("s", normal(), Some(revision), &about()).await.unwrap(), revision + 1);
    }
    assert_eq!(memory.read("s").await.unwrap().unwrap().revision, 4);
    assert!(memory.write("s", normal(), None, &about()).await.unwrap_err().is_conflict());
}

/// A04, A05, A06
async fn the_status_the_parent_and_the_initiator_are_told(ground: Ground) {
    let memory = plain(&ground);
    let known = Metadata { initiator: Some("my.workflow".into()), ..about() };
    memory.write("root", normal(), None, &known).await.unwrap();
    memory.write("child", object(json!({})), None, &below("root")).await.unwrap();
    let root = memory.info("root").await.unwrap().unwrap();
    assert_eq!((root.execution_status.as_str(), root.source.as_str()), ("normal", "arvo.orc.a"));
    assert_eq!((root.initiator.as_deref(), root.parent_subject), (Some("my.workflow"), None));
    let child = memory.info("child").await.unwrap().unwrap();
    assert_eq!((child.execution_status.as_str(), child.initiator), ("unknown", None));
    assert_eq!(child.parent_subject.as_deref(), Some("root"));

    let waiting = object(json!({"executionStatus": "waiting"}));
    memory.write("child", waiting, Some(1), &Metadata::default()).await.unwrap_err(); // a source is needed
    memory.write("child", object(json!({"executionStatus": "waiting"})), Some(1), &about()).await.unwrap();
    let child = memory.info("child").await.unwrap().unwrap();
    assert_eq!((child.execution_status.as_str(), child.parent_subject.as_deref()), ("waiting", Some("root")));
}

/// A08
async fn a_stale_write_changes_nothing(ground: Ground) {
    let memory = plain(&ground);
    memory.write("s", normal(), None, &about()).await.unwrap();
    memory.write("s", normal(), Some(1), &about()).await.unwrap();
    for (subject, revision) in [("s", 1), ("s", 7), ("gone", 1)] {
        let error = memory.write(subject, object(json!({})), Some(revision), &about()).await.unwrap_err();
        let wanted = format!(
            "Data is corrupted due to version mismatch for subject '{subject}'. Expected version {revision} but state has been modified."
        );
        assert!(error.is_conflict() && error.to_string() == wanted, "{error}");
    }
    let read = memory.read("s").await.unwrap().unwrap();
    assert_eq!((read.data, read.revision), (normal(), 2));
}

/// A09
async fn two_writers_of_one_revision_have_one_winner(ground: Ground) {
    let memory = plain(&ground);
    memory.write("s", normal(), None, &about()).await.unwrap();
    let about = about();
    let writes = (0..16).map(|n| memory.write("s", object(json!({"n": n})), Some(1), &about));
    let won: Vec<usize> =
        join_all(writes).await.iter().enumerate().filter(|(_, r)| r.is_ok()).map(|(n, _)| n).collect();
    assert_eq!(won.len(), 1);
    let read = memory.read("s").await.unwrap().unwrap();
    assert_eq!((read.data["n"].as_u64(), read.revision), (Some(won[0] as u64), 2));
}

/// A10
async fn any_json_comes_back_as_it_went(ground: Ground) {
    let memory = plain(&ground);
    let deep = (0..50).fold(json!({"leaf": [1.5, null, "ü"]}), |inner, _| json!({"in": inner}));
    for (n, data) in [json!({}), deep, json!({"a": {"": []}, "z": "\n\"'\\"})].into_iter().enumerate() {
        let subject = format!("s{n}");
        memory.write(&subject, object(data.clone()), None, &about()).await.unwrap();
        assert_eq!(Value::Object(memory.read(&subject).await.unwrap().unwrap().data), data);
    }
}

/// A11 to A15; an unknown parent is an error
async fn families_are_known_from_the_top_and_from_below(ground: Ground) {
    let memory = plain(&ground);
    memory.write("root", normal(), None, &about()).await.unwrap();
    for (child, parent) in [("a", "root"), ("b", "root"), ("a1", "a"), ("a2", "a")] {
        memory.write(child, normal(), None, &below(parent)).await.unwrap();
    }
    memory.write("other", normal(), None, &about()).await.unwrap();
    memory.write("o1", normal(), None, &below("other")).await.unwrap();
    assert!(memory.write("x", normal(), None, &below("unknown")).await.unwrap_err().is_not_found());
    assert_eq!(memory.read("x").await.unwrap(), None);

    for subject in ["root", "a", "b", "a1", "a2"] {
        assert_eq!(memory.root_of(subject).await.unwrap().as_deref(), Some("root"), "{subject}");
    }
    assert_eq!(memory.info("a1").await.unwrap().unwrap().parent_subject.as_deref(), Some("a"));
    assert_eq!(memory.root_of("unknown").await.unwrap(), None);
    let mut family = memory.descendants_of_root("root").await.unwrap();
    let place = |subject: &str| family.iter().position(|s| s == subject).unwrap();
    assert!(place("a") < place("a1") && place("a") < place("a2"));
    family.sort();
    assert_eq!(family, ["a", "a1", "a2", "b"]);
    assert_eq!(memory.descendants_of_root("other").await.unwrap(), ["o1"]);
    assert!(memory.descendants_of_root("o1").await.unwrap().is_empty());
    assert!(memory.descendants_of_root("unknown").await.unwrap().is_empty());
}

/// A16, A21: 32 at once
async fn one_of_many_gets_a_lock(ground: Ground) {
    let memory = memory(&ground, hasty());
    let locks = join_all((0..32).map(|_| memory.lock("s"))).await;
    assert_eq!(locks.into_iter().map(Result::unwrap).filter(Option::is_some).count(), 1);
    assert!(memory.lock("t").await.unwrap().is_some());
    assert!(memory.lock("s").await.unwrap().is_none());
}

/// A17, A18
async fn a_lock_is_asked_for_as_often_as_is_said(ground: Ground) {
    let delays: Vec<u128> = MemoryOptions::default().delays().map(|delay| delay.as_millis()).collect();
    assert_eq!(delays, [100, 150, 225]);
    let millis = Duration::from_millis;
    let options =
        MemoryOptions { initial_delay: millis(20), backoff_exponent: 2.0, ..MemoryOptions::default() };
    let memory = memory(&ground, options);
    let _held = memory.lock("s").await.unwrap().unwrap();
    let began = tokio::time::Instant::now();
    assert!(memory.lock("s").await.unwrap().is_none());
    assert!(began.elapsed() >= millis(20 + 40 + 80));
}

/// A19, A22; 1.12.3
async fn a_lock_ends_with_its_time_and_its_successor_keeps_it(ground: Ground) {
    let short = MemoryOptions { lock_ttl: Duration::from_millis(100), ..hasty() };
    let patient = MemoryOptions {
        max_retries: 200,
        initial_delay: Duration::from_millis(10),
        backoff_exponent: 1.0,
        ..MemoryOptions::default()
    };
    let (first, second) = (memory(&ground, short), memory(&ground, patient));
    let lost = first.lock("s").await.unwrap().unwrap();
    assert_eq!(lost.expires_at.since(lost.acquired_at), Duration::from_millis(100));
    let held = second.lock("s").await.unwrap().unwrap();
    assert!(held.acquired_at >= lost.expires_at);
    assert_eq!(held.expires_at.since(held.acquired_at), Duration::from_secs(120));
    assert!(!first.unlock(&lost).await.unwrap());
    assert!(first.extend(&lost).await.unwrap_err().is_fenced());
    assert_eq!(second.locked("s").await.unwrap(), Some(held.clone()));
    assert!(second.extend(&held).await.unwrap().expires_at >= held.expires_at);
}

/// fault F59: it still believes that it has the lock, writes what it has read, and gives back what is not its own
async fn who_outlives_its_lock_changes_nothing(ground: Ground) {
    let short = MemoryOptions { lock_ttl: Duration::from_millis(100), ..hasty() };
    let patient = MemoryOptions {
        max_retries: 1_000,
        initial_delay: Duration::from_millis(10),
        backoff_exponent: 1.0,
        ..MemoryOptions::default()
    };
    let (late, next) = (memory(&ground, short), memory(&ground, patient));
    late.write("root", normal(), None, &about()).await.unwrap();
    late.write("child", normal(), None, &below("root")).await.unwrap();
    let lost = late.lock("child").await.unwrap().unwrap();
    let read = late.read("child").await.unwrap().unwrap();
    let held = next.lock("child").await.unwrap().unwrap();
    next.write("child", object(json!({"n": 2})), Some(read.revision), &about()).await.unwrap();
    next.write("leaf", normal(), None, &below("child")).await.unwrap();

    let stale = late.write("child", object(json!({"n": 3})), Some(read.revision), &below("leaf")).await;
    assert!(stale.unwrap_err().is_conflict());
    assert!(late.extend(&lost).await.unwrap_err().is_fenced());
    assert!(!late.unlock(&lost).await.unwrap());
    assert_eq!(next.locked("child").await.unwrap(), Some(held.clone()));
    assert_eq!(next.read("child").await.unwrap().unwrap().data, object(json!({"n": 2})));
    assert_eq!(next.root_of("leaf").await.unwrap().as_deref(), Some("root"));
    assert_eq!(next.descendants_of_root("root").await.unwrap(), ["child", "leaf"]);
    assert!(next.unlock(&held).await.unwrap());
}

/// A20
async fn unlocking_is_for_who_has_it(ground: Ground) {
    let memory = memory(&ground, hasty());
    for _ in 0..3 {
        let lock = memory.lock("s").await.unwrap().unwrap();
        assert!(memory.unlock(&lock).await.unwrap());
        assert!(!memory.unlock(&lock).await.unwrap());
    }
    assert_eq!(memory.locked("s").await.unwrap(), None);
}

/// A23
async fn nothing_is_removed_unless_it_is_enabled(ground: Ground) {
    let memory = plain(&ground);
    memory.write("s", normal(), None, &about()).await.unwrap();
    let lock = memory.lock("s").await.unwrap();
    assert!(!memory.cleanup("s").await.unwrap());
    assert!(memory.read("s").await.unwrap().is_some());
    assert_eq!(memory.locked("s").await.unwrap(), lock);
}

/// A24, A25, A26
async fn what_is_removed_leaves_the_others(ground: Ground) {
    let memory = memory(&ground, MemoryOptions { enable_cleanup: true, ..MemoryOptions::default() });
    memory.write("root", normal(), None, &about()).await.unwrap();
    memory.write("child", normal(), None, &below("root")).await.unwrap();
    memory.write("other", normal(), None, &about()).await.unwrap();
    memory.lock("child").await.unwrap().unwrap();
    assert!(memory.cleanup("child").await.unwrap());
    assert!(!memory.cleanup("child").await.unwrap());
    assert!(!memory.cleanup("unknown").await.unwrap());
    assert_eq!(memory.read("child").await.unwrap(), None);
    assert_eq!(memory.locked("child").await.unwrap(), None);
    assert!(memory.descendants_of_root("root").await.unwrap().is_empty());
    // It may be written anew, and its parent may go before it.
    memory.write("child", normal(), None, &below("root")).await.unwrap();
    assert!(memory.cleanup("root").await.unwrap());
    for there in ["child", "other"] {
        assert!(memory.read(there).await.unwrap().is_some(), "{there}");
    }
}

/// 1.12.5
async fn a_failure_takes_the_place_of_any_state(ground: Ground) {
    let memory = plain(&ground);
    let failure = || object(json!({"executionStatus": "failure", "error": {"message": "no"}}));
    memory.write("s", normal(), None, &about()).await.unwrap();
    memory.write("s", normal(), Some(1), &about()).await.unwrap();
    assert_eq!(memory.write("s", failure(), None, &about()).await.unwrap(), 3);
    assert_eq!(memory.info("s").await.unwrap().unwrap().execution_status, "failure");
    assert_eq!(memory.write("s", failure(), None, &about()).await.unwrap(), 3);
    assert!(memory.write("s", normal(), Some(3), &about()).await.unwrap_err().is_conflict());
    assert_eq!(memory.write("new", failure(), None, &about()).await.unwrap(), 1);
}

/// 1.12.7
async fn a_subject_may_have_any_length(ground: Ground) {
    let memory = memory(&ground, hasty());
    let long = |n: usize| "s".repeat(n);
    for length in [1, 240, 241, 255, 256, 4_000] {
        let subject = long(length);
        memory.write(&subject, normal(), None, &about()).await.unwrap();
        assert!(memory.lock(&subject).await.unwrap().is_some());
        let child = format!("{subject}c");
        memory.write(&child, normal(), None, &below(&subject)).await.unwrap();
        assert_eq!(memory.root_of(&child).await.unwrap(), Some(subject.clone()));
        assert_eq!(memory.descendants_of_root(&subject).await.unwrap(), [child]);
    }
}

async fn what_makes_no_sense_is_refused(ground: Ground) {
    let memory = plain(&ground);
    assert!(memory.read("").await.unwrap_err().is_invalid());
    assert!(memory.lock("a\0").await.unwrap_err().is_invalid());
    assert!(memory.write("s", object(json!({"a": "\0"})), None, &about()).await.unwrap_err().is_invalid());
    assert!(memory.write("s", normal(), None, &Metadata::default()).await.unwrap_err().is_invalid());
    for options in [
        MemoryOptions { lock_ttl: Duration::ZERO, ..MemoryOptions::default() },
        MemoryOptions { backoff_exponent: 0.5, ..MemoryOptions::default() },
        MemoryOptions { backoff_exponent: f64::NAN, ..MemoryOptions::default() },
        MemoryOptions { max_retries: 5_000, ..MemoryOptions::default() },
    ] {
        assert!(MachineMemory::new(Arc::clone(&ground.backend), options).is_err());
    }
}

/// A waiting locker holds no connection: ten of them, and a pool of two.
#[tokio::test(flavor = "multi_thread")]
async fn who_waits_for_a_lock_keeps_nobody_from_working() {
    let db = mainspring_testing::TestDb::with_pool(2).await;
    let stores = mainspring::create_pg_stores(db.pool(), Default::default()).unwrap();
    let options = MemoryOptions {
        max_retries: 500,
        initial_delay: Duration::from_millis(20),
        backoff_exponent: 1.0,
        ..MemoryOptions::default()
    };
    let memory = MachineMemory::new(stores, options).unwrap();
    let lock = memory.lock("s").await.unwrap().unwrap();
    let waiting: Vec<_> = (0..10)
        .map(|_| {
            let memory = memory.clone();
            tokio::spawn(async move {
                let lock = memory.lock("s").await.unwrap().unwrap();
                assert!(memory.unlock(&lock).await.unwrap());
            })
        })
        .collect();
    for n in 0..20 {
        memory.write(&format!("t{n}"), normal(), None, &about()).await.unwrap();
    }
    assert!(waiting.iter().all(|waiter| !waiter.is_finished()));
    assert!(memory.unlock(&lock).await.unwrap());
    for waiter in waiting {
        waiter.await.unwrap();
    }
}
