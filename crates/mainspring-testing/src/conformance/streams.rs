//! What every [`EventStore`](mainspring_core::EventStore) does with whole streams: appends that may be repeated, pages,
//! archive and deletion, partitions and tenants.

use futures_util::future::join_all;
use mainspring_core::{
    Append, Appended, Backend, Changes, Direction, EventId, EventQuery, ExpectedPosition, NewEvent,
    RecordedEvent, StreamHead, StreamId, StreamPage, StreamQuery,
    event::{EXECUTIONS, STREAMS},
};
use serde_json::json;

use super::on;
use crate::TimeTravel;

/// All cases.
pub async fn suite<B: Backend, T: TimeTravel>(fresh: impl AsyncFn() -> (B, T)) {
    on(&fresh, an_append_says_where_its_events_are).await;
    on(&fresh, a_conflict_says_where_the_stream_stands).await;
    on(&fresh, two_creators_have_one_winner_unless_both_expect_nothing).await;
    on(&fresh, appends_to_several_streams_are_one).await;
    on(&fresh, a_repeated_append_changes_nothing).await;
    on(&fresh, a_partly_repeated_append_is_a_conflict).await;
    on(&fresh, sixteen_repeats_at_once_are_one_append).await;
    on(&fresh, a_page_has_what_was_asked_for_and_where_the_stream_stands).await;
    on(&fresh, a_history_is_read_as_a_stream).await;
    on(&fresh, a_stream_has_a_type).await;
    on(&fresh, a_query_filters_by_place_and_correlation).await;
    on(&fresh, an_archived_stream_is_out_of_every_read).await;
    on(&fresh, a_restored_stream_is_what_it_was).await;
    on(&fresh, a_deleted_stream_goes_on_behind_its_last_position).await;
    on(&fresh, a_forgotten_stream_was_never_there).await;
    on(&fresh, a_truncated_stream_keeps_its_positions).await;
    on(&fresh, histories_are_not_touched_from_outside).await;
    on(&fresh, a_partition_has_streams_of_its_own).await;
    on(&fresh, names_of_partitions_never_collide).await;
    on(&fresh, a_tenant_moves_into_storage_of_its_own).await;
    on(&fresh, appends_of_a_commit_are_answered).await;
}

fn event(kind: &str) -> NewEvent {
    NewEvent::new(kind, json!({"kind": kind}))
}

fn named(id: &str) -> NewEvent {
    event(id).identified(EventId::new(id).unwrap())
}

fn events(kinds: &[&str]) -> Vec<NewEvent> {
    kinds.iter().map(|kind| event(kind)).collect()
}

async fn append(backend: &dyn Backend, stream: impl Into<StreamId>, kinds: &[&str]) -> Appended {
    backend.events().append(Append::to(stream, events(kinds))).await.unwrap()
}

async fn page(backend: &dyn Backend, stream: impl Into<StreamId>) -> StreamPage {
    backend.events().read_page(StreamQuery::of(stream)).await.unwrap()
}

async fn position(backend: &dyn Backend, stream: impl Into<StreamId>) -> i64 {
    backend.events().head(&stream.into()).await.unwrap().position
}

fn kinds(events: &[RecordedEvent]) -> Vec<&str> {
    events.iter().map(|event| event.event.event_type.as_str()).collect()
}

fn positions(page: &StreamPage) -> Vec<i64> {
    page.events.iter().map(|event| event.position).collect()
}

