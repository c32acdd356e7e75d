//! What every [`EventStore`](mainspring_core::EventStore) does.

use futures_util::future::join_all;
use mainspring_core::{
    Append, Backend, Changes, EventId, EventQuery, ExecutionFact, ExecutionWrite, ExpectedPosition, NewEvent,
    RecordedEvent,
    event::{EXECUTIONS, STREAMS},
};
use serde_json::json;

use super::{
    make::{execution, hours, id, object, secs},
    on, on_time,
};
use crate::TimeTravel;

/// All cases.
pub async fn suite<B: Backend, T: TimeTravel>(fresh: impl AsyncFn() -> (B, T)) {
    on(&fresh, every_field_survives).await;
    on(&fresh, positions_are_contiguous_from_1).await;
    on(&fresh, an_expectation_holds_where_it_should).await;
    on(&fresh, an_append_of_nothing_checks_its_expectation).await;
    on(&fresh, a_refused_append_leaves_no_trace).await;
    on(&fresh, sixteen_appends_at_one_position_have_one_winner).await;
    on(&fresh, sixteen_appends_anywhere_leave_no_gap).await;
    on(&fresh, streams_of_tenants_are_apart).await;
    on(&fresh, a_stream_is_read_from_a_position).await;
    on(&fresh, a_query_filters_by_type_and_position).await;
    on(&fresh, facts_stand_beside_the_history).await;
    on(&fresh, what_can_never_be_stored_is_refused).await;
    on_time(&fresh, a_query_filters_by_time).await;
    on_time(&fresh, old_histories_are_deleted_and_streams_stay).await;
}

fn event(kind: &str) -> NewEvent {
    NewEvent::new(kind, json!({"kind": kind}))
}

async fn append(backend: &dyn Backend, stream: &str, kinds: &[&str]) -> i64 {
    let events = kinds.iter().map(|kind| event(kind)).collect();
    backend.events().append(Append::to(stream, events)).await.unwrap().last
}

async fn read(backend: &dyn Backend, stream: &str) -> Vec<RecordedEvent> {
    backend.events().read_stream(STREAMS, "", stream, 1, 1_000).await.unwrap()
}

fn kinds(events: &[RecordedEvent]) -> Vec<&str> {
    events.iter().map(|event| event.event.event_type.as_str()).collect()
}

fn positions(events: &[RecordedEvent]) -> Vec<i64> {
    events.iter().map(|event| event.position).collect()
}

/// What was appended, and where and when.
pub async fn every_field_survives(backend: &dyn Backend) {
    let given = NewEvent {
        id: Some(EventId::new("evt_1").unwrap()),
        schema_version: 3,
        event_type: "cart.added".into(),
        subject: Some("line-1".into()),
        data: json!({"sku": "ü", "n": 1.5, "none": null}),
        metadata: object(json!({"traceparent": "00-1-1-01"})),
        correlation_id: Some("request-1".into()),
        causation_id: Some("msg-1".into()),
    };
    let mut append = Append::to("cart-1", vec![given.clone()]);
    append.tenant = "acme".into();
    assert_eq!(backend.events().append(append).await.unwrap().last, 1);
    let stored = backend.events().read_stream(STREAMS, "acme", "cart-1", 1, 10).await.unwrap();
    assert_eq!(stored.len(), 1);
    assert_eq!(stored[0].event, given);
    assert_eq!((stored[0].partition.as_str(), stored[0].tenant.as_str()), (STREAMS, "acme"));
    assert_eq!((stored[0].stream.as_str(), stored[0].position), ("cart-1", 1));
    assert_eq!(backend.events().query(EventQuery::default()).await.unwrap(), stored);
}

/// In each stream, whatever goes on in the others.
pub async fn positions_are_contiguous_from_1(backend: &dyn Backend) {
    assert_eq!(backend.events().position(STREAMS, "", "a").await.unwrap(), 0);
    assert_eq!(append(backend, "a", &["1", "2"]).await, 2);
    assert_eq!(append(backend, "b", &["1"]).await, 1);
    assert_eq!(append(backend, "a", &["3"]).await, 3);
    assert_eq!(backend.events().position(STREAMS, "", "a").await.unwrap(), 3);
    let (a, all) = (read(backend, "a").await, backend.events().query(EventQuery::default()).await.unwrap());
    assert_eq!((positions(&a), kinds(&a)), (vec![1, 2, 3], vec!["1", "2", "3"]));
    assert!(all.windows(2).all(|pair| pair[0].global_position < pair[1].global_position));
    assert_eq!(all.iter().filter(|event| event.stream == "a").cloned().collect::<Vec<_>>(), a);
}

