//! What both invokers do alike (W42, W43, W47).

use std::{sync::Arc, time::Duration};

use mainspring_core::Timestamp;
use mainspring_http::{
    Credential, Entrypoint, FunctionInvoker, Guard, HealthCheck, HttpInvoker, HttpOptions, Invoker,
    MessageData, Reply, RouterOptions, Secret,
};
use serde_json::json;

use crate::ground::{App, app, flow, secret, step};

/// An application behind a guard, and who calls it.
async fn all(made: impl AsyncFn(Arc<App>, Guard, Credential) -> Box<dyn Invoker>) {
    every_reply_comes_back(&made).await;
    the_message_arrives_as_it_went(&made).await;
    a_panic_is_a_failure_of_its_message(&made).await;
    a_message_that_cannot_be_is_refused(&made).await;
    a_wrong_secret_runs_nothing(&made).await;
    two_secrets_are_valid_during_rotation(&made).await;
    signatures_replace_the_secret(&made).await;
    a_health_check_is_answered(&made).await;
}

trait Makes: AsyncFn(Arc<App>, Guard, Credential) -> Box<dyn Invoker> {}
impl<F: AsyncFn(Arc<App>, Guard, Credential) -> Box<dyn Invoker>> Makes for F {}

async fn open(made: &impl Makes) -> (Arc<App>, Box<dyn Invoker>) {
    let app = app();
    let invoker = made(app.clone(), Guard::secret(secret()), Credential::secret(secret())).await;
    (app, invoker)
}

/// W42, W43
async fn every_reply_comes_back(made: &impl Makes) {
    let (_, invoker) = open(made).await;
    let after = Some(Duration::from_secs(7));
    for (data, reply) in [
        (json!({}), Reply::ok()),
        (
            json!({"do": "echo", "output": {"n": [1, 2.5, "ü\t\n"]}}),
            Reply::Ok(json!({"n": [1, 2.5, "ü\t\n"]})),
        ),
        (json!({"do": "again", "after": 3600}), Reply::Again(Duration::from_secs(3600))),
        (json!({"do": "again"}), Reply::Again(Duration::from_secs(1))),
        (json!({"do": "bad"}), Reply::BadRequest("no such step".into())),
        (json!({"do": "fail"}), Reply::failed("it broke")),
        (json!({"do": "fail", "fatal": true}), Reply::fatal("it broke")),
        (
            json!({"do": "fail", "after": 7}),
            Reply::Failed { error: "it broke".into(), fatal: false, retry_after: after },
        ),
        (
            json!({"do": "away", "after": 7}),
            Reply::Unavailable { error: "starting".into(), retry_after: after },
        ),
    ] {
        assert_eq!(invoker.invoke(&step(data.clone())).await, reply, "{data}");
    }
}

/// W43: both entrypoints, the number of the attempt, the key and the trace.
async fn the_message_arrives_as_it_went(made: &impl Makes) {
    let (app, invoker) = open(made).await;
    let trace = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
    for mut call in [flow(json!({"runId": "r1"})), step(json!([null, "\u{1F980}"]))] {
        call.message.attempt = 3;
        call.message.idempotency_key = Some("key ü".into());
        call.trace_parent = Some(trace.into());
        assert_eq!(invoker.invoke(&call).await, Reply::ok());
        assert_eq!(app.calls.lock().unwrap().pop().unwrap(), call);
    }
    let mut call = step(json!({}));
    call.trace_parent = Some("not-a-trace".into());
    invoker.invoke(&call).await;
    assert_eq!(app.calls.lock().unwrap().pop().unwrap().trace_parent, None);
}

/// X: no panic across the API.
async fn a_panic_is_a_failure_of_its_message(made: &impl Makes) {
    let (_, invoker) = open(made).await;
    assert_eq!(invoker.invoke(&step(json!({"do": "panic"}))).await, Reply::failed("the handler panicked"));
    assert_eq!(invoker.invoke(&step(json!({}))).await, Reply::ok());
}

/// Bad input: refused before it is run.
async fn a_message_that_cannot_be_is_refused(made: &impl Makes) {
    let (app, invoker) = open(made).await;
    let fine = step(json!({})).message;
    for message in [
        MessageData { attempt: 0, ..fine.clone() },
        MessageData { message_id: String::new(), ..fine.clone() },
        MessageData { data: json!("x".repeat(2 * 1024 * 1024)), ..fine },
    ] {
        let call = mainspring_http::Call::new(message);
        assert!(matches!(invoker.invoke(&call).await, Reply::BadRequest(_)));
    }
    assert_eq!(app.calls(), 0);
}

