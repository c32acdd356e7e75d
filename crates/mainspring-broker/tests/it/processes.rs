//! Orchestrators and resumables: what they say, what is kept, what is ignored, and how they fail.

use std::collections::BTreeMap;

use mainspring_broker::{
    CloudEvent, Contract, Domain, Draft, HandlerError, Next, Orchestrator, Resumable, Schema, Service,
    Subject, Terms, Wake, violation,
};
use mainspring_core::{
    ExecutionId, ExecutionStatus,
    event::{EXECUTIONS, kind},
};
use serde_json::json;

use crate::ground::{
    Average, Ground, Heard, average, average_contract, begin, contract, divide, divide_contract, drained,
    on_both, quick, sum, sum_contract, until,
};

on_both! {
    an_orchestration_over_two_services_is_completed;
    a_hundred_orchestrations_are_completed_once;
    a_person_approves_in_a_domain;
    answers_are_collected_until_all_are_in;
    a_process_of_a_process_answers_it;
    an_error_fails_the_process_and_tells_who_began_it;
    a_violation_leaves_the_state_alone;
    what_is_for_another_or_for_nobody_is_ignored;
    what_breaks_a_contract_is_refused;
    an_orchestration_that_is_too_long_for_an_id_is_one_all_the_same;
}

pub(crate) async fn row(ground: &Ground, event: &CloudEvent) -> mainspring_core::Execution {
    let id = ExecutionId::new(event.subject()).unwrap();
    ground.backend.executions().get(&id).await.unwrap().unwrap()
}

/// A38
async fn an_orchestration_over_two_services_is_completed(ground: Ground) {
    let (broker, heard) = ground.listening().await;
    broker.register(average(), quick()).await.unwrap();
    broker.register(sum(), quick()).await.unwrap();
    broker.register(divide(), quick()).await.unwrap();
    let event = begin(&average_contract(), json!({"numbers": [10, 20, 30]}));
    broker.dispatch(event.clone()).await.unwrap();
    let done = heard.next().await;
    assert_eq!(done.data()["average"], 20.0);
    assert_eq!((done.event_type(), done.source()), ("arvo.orc.average.done", "arvo.orc.average"));
    assert_eq!((done.subject(), done.parent_id()), (event.subject(), Some(event.id())));

    let row = row(&ground, &event).await;
    assert_eq!((row.status, row.revision), (ExecutionStatus::Completed, 3));
    assert_eq!((row.flow_id.as_str(), row.queue.as_str()), ("arvo.orc.average", "my.workflow"));
    let history = ground.backend.events().read_stream(EXECUTIONS, "", &row.stream(), 1, 20).await.unwrap();
    let kinds: Vec<&str> = history.iter().map(|event| event.event.event_type.as_str()).collect();
    let handled = "event.handled";
    assert_eq!(kinds, [kind::EXECUTION_CREATED, handled, handled, handled, kind::EXECUTION_COMPLETED]);
    broker.stop().await.unwrap();
}

/// On one machine with four at a time of each kind.
async fn a_hundred_orchestrations_are_completed_once(ground: Ground) {
    let (broker, heard) = ground.listening().await;
    broker.register(average(), quick()).await.unwrap();
    broker.register(sum(), quick()).await.unwrap();
    broker.register(divide(), quick()).await.unwrap();
    let mut wanted = BTreeMap::new();
    for n in 0..100 {
        let event = begin(&average_contract(), json!({"numbers": [n, n + 2]}));
        wanted.insert(event.id().to_owned(), json!(f64::from(n + 1)));
        broker.dispatch(event).await.unwrap();
    }
    while !wanted.is_empty() {
        let done = heard.next().await;
        assert_eq!(wanted.remove(done.parent_id().unwrap()).unwrap(), done.data()["average"]);
    }
    drained(&*ground.backend, "my.workflow").await;
    heard.nothing_more().await;
    broker.stop().await.unwrap();
}

fn orchestrated(name: &str, says: &[&str]) -> Contract {
    let terms = says.iter().fold(Terms::default(), |terms, says| terms.emitting(*says, Schema::any()));
    let terms = terms.emitting(format!("arvo.orc.{name}.done"), Schema::any());
    Contract::of_orchestrator(format!("#/{name}"), name).version("1.0.0", terms)
}

