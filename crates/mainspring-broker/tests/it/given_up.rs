//! Events whose handler always fails: who hears of it, what becomes of them, and who is warned of those that wait.

use std::{
    fmt,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use mainspring_broker::{
    Broker, CloudEvent, Draft, HandlerError, HandlerOptions, Machine, Next, Orchestrator, Service,
};
use mainspring_core::{BoxFuture, ClaimRequest, ExecutionStatus, QueueOptions, WorkerId, queue::Redrive};
use mainspring_testing::MemoryBackend;
use serde_json::json;
use tracing::{
    Event, Level, Metadata, Subscriber,
    field::{Field, Visit},
    span,
};

use crate::{
    ground::{
        Ground, average, average_contract, begin, divide, drained, hear, on_both, quick, sum_contract, until,
    },
    processes::{dead, row},
};

on_both! {
    whoever_waits_hears_of_retries_that_are_used_up;
    whoever_waits_hears_of_every_other_way_to_be_given_up;
    a_dead_letter_that_is_brought_back_is_handled;
    a_copy_of_what_was_handled_is_not_given_up;
}

/// 1.7: no orchestration waits for ever for a handler that always fails
async fn whoever_waits_hears_of_retries_that_are_used_up(ground: Ground) {
    let (broker, heard) = ground.listening().await;
    broker.register(average(), quick()).await.unwrap();
    let never = Service::new(sum_contract(), |_, _| async {
        Err(HandlerError::retry("not today").with_code("NOT_TODAY"))
    });
    broker.register(never, quick()).await.unwrap();
    let event = begin(&average_contract(), json!({"numbers": [1]}));
    broker.dispatch(event.clone()).await.unwrap();
    // The service tells the orchestrator, whose machine knows no such event and fails.
    let told = heard.next().await;
    assert_eq!((told.event_type(), told.parent_id()), ("sys.arvo.orc.average.error", Some(event.id())));
    let letter = dead(&ground, "cmd.total.sum", 1).await;
    assert_eq!((letter.reason.code.as_str(), letter.failures), ("NOT_TODAY", 3));
    assert_eq!(row(&ground, &event).await.status, ExecutionStatus::Failed);
    broker.stop().await.unwrap();

    // A process that is tried again as its machine asks fails with its last try.
    struct Stubborn;
    impl Machine for Stubborn {
        type State = ();
        fn begin(&self, _: &CloudEvent) -> Result<Next<()>, HandlerError> {
            Err(HandlerError::retry("never"))
        }
        fn advance(&self, (): (), _: &CloudEvent) -> Result<Next<()>, HandlerError> {
            Err(HandlerError::retry("never"))
        }
    }
    let broker = ground.broker();
    let stubborn = Orchestrator::new(average_contract()).version("1.0.0", Stubborn);
    broker.register(stubborn, quick()).await.unwrap();
    let heard = hear(&broker, "my.workflow").await;
    let event = begin(&average_contract(), json!({"numbers": [1]}));
    broker.dispatch(event.clone()).await.unwrap();
    assert_eq!(heard.next().await.event_type(), "sys.arvo.orc.average.error");
    assert_eq!(dead(&ground, "arvo.orc.average", 1).await.failures, 3);
    assert_eq!(row(&ground, &event).await.status, ExecutionStatus::Failed);
    heard.nothing_more().await;
    broker.stop().await.unwrap();
}

/// Asked for by its handler, out of time, out of its mind, or too dear: nobody waits for ever.
async fn whoever_waits_hears_of_every_other_way_to_be_given_up(ground: Ground) {
    let once = |timeout| HandlerOptions {
        queue: QueueOptions { max_attempts: 1, timeout, ..quick().queue },
        ..quick()
    };
    type Handled = fn() -> BoxFuture<'static, Result<Vec<Draft>, HandlerError>>;
    let asks: Handled = || Box::pin(async { Err(HandlerError::dead_letter("broken").with_code("ASKED")) });
    let never: Handled = || Box::pin(std::future::pending());
    let panics: Handled = || Box::pin(async { panic!("two is 3") });
    let soon = Some(Duration::from_secs(1));
    let cases = [
        (asks, quick(), 10, "ASKED"),
        (never, once(soon), 10, "TIMEOUT"),
        (panics, once(None), 10, "PANIC"),
        (asks, quick(), 1, "WORKER_LOST"),
    ];
    let (listening, heard) = ground.listening().await;
    for (n, (handled, options, max_lost, code)) in cases.into_iter().enumerate() {
        let broker = Broker::builder(Arc::clone(&ground.backend)).max_lost(max_lost).build().unwrap();
        let event = begin(&sum_contract(), json!({"numbers": [1]}));
        if code == "WORKER_LOST" {
            // Its queue is known by now. Somebody claims it there, and is never heard of again.
            listening.dispatch(event.clone()).await.unwrap();
            let gone =
                ClaimRequest::new("cmd.total.sum", WorkerId::generate(), Duration::from_millis(500), 1);
            assert_eq!(ground.backend.queue().claim(gone).await.unwrap().deliveries.len(), 1);
        }
        broker.register(Service::new(sum_contract(), move |_, _| handled()), options).await.unwrap();
        if code != "WORKER_LOST" {
            broker.dispatch(event.clone()).await.unwrap();
        }
        let told = heard.next().await;
        assert_eq!((told.event_type(), told.parent_id()), ("sys.cmd.total.sum.error", Some(event.id())));
        assert_eq!(told.data()["errorName"], code);
        assert_eq!(dead(&ground, "cmd.total.sum", n + 1).await.reason.code, code);
        heard.nothing_more().await;
        broker.stop().await.unwrap();
    }
    listening.stop().await.unwrap();
}

/// X6
async fn a_dead_letter_that_is_brought_back_is_handled(ground: Ground) {
    let (broker, heard) = ground.listening().await;
    let mended = Arc::new(AtomicBool::new(false));
    let works = Arc::clone(&mended);
    let service = Service::new(sum_contract(), move |_, _| {
        let works = works.load(Ordering::SeqCst);
        async move {
            match works {
                true => Ok(vec![Draft::new("evt.total.summed", json!({"total": 3}))]),
                false => Err("not yet".into()),
            }
        }
    });
    let options = HandlerOptions {
        queue: QueueOptions { dead_letter: Some("my.dead".into()), ..quick().queue },
        ..quick()
    };
    broker.register(service, options).await.unwrap();
    let event = begin(&sum_contract(), json!({"numbers": [1, 2]}));
    broker.dispatch(event.clone()).await.unwrap();
    assert_eq!(heard.next().await.event_type(), "sys.cmd.total.sum.error");
    let queues = ground.backend.queues();
    let redrive = || queues.redrive("my.dead", Redrive::default());
    // It fails again, and is a dead letter again: nothing of it is lost.
    until(async || (redrive().await.unwrap().moved == 1).then_some(())).await;
    assert_eq!(heard.next().await.event_type(), "sys.cmd.total.sum.error");
    mended.store(true, Ordering::SeqCst);
    until(async || (redrive().await.unwrap().moved == 1).then_some(())).await;
    let answer = heard.next().await;
    assert_eq!((answer.event_type(), answer.parent_id()), ("evt.total.summed", Some(event.id())));
    // And sent once more it was handled.
    broker.dispatch(event).await.unwrap();
    drained(&*ground.backend, "cmd.total.sum").await;
    assert_eq!(redrive().await.unwrap().moved, 0);
    heard.nothing_more().await;
    broker.stop().await.unwrap();
}

/// It came twice, and the worker that had the second one died: the answer was given long ago.
async fn a_copy_of_what_was_handled_is_not_given_up(ground: Ground) {
    let service = || {
        Service::new(sum_contract(), |_, _| async {
            Ok(vec![Draft::new("evt.total.summed", json!({"total": 1}))])
        })
    };
    let (listening, heard) = ground.listening().await;
    let broker = ground.broker();
    broker.register(service(), quick()).await.unwrap();
    let event = begin(&sum_contract(), json!({"numbers": [1]}));
    broker.dispatch(event.clone()).await.unwrap();
    assert_eq!(heard.next().await.event_type(), "evt.total.summed");
    broker.stop().await.unwrap();

    listening.dispatch(event).await.unwrap();
    let gone = ClaimRequest::new("cmd.total.sum", WorkerId::generate(), Duration::from_millis(500), 1);
    assert_eq!(ground.backend.queue().claim(gone).await.unwrap().deliveries.len(), 1);
    let broker = Broker::builder(Arc::clone(&ground.backend)).max_lost(1).build().unwrap();
    broker.register(service(), quick()).await.unwrap();
    drained(&*ground.backend, "cmd.total.sum").await;
    assert!(ground.backend.queue().dead_letters("cmd.total.sum", 10).await.unwrap().is_empty());
    heard.nothing_more().await;
    broker.stop().await.unwrap();
    listening.stop().await.unwrap();
}

/// What was warned of.
#[derive(Clone, Default)]
struct Warnings(Arc<Mutex<Vec<String>>>);

impl Subscriber for Warnings {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.is_event() && *metadata.level() == Level::WARN
    }
    fn new_span(&self, _: &span::Attributes<'_>) -> span::Id {
        span::Id::from_u64(1)
    }
    fn record(&self, _: &span::Id, _: &span::Record<'_>) {}
    fn record_follows_from(&self, _: &span::Id, _: &span::Id) {}
    fn event(&self, event: &Event<'_>) {
        struct Fields(String);
        impl Visit for Fields {
            fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
                self.0.push_str(&format!("{field}={value:?} "));
            }
        }
        let mut fields = Fields(String::new());
        event.record(&mut fields);
        self.0.lock().unwrap().push(fields.0);
    }
    fn enter(&self, _: &span::Id) {}
    fn exit(&self, _: &span::Id) {}
}

