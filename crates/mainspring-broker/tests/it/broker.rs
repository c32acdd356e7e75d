//! The broker: registration, routing, dispatch, listeners, what becomes of errors.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

use mainspring_broker::{
    Broker, CloudEvent, Contract, Draft, HandlerError, HandlerOptions, KeyBy, OnError, Schema, Sending,
    Service, Terms,
};
use mainspring_core::{Available, Policy, QueueOptions, Unique};
use serde_json::json;

use crate::ground::{Ground, Heard, begin, drained, hear, on_both, quick, sum, sum_contract, until};

on_both! {
    handlers_have_queues_and_are_listed;
    a_source_is_registered_once;
    a_recreated_queue_is_empty;
    dispatch_is_refused_in_order;
    an_event_goes_through_a_service_and_comes_back;
    an_event_is_handled_once_however_often_it_is_sent;
    a_handler_in_another_process_is_found;
    an_event_for_nobody_waits_for_its_handler;
    an_event_with_a_domain_goes_outside;
    a_listener_that_fails_hears_again;
    an_error_asks_for_what_becomes_of_the_event;
    a_classifier_says_what_becomes_of_the_event;
    a_circle_of_handlers_is_cut;
    an_answer_goes_where_it_is_redirected;
    several_sources_have_listeners_of_their_own;
    a_key_and_a_policy_keep_events_of_a_process_apart;
    an_event_may_be_sent_later;
    a_throttled_handler_takes_one;
    what_cannot_be_read_is_dead_lettered;
    a_stopped_broker_registers_nothing;
}

fn start(data: serde_json::Value) -> CloudEvent {
    begin(&sum_contract(), data)
}

fn numbers() -> CloudEvent {
    start(json!({"numbers": [1, 2]}))
}

/// A32, A42
async fn handlers_have_queues_and_are_listed(ground: Ground) {
    let (broker, _heard) = ground.listening().await;
    assert!(ground.backend.queues().get_queue("cmd.total.sum").await.unwrap().is_none());
    let dead = QueueOptions { dead_letter: Some("my.dead".into()), ..QueueOptions::default() };
    broker.register(sum(), HandlerOptions { queue: dead, ..quick() }).await.unwrap();
    assert_eq!(broker.queue_names().await.unwrap(), ["cmd.total.sum", "my.workflow"]);
    assert!(ground.backend.queues().get_queue("my.dead").await.unwrap().is_some());
    for (queue, stats) in broker.stats().await.unwrap() {
        assert_eq!(stats, Default::default(), "{queue}");
    }
    assert_eq!(ground.broker().queue_names().await.unwrap().len(), 2);
    broker.stop().await.unwrap();
}

/// A33
async fn a_source_is_registered_once(ground: Ground) {
    let broker = ground.broker();
    broker.register(sum(), quick()).await.unwrap();
    let error = broker.register(sum(), quick()).await.unwrap_err();
    assert!(
        error.is_conflict() && error.to_string().contains("source `cmd.total.sum` is registered"),
        "{error}"
    );
    let late = HandlerOptions { queue: QueueOptions { policy: Policy::Stately, ..quick().queue }, ..quick() };
    assert!(ground.broker().register(sum(), late).await.unwrap_err().is_invalid());
}

/// A34, of a handler and of a completion listener
async fn a_recreated_queue_is_empty(ground: Ground) {
    let (first, _) = ground.listening().await;
    first.register(sum(), quick()).await.unwrap();
    first.stop().await.unwrap();
    let event = numbers();
    first.dispatch(event.clone()).await.unwrap();
    let to_listener = event.to_builder().id("2").to("my.workflow").build().unwrap();
    first.dispatch(to_listener).await.unwrap();

    let second = ground.broker();
    let anew = || HandlerOptions { recreate_queue: true, ..quick() };
    let (tell, heard) = Heard::pipe();
    let listener = move |event| {
        tell(event);
        async { Ok(()) }
    };
    second.on_workflow_complete("my.workflow", anew(), listener).await.unwrap();
    second.register(sum(), anew()).await.unwrap();
    // The same event is sent again, and is the only one that is handled.
    second.dispatch(event.clone()).await.unwrap();
    assert_eq!(heard.next().await.parent_id(), Some(event.id()));
    drained(&*ground.backend, "my.workflow").await;
    heard.nothing_more().await;
    second.stop().await.unwrap();
}

