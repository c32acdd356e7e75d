//! What every backend does with trace context: what is written in a trace says so.

use mainspring_core::{
    Append, Backend, Changes, ExecutionWrite, Failure, NewEvent, NewMessage, QueueOptions, Settle,
    Settlement, StreamQuery,
    event::{EXECUTIONS, STREAMS},
    trace::{TRIED, TraceContext, within},
};
use serde_json::{Map, Value, json};

use super::{
    make::{QUEUE, claim_due, claim_one, execution, message, object, retry_after, secs, settle},
    on, on_time,
};
use crate::TimeTravel;

const HERE: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
const OTHER: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

/// All cases.
pub async fn suite<B: Backend, T: TimeTravel>(fresh: impl AsyncFn() -> (B, T)) {
    on(&fresh, a_push_goes_on_with_its_trace).await;
    on(&fresh, a_commit_goes_on_with_its_trace).await;
    on(&fresh, an_append_goes_on_with_its_trace).await;
    on_time(&fresh, the_next_try_knows_the_one_before).await;
}

fn here() -> Option<TraceContext> {
    TraceContext::parse(HERE, Some("vendor=1"))
}

fn of(headers: &Map<String, Value>) -> Option<String> {
    TraceContext::of(headers).map(|context| context.to_string())
}

fn own(n: usize, parent: &str) -> NewMessage {
    NewMessage { headers: object(json!({"traceparent": parent})), ..message(n) }
}

/// What has a context of its own keeps it, what is none is replaced, and outside of a trace nothing is touched.
pub async fn a_push_goes_on_with_its_trace(backend: &dyn Backend) {
    let (queue, queues) = (backend.queue(), backend.queues());
    let take = async || claim_one(backend, "w").await.message.headers;
    within(here(), queue.push(vec![message(1)])).await.unwrap();
    assert_eq!(Value::Object(take().await), json!({"traceparent": HERE, "tracestate": "vendor=1"}));
    within(here(), queue.push(vec![own(2, OTHER)])).await.unwrap();
    assert_eq!(Value::Object(take().await), json!({"traceparent": OTHER}));
    within(here(), queue.push(vec![own(3, "00-1-1-01")])).await.unwrap();
    assert_eq!(of(&take().await).as_deref(), Some(HERE));
    queue.push(vec![own(4, "00-1-1-01")]).await.unwrap();
    assert_eq!(Value::Object(take().await), json!({"traceparent": "00-1-1-01"}));
    queues.create_queue(QUEUE, QueueOptions::default()).await.unwrap();
    within(here(), queues.push_each(vec![message(5)])).await.unwrap();
    assert_eq!(of(&take().await).as_deref(), Some(HERE));
    let keyed = NewMessage { key: Some("k".into()), ..message(6) };
    within(here(), queues.upsert_message(keyed)).await.unwrap();
    assert_eq!(of(&take().await).as_deref(), Some(HERE));
}

/// Messages, and the events of executions and of other streams.
pub async fn a_commit_goes_on_with_its_trace(backend: &dyn Backend) {
    let event = || NewEvent::new("happened", json!({}));
    let changes = Changes {
        executions: vec![ExecutionWrite::create(execution("x"), vec![event()])],
        appends: vec![Append::to("cart-1", vec![event(), event().traced(OTHER)])],
        messages: vec![message(1), own(2, OTHER)],
        ..Changes::default()
    };
    within(here(), backend.commit(changes)).await.unwrap();
    let messages = super::make::claim(backend, "w", 2).await;
    let traces: Vec<_> = messages.iter().map(|delivery| of(&delivery.message.headers)).collect();
    assert_eq!(traces, [Some(HERE.to_owned()), Some(OTHER.to_owned())]);
    let events = backend.events();
    let cart = events.read_stream(STREAMS, "", "cart-1", 1, 10).await.unwrap();
    let traces: Vec<_> = cart.iter().map(|event| event.event.traceparent()).collect();
    assert_eq!(traces, [Some(HERE), Some(OTHER)]);
    let history = events.read_stream(EXECUTIONS, "", "execution-x", 1, 10).await.unwrap();
    assert_eq!(history[0].event.traceparent(), Some(HERE));
}

/// The same.
pub async fn an_append_goes_on_with_its_trace(backend: &dyn Backend) {
    let event = || NewEvent::new("happened", json!({}));
    let append = Append::to("cart-1", vec![event(), event().traced(OTHER)]);
    within(here(), backend.events().append(append)).await.unwrap();
    backend.events().append(Append::to("cart-1", vec![event()])).await.unwrap();
    let page = backend.events().read_page(StreamQuery::of("cart-1")).await.unwrap();
    let traces: Vec<_> = page.events.iter().map(|event| event.event.traceparent()).collect();
    assert_eq!(traces, [Some(HERE), Some(OTHER), None]);
}

/// Tried again or put off, of a queue that was created and of one that was not; a lost lease says nothing.
pub async fn the_next_try_knows_the_one_before(backend: &dyn Backend, time: &dyn TimeTravel) {
    let marked = |delivery: &mainspring_core::Delivery, settlement| Settle {
        tried: here(),
        ..Settle::new(delivery.lease.clone(), settlement)
    };
    let tried = |headers: &Map<String, Value>| headers.get(TRIED).cloned();
    for round in 0..2 {
        backend.queue().push(vec![own(round, OTHER)]).await.unwrap();
        let first = claim_one(backend, "w").await;
        assert_eq!(tried(&first.message.headers), None);
        let again = marked(&first, retry_after(secs(5)));
        backend.queue().settle(vec![again.clone()]).await.unwrap().remove(0).unwrap();
        time.advance(secs(6)).await;
        let second = claim_due(backend, "w").await.remove(0);
        assert_eq!(tried(&second.message.headers), Some(json!(HERE)));
        assert_eq!(of(&second.message.headers).as_deref(), Some(OTHER));
        assert!(backend.queue().settle(vec![again]).await.unwrap().remove(0).unwrap_err().is_fenced());
        let later = marked(&second, Settlement::SnoozeUntil(backend.now() + secs(5)));
        let later = Settle { tried: TraceContext::parse(OTHER, None), ..later };
        let put_off = Changes { settle: Some(later), ..Changes::default() };
        backend.commit(put_off).await.unwrap();
        time.advance(secs(6)).await;
        let third = claim_due(backend, "w").await.remove(0);
        assert_eq!(tried(&third.message.headers), Some(json!(OTHER)));
        let given_up = marked(&third, Settlement::DeadLetter(Failure::new("NO", "no")));
        backend.queue().settle(vec![given_up]).await.unwrap().remove(0).unwrap();
        let dead = backend.queue().dead_letters(QUEUE, 1).await.unwrap().remove(0);
        assert_eq!(tried(&dead.message.headers), Some(json!(OTHER)), "nobody tries it again");
        if round == 0 {
            backend.queues().create_queue(QUEUE, QueueOptions::default()).await.unwrap();
        }
    }
    backend.queue().push(vec![message(9)]).await.unwrap();
    let last = claim_one(backend, "w").await;
    settle(backend, &last, Settlement::Done).await;
}