/// The error of one that does not hold has the real position.
pub async fn an_expectation_holds_where_it_should(backend: &dyn Backend) {
    use ExpectedPosition::{Any, Exact, NoStream, StreamExists};
    append(backend, "two", &["1", "2"]).await;
    for (stream, expected, holds) in [
        ("two", NoStream, false),
        ("two", Exact(0), false),
        ("two", Exact(1), false),
        ("two", Exact(3), false),
        ("none", StreamExists, false),
        ("none", Exact(1), false),
        ("new1", Any, true),
        ("new2", NoStream, true),
        ("new3", Exact(0), true),
    ] {
        let result = backend.events().append(Append::to(stream, vec![event("x")]).expecting(expected)).await;
        assert_eq!(result.is_ok(), holds, "{stream} {expected:?}");
        let Err(error) = result else { continue };
        let real = if stream == "two" { "at position 2" } else { "at position 0" };
        assert!(error.is_conflict() && error.to_string().contains(real), "{error}");
    }
    for (expected, last) in [(Any, 3), (StreamExists, 4), (Exact(4), 5)] {
        let append = Append::to("two", vec![event("x")]).expecting(expected);
        assert_eq!(backend.events().append(append).await.unwrap().last, last);
    }
}

/// E09: and is a no-op besides.
pub async fn an_append_of_nothing_checks_its_expectation(backend: &dyn Backend) {
    append(backend, "a", &["1"]).await;
    let nothing = |expected| backend.events().append(Append::to("a", Vec::new()).expecting(expected));
    assert_eq!(nothing(ExpectedPosition::Exact(1)).await.unwrap().last, 1);
    assert!(nothing(ExpectedPosition::Exact(2)).await.unwrap_err().is_conflict());
    assert!(nothing(ExpectedPosition::NoStream).await.unwrap_err().is_conflict());
    assert_eq!(read(backend, "a").await.len(), 1);
}

/// A stream it would have begun does not exist.
pub async fn a_refused_append_leaves_no_trace(backend: &dyn Backend) {
    let refused = Append::to("a", vec![event("1"), event("2")]).expecting(ExpectedPosition::StreamExists);
    assert!(backend.events().append(refused).await.unwrap_err().is_conflict());
    assert!(read(backend, "a").await.is_empty());
    let first = Append::to("a", vec![event("1")]).expecting(ExpectedPosition::NoStream);
    assert_eq!(backend.events().append(first).await.unwrap().last, 1);
}

/// Optimistic concurrency.
pub async fn sixteen_appends_at_one_position_have_one_winner(backend: &dyn Backend) {
    append(backend, "a", &["1"]).await;
    let writes = (0..16).map(|n| {
        let append = Append::to("a", vec![event(&format!("w{n}"))]).expecting(ExpectedPosition::Exact(1));
        backend.events().append(append)
    });
    let results = join_all(writes).await;
    assert_eq!(results.iter().filter(|result| result.is_ok()).count(), 1);
    assert!(results.into_iter().filter_map(Result::err).all(|error| error.is_conflict()));
    assert_eq!(positions(&read(backend, "a").await), [1, 2]);
}

/// Each append stands together.
pub async fn sixteen_appends_anywhere_leave_no_gap(backend: &dyn Backend) {
    let writes = (0..16).map(|n| {
        let events = vec![event(&format!("w{n}")), event(&format!("w{n}"))];
        backend.events().append(Append::to("a", events))
    });
    for result in join_all(writes).await {
        result.unwrap();
    }
    let events = read(backend, "a").await;
    assert_eq!(positions(&events), (1..=32).collect::<Vec<_>>());
    assert!(kinds(&events).chunks(2).all(|pair| pair[0] == pair[1]));
    assert!(events.windows(2).all(|pair| pair[0].global_position < pair[1].global_position));
}

/// One name, two streams.
pub async fn streams_of_tenants_are_apart(backend: &dyn Backend) {
    for (tenant, kind) in [("acme", "a"), ("other", "b"), ("acme", "c")] {
        let append = Append { tenant: tenant.into(), ..Append::to("cart", vec![event(kind)]) };
        backend.events().append(append).await.unwrap();
    }
    let acme = backend.events().read_stream(STREAMS, "acme", "cart", 1, 10).await.unwrap();
    assert_eq!((kinds(&acme), positions(&acme)), (vec!["a", "c"], vec![1, 2]));
    assert_eq!(backend.events().position(STREAMS, "other", "cart").await.unwrap(), 1);
    assert!(read(backend, "cart").await.is_empty());
}

/// In order, with a limit.
pub async fn a_stream_is_read_from_a_position(backend: &dyn Backend) {
    append(backend, "a", &["1", "2", "3", "4"]).await;
    let read = async |from, limit| {
        let events = backend.events().read_stream(STREAMS, "", "a", from, limit).await.unwrap();
        positions(&events)
    };
    assert_eq!(read(1, 2).await, [1, 2]);
    assert_eq!(read(3, 10).await, [3, 4]);
    assert_eq!(read(0, 1).await, [1]);
    assert!(read(5, 10).await.is_empty());
    assert!(backend.events().read_stream(STREAMS, "", "a", 1, 10_001).await.unwrap_err().is_invalid());
    assert!(backend.events().read_stream(EXECUTIONS, "", "a", 1, 10).await.unwrap().is_empty());
}