/// A35, A36, A37
async fn dispatch_is_refused_in_order(ground: Ground) {
    let broker = ground.broker();
    let unconfigured = broker.dispatch(numbers()).await.unwrap_err();
    assert!(
        unconfigured.to_string().contains("workflow completion handler not configured"),
        "{unconfigured}"
    );
    let _heard = hear(&broker, "my.workflow").await;
    let stranger = numbers().to_builder().build().unwrap();
    let stranger = CloudEvent::from_json({
        let mut json = stranger.to_json();
        json["source"] = json!("other");
        json
    });
    let mismatch = broker.dispatch(stranger.unwrap()).await.unwrap_err();
    assert!(mismatch.to_string().contains("event source mismatch"), "{mismatch}");
    assert!(broker.dispatch(numbers()).await.unwrap_err().is_not_found());
    broker.register(sum(), quick()).await.unwrap();
    let event = numbers();
    let id = broker.dispatch(event.clone()).await.unwrap();
    assert_eq!(broker.dispatch(event).await.unwrap(), id);
    broker.stop().await.unwrap();
}

async fn an_event_goes_through_a_service_and_comes_back(ground: Ground) {
    let (broker, heard) = ground.listening().await;
    broker.register(sum().execution_units(1.5), quick()).await.unwrap();
    let event = numbers()
        .to_builder()
        .access_control("me".to_owned())
        .traced("00-a-b-01".to_owned(), "k=v".to_owned());
    let event = event.build().unwrap();
    broker.dispatch(event.clone()).await.unwrap();
    let answer = heard.next().await;
    assert_eq!(answer.data()["total"], 3.0);
    assert_eq!((answer.source(), answer.to()), ("cmd.total.sum", Some("my.workflow")));
    assert_eq!((answer.subject(), answer.parent_id()), (event.subject(), Some(event.id())));
    assert_eq!((answer.access_control(), answer.trace_parent()), (Some("me"), Some("00-a-b-01")));
    assert_eq!((answer.trace_state(), answer.execution_units().unwrap().as_f64()), (Some("k=v"), Some(1.5)));
    assert_eq!(answer.data_schema(), Some("#/cmd.total.sum/1.0.0"));
    broker.stop().await.unwrap();
}

/// X6
async fn an_event_is_handled_once_however_often_it_is_sent(ground: Ground) {
    let (broker, heard) = ground.listening().await;
    let calls = Arc::new(AtomicU32::new(0));
    let counted = Arc::clone(&calls);
    let service = Service::new(sum_contract(), move |_, _| {
        counted.fetch_add(1, Ordering::SeqCst);
        async { Ok(vec![Draft::new("evt.total.summed", json!({}))]) }
    });
    broker.register(service, HandlerOptions { concurrency: 1, ..quick() }).await.unwrap();
    let event = numbers();
    for _ in 0..5 {
        broker.dispatch(event.clone()).await.unwrap();
    }
    broker.dispatch(numbers()).await.unwrap();
    heard.next().await;
    heard.next().await;
    drained(&*ground.backend, "cmd.total.sum").await;
    drained(&*ground.backend, "my.workflow").await;
    heard.nothing_more().await;
    assert_eq!(calls.load(Ordering::SeqCst), 2);
    broker.stop().await.unwrap();
}

/// The registry is the database's.
async fn a_handler_in_another_process_is_found(ground: Ground) {
    let (front, heard) = ground.listening().await;
    let back = ground.broker();
    back.register(sum(), quick()).await.unwrap();
    front.dispatch(numbers()).await.unwrap();
    assert_eq!(heard.next().await.data()["total"], 3.0);
    front.stop().await.unwrap();
    back.stop().await.unwrap();
}