#[tokio::test(start_paused = true)]
async fn too_many_events_that_wait_are_warned_of() {
    let warnings = Warnings::default();
    let _told = tracing::subscriber::set_default(warnings.clone());
    let backend = MemoryBackend::new();
    // It outlives what time does here.
    let lease = Duration::from_secs(3_600);
    let broker = Broker::builder(backend.clone()).lease(lease).build().unwrap();
    let _heard = hear(&broker, "my.workflow").await;
    let slow = Service::new(sum_contract(), |_, _| std::future::pending());
    let options = |most| HandlerOptions { warn_above: Some(most), concurrency: 1, ..quick() };
    broker.register(slow, options(2)).await.unwrap();
    broker.register(divide(), options(2)).await.unwrap();
    // One is being handled, and three wait.
    for n in 0..4 {
        broker.dispatch(begin(&sum_contract(), json!({"numbers": [n]}))).await.unwrap();
    }
    while warnings.0.lock().unwrap().is_empty() {
        backend.advance(Duration::from_secs(61));
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
    let told = warnings.0.lock().unwrap().clone();
    assert!(told.iter().all(|text| text.contains("\"cmd.total.sum\"")), "{told:?}");
    assert!(told[0].contains("waiting=3 most=2"), "{told:?}");
    drop(broker);
}