/// A39
async fn a_person_approves_in_a_domain(ground: Ground) {
    let (broker, heard) = ground.listening().await;
    let approval = contract("cmd.human.approve", &["evt.human.approved"]).in_domain("human.interaction");
    let order = Resumable::new(orchestrated("order", &[])).service(approval).version(
        "1.0.0",
        |wake: Wake<u32>| async move {
            Ok(match wake.state {
                None => Next::to(1).emit(
                    Draft::new("cmd.human.approve", json!({"amount": 9})).in_domains([Domain::Contract]),
                ),
                Some(n) => Next::to(n + 1).done(json!({"approved": wake.event.data()["yes"]})),
            })
        },
    );
    broker.register(order, quick()).await.unwrap();
    let (tell, asked) = Heard::pipe();
    let listener = move |event| {
        tell(event);
        async { Ok(()) }
    };
    broker.on_domained_event(listener).await.unwrap();
    let event = begin(&orchestrated("order", &[]), json!({}));
    broker.dispatch(event.clone()).await.unwrap();
    let asked = asked.next().await;
    assert_eq!(asked.domain(), Some("human.interaction"));
    assert_eq!(asked.redirect_to(), Some("arvo.orc.order"));

    let answer = CloudEvent::builder("evt.human.approved", "my.workflow")
        .subject(asked.subject())
        .parent_id(asked.id().to_owned())
        .to(asked.reply_to())
        .data(json!({"yes": true}))
        .build()
        .unwrap();
    broker.dispatch(answer).await.unwrap();
    let done = heard.next().await;
    assert_eq!((done.data()["approved"].as_bool(), done.parent_id()), (Some(true), Some(event.id())));
    broker.stop().await.unwrap();
}

async fn answers_are_collected_until_all_are_in(ground: Ground) {
    let (broker, heard) = ground.listening().await;
    let fan = Resumable::new(orchestrated("fan", &[])).version("1.0.0", |wake: Wake<u32>| async move {
        let Some(answers) = wake.state else {
            let ask = |n: u32| Draft::new("cmd.total.sum", json!({"numbers": [n, n]}));
            return Ok((0..5).fold(Next::to(0), |next, n| next.emit(ask(n))));
        };
        let next = Next::to(answers + 1);
        if !wake.collected.is_complete() {
            return Ok(next);
        }
        let by_type = wake.collected.by_type();
        let totals = by_type["evt.total.summed"].iter().map(|event| event.data()["total"].as_f64().unwrap());
        Ok(next.done(json!({"total": totals.sum::<f64>(), "answers": answers + 1})))
    });
    broker.register(fan, quick()).await.unwrap();
    broker.register(sum(), quick()).await.unwrap();
    let event = begin(&orchestrated("fan", &[]), json!({}));
    broker.dispatch(event.clone()).await.unwrap();
    let done = heard.next().await;
    // Five answers, four at a time: each was taken in once, whoever came second was called again.
    assert_eq!((done.data()["total"].as_f64(), done.data()["answers"].as_u64()), (Some(20.0), Some(5)));
    assert_eq!(row(&ground, &event).await.revision, 6);
    broker.stop().await.unwrap();
}

async fn a_process_of_a_process_answers_it(ground: Ground) {
    let (broker, heard) = ground.listening().await;
    let outer = Resumable::new(orchestrated("outer", &[])).version("1.0.0", |wake: Wake<()>| async move {
        Ok(match wake.state {
            None => Next::to(()).emit(Draft::new("arvo.orc.average", json!({"numbers": [1, 3]}))),
            Some(()) => Next::to(()).done(json!({"inner": wake.event.data()["average"]})),
        })
    });
    broker.register(outer, quick()).await.unwrap();
    broker.register(average(), quick()).await.unwrap();
    broker.register(sum(), quick()).await.unwrap();
    broker.register(divide(), quick()).await.unwrap();
    let event = begin(&orchestrated("outer", &[]), json!({}));
    broker.dispatch(event.clone()).await.unwrap();
    assert_eq!(heard.next().await.data()["inner"], 2.0);
    let outer = row(&ground, &event).await;
    let children = ground.backend.executions().find_children(&outer.id).await.unwrap();
    assert_eq!(children.len(), 1);
    assert_eq!((&children[0].root, children[0].flow_id.as_str()), (&outer.id, "arvo.orc.average"));
    assert_eq!(children[0].queue, "arvo.orc.outer");
    broker.stop().await.unwrap();
}