/// E03, E04, E05
pub async fn an_append_says_where_its_events_are(backend: &dyn Backend) {
    let first = append(backend, "a", &["1", "2"]).await;
    assert_eq!((first.first, first.last, first.created_stream, first.repeated), (1, 2, true, false));
    append(backend, "b", &["1"]).await;
    let second = Append::to("a", events(&["3", "4"])).expecting(ExpectedPosition::Exact(2));
    let second = backend.events().append(second).await.unwrap();
    assert_eq!((second.first, second.last, second.created_stream), (3, 4, false));
    let read = page(backend, "a").await;
    let global: Vec<i64> = read.events.iter().map(|event| event.global_position).collect();
    assert_eq!(global, [first.global_positions, second.global_positions].concat());
    assert!(global.windows(2).all(|pair| pair[0] < pair[1]));
    let nothing = backend.events().append(Append::to("a", Vec::new())).await.unwrap();
    assert_eq!((nothing.first, nothing.last, nothing.created_stream), (5, 4, false));
    assert!(nothing.global_positions.is_empty());
    let nothing = backend.events().append(Append::to("new", Vec::new())).await.unwrap();
    assert_eq!((nothing.first, nothing.last, nothing.created_stream), (1, 0, false));
}

/// E06
pub async fn a_conflict_says_where_the_stream_stands(backend: &dyn Backend) {
    append(backend, "two", &["1", "2"]).await;
    for (stream, expected, current) in [
        ("two", ExpectedPosition::Exact(1), 2),
        ("two", ExpectedPosition::Exact(3), 2),
        ("two", ExpectedPosition::NoStream, 2),
        ("none", ExpectedPosition::StreamExists, 0),
        ("none", ExpectedPosition::Exact(7), 0),
    ] {
        for events in [events(&["x"]), Vec::new()] {
            let error =
                backend.events().append(Append::to(stream, events).expecting(expected)).await.unwrap_err();
            assert!(error.is_conflict(), "{error}");
            assert_eq!(error.current_position(), Some(current), "{error}");
        }
    }
    assert_eq!((position(backend, "two").await, position(backend, "none").await), (2, 0));
}

/// E07; and appends that expect nothing never conflict.
pub async fn two_creators_have_one_winner_unless_both_expect_nothing(backend: &dyn Backend) {
    for (stream, expected, winners) in [
        ("one", ExpectedPosition::NoStream, 1),
        ("exact", ExpectedPosition::Exact(0), 1),
        ("any", ExpectedPosition::Any, 16),
    ] {
        let appends = (0..16).map(|_| {
            let append = Append::to(stream, events(&["1", "2"])).expecting(expected);
            backend.events().append(append)
        });
        let answers = join_all(appends).await;
        let won: Vec<&Appended> = answers.iter().filter_map(|answer| answer.as_ref().ok()).collect();
        assert_eq!(won.len(), winners, "{stream}");
        assert_eq!(won.iter().filter(|appended| appended.created_stream).count(), 1, "{stream}");
        assert!(
            answers.iter().filter_map(|a| a.as_ref().err()).all(|error| error.current_position() == Some(2))
        );
        assert_eq!(positions(&page(backend, stream).await), (1..=2 * winners as i64).collect::<Vec<_>>());
    }
}

/// E50, without a session.
pub async fn appends_to_several_streams_are_one(backend: &dyn Backend) {
    append(backend, "b", &["1"]).await;
    let all = |expected| {
        vec![
            Append::to("c", events(&["c1"])),
            Append::to("b", events(&["b1", "b2"])).expecting(ExpectedPosition::Exact(expected)),
            Append::to("a", events(&["a1"])),
        ]
    };
    let error = backend.events().append_all(all(7)).await.unwrap_err();
    assert_eq!(error.current_position(), Some(1));
    assert_eq!(
        (position(backend, "a").await, position(backend, "b").await, position(backend, "c").await),
        (0, 1, 0)
    );
    let appended = backend.events().append_all(all(1)).await.unwrap();
    let places: Vec<_> = appended.iter().map(|a| (a.first, a.last, a.created_stream)).collect();
    assert_eq!(places, [(1, 1, true), (2, 3, false), (1, 1, true)]);
    let order = backend.events().query(EventQuery::default()).await.unwrap();
    assert_eq!(kinds(&order), ["1", "c1", "b1", "b2", "a1"]);

    let anywhere = vec![Append::to("b", events(&["x"])), Append::to("b", events(&["y", "z"]))];
    let appended = backend.events().append_all(anywhere).await.unwrap();
    assert_eq!((appended[0].last, appended[1].first, appended[1].last), (4, 5, 6));
    let somewhere = Append::to("b", events(&["x"])).expecting(ExpectedPosition::Exact(6));
    let twice = vec![somewhere, Append::to("b", events(&["y"]))];
    assert!(backend.events().append_all(twice).await.unwrap_err().is_invalid());
    assert!(backend.events().append_all(Vec::new()).await.unwrap().is_empty());
}

