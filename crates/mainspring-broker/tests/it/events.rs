//! Events, subjects and contracts: what is refused, what is kept, and that reading and writing changes nothing.

use mainspring_broker::{CloudEvent, Contract, PROFILE, Schema, Subject, Terms};
use proptest::prelude::*;
use serde_json::{Value, json};

fn golden() -> Value {
    json!({
        "accesscontrol": "role:admin", "data": {"a": {"b": [1, 2.5, null]}},
        "datacontenttype": PROFILE, "dataschema": "#/services/sum/1.0.0", "domain": "human.interaction",
        "executionunits": 1.5, "id": "1", "ordinal": 7, "parentid": "0", "redirectto": "com.sum.other",
        "source": "com.sum.one", "specversion": "1.0", "subject": "s", "time": "2026-11-21T10:00:00.000+01:00",
        "to": "com.sum.two", "traceparent": "00-1-1-01", "tracestate": "", "type": "com.sum.numbers", "urgent": null
    })
}

fn with(name: &str, value: Value) -> mainspring_core::Result<CloudEvent> {
    let mut json = golden();
    json[name] = value;
    CloudEvent::from_json(json)
}

#[test]
fn an_event_is_the_same_text_when_it_is_read_and_written_again() {
    let text = golden().to_string();
    let event: CloudEvent = serde_json::from_str(&text).unwrap();
    assert_eq!(serde_json::to_string(&event).unwrap(), text);
    assert_eq!(event.extensions()["ordinal"], 7);
    assert_eq!(event.extensions()["urgent"], Value::Null);
    assert_eq!(event.reply_to(), "com.sum.other");
    assert_eq!(event.timestamp().unwrap().to_string(), "2026-11-21T09:00:00Z");
}

#[test]
fn each_rule_is_named_when_it_is_broken() {
    for (name, value) in [
        ("id", json!("")),
        ("id", json!(1)),
        ("source", json!("a b")),
        ("source", json!("a%2")),
        ("specversion", json!("0.3")),
        ("type", json!("two.segments")),
        ("type", json!("Com.sum.numbers")),
        ("type", json!("com..numbers")),
        ("subject", json!("")),
        ("subject", json!("x".repeat(5_000))),
        ("time", json!("2026-11-21T10:00:00")),
        ("time", json!("yesterday")),
        ("datacontenttype", json!("text/plain")),
        ("dataschema", json!("a b")),
        ("data", json!([1])),
        ("data", json!({"a": "\0"})),
        ("to", Value::Null),
        ("executionunits", json!("1")),
        ("domain", json!("Human")),
        ("traceparent", json!("")),
    ] {
        let error = with(name, value.clone()).unwrap_err();
        let wanted = format!("event.{name}: ");
        let text = error.to_string();
        assert!(error.is_invalid() && text.starts_with(&wanted), "{name} = {value}: {text}");
    }
    for (name, value) in [("Upper", json!(1)), ("nested", json!({})), ("snake_case", json!(1))] {
        assert!(with(name, value).unwrap_err().to_string().starts_with("event.extension: "), "{name}");
    }
    with("to", json!("x")).unwrap();
    with("domain", Value::Null).unwrap();
}

#[test]
fn without_the_profile_it_may_be_for_nobody() {
    let builder = CloudEvent::builder("com.sum.numbers", "a").subject("s").to_nobody();
    assert!(builder.clone().build().is_err());
    assert_eq!(builder.data_content_type("application/json").build().unwrap().to(), None);
}

