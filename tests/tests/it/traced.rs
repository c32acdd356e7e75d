//! Three processes export their spans to a collector of this test: they are one trace, and hold no secret.

use std::{collections::BTreeMap, process::Command};

use mainspring::{ExecutionId, ExecutionStatus};
use mainspring_testing::ChildWorker;
use mainspring_tests::{Lab, PATIENCE, traced::VARIABLES};
use opentelemetry_proto::tonic::{
    common::v1::any_value::Value,
    trace::v1::{Span, status::StatusCode},
};

use crate::collector::{Collector, text};

const PROGRAM: &str = env!("CARGO_BIN_EXE_traced");

fn process(role: &str, lab: &Lab, collector: &str, base: &str) -> ChildWorker {
    let mut command = Command::new(PROGRAM);
    let values = [role, lab.db().url(), base];
    command.envs(VARIABLES.into_iter().zip(values));
    command.env("OTEL_EXPORTER_OTLP_ENDPOINT", collector).env("OTEL_SERVICE_NAME", role);
    ChildWorker::spawn(&mut command).unwrap()
}

async fn ended(mut child: ChildWorker) {
    assert!(child.exit(PATIENCE).await.unwrap().success(), "{child:?}");
}

/// All spans of a run of the three processes.
async fn run() -> Vec<(String, Span)> {
    let lab = Lab::new().await;
    let (collector, exported) = Collector::start().await;
    let mut helps = process("helps", &lab, &collector, "");
    let base = helps.line("at ", PATIENCE).await.unwrap().replace("at ", "");
    let mut orders = process("orders", &lab, &collector, &base);
    orders.line("ready", PATIENCE).await.unwrap();
    ended(process("asks", &lab, &collector, "")).await;
    let id = ExecutionId::new("order-1").unwrap();
    lab.over(std::slice::from_ref(&id)).await;
    assert_eq!(lab.get(&id).await.status, ExecutionStatus::Completed);
    helps.line("mailed", PATIENCE).await.unwrap();
    helps.line("averaged", PATIENCE).await.unwrap();
    for child in [orders, helps] {
        child.terminate().unwrap();
        ended(child).await;
    }
    exported.spans()
}

fn number(span: &Span, name: &str) -> Option<i64> {
    let value = span.attributes.iter().find(|attribute| attribute.key == name)?.value.as_ref()?;
    match value.value.as_ref()? {
        Value::IntValue(number) => Some(*number),
        _ => None,
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn three_processes_are_one_trace_and_a_retry_is_linked_to_the_try_before() {
    let all = run().await;
    let (_, request) = all.iter().find(|(_, span)| span.name == "request").unwrap();
    let (spans, others): (Vec<_>, Vec<_>) =
        all.iter().cloned().partition(|(_, span)| span.trace_id == request.trace_id);
    // What a process does by itself: a broker sees to its contracts when it starts, a world looks for what is stranded.
    for (service, span) in &others {
        let by_itself = match &*span.name {
            "mainspring.deliver" => text(span, "message_type") == Some("world.recover"),
            name => ["mainspring.read", "mainspring.append", "mainspring.push"].contains(&name),
        };
        assert!(by_itself, "{service} {span:?}");
    }
    let ids: BTreeMap<&[u8], &(String, Span)> =
        spans.iter().map(|entry| (&*entry.1.span_id, entry)).collect();
    assert_eq!(ids.len(), spans.len(), "a span has an id of its own");
    let parent = |span: &Span| ids.get(&*span.parent_span_id).copied();
    let tell = || {
        let line = |(service, span): &(String, Span)| {
            let parent = parent(span).map(|(_, parent)| parent.name.as_str());
            format!("{service:6} {} within {parent:?}\n", span.name)
        };
        spans.iter().map(line).collect::<String>()
    };
    let roots: Vec<&str> =
        spans.iter().filter(|(_, span)| parent(span).is_none()).map(|(_, span)| &*span.name).collect();
    assert_eq!(roots, ["request"], "{}", tell());

    let named = |name: &str, of: &dyn Fn(&Span) -> bool| -> Vec<&(String, Span)> {
        let mut found: Vec<_> = spans.iter().filter(|(_, span)| span.name == name && of(span)).collect();
        found.sort_by_key(|(_, span)| number(span, "attempt"));
        found
    };
    // The message: both tries within its push, the second one linked to the first.
    let mails = named("mainspring.deliver", &|span| text(span, "messaging.destination.name") == Some("mail"));
    let [(_, first), (service, second)] = mails[..] else { unreachable!("{}", tell()) };
    assert_eq!((text(first, "outcome"), text(second, "outcome")), (Some("failed"), Some("completed")));
    assert_eq!(first.status.as_ref().unwrap().code(), StatusCode::Error);
    assert_eq!((text(first, "error"), &**service), (Some("AWAY"), "helps"));
    assert!(first.links.is_empty() && first.parent_span_id == second.parent_span_id);
    assert_eq!((second.links.len(), &second.links[0].span_id), (1, &first.span_id));
    let (pusher, push) = parent(first).unwrap();
    assert_eq!((&**pusher, &*push.name), ("orders", "mainspring.push"));
    // The step that was tried again in one process.
    let charges = named("mainspring.step", &|span| text(span, "step") == Some("charge"));
    let [(_, first), (_, second)] = charges[..] else { unreachable!("{}", tell()) };
    assert_eq!(second.links[0].span_id, first.span_id);
    // Over HTTP, to the child, through the broker: from one process to another.
    let across = |name: &str, of: &dyn Fn(&Span) -> bool| {
        let (service, span) = named(name, of)[0];
        let (from, _) = parent(span).unwrap();
        (from.as_str(), service.as_str())
    };
    assert_eq!(across("mainspring.endpoint", &|_| true), ("orders", "helps"), "{}", tell());
    let queue = |name: &'static str| {
        move |span: &Span| text(span, "messaging.destination.name").is_some_and(|queue| queue.contains(name))
    };
    assert_eq!(across("mainspring.deliver", &queue("parcels")), ("orders", "helps"), "{}", tell());
    assert_eq!(across("mainspring.deliver", &queue("arvo.orc.average")), ("orders", "helps"), "{}", tell());
    let handled = spans.iter().filter(|(_, span)| text(span, "cloudevents.event_id").is_some()).count();
    assert!(handled >= 6, "{handled} events of the broker\n{}", tell());
}