/// Over all streams, in one order.
pub async fn a_query_filters_by_type_and_position(backend: &dyn Backend) {
    append(backend, "a", &["x", "y"]).await;
    append(backend, "b", &["x", "z"]).await;
    let query = async |event_types: &[&str], after_position, limit| {
        let event_types = event_types.iter().map(|&kind| kind.to_owned()).collect();
        let query = EventQuery { event_types, after_position, limit, ..EventQuery::default() };
        backend.events().query(query).await.unwrap()
    };
    let all = query(&[], None, None).await;
    assert_eq!(kinds(&all), ["x", "y", "x", "z"]);
    assert_eq!(kinds(&query(&["x", "z"], None, None).await), ["x", "x", "z"]);
    assert_eq!(kinds(&query(&[], Some(all[1].global_position), None).await), ["x", "z"]);
    assert_eq!(kinds(&query(&["x"], Some(all[0].global_position), Some(1)).await), ["x"]);
    assert_eq!(kinds(&query(&[], None, Some(3)).await), ["x", "y", "x"]);
    assert!(query(&["nothing"], None, None).await.is_empty());
}

/// Readers see both in one order; neither counts in the other's positions.
pub async fn facts_stand_beside_the_history(backend: &dyn Backend) {
    let fact = |kind: &str| ExecutionFact {
        execution_id: id("e"),
        event_type: kind.into(),
        step_id: Some("charge".into()),
        data: json!({"by": "me"}),
    };
    assert_eq!(backend.events().append(fact("before").into()).await.unwrap().last, 1);
    let write =
        ExecutionWrite::create(execution("e"), vec![event("execution.created"), event("step.started")]);
    backend.commit(Changes { executions: vec![write], ..Changes::default() }).await.unwrap();
    assert_eq!(backend.events().append(fact("after").into()).await.unwrap().last, 2);
    append(backend, "another", &["stream"]).await;
    let all = backend.events().get_by_execution(&id("e")).await.unwrap();
    assert_eq!(kinds(&all), ["before", "execution.created", "step.started", "after"]);
    assert_eq!(positions(&all), [1, 1, 2, 2]);
    assert_eq!(all[0].event.subject.as_deref(), Some("charge"));
    let query = EventQuery { execution_id: Some(id("e")), limit: Some(2), ..EventQuery::default() };
    assert_eq!(backend.events().query(query).await.unwrap(), all[..2]);
    let history = backend.events().read_stream(EXECUTIONS, "", "execution-e", 1, 10).await.unwrap();
    assert_eq!(history, all[1..3]);
}

/// NUL, names and positions below 0.
pub async fn what_can_never_be_stored_is_refused(backend: &dyn Backend) {
    let nul = NewEvent::new("x", json!("a\0b"));
    for bad in [
        Append::to("", vec![event("x")]),
        Append::to("a", vec![event("")]),
        Append::to("a", vec![event("x"), nul]),
        Append::to("a", vec![event("x")]).expecting(ExpectedPosition::Exact(-1)),
    ] {
        assert!(backend.events().append(bad).await.unwrap_err().is_invalid());
    }
    assert!(read(backend, "a").await.is_empty());
}

/// Both ends are left out.
pub async fn a_query_filters_by_time(backend: &dyn Backend, time: &dyn TimeTravel) {
    for kind in ["1", "2", "3"] {
        append(backend, "a", &[kind]).await;
        time.advance(secs(60)).await;
    }
    let middle = read(backend, "a").await[1].created_at;
    let query = async |after, before| {
        let query = EventQuery { after, before, ..EventQuery::default() };
        let events = backend.events().query(query).await.unwrap();
        kinds(&events).join("")
    };
    assert_eq!(query(Some(middle), None).await, "3");
    assert_eq!(query(None, Some(middle)).await, "1");
    assert_eq!(query(Some(middle - secs(1)), Some(middle + secs(1))).await, "2");
    assert_eq!(query(None, None).await, "123");
}

/// Streams are the application's; only what the engine wrote goes.
pub async fn old_histories_are_deleted_and_streams_stay(backend: &dyn Backend, time: &dyn TimeTravel) {
    append(backend, "mine", &["1"]).await;
    let write = |text| ExecutionWrite::create(execution(text), vec![event("execution.created")]);
    backend.commit(Changes { executions: vec![write("old")], ..Changes::default() }).await.unwrap();
    time.advance(hours(2)).await;
    let at =
        backend.commit(Changes { executions: vec![write("new")], ..Changes::default() }).await.unwrap().at;
    assert_eq!(backend.events().delete_old(at - hours(1)).await.unwrap(), 1);
    assert_eq!(backend.events().delete_old(at - hours(1)).await.unwrap(), 0);
    assert!(backend.events().get_by_execution(&id("old")).await.unwrap().is_empty());
    assert_eq!(backend.events().get_by_execution(&id("new")).await.unwrap().len(), 1);
    assert_eq!(read(backend, "mine").await.len(), 1);
}