/// By the ids of its events, whatever it expects and wherever the stream is by now.
pub async fn a_repeated_append_changes_nothing(backend: &dyn Backend) {
    let once = Append::to("a", vec![named("x"), named("y")]).expecting(ExpectedPosition::NoStream);
    let first = backend.events().append(once.clone()).await.unwrap();
    append(backend, "a", &["other"]).await;
    for expected in [ExpectedPosition::NoStream, ExpectedPosition::Any, ExpectedPosition::Exact(9)] {
        let again = backend.events().append(once.clone().expecting(expected)).await.unwrap();
        assert!(again.repeated && !again.created_stream);
        assert_eq!((again.first, again.last, &again.global_positions), (1, 2, &first.global_positions));
    }
    assert_eq!(positions(&page(backend, "a").await), [1, 2, 3]);
    // Elsewhere it is another event.
    let elsewhere = Append::to(StreamId::new("a").of_tenant("acme"), vec![named("x")]);
    assert!(!backend.events().append(elsewhere).await.unwrap().repeated);
    let part = backend.events().append(Append::to("a", vec![named("y")])).await.unwrap();
    assert_eq!((part.first, part.last, part.repeated), (2, 2, true));
}

/// It is not the append that was made.
pub async fn a_partly_repeated_append_is_a_conflict(backend: &dyn Backend) {
    backend.events().append(Append::to("a", vec![named("x")])).await.unwrap();
    for mixed in
        [vec![named("x"), named("new")], vec![named("new"), named("x")], vec![named("x"), event("no id")]]
    {
        let error = backend.events().append(Append::to("a", mixed)).await.unwrap_err();
        assert!(error.is_conflict() && error.to_string().contains("has 1 of these 2 events"), "{error}");
    }
    assert_eq!(position(backend, "a").await, 1);
    let twice = Append::to("a", vec![named("z"), named("z")]);
    assert!(backend.events().append(twice).await.unwrap_err().is_invalid());
}

/// Nobody loses, and one of them wrote.
pub async fn sixteen_repeats_at_once_are_one_append(backend: &dyn Backend) {
    for stream in ["new", "old"] {
        if stream == "old" {
            append(backend, stream, &["first"]).await;
        }
        let before = position(backend, stream).await;
        let appends =
            (0..16).map(|_| backend.events().append(Append::to(stream, vec![named("x"), named("y")])));
        let answers: Vec<Appended> = join_all(appends).await.into_iter().map(Result::unwrap).collect();
        assert_eq!(answers.iter().filter(|answer| !answer.repeated).count(), 1);
        assert!(answers.iter().all(|answer| (answer.first, answer.last) == (before + 1, before + 2)));
        assert_eq!(position(backend, stream).await, before + 2);
    }
}