#[test]
fn over_http_it_is_the_same_in_both_modes() {
    let event = CloudEvent::builder("com.sum.numbers", "a/b?c")
        .subject("ä \"100%\"")
        .data(json!({"n": 1}))
        .execution_units(2.0)
        .extension("note", "x y")
        .build()
        .unwrap();
    let binary = event.to_http();
    let headers = binary.headers.iter().map(|(name, value)| (name.as_str(), value.as_str()));
    assert!(headers.clone().all(|(_, value)| value.is_ascii()), "{binary:?}");
    assert_eq!(binary.body, br#"{"n":1}"#);
    assert_eq!(CloudEvent::from_http(headers.clone(), &binary.body).unwrap(), event);

    let structured = event.to_json().to_string();
    let header = [("Content-Type", "application/cloudevents+json")];
    assert_eq!(CloudEvent::from_http(header, structured.as_bytes()).unwrap(), event);
    assert!(CloudEvent::from_http(headers.clone(), b"{").is_err());
    let broken = headers.map(|(name, value)| (name, if name == "ce-subject" { "%G1" } else { value }));
    assert!(CloudEvent::from_http(broken, &binary.body).is_err());
}

#[test]
fn a_subject_says_who_began_it_and_what_is_inherited() {
    let parent = Subject::new("arvo.orc.order", "1.0.0", "my.workflow").unwrap();
    let parent = parent.with_meta("region", "eu").redirected_to("other.place");
    let parent = parent.with_domain(Some("human.interaction".into())).unwrap();
    assert_eq!(parent.answers_to(), "other.place");
    let child = parent.child("arvo.orc.pay", "2.0.0").unwrap();
    assert_eq!(child.execution.initiator, "arvo.orc.order");
    assert_eq!(child.answers_to(), "arvo.orc.order");
    assert_eq!(child.execution.domain.as_deref(), Some("human.interaction"));
    assert_eq!(child.meta["region"], "eu");
    assert_eq!(Subject::parse(&child.encode().unwrap()).unwrap(), child);
}

#[test]
fn what_is_no_subject_is_refused() {
    let bomb = {
        use base64::prelude::*;
        use std::io::Write;
        let mut packed = flate2::write::ZlibEncoder::new(Vec::new(), flate2::Compression::best());
        packed.write_all(&vec![b' '; 10_000_000]).unwrap();
        BASE64_STANDARD.encode(packed.finish().unwrap())
    };
    for text in ["", "plain", "e30=", bomb.as_str()] {
        assert!(Subject::parse(text).unwrap_err().is_invalid());
    }
    let big = Subject::new("a", "1", "b").unwrap().with_meta("k", "x".repeat(20_000));
    assert!(big.encode().unwrap_err().is_invalid());
}

#[test]
fn a_contract_makes_and_checks_events() {
    #[derive(serde::Deserialize)]
    #[allow(dead_code, reason = "only its shape counts")]
    struct Numbers {
        numbers: Vec<i64>,
    }
    let terms = || Terms::accepting(Schema::of::<Numbers>()).emitting("evt.total.summed", Schema::any());
    let contract =
        Contract::new("#/sum", "cmd.total.sum").version("1.9.0", terms()).version("1.10.0", terms());
    let event = contract.accept("1.9.0", "a").unwrap().data(json!({"numbers": [1]})).build().unwrap();
    assert_eq!(event.data_schema(), Some("#/sum/1.9.0"));
    assert_eq!(contract.version_of(&event).unwrap(), "1.9.0");
    let bare = event.to_builder().data_schema(None).build().unwrap();
    assert_eq!(contract.version_of(&bare).unwrap(), "1.10.0");
    let other = event.to_builder().data_schema("#/other/1.9.0".to_owned()).build().unwrap();
    assert!(contract.version_of(&other).unwrap_err().is_not_found());

    let wrong = contract.accept("1.9.0", "a").unwrap().data(json!({"numbers": "1"})).build();
    assert!(wrong.unwrap_err().to_string().starts_with("event.data: "));
    assert!(contract.accept("2.0.0", "a").unwrap_err().is_not_found());
    assert!(contract.schema("1.9.0", "evt.total.summed").is_ok());
    assert!(contract.schema("1.9.0", "sys.cmd.total.sum.error").is_ok());
    assert!(contract.schema("1.9.0", "evt.total.else").unwrap_err().is_invalid());
    let orchestrator = Contract::of_orchestrator("#/o", "average");
    assert_eq!(orchestrator.done_type(), "arvo.orc.average.done");
}

#[cfg(feature = "json-schema")]
#[test]
fn a_contract_may_be_json_schema() {
    let schema = Schema::json(&json!({"required": ["n"], "properties": {"n": {"type": "integer"}}})).unwrap();
    let contract = Contract::new("#/n", "cmd.n.n").version("1.0.0", Terms::accepting(schema));
    assert!(contract.accept("1.0.0", "a").unwrap().data(json!({"n": 1})).build().is_ok());
    assert!(contract.accept("1.0.0", "a").unwrap().data(json!({"n": "1"})).build().unwrap_err().is_invalid());
    assert!(Schema::json(&json!({"type": 1})).is_err());
}

fn scalar() -> impl Strategy<Value = Value> {
    prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        "[^\\x00]{0,20}".prop_map(Value::from),
    ]
}

proptest! {
    #[test]
    fn what_is_written_reads_as_itself(
        id in "[!-~]{1,40}", subject in "[ -~]{1,300}", data in proptest::collection::btree_map("[^\\x00]{0,10}", scalar(), 0..6),
        extensions in proptest::collection::btree_map("x[a-z0-9]{1,10}", scalar(), 0..6), units in any::<i32>(),
    ) {
        let mut builder = CloudEvent::builder("com.sum.numbers", "a").id(id).subject(subject).data(data);
        builder = builder.execution_units(f64::from(units));
        for (name, value) in extensions {
            builder = builder.extension(name, value);
        }
        let event = builder.build().unwrap();
        let text = serde_json::to_string(&event).unwrap();
        let again: CloudEvent = serde_json::from_str(&text).unwrap();
        prop_assert_eq!(&again, &event);
        prop_assert_eq!(serde_json::to_string(&again).unwrap(), text);
        let http = event.to_http();
        let read = CloudEvent::from_http(http.headers.iter().map(|(n, v)| (n.as_str(), v.as_str())), &http.body).unwrap();
        prop_assert_eq!((read.id(), read.subject(), read.data()), (event.id(), event.subject(), event.data()));
    }

    #[test]
    fn a_subject_reads_as_itself(id in "[a-z.]{1,40}", meta in proptest::collection::btree_map("[^\\x00]{0,10}", "[^\\x00]{0,40}", 0..8)) {
        let mut subject = Subject::new(id, "1.0.0", "x").unwrap();
        for (key, value) in meta {
            subject = subject.with_meta(key, value);
        }
        prop_assert_eq!(Subject::parse(&subject.encode().unwrap()).unwrap(), subject);
    }
}