async fn an_error_fails_the_process_and_tells_who_began_it(ground: Ground) {
    let (broker, heard) = ground.listening().await;
    broker.register(average(), quick()).await.unwrap();
    let strange = Service::new(sum_contract(), |_, _| async { Err(HandlerError::fail("cannot count")) });
    broker.register(strange, quick()).await.unwrap();
    let event = begin(&average_contract(), json!({"numbers": [1]}));
    broker.dispatch(event.clone()).await.unwrap();
    // The service tells the orchestrator, whose machine knows no such event and fails.
    let told = heard.next().await;
    assert_eq!((told.event_type(), told.parent_id()), ("sys.arvo.orc.average.error", Some(event.id())));
    assert_eq!(told.subject(), event.subject());
    let failed = row(&ground, &event).await;
    assert_eq!(
        (failed.status, failed.context["executionStatus"].as_str()),
        (ExecutionStatus::Failed, Some("failure"))
    );

    // What comes now is ignored.
    let late = CloudEvent::builder("evt.total.summed", "my.workflow")
        .subject(event.subject())
        .to("arvo.orc.average");
    broker.dispatch(late.data(json!({"total": 1})).build().unwrap()).await.unwrap();
    drained(&*ground.backend, "arvo.orc.average").await;
    assert_eq!(row(&ground, &event).await, failed);

    // One that fails at once has failed all the same.
    let event = begin(&average_contract(), json!({"numbers": "none"}));
    broker.dispatch(event.clone()).await.unwrap();
    assert_eq!(heard.next().await.event_type(), "sys.arvo.orc.average.error");
    let failed = row(&ground, &event).await;
    assert_eq!((failed.status, failed.revision), (ExecutionStatus::Failed, 1));
    heard.nothing_more().await;
    broker.stop().await.unwrap();
}

pub(crate) async fn dead(ground: &Ground, queue: &str, n: usize) -> mainspring_core::DeadLetter {
    until(async || {
        let dead = ground.backend.queue().dead_letters(queue, 100).await.unwrap();
        (dead.len() == n).then(|| dead.into_iter().next().unwrap())
    })
    .await
}

async fn a_violation_leaves_the_state_alone(ground: Ground) {
    let (broker, heard) = ground.listening().await;
    let says_nonsense =
        Orchestrator::new(average_contract()).service(divide_contract()).version("1.0.0", Average);
    broker.register(says_nonsense, quick()).await.unwrap();
    let event = begin(&average_contract(), json!({"numbers": [1]}));
    broker.dispatch(event.clone()).await.unwrap();
    let letter = dead(&ground, "arvo.orc.average", 1).await;
    assert_eq!((letter.reason.code.as_str(), letter.failures), (violation::EXECUTION, 3));
    assert!(
        ground.backend.executions().get(&ExecutionId::new(event.subject()).unwrap()).await.unwrap().is_none()
    );

    // Who began it hears of it all the same.
    let told = heard.next().await;
    assert_eq!((told.event_type(), told.parent_id()), ("sys.arvo.orc.average.error", Some(event.id())));
    assert_eq!(told.data()["errorName"], violation::EXECUTION);

    for (n, subject, code) in [
        (2, "plain".to_owned(), violation::INVALID_SUBJECT),
        (3, Subject::new("arvo.orc.average", "9.0.0", "x").unwrap().encode().unwrap(), violation::CONFIG),
    ] {
        let event = event.to_builder().id(format!("e{n}")).subject(subject).build().unwrap();
        broker.dispatch(event).await.unwrap();
        assert_eq!(dead(&ground, "arvo.orc.average", n).await.reason.code, code);
    }
    heard.nothing_more().await;
    broker.stop().await.unwrap();
}

async fn what_is_for_another_or_for_nobody_is_ignored(ground: Ground) {
    let (broker, heard) = ground.listening().await;
    broker.register(average(), quick()).await.unwrap();
    let event = begin(&average_contract(), json!({"numbers": [1]}));
    let other = Subject::new("arvo.orc.other", "1.0.0", "my.workflow").unwrap().encode().unwrap();
    broker.dispatch(event.to_builder().id("1").subject(other).build().unwrap()).await.unwrap();
    let early = CloudEvent::builder("evt.total.summed", "my.workflow")
        .subject(event.subject())
        .to("arvo.orc.average");
    broker.dispatch(early.data(json!({"total": 1})).build().unwrap()).await.unwrap();
    drained(&*ground.backend, "arvo.orc.average").await;
    assert_eq!(ground.backend.queue().stats("arvo.orc.average").await.unwrap().dead, 0);
    assert!(ground.backend.executions().list(Default::default()).await.unwrap().is_empty());
    heard.nothing_more().await;
    broker.stop().await.unwrap();
}