/// E10
pub async fn a_page_has_what_was_asked_for_and_where_the_stream_stands(backend: &dyn Backend) {
    append(backend, "a", &["1", "2", "3", "4", "5"]).await;
    let query =
        |direction, from, to, limit| StreamQuery { direction, from, to, limit, ..StreamQuery::of("a") };
    use Direction::{Backward, Forward};
    for (asked, wanted) in [
        (query(Forward, None, None, 10), &[1, 2, 3, 4, 5][..]),
        (query(Forward, Some(2), Some(4), 10), &[2, 3, 4]),
        (query(Forward, Some(2), None, 2), &[2, 3]),
        (query(Forward, None, Some(1), 10), &[1]),
        (query(Forward, Some(4), Some(2), 10), &[]),
        (query(Forward, Some(6), None, 10), &[]),
        (query(Backward, None, None, 10), &[5, 4, 3, 2, 1]),
        (query(Backward, None, None, 1), &[5]),
        (query(Backward, Some(2), Some(4), 2), &[4, 3]),
        (query(Backward, None, Some(0), 10), &[]),
    ] {
        let read = backend.events().read_page(asked.clone()).await.unwrap();
        assert_eq!(positions(&read), wanted, "{asked:?}");
        assert_eq!(read.head.position, 5, "{asked:?}");
        assert!(read.head.exists());
    }
    let unknown = page(backend, "unknown").await;
    assert_eq!((unknown.events.len(), unknown.head.clone()), (0, StreamHead::default()));
    assert!(!unknown.head.exists());
    for limit in [0, 10_001] {
        assert!(
            backend.events().read_page(query(Forward, None, None, limit)).await.unwrap_err().is_invalid()
        );
    }
}

/// Its head is where its execution says.
pub async fn a_history_is_read_as_a_stream(backend: &dyn Backend) {
    use mainspring_core::ExecutionWrite;
    let write = ExecutionWrite::create(super::make::execution("e"), events(&["1", "2", "3"]));
    backend.commit(Changes { executions: vec![write], ..Changes::default() }).await.unwrap();
    let history = StreamId::new("execution-e").in_partition(EXECUTIONS);
    let query = StreamQuery { direction: Direction::Backward, limit: 2, ..StreamQuery::of(&history) };
    let read = backend.events().read_page(query).await.unwrap();
    assert_eq!((positions(&read), read.head.position), (vec![3, 2], 3));
    assert_eq!(backend.events().head(&history).await.unwrap().stream_type.as_deref(), Some("execution"));
    assert_eq!(
        page(backend, StreamId::new("execution-none").in_partition(EXECUTIONS)).await.head.position,
        0
    );
}

/// Said at its first append, or else by its name.
pub async fn a_stream_has_a_type(backend: &dyn Backend) {
    append(backend, "cart-1", &["1"]).await;
    append(backend, "plain", &["1"]).await;
    let said = Append { stream_type: Some("basket".into()), ..Append::to("cart-2", events(&["1"])) };
    backend.events().append(said).await.unwrap();
    let late = Append { stream_type: Some("late".into()), ..Append::to("cart-1", events(&["2"])) };
    backend.events().append(late).await.unwrap();
    for (stream, kind) in [("cart-1", Some("cart")), ("plain", None), ("cart-2", Some("basket"))] {
        assert_eq!(page(backend, stream).await.head.stream_type.as_deref(), kind, "{stream}");
        assert_eq!(backend.events().head(&stream.into()).await.unwrap().stream_type.as_deref(), kind);
    }
}

/// Partition, tenant, correlation, and both ends of the log.
pub async fn a_query_filters_by_place_and_correlation(backend: &dyn Backend) {
    backend.events().create_partition("billing").await.unwrap();
    let of = |kind: &str, correlation: &str| event(kind).caused_by(correlation, "msg_1");
    for (stream, event) in [
        (StreamId::new("a"), of("1", "r1")),
        (StreamId::new("a").of_tenant("acme"), of("2", "r2")),
        (StreamId::new("a").in_partition("billing").of_tenant("acme"), of("3", "r1")),
        (StreamId::new("b").in_partition("billing"), of("4", "r2")),
    ] {
        backend.events().append(Append::to(stream, vec![event])).await.unwrap();
    }
    let find = async |query: EventQuery| {
        let events = backend.events().query(query).await.unwrap();
        kinds(&events).join("")
    };
    let text = |text: &str| Some(text.to_owned());
    assert_eq!(find(EventQuery { partition: text("billing"), ..Default::default() }).await, "34");
    assert_eq!(find(EventQuery { partition: text(STREAMS), ..Default::default() }).await, "12");
    assert_eq!(find(EventQuery { tenant: text("acme"), ..Default::default() }).await, "23");
    assert_eq!(find(EventQuery { tenant: text(""), ..Default::default() }).await, "14");
    assert_eq!(find(EventQuery { correlation_id: text("r1"), ..Default::default() }).await, "13");
    let both = EventQuery { correlation_id: text("r1"), tenant: text("acme"), ..Default::default() };
    assert_eq!(find(both).await, "3");
    let all = backend.events().query(EventQuery::default()).await.unwrap();
    let range = EventQuery {
        after_position: Some(all[0].global_position),
        up_to_position: Some(all[2].global_position),
        ..Default::default()
    };
    assert_eq!(find(range).await, "23");
}

