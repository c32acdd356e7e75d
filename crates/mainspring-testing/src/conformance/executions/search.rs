//! Finding executions by what they are searched by, and those that are long over.

use std::ops::Bound;

use mainspring_core::{
    Attributes, Backend, Changes, Execution, ExecutionFilter, ExecutionStatus, ExecutionWrite, Expect,
    NewEvent, Timestamp, TokenOptions,
};
use serde_json::json;

use super::created_over_time;
use crate::{
    TimeTravel,
    conformance::{
        make::{execution, id, ids, secs},
        on, on_time,
    },
};

/// All cases.
pub async fn suite<B: Backend, T: TimeTravel>(fresh: impl AsyncFn() -> (B, T)) {
    on_time(&fresh, executions_are_found_by_their_attributes).await;
    on_time(&fresh, texts_and_times_are_found_within_bounds).await;
    on(&fresh, attributes_change_with_the_row).await;
    on(&fresh, what_cannot_be_an_attribute_is_refused).await;
    on(&fresh, what_is_over_is_deleted_with_its_history).await;
    on(&fresh, what_is_forgotten_goes_with_its_history_and_its_lease).await;
    on_time(&fresh, those_that_are_long_over_are_found_in_the_order_of_their_ends).await;
}

fn with(text: &str, attributes: Attributes) -> Execution {
    Execution { attributes, ..execution(text) }
}

/// X7
pub async fn executions_are_found_by_their_attributes(backend: &dyn Backend, time: &dyn TimeTravel) {
    let of = |customer: &str, total: f64, paid: bool| -> Attributes {
        let values = [("customer", customer.into()), ("total", total.into()), ("paid", paid.into())];
        values.map(|(name, value)| (name.to_owned(), value)).into()
    };
    let all = vec![
        with("a", of("c-7", 42.0, true)),
        with("b", of("c-7", 2.5, false)),
        with("c", of("c-8", 42.0, true)),
        execution("d"),
    ];
    created_over_time(backend, time, all).await;
    let check = async |filter: ExecutionFilter, expected: &[&str]| {
        let store = backend.executions();
        assert_eq!(store.count(filter.clone()).await.unwrap(), expected.len() as u64);
        assert_eq!(ids(&store.list(filter).await.unwrap()), expected);
    };
    let filter = ExecutionFilter::default;
    check(filter(), &["d", "c", "b", "a"]).await;
    check(filter().with("customer", "c-7"), &["b", "a"]).await;
    check(filter().with("customer", "c-7").with("total", 42), &["a"]).await;
    check(filter().with("total", 42.0), &["c", "a"]).await;
    check(filter().with("total", "42"), &[]).await;
    check(filter().with("paid", false), &["b"]).await;
    check(filter().with("nothing", 1), &[]).await;
    check(filter().within("total", 2.5..42.0), &["b"]).await;
    check(filter().within("total", 2.5..=42.0), &["c", "b", "a"]).await;
    check(filter().within("total", (Bound::Excluded(2.5), Bound::Unbounded)), &["c", "a"]).await;
    check(filter().within("total", 3..).with("customer", "c-7"), &["a"]).await;
    check(filter().within("total", 3..).within("customer", ..="c-7"), &["a"]).await;
    check(filter().within("customer", "c-70"..), &["c"]).await;
    check(filter().within("total", "3"..), &[]).await;
    check(filter().within("paid", 0..), &[]).await;
    check(filter().within("nothing", 0..), &[]).await;
    let failed = ExecutionFilter { status: Some(ExecutionStatus::Failed), ..filter() };
    check(failed.with("paid", true), &[]).await;
    let of = |version: &str| ExecutionFilter { flow_version: Some(version.to_owned()), ..filter() };
    check(of("1.0.0"), &["d", "c", "b", "a"]).await;
    check(of("1.0.0").with("paid", true), &["c", "a"]).await;
    check(of("2.0.0"), &[]).await;
    check(of("2.0.0").with("paid", true), &[]).await;
    let made = backend.executions().list(filter()).await.unwrap()[2].created_at; // that of b
    let since = ExecutionFilter { since: Some(made), ..filter() };
    check(since.clone(), &["d", "c", "b"]).await;
    check(since.with("paid", true), &["c"]).await;
    let until = ExecutionFilter { until: Some(made), ..filter() };
    check(until.clone(), &["a"]).await;
    check(until.with("paid", false), &[]).await;
    let page = ExecutionFilter { limit: 1, ..filter().with("paid", true) };
    let first = backend.executions().list(page.clone()).await.unwrap();
    assert_eq!(ids(&first), ["c"]);
    let after = Some((first[0].created_at, first[0].id.clone()));
    assert_eq!(ids(&backend.executions().list(ExecutionFilter { after, ..page }).await.unwrap()), ["a"]);
}