/// A40
async fn an_event_for_nobody_waits_for_its_handler(ground: Ground) {
    let (broker, heard) = ground.listening().await;
    let (tell, unrouted) = Heard::pipe();
    let not_found = move |event| {
        tell(event);
        async { Ok(()) }
    };
    broker.on_handler_not_found(not_found).await.unwrap();
    let asks = Contract::new("#/cmd.total.sum", "cmd.ask.first")
        .version("1.0.0", Terms::default().emitting("cmd.total.sum", Schema::any()));
    let service = Service::new(asks.clone(), |_, _| async {
        Ok(vec![Draft::new("cmd.total.sum", json!({"numbers": [20, 22]})).to("cmd.total.sum")])
    });
    broker.register(service, quick()).await.unwrap();
    broker.dispatch(begin(&asks, json!({}))).await.unwrap();
    let told = unrouted.next().await;
    assert_eq!((told.event_type(), told.to()), ("cmd.total.sum", Some("cmd.total.sum")));
    drained_but_parked(&ground).await;

    let (tell, late) = Heard::pipe();
    let service = Service::new(sum_contract(), move |event, _| {
        tell(event);
        async { Ok(Vec::new()) }
    });
    let other = ground.broker();
    other.register(service, quick()).await.unwrap();
    assert_eq!(late.next().await.id(), told.id());
    drained(&*ground.backend, "broker.parked").await;
    late.nothing_more().await;
    heard.nothing_more().await;
    broker.stop().await.unwrap();
}

async fn drained_but_parked(ground: &Ground) {
    until(async || {
        let stats = ground.backend.queue().stats("broker.parked").await.unwrap();
        (stats.deferred == 1).then_some(())
    })
    .await;
}

/// A41
async fn an_event_with_a_domain_goes_outside(ground: Ground) {
    let (broker, heard) = ground.listening().await;
    let human = Service::new(sum_contract(), |_, _| async {
        let human = [mainspring_broker::Domain::Named("human.interaction".into())];
        Ok(vec![Draft::new("evt.total.summed", json!({"for": "a person"})).in_domains(human)])
    });
    broker.register(human, quick()).await.unwrap();
    broker.dispatch(numbers()).await.unwrap();
    until(async || (ground.backend.queue().stats("broker.domained").await.unwrap().ready == 1).then_some(()))
        .await;
    let failures = Arc::new(AtomicU32::new(0));
    let (tell, domained) = Heard::pipe();
    let listener = move |event| {
        let fails = failures.fetch_add(1, Ordering::SeqCst) == 0;
        if !fails {
            tell(event);
        }
        async move {
            if fails {
                Err(HandlerError::new(OnError::RetryAfter(Duration::ZERO), "not yet"))
            } else {
                Ok(())
            }
        }
    };
    broker.on_domained_event(listener).await.unwrap();
    let event = domained.next().await;
    assert_eq!((event.domain(), event.to()), (Some("human.interaction"), Some("my.workflow")));
    heard.nothing_more().await;
    broker.stop().await.unwrap();
}

async fn a_listener_that_fails_hears_again(ground: Ground) {
    let broker = ground.broker();
    let (tell, heard) = Heard::pipe();
    let tries = Arc::new(AtomicU32::new(0));
    let listener = move |event| {
        let fails = tries.fetch_add(1, Ordering::SeqCst) < 2;
        if !fails {
            tell(event);
        }
        async move { if fails { Err("not today".into()) } else { Ok(()) } }
    };
    broker.on_workflow_complete("my.workflow", quick(), listener).await.unwrap();
    broker.register(sum(), quick()).await.unwrap();
    broker.dispatch(numbers()).await.unwrap();
    assert_eq!(heard.next().await.data()["total"], 3.0);
    broker.stop().await.unwrap();
}

fn failing(error: fn() -> HandlerError) -> Service {
    Service::new(sum_contract(), move |_, _| async move { Err(error()) })
}