/// E11
pub async fn an_archived_stream_is_out_of_every_read(backend: &dyn Backend) {
    append(backend, "a", &["1", "2"]).await;
    append(backend, "b", &["3"]).await;
    let a = StreamId::new("a");
    assert!(backend.events().archive(&a).await.unwrap());
    assert!(!backend.events().archive(&a).await.unwrap());
    assert!(!backend.events().archive(&"unknown".into()).await.unwrap());
    assert_eq!(page(backend, "a").await, StreamPage::default());
    assert!(!backend.events().head(&a).await.unwrap().exists());
    assert_eq!(kinds(&backend.events().query(EventQuery::default()).await.unwrap()), ["3"]);
    for expected in [ExpectedPosition::Any, ExpectedPosition::NoStream, ExpectedPosition::Exact(2)] {
        let error =
            backend.events().append(Append::to("a", events(&["x"])).expecting(expected)).await.unwrap_err();
        assert!(error.is_conflict() && error.to_string().contains("archived"), "{error}");
    }
    assert_eq!(backend.events().truncate_before(&a, 2).await.unwrap(), 0);
    assert_eq!(position(backend, "b").await, 1);
}

/// Appends go on where it was.
pub async fn a_restored_stream_is_what_it_was(backend: &dyn Backend) {
    let once = Append::to("a", vec![named("x"), event("2")]);
    backend.events().append(once).await.unwrap();
    append(backend, "b", &["3"]).await;
    let before = backend.events().query(EventQuery::default()).await.unwrap();
    let a = StreamId::new("a");
    assert!(!backend.events().restore(&a).await.unwrap());
    backend.events().archive(&a).await.unwrap();
    assert!(backend.events().restore(&a).await.unwrap());
    assert_eq!(backend.events().query(EventQuery::default()).await.unwrap(), before);
    assert!(backend.events().append(Append::to("a", vec![named("x")])).await.unwrap().repeated);
    assert_eq!(append(backend, "a", &["4"]).await.last, 3);
}

/// And may be begun again as a stream that does not exist.
pub async fn a_deleted_stream_goes_on_behind_its_last_position(backend: &dyn Backend) {
    let a = StreamId::new("a");
    assert_eq!(backend.events().delete_stream(&a).await.unwrap(), 0);
    backend.events().append(Append::to("a", vec![named("x"), event("2")])).await.unwrap();
    assert_eq!(backend.events().delete_stream(&a).await.unwrap(), 2);
    assert_eq!(backend.events().delete_stream(&a).await.unwrap(), 0);
    assert_eq!(page(backend, "a").await, StreamPage::default());
    assert!(!backend.events().archive(&a).await.unwrap());
    let exists = Append::to("a", events(&["x"])).expecting(ExpectedPosition::StreamExists);
    assert_eq!(backend.events().append(exists).await.unwrap_err().current_position(), Some(0));
    let again = Append::to("a", vec![named("x")]).expecting(ExpectedPosition::NoStream);
    let again = backend.events().append(again).await.unwrap();
    assert_eq!((again.first, again.created_stream, again.repeated), (3, true, false));
    let read = page(backend, "a").await;
    assert_eq!((positions(&read), read.head.position), (vec![3], 3));
    backend.events().archive(&a).await.unwrap();
    assert_eq!(backend.events().delete_stream(&a).await.unwrap(), 1);
    assert!(!backend.events().restore(&a).await.unwrap());
    assert_eq!(append(backend, "a", &["y"]).await.first, 4);
}

