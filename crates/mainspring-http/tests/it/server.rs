//! What callers can do to the router: wrong, large, slow.

use std::time::Duration;

use mainspring_core::Error;
use mainspring_http::{Guard, RouterOptions, Secret, router};
use serde_json::json;

use crate::ground::{app, get, post, raw, secret, served, step};

const STEP: &str = "/.well-known/workflow/v1/step";
const FLOW: &str = "/.well-known/workflow/v1/flow";

fn guard() -> Guard {
    Guard::secret(secret())
}

fn status(answer: &str) -> u16 {
    answer.split(' ').nth(1).and_then(|status| status.parse().ok()).unwrap_or(0)
}

/// W42, weakness 10: nothing of a body is looked at before the secret.
#[tokio::test]
async fn the_secret_comes_first_and_then_the_message() {
    let app = app();
    let base = served(app.clone(), guard(), RouterOptions::default()).await;
    let message = serde_json::to_string(&step(json!({})).message).unwrap();
    let fine = raw(&base, post(STEP, &message)).await;
    assert!(fine.ends_with("{\"ok\":true}") && status(&fine) == 200, "{fine}");
    let wrong = post(STEP, "not read at all").replace(secret().reveal(), "wrong");
    let answer = raw(&base, wrong).await;
    assert!(answer.ends_with("{\"error\":\"Unauthorized: Invalid or missing secret key\"}"), "{answer}");
    assert_eq!(status(&answer), 401);
    // The answer is there although the body never comes.
    let unsent =
        format!("POST {STEP} HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-length: 1000000\r\n\r\n");
    assert_eq!(status(&raw(&base, unsent).await), 401);
    let twice = post(STEP, &message)
        .replace("connection", &format!("x-workflow-secret: {}\r\nconnection", secret().reveal()));
    assert_eq!(status(&raw(&base, twice).await), 401, "two secrets are none");
    let flow = message.replace("__wkf_step_", "__wkf_other_");
    for (path, body, problem) in [
        (STEP, "{", "the body is not JSON"),
        (STEP, "{}", "Invalid queue name"),
        (STEP, flow.as_str(), "Invalid queue name"),
        (FLOW, message.as_str(), "Invalid queue name"),
        (STEP, "{\"queueName\":\"__wkf_step_add\"}", "missing field `id`"),
    ] {
        let answer = raw(&base, post(path, body)).await;
        assert!(status(&answer) == 400 && answer.contains(problem), "{body}: {answer}");
    }
    assert_eq!(status(&raw(&base, get(STEP, "")).await), 405);
    assert_eq!(app.calls(), 1);
}

/// Bad input list, HTTP.
#[tokio::test]
async fn what_is_too_large_or_too_slow_is_cut() {
    let app = app();
    let options = RouterOptions {
        most_bytes: 1_000,
        webhook_bytes: 100,
        body_deadline: Duration::from_millis(200),
        ..RouterOptions::default()
    };
    let base = served(app.clone(), guard(), options).await;
    assert_eq!(status(&raw(&base, post(STEP, &"x".repeat(1_001))).await), 413);
    let hook = post("/.well-known/workflow/v1/webhook/plain", &"x".repeat(101));
    assert_eq!(status(&raw(&base, hook).await), 413);
    let half = post(STEP, &"x".repeat(900));
    assert_eq!(status(&raw(&base, &half[..half.len() - 1]).await), 408);
    // Headers that never end, and headers without number.
    let slow = raw(&base, format!("POST {STEP} HTTP/1.1\r\nhost: x\r\n")).await;
    assert!(slow.is_empty() || status(&slow) == 408, "{slow}");
    let many = format!("GET /livez HTTP/1.1\r\nhost: x\r\n{}", "x-pad: 0123456789\r\n".repeat(5_000));
    assert!([0, 431].contains(&status(&raw(&base, many).await)));
    assert_eq!(status(&raw(&base, get("/livez", "")).await), 200);
    assert_eq!(app.calls(), 0);
}

#[tokio::test]
async fn webhooks_answer_as_the_application_says() {
    let app = app();
    let options = RouterOptions { webhook_deadline: Duration::from_millis(200), ..RouterOptions::default() };
    let base = served(app.clone(), guard(), options).await;
    let call = async |token: &str| {
        raw(&base, post(&format!("/.well-known/workflow/v1/webhook/{token}"), "hello")).await
    };
    assert_eq!(status(&call("plain").await), 202);
    let own = call("own?a=1").await;
    assert!(status(&own) == 201 && own.contains("x-own: yes") && own.ends_with("made"), "{own}");
    assert_eq!(status(&call("broken").await), 500);
    assert_eq!(status(&call("panic").await), 500);
    assert_eq!(status(&call("hang").await), 504);
    assert_eq!(status(&call("unknown").await), 404);
    assert_eq!(status(&call(&"x".repeat(256)).await), 404);
    let seen = app.webhooks.lock().unwrap();
    assert_eq!((seen[1].method.as_str(), seen[1].query.as_deref()), ("POST", Some("a=1")));
    assert_eq!((seen[1].token.as_str(), &*seen[1].body), ("own", &b"hello"[..]));
    assert!(seen[1].headers.contains(&("host".into(), "x".into())));
}

#[tokio::test]
async fn ready_says_what_its_check_says_and_no_more() {
    let base = served(app(), guard(), RouterOptions::default()).await;
    assert_eq!(status(&raw(&base, get("/readyz", "")).await), 200);
    let options = RouterOptions::default()
        .ready(|| Box::pin(async { Err(Error::internal("password authentication failed for ada")) }));
    let base = served(app(), guard(), options).await;
    let answer = raw(&base, get("/readyz", "")).await;
    assert!(status(&answer) == 503 && !answer.contains("ada"), "{answer}");
    assert_eq!(status(&raw(&base, get("/livez", "")).await), 200);
}

/// Weakness 10: there is no secret that everybody knows.
#[test]
fn an_insecure_secret_is_for_this_machine_only() {
    let made = |bind: Option<&str>| {
        let bind = bind.map(|address| address.parse().unwrap());
        let guard = Guard::secret(Secret::insecure("secret").unwrap());
        router(app(), guard, RouterOptions { bind, ..RouterOptions::default() }).map(drop)
    };
    assert!(made(None).unwrap_err().is_invalid());
    assert!(made(Some("0.0.0.0:3000")).unwrap_err().is_invalid());
    made(Some("127.0.0.1:3000")).unwrap();
    made(Some("[::1]:3000")).unwrap();
}
