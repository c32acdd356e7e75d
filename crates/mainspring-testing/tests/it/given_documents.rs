//! The kit for document projections: what it tells of one that does as it is expected, and of one that does not. E37, E38.

use std::panic::catch_unwind;

use mainspring_consumer::DocumentProjection;
use mainspring_core::{NewEvent, StreamId, Timestamp};
use mainspring_testing::given_documents;
use serde::{Deserialize, Serialize};
use serde_json::json;

#[derive(Debug, Default, Clone, Serialize, Deserialize)]
struct Cart {
    total: i64,
    changed: Option<Timestamp>,
}

fn carts() -> DocumentProjection<Cart> {
    DocumentProjection::of_streams("carts", |cart: Option<Cart>, event| {
        let mut cart = cart.unwrap_or_default();
        cart.total += event.event.data["price"].as_i64().unwrap_or(0);
        cart.changed = Some(event.created_at);
        (event.event.event_type != "Discarded").then_some(cart)
    })
    .event_types(["Added", "Discarded"])
}

fn added(price: i64) -> NewEvent {
    NewEvent::new("Added", json!({"price": price}))
}

#[test]
fn events_of_a_stream_make_a_document() {
    let carts = carts();
    let noon: Timestamp = "2026-11-21T12:00:00Z".parse().unwrap();
    let cart = |total| Cart { total, changed: Some(noon) };
    given_documents(&carts)
        .at(noon)
        .given("a", [added(1), added(2)])
        .then("a", &cart(3))
        .again()
        .then("a", &cart(3))
        .when("a", [added(4)])
        .when("b", [NewEvent::new("Noted", json!({"price": 9}))])
        .then("a", &cart(7))
        .then_none("b")
        .when("a", [NewEvent::new("Discarded", json!({}))])
        .then_none("a")
        .then_count(0)
        .when(StreamId::new("a").of_tenant("acme"), [added(5)])
        .then_none("a")
        .of_tenant("acme")
        .then("a", &cart(5));
}

#[test]
fn an_event_belongs_to_no_one_or_several_documents() {
    let ids = |event: &mainspring_core::RecordedEvent| -> Vec<&'static str> {
        match event.event.data["price"].as_i64() {
            Some(0) => vec![],
            Some(n) if n % 10 == 0 => vec!["even", "round", "even"],
            Some(n) if n % 2 == 0 => vec!["even"],
            _ => vec!["odd"],
        }
    };
    let sum = |sum: Option<i64>, event: &mainspring_core::RecordedEvent| {
        Some(sum.unwrap_or(0) + event.event.data["price"].as_i64().unwrap_or(0))
    };
    let parity = DocumentProjection::by("parity", ids, sum);
    given_documents(&parity)
        .when("s", [added(0), added(1), added(2), added(10)])
        .then("odd", &1)
        .then("even", &12)
        .then("round", &10)
        .then_count(3);
}

#[test]
fn what_is_not_as_expected_tells_the_story() {
    for (wrong, tells) in [
        (0, "a: {\"changed\":null,\"total\":2}\nbut got\n    a: {"),
        (1, "no a\nbut got"),
        (2, "7 documents\nbut got"),
        (3, "id"),
    ] {
        let told = catch_unwind(|| {
            let carts = carts();
            let bad = DocumentProjection::by("bad", |_| ["a\nb"], |n: Option<i64>, _| n);
            let given = || given_documents(&carts).given("a", [added(1)]);
            match wrong {
                0 => drop(given().then("a", &Cart { total: 2, changed: None })),
                1 => drop(given().then_none("a")),
                2 => drop(given().then_count(7)),
                _ => drop(given_documents(&bad).when("a", [added(1)])),
            }
        });
        let told = told.unwrap_err();
        let told = told.downcast_ref::<String>().unwrap();
        assert!(told.contains("Added {\"price\":1}") && told.contains(tells), "{told}");
    }
}