/// Whether it was archived, deleted or neither.
pub async fn a_forgotten_stream_was_never_there(backend: &dyn Backend) {
    let (store, a) = (backend.events(), StreamId::new("a"));
    assert_eq!(store.forget_stream(&a).await.unwrap(), 0);
    for (left, prepare) in [(2, None), (2, Some(true)), (0, Some(false))] {
        store.append(Append::to("a", vec![named("x"), event("2")])).await.unwrap();
        append(backend, "b", &["1"]).await;
        match prepare {
            Some(true) => assert!(store.archive(&a).await.unwrap()),
            Some(false) => assert_eq!(store.delete_stream(&a).await.unwrap(), 2),
            None => {}
        }
        assert_eq!(store.forget_stream(&a).await.unwrap(), left);
        assert_eq!(page(backend, "a").await, StreamPage::default());
        let again = Append::to("a", vec![named("x")]).expecting(ExpectedPosition::NoStream);
        let again = store.append(again).await.unwrap();
        assert_eq!((again.first, again.created_stream, again.repeated), (1, true, false));
        assert_eq!(store.forget_stream(&a).await.unwrap(), 1);
    }
    assert_eq!(positions(&page(backend, "b").await), [1, 2, 3], "no other one");
}

/// And never loses its last event.
pub async fn a_truncated_stream_keeps_its_positions(backend: &dyn Backend) {
    append(backend, "a", &["1", "2", "3", "4"]).await;
    let a = StreamId::new("a");
    for (before, deleted, left) in
        [(1, 0, &[1, 2, 3, 4][..]), (3, 2, &[3, 4]), (2, 0, &[3, 4]), (99, 1, &[4])]
    {
        assert_eq!(backend.events().truncate_before(&a, before).await.unwrap(), deleted);
        let read = page(backend, "a").await;
        assert_eq!((positions(&read).as_slice(), read.head.position), (left, 4));
    }
    let next = Append::to("a", events(&["5"])).expecting(ExpectedPosition::Exact(4));
    let next = backend.events().append(next).await.unwrap();
    assert_eq!((next.first, next.created_stream), (5, false));
    assert!(backend.events().truncate_before(&a, 0).await.unwrap_err().is_invalid());
    assert_eq!(backend.events().truncate_before(&"unknown".into(), 5).await.unwrap(), 0);
}

/// Only the commits of their executions write them.
pub async fn histories_are_not_touched_from_outside(backend: &dyn Backend) {
    let history = StreamId::new("execution-e").in_partition(EXECUTIONS);
    let store = backend.events();
    assert!(store.append(Append::to(&history, events(&["x"]))).await.unwrap_err().is_invalid());
    assert!(store.archive(&history).await.unwrap_err().is_invalid());
    assert!(store.restore(&history).await.unwrap_err().is_invalid());
    assert!(store.delete_stream(&history).await.unwrap_err().is_invalid());
    assert!(store.forget_stream(&history).await.unwrap_err().is_invalid());
    assert!(store.truncate_before(&history, 1).await.unwrap_err().is_invalid());
    assert!(!store.create_partition(EXECUTIONS).await.unwrap());
    assert!(store.create_tenant(EXECUTIONS, "acme").await.unwrap_err().is_invalid());
}