async fn an_error_asks_for_what_becomes_of_the_event(ground: Ground) {
    let (broker, heard) = ground.listening().await;
    broker
        .register(failing(|| HandlerError::fail("no such number").with_code("NO_NUMBER")), quick())
        .await
        .unwrap();
    let event = numbers();
    broker.dispatch(event.clone()).await.unwrap();
    let told = heard.next().await;
    assert_eq!((told.event_type(), told.parent_id()), ("sys.cmd.total.sum.error", Some(event.id())));
    assert_eq!(told.data()["errorName"], "NO_NUMBER");
    assert_eq!(told.data()["errorMessage"], "no such number");
    broker.stop().await.unwrap();

    type Case = (fn() -> HandlerError, &'static str, u32);
    let cases: [Case; 3] = [
        (|| HandlerError::dead_letter("broken"), "HANDLER_ERROR", 0),
        (|| "again".into(), "HANDLER_ERROR", 3),
        (|| HandlerError::retry("again").with_code("LATER"), "LATER", 3),
    ];
    for (n, (error, code, failures)) in cases.into_iter().enumerate() {
        let broker = ground.broker();
        broker.register(failing(error), quick()).await.unwrap();
        broker.dispatch(numbers()).await.unwrap();
        let dead = until(async || {
            let dead = ground.backend.queue().dead_letters("cmd.total.sum", 10).await.unwrap();
            (dead.len() == n + 1).then(|| dead.into_iter().next().unwrap())
        })
        .await;
        assert_eq!((dead.reason.code.as_str(), dead.failures), (code, failures));
        broker.stop().await.unwrap();
    }
}

async fn a_classifier_says_what_becomes_of_the_event(ground: Ground) {
    let (broker, heard) = ground.listening().await;
    let options = quick().on_error(|event, error| {
        assert_eq!((event.event_type(), error.message()), ("cmd.total.sum", "again"));
        OnError::Fail
    });
    broker.register(failing(|| HandlerError::retry("again")), options).await.unwrap();
    broker.dispatch(numbers()).await.unwrap();
    assert_eq!(heard.next().await.event_type(), "sys.cmd.total.sum.error");
    broker.stop().await.unwrap();
}

async fn a_circle_of_handlers_is_cut(ground: Ground) {
    // fault F61
    let broker = Broker::builder(Arc::clone(&ground.backend)).max_hops(10).build().unwrap();
    let _heard = hear(&broker, "my.workflow").await;
    for (accepts, says) in [("cmd.ping.a", "cmd.pong.b"), ("cmd.pong.b", "cmd.ping.a")] {
        let ring = Terms::default().emitting(says, Schema::any());
        let ring = Contract::new("#/ring", accepts).version("1.0.0", ring);
        let service =
            Service::new(ring, move |_, _| async move { Ok(vec![Draft::new(says, json!({})).to(says)]) });
        broker.register(service, quick()).await.unwrap();
    }
    let ring = Contract::new("#/ring", "cmd.ping.a").version("1.0.0", Terms::default());
    broker.dispatch(begin(&ring, json!({}))).await.unwrap();
    let dead = until(async || {
        let dead = ground.backend.queue().dead_letters("cmd.ping.a", 10).await.unwrap();
        dead.into_iter().next()
    })
    .await;
    assert_eq!(dead.reason.code, "HOP_LIMIT");
    assert_eq!(dead.message.headers["hops"], 10);
    broker.stop().await.unwrap();
}

async fn an_answer_goes_where_it_is_redirected(ground: Ground) {
    let (broker, heard) = ground.listening().await;
    let elsewhere = hear(&broker, "else.where").await;
    broker.register(sum(), quick()).await.unwrap();
    broker
        .dispatch(numbers().to_builder().redirect_to("else.where".to_owned()).build().unwrap())
        .await
        .unwrap();
    assert_eq!(elsewhere.next().await.to(), Some("else.where"));
    heard.nothing_more().await;
    broker.stop().await.unwrap();
}

async fn several_sources_have_listeners_of_their_own(ground: Ground) {
    let (broker, mine) = ground.listening().await;
    let yours = hear(&broker, "your.workflow").await;
    broker.register(sum(), quick()).await.unwrap();
    broker
        .dispatch(
            sum_contract()
                .accept("1.0.0", "your.workflow")
                .unwrap()
                .data(json!({"numbers": []}))
                .build()
                .unwrap(),
        )
        .await
        .unwrap();
    assert_eq!(yours.next().await.data()["total"], 0.0);
    broker.dispatch(numbers()).await.unwrap();
    assert_eq!(mine.next().await.data()["total"], 3.0);
    yours.nothing_more().await;
    broker.stop().await.unwrap();
}

async fn a_key_and_a_policy_keep_events_of_a_process_apart(ground: Ground) {
    let (broker, heard) = ground.listening().await;
    let at_work = Arc::new(AtomicU32::new(0));
    let service = Service::new(sum_contract(), move |_, _| {
        let at_work = Arc::clone(&at_work);
        async move {
            assert_eq!(at_work.fetch_add(1, Ordering::SeqCst), 0, "two of a process at once");
            tokio::time::sleep(Duration::from_millis(5)).await;
            at_work.fetch_sub(1, Ordering::SeqCst);
            Ok(vec![Draft::new("evt.total.summed", json!({}))])
        }
    });
    let queue = QueueOptions { policy: Policy::Singleton, ..quick().queue };
    broker.register(service, HandlerOptions { queue, key: KeyBy::Subject, ..quick() }).await.unwrap();
    let first = numbers();
    for n in 0..8 {
        broker.dispatch(first.to_builder().id(format!("e{n}")).build().unwrap()).await.unwrap();
    }
    for _ in 0..8 {
        assert_eq!(heard.next().await.event_type(), "evt.total.summed");
    }
    broker.stop().await.unwrap();
}

async fn an_event_may_be_sent_later(ground: Ground) {
    let (broker, heard) = ground.listening().await;
    broker.register(sum(), quick()).await.unwrap();
    let in_an_hour = Sending { available: Available::After(Duration::from_secs(3600)), ..Sending::default() };
    broker.dispatch_with(numbers(), in_an_hour).await.unwrap();
    broker.dispatch(numbers()).await.unwrap();
    heard.next().await;
    heard.nothing_more().await;
    let stats: Vec<_> = broker.stats().await.unwrap();
    assert_eq!(stats[0].1.deferred, 1);
    broker.stop().await.unwrap();
}

async fn a_throttled_handler_takes_one(ground: Ground) {
    let (broker, heard) = ground.listening().await;
    let unique = Some(Unique::Throttle(Duration::from_secs(3600 * 24 * 365)));
    broker
        .register(sum(), HandlerOptions { unique, key: KeyBy::Text("one".into()), ..quick() })
        .await
        .unwrap();
    let first = broker.dispatch(numbers()).await.unwrap();
    let second = broker.dispatch(numbers()).await.unwrap();
    assert_eq!(first, second);
    heard.next().await;
    drained(&*ground.backend, "cmd.total.sum").await;
    heard.nothing_more().await;
    broker.stop().await.unwrap();
}

async fn what_cannot_be_read_is_dead_lettered(ground: Ground) {
    let broker = ground.broker();
    broker.register(sum(), quick()).await.unwrap();
    let message = mainspring_core::NewMessage::new("cmd.total.sum", "x", json!({"id": 1}));
    ground.backend.queue().push(vec![message]).await.unwrap();
    let dead =
        until(async || ground.backend.queue().dead_letters("cmd.total.sum", 1).await.unwrap().pop()).await;
    assert_eq!(dead.reason.code, "INVALID_EVENT");
    broker.stop().await.unwrap();
}

async fn a_stopped_broker_registers_nothing(ground: Ground) {
    let (broker, _heard) = ground.listening().await;
    broker.stop().await.unwrap();
    broker.stop().await.unwrap();
    assert!(broker.register(sum(), quick()).await.unwrap_err().is_conflict());
}