/// X7: texts go byte by byte whatever the database's language, and times by their time.
pub async fn texts_and_times_are_found_within_bounds(backend: &dyn Backend, time: &dyn TimeTravel) {
    let texts =
        ["B", "a", "\u{e9}", "2026-01-01T00:00:00Z", "2026-01-01T00:00:00.5Z", "2026-01-01T00:00:01Z"];
    let all = texts.iter().zip(["t0", "t1", "t2", "t3", "t4", "t5"]);
    let all = all.map(|(text, id)| with(id, [("text".to_owned(), (*text).into())].into()));
    created_over_time(backend, time, all.collect()).await;
    let check = async |filter: ExecutionFilter, expected: &[&str]| {
        assert_eq!(ids(&backend.executions().list(filter).await.unwrap()), expected);
    };
    let filter = ExecutionFilter::default;
    check(filter().within("text", "A".."a"), &["t0"]).await;
    check(filter().within("text", "a"..), &["t2", "t1"]).await;
    let at: Timestamp = "2026-01-01T00:00:00Z".parse().unwrap();
    check(filter().within("text", at..), &["t5", "t4", "t3", "t2", "t1", "t0"]).await;
    check(filter().within("text", at..at + secs(1)), &["t4", "t3"]).await;
    check(filter().within("text", (Bound::Excluded(at), Bound::Included(at + secs(1)))), &["t5", "t4"]).await;
}

/// X7
pub async fn attributes_change_with_the_row(backend: &dyn Backend) {
    let store = backend.executions();
    let mut row = store.create(with("e", [("stage".to_owned(), 1.into())].into())).await.unwrap();
    row.attributes.insert("stage".to_owned(), 2.into());
    let mut row = store.update(row, Expect::Revision(1)).await.unwrap();
    let at = async |stage: i64| store.count(ExecutionFilter::default().with("stage", stage)).await.unwrap();
    assert_eq!((at(1).await, at(2).await), (0, 1));
    row.attributes.clear();
    store.update(row, Expect::Revision(2)).await.unwrap();
    assert_eq!(at(2).await, 0);
    assert_eq!(store.get(&id("e")).await.unwrap().unwrap().attributes, Attributes::new());
}

/// Bad input is refused before anything is asked.
pub async fn what_cannot_be_an_attribute_is_refused(backend: &dyn Backend) {
    let store = backend.executions();
    let bad: Attributes = [("number".to_owned(), f64::INFINITY.into())].into();
    assert!(store.create(with("e", bad)).await.unwrap_err().is_invalid());
    let filter = ExecutionFilter::default().with("text", "x".repeat(256));
    assert!(store.list(filter.clone()).await.unwrap_err().is_invalid());
    assert!(store.count(filter).await.unwrap_err().is_invalid());
    let filter = ExecutionFilter::default().within("paid", false..);
    assert!(store.list(filter.clone()).await.unwrap_err().is_invalid());
    assert!(store.count(filter).await.unwrap_err().is_invalid());
}