/// W42, fault F92
async fn a_wrong_secret_runs_nothing(made: &impl Makes) {
    let app = app();
    for wrong in ["kD83-sk20-Qpz9-11xY", "kD83-sk20-Qpz9-11xXX", "another-0f0f0f-one99"] {
        let presented = Credential::secret(Secret::new(wrong).unwrap());
        let invoker = made(app.clone(), Guard::secret(secret()), presented).await;
        assert_eq!(invoker.invoke(&step(json!({}))).await, Reply::Unauthorized);
    }
    // Not that kind of credential.
    let invoker = made(app.clone(), Guard::secret(secret()), Credential::signed(secret())).await;
    assert_eq!(invoker.invoke(&step(json!({}))).await, Reply::Unauthorized);
    let invoker = made(app.clone(), Guard::signed(secret()), Credential::secret(secret())).await;
    assert_eq!(invoker.invoke(&step(json!({}))).await, Reply::Unauthorized);
    assert_eq!(app.calls(), 0);
}

/// fault F92
async fn two_secrets_are_valid_during_rotation(made: &impl Makes) {
    let app = app();
    let (old, new) = (secret(), Secret::generate().unwrap());
    for kind in [Guard::secret, Guard::signed] {
        for presented in [&old, &new] {
            let guard = kind(old.clone()).or(new.clone()).unwrap();
            let signs = format!("{guard:?}").contains("signed");
            let credential = if signs { Credential::signed } else { Credential::secret };
            let invoker = made(app.clone(), guard, credential(presented.clone())).await;
            assert_eq!(invoker.invoke(&step(json!({}))).await, Reply::ok());
        }
    }
    assert!(Guard::secret(old.clone()).or(new.clone()).unwrap().or(new).unwrap_err().is_invalid());
}

/// fault F92: what is old, or comes a second time, is refused.
async fn signatures_replace_the_secret(made: &impl Makes) {
    let app = app();
    let noon = Timestamp::from_micros(1_800_000_000_000_000);
    let minutes = |n: u64| Duration::from_secs(n * 60);
    for (signed, reply) in [
        (noon, Reply::ok()),
        (noon - minutes(4), Reply::ok()),
        (noon + minutes(4), Reply::ok()),
        (noon - minutes(6), Reply::Unauthorized),
        (noon + minutes(6), Reply::Unauthorized),
    ] {
        let guard = Guard::signed(secret()).clock(move || noon);
        let invoker = made(app.clone(), guard, Credential::signed(secret()).clock(move || signed)).await;
        let call = step(json!({}));
        assert_eq!(invoker.invoke(&call).await, reply, "{signed}");
        // The same message in the same second is the same request, signature and all.
        assert_eq!(invoker.invoke(&call).await, Reply::Unauthorized);
    }
    assert_eq!(app.calls(), 3);
}

/// W47
async fn a_health_check_is_answered(made: &impl Makes) {
    let (app, invoker) = open(made).await;
    let check = json!({"__healthCheck": true, "correlationId": "c1"});
    assert_eq!(invoker.invoke(&flow(check.clone())).await, Reply::Ok(json!("well")));
    assert_eq!(invoker.invoke(&step(check)).await, Reply::Ok(json!("well")));
    let seen = app.checks.lock().unwrap().clone();
    let check = |entrypoint| HealthCheck { entrypoint, correlation_id: Some("c1".into()) };
    assert_eq!(seen, [check(Entrypoint::Flow), check(Entrypoint::Step)]);
    assert_eq!(app.calls(), 0);
}

#[tokio::test]
async fn the_function_invoker_passes_the_suite() {
    all(async |app: Arc<App>, guard, credential| {
        let invoker: Box<dyn Invoker> = Box::new(FunctionInvoker::with(app, guard, credential));
        invoker
    })
    .await;
}

#[tokio::test]
async fn the_http_invoker_passes_the_suite() {
    all(async |app: Arc<App>, guard, credential| {
        let base = crate::ground::served(app, guard, RouterOptions::default()).await;
        let invoker: Box<dyn Invoker> =
            Box::new(HttpInvoker::new(&base, credential, HttpOptions::default()).unwrap());
        invoker
    })
    .await;
}