async fn what_breaks_a_contract_is_refused(ground: Ground) {
    #[derive(serde::Deserialize)]
    #[allow(dead_code, reason = "only its shape counts")]
    struct Total {
        total: f64,
    }
    let terms = Terms::accepting(Schema::any()).emitting("evt.total.summed", Schema::of::<Total>());
    let strict = Contract::new("#/cmd.total.sum", "cmd.total.sum").version("1.0.0", terms);
    let (broker, _heard) = ground.listening().await;
    let lies = Service::new(strict.clone(), |_, _| async {
        Ok(vec![Draft::new("evt.total.summed", json!({"total": "x"}))])
    });
    broker.register(lies, quick()).await.unwrap();
    broker.dispatch(begin(&sum_contract(), json!({}))).await.unwrap();
    assert_eq!(dead(&ground, "cmd.total.sum", 1).await.reason.code, violation::CONTRACT);
    broker.stop().await.unwrap();

    // Nobody serves it any more.
    let broker = ground.broker();
    let careful = Orchestrator::new(average_contract())
        .service(strict)
        .service(divide_contract())
        .version("1.0.0", Average);
    broker.register(careful, quick()).await.unwrap();
    let event = begin(&average_contract(), json!({"numbers": [1]}));
    broker.dispatch(event.clone()).await.unwrap();
    until(async || {
        let id = ExecutionId::new(event.subject()).unwrap();
        ground.backend.executions().get(&id).await.unwrap()
    })
    .await;
    let wrong = CloudEvent::builder("evt.total.summed", "my.workflow")
        .subject(event.subject())
        .to("arvo.orc.average");
    broker.dispatch(wrong.data(json!({"total": "x"})).build().unwrap()).await.unwrap();
    assert_eq!(dead(&ground, "arvo.orc.average", 1).await.reason.code, violation::CONTRACT);
    assert_eq!(row(&ground, &event).await.revision, 1);
    broker.stop().await.unwrap();
}

/// A real one has more than 255 bytes as soon as something is inherited.
async fn an_orchestration_that_is_too_long_for_an_id_is_one_all_the_same(ground: Ground) {
    let (broker, heard) = ground.listening().await;
    broker.register(average(), quick()).await.unwrap();
    broker.register(sum(), quick()).await.unwrap();
    broker.register(divide(), quick()).await.unwrap();
    let noise: String = (0..80).map(|n: u32| char::from_u32(0x4e00 + n * 37).unwrap()).collect();
    let subject = Subject::new("arvo.orc.average", "1.0.0", "my.workflow").unwrap().with_meta("note", noise);
    let subject = subject.encode().unwrap();
    assert!(subject.len() > 255);
    let event =
        begin(&average_contract(), json!({"numbers": [4]})).to_builder().subject(&subject).build().unwrap();
    broker.dispatch(event).await.unwrap();
    let done = heard.next().await;
    assert_eq!((done.subject(), done.data()["average"].as_f64()), (subject.as_str(), Some(4.0)));
    broker.stop().await.unwrap();
}

/// X10: nothing holds a connection while it waits for another one.
#[tokio::test(flavor = "multi_thread")]
async fn orchestrations_need_no_more_than_two_connections() {
    let db = mainspring_testing::TestDb::with_pool(2).await;
    let stores = mainspring::create_pg_stores(db.pool(), Default::default()).unwrap();
    let ground = Ground::on(stores);
    let (broker, heard) = ground.listening().await;
    broker.register(average(), quick()).await.unwrap();
    broker.register(sum(), quick()).await.unwrap();
    broker.register(divide(), quick()).await.unwrap();
    for n in 0..10 {
        broker.dispatch(begin(&average_contract(), json!({"numbers": [n]}))).await.unwrap();
    }
    for _ in 0..10 {
        assert_eq!(heard.next().await.event_type(), "arvo.orc.average.done");
    }
    broker.stop().await.unwrap();
}