/// What retention asks.
pub async fn those_that_are_long_over_are_found_in_the_order_of_their_ends(
    backend: &dyn Backend,
    time: &dyn TimeTravel,
) {
    let store = backend.executions();
    let other = Execution { flow_id: "other".into(), ..execution("x") };
    created_over_time(backend, time, vec![execution("a"), execution("b"), execution("c"), other]).await;
    for text in ["b", "x", "a"] {
        let mut row = store.get(&id(text)).await.unwrap().unwrap();
        row.status = ExecutionStatus::Completed;
        store.update(row, Expect::Revision(1)).await.unwrap();
        time.advance(secs(10)).await;
    }
    let last = store.get(&id("a")).await.unwrap().unwrap().finished_at.unwrap();
    let check = async |before, limit, expected: &[&str]| {
        assert_eq!(ids(&store.find_finished("order", before, limit).await.unwrap()), expected);
    };
    check(last + secs(1), 10, &["b", "a"]).await;
    check(last, 10, &["b"]).await; // before, and not at
    check(last + secs(1), 1, &["b"]).await;
    assert!(store.find_finished("order", last, 10_001).await.unwrap_err().is_invalid());
}

/// A24
pub async fn what_is_forgotten_goes_with_its_history_and_its_lease(backend: &dyn Backend) {
    let row = |text| Execution { tenant: "acme".into(), ..execution(text) };
    let begun = || vec![NewEvent::new("execution.created", json!({}))];
    let create = async |text| {
        let executions = vec![ExecutionWrite::create(row(text), begun())];
        backend.commit(Changes { executions, ..Changes::default() }).await
    };
    for text in ["a", "b"] {
        create(text).await.unwrap();
        backend.leases().acquire(text, "me", secs(60)).await.unwrap().unwrap();
    }
    let store = backend.executions();
    assert!(store.forget(&id("a"), "a").await.unwrap());
    assert!(store.get(&id("a")).await.unwrap().is_none());
    assert!(backend.leases().get("a").await.unwrap().is_none());
    assert!(backend.events().get_by_execution(&id("a")).await.unwrap().is_empty());
    assert!(store.get(&id("b")).await.unwrap().is_some());
    assert!(backend.leases().get("b").await.unwrap().is_some());
    assert_eq!(backend.events().get_by_execution(&id("b")).await.unwrap().len(), 1);
    // A lease alone goes as well, and what was forgotten may begin anew.
    assert!(!store.forget(&id("a"), "b").await.unwrap());
    assert!(backend.leases().get("b").await.unwrap().is_none());
    create("a").await.unwrap();
}

/// And nothing else.
pub async fn what_is_over_is_deleted_with_its_history(backend: &dyn Backend) {
    let store = backend.executions();
    for (text, status) in [("over", ExecutionStatus::Failed), ("begun", ExecutionStatus::Running)] {
        let row = Execution { status, tenant: "acme".into(), ..execution(text) };
        let write = ExecutionWrite::create(row, vec![NewEvent::new("execution.created", json!({}))]);
        backend.commit(Changes { executions: vec![write], ..Changes::default() }).await.unwrap();
    }
    let (secret, _) = backend.tokens().generate(&id("over"), "s", TokenOptions::default()).await.unwrap();
    let all = [id("over"), id("begun"), id("nobody")];
    assert_eq!(store.delete_finished(&all).await.unwrap(), 1);
    assert_eq!(store.delete_finished(&all).await.unwrap(), 0);
    assert!(store.get(&id("over")).await.unwrap().is_none());
    assert!(store.get(&id("begun")).await.unwrap().is_some());
    assert!(backend.tokens().get(&secret).await.unwrap().is_none());
    let events = async |text| backend.events().get_by_execution(&id(text)).await.unwrap().len();
    assert_eq!((events("over").await, events("begun").await), (0, 1));
}