/// E52; one that does not exist is refused before anything is written.
pub async fn a_partition_has_streams_of_its_own(backend: &dyn Backend) {
    let cart = StreamId::new("cart").in_partition("billing");
    for expected in [ExpectedPosition::Any, ExpectedPosition::Exact(3)] {
        let all =
            vec![Append::to("other", events(&["1"])), Append::to(&cart, events(&["1"])).expecting(expected)];
        let error = backend.events().append_all(all).await.unwrap_err();
        assert!(error.is_not_found() && error.to_string().contains("`billing`"), "{error}");
    }
    assert_eq!(position(backend, "other").await, 0);
    let made = join_all((0..8).map(|_| backend.events().create_partition("billing"))).await;
    assert_eq!(made.into_iter().filter(|new| *new.as_ref().unwrap()).count(), 1);
    append(backend, &cart, &["1", "2"]).await;
    append(backend, "cart", &["1"]).await;
    append(backend, cart.clone().of_tenant("acme"), &["1", "2", "3"]).await;
    assert_eq!((position(backend, &cart).await, position(backend, "cart").await), (2, 1));
    assert_eq!(position(backend, cart.clone().of_tenant("acme")).await, 3);
    assert!(backend.events().archive(&cart).await.unwrap());
    assert_eq!((position(backend, &cart).await, position(backend, "cart").await), (0, 1));
    assert!(backend.events().restore(&cart).await.unwrap());
    assert_eq!(page(backend, &cart).await.events.len(), 2);
    assert_eq!(backend.events().delete_stream(&cart).await.unwrap(), 2);
}

/// Whatever characters they have, and however long they are.
pub async fn names_of_partitions_never_collide(backend: &dyn Backend) {
    let long = "p".repeat(100);
    let longer = format!("{long}q");
    let names = ["a-b", "a_b", "A-b", "a b", "a\"; DROP TABLE x;--", "ü", "'", &long, &longer];
    for name in names {
        assert!(backend.events().create_partition(name).await.unwrap(), "{name}");
        assert!(backend.events().create_tenant(name, name).await.unwrap(), "{name}");
        for tenant in ["", name, "other"] {
            append(backend, StreamId::new("s").in_partition(name).of_tenant(tenant), &["1"]).await;
        }
    }
    for name in names {
        for tenant in ["", name, "other"] {
            assert_eq!(position(backend, StreamId::new("s").in_partition(name).of_tenant(tenant)).await, 1);
        }
    }
    let partitions = backend.events().partitions().await.unwrap();
    assert_eq!(partitions.len(), names.len());
    assert!(partitions.iter().all(|(partition, tenants)| tenants == std::slice::from_ref(partition)));
    assert!(backend.events().create_partition("").await.unwrap_err().is_invalid());
    assert!(backend.events().create_partition("a\0b").await.unwrap_err().is_invalid());
}

/// With the events it has already.
pub async fn a_tenant_moves_into_storage_of_its_own(backend: &dyn Backend) {
    assert!(backend.events().create_tenant("billing", "acme").await.unwrap_err().is_not_found());
    backend.events().create_partition("billing").await.unwrap();
    let of = |tenant: &str| StreamId::new("s").in_partition("billing").of_tenant(tenant);
    append(backend, of("acme"), &["1", "2"]).await;
    append(backend, of("other"), &["3"]).await;
    let before = backend.events().query(EventQuery::default()).await.unwrap();
    assert!(backend.events().create_tenant("billing", "acme").await.unwrap());
    assert!(!backend.events().create_tenant("billing", "acme").await.unwrap());
    assert_eq!(backend.events().query(EventQuery::default()).await.unwrap(), before);
    assert_eq!(append(backend, of("acme"), &["4"]).await.last, 3);
    assert_eq!(append(backend, of("other"), &["5"]).await.last, 2);
    assert!(backend.events().create_tenant(STREAMS, "acme").await.unwrap_err().is_invalid());
}

/// Each of them, in order.
pub async fn appends_of_a_commit_are_answered(backend: &dyn Backend) {
    append(backend, "b", &["1"]).await;
    let appends = vec![Append::to("b", events(&["2", "3"])), Append::to("a", events(&["1"]))];
    let committed = backend.commit(Changes { appends, ..Changes::default() }).await.unwrap();
    let places: Vec<_> =
        committed.appended.iter().map(|a| (a.first, a.last, a.global_positions.len())).collect();
    assert_eq!(places, [(2, 3, 2), (1, 1, 1)]);
    let read = page(backend, "b").await;
    assert_eq!(read.events[1].global_position, committed.appended[0].global_positions[0]);
}
