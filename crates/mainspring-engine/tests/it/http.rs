//! The built-in handler `http`, against a server of canned answers on this machine.

use std::time::Duration;

use mainspring_core::{
    Execution, Flow,
    flow::{RetryPolicy, Step},
};
use mainspring_engine::HttpAccess;
use mainspring_testing::MemoryBackend;
use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpListener,
    sync::oneshot,
};

use crate::builder;

/// Answers one request with `answer`; its address, and the request when it came.
async fn serve(answer: impl Into<Vec<u8>>) -> (String, oneshot::Receiver<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/path", listener.local_addr().unwrap());
    let (got, request) = oneshot::channel();
    let answer = answer.into();
    tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut bytes = vec![0; 64 * 1024];
        let mut length = 0;
        // The requests here are small; their last byte is the end of the headers or of a JSON object.
        while !bytes[..length].ends_with(b"\r\n\r\n") && !bytes[..length].ends_with(b"}") {
            length += stream.read(&mut bytes[length..]).await.unwrap();
        }
        got.send(String::from_utf8_lossy(&bytes[..length]).into_owned()).unwrap();
        // A client that has read enough hangs up.
        let _ = stream.write_all(&answer).await;
        let _ = stream.shutdown().await;
    });
    (url, request)
}

async fn request(config: Value) -> Execution {
    request_with(HttpAccess::everyone(), config).await
}

async fn request_with(access: HttpAccess, config: Value) -> Execution {
    let flow = Flow::builder("f", "1.0.0")
        .step(Step::new("s", "http").config(config).output_key("out"))
        .build()
        .unwrap();
    let engine = builder(&MemoryBackend::realtime()).http_access(access).flow(flow).build().unwrap();
    engine.create("f", json!({"n": 1})).id("e").run().await.unwrap()
}

#[tokio::test]
async fn an_answer_is_the_output() {
    let answer = "HTTP/1.1 200 OK\r\ncontent-type: application/json; charset=utf-8\r\nconnection: close\r\n\r\n{\"a\":1}";
    let (url, sent) = serve(answer).await;
    let done = request(json!({"url": url, "headers": {"x-team": "blue", "x-n": 7}})).await;
    let out = &done.context["out"];
    assert_eq!(
        (&out["status"], &out["statusText"], &out["body"]),
        (&json!(200), &json!("OK"), &json!({"a": 1}))
    );
    assert_eq!(out["headers"]["content-type"], "application/json; charset=utf-8");
    let sent = sent.await.unwrap();
    assert!(sent.starts_with("GET /path HTTP/1.1\r\n"), "{sent}");
    for header in ["x-team: blue", "x-n: 7", "idempotency-key: e/s/0", "user-agent: mainspring/"] {
        assert!(sent.contains(header), "{header}: {sent}");
    }
}

#[tokio::test]
async fn a_body_is_sent() {
    for (config, body) in [
        (json!({"method": "post"}), "{\"n\":1}"),
        (json!({"method": "PUT", "body": {"own": true}}), "{\"own\":true}"),
        (json!({"method": "PATCH", "body": "{text}"}), "{text}"),
    ] {
        let (url, sent) = serve("HTTP/1.1 201 Created\r\nconnection: close\r\n\r\nplain").await;
        let mut config = config;
        config["url"] = json!(url);
        let done = request(config).await;
        assert_eq!(done.context["out"]["body"], "plain");
        let sent = sent.await.unwrap();
        assert!(sent.ends_with(&format!("\r\n\r\n{body}")), "{sent}");
    }
}

#[tokio::test]
async fn what_goes_wrong_has_a_code() {
    // fault F90
    let large = format!("HTTP/1.1 200 OK\r\nconnection: close\r\n\r\n{}", "x".repeat(2 * 1024 * 1024));
    for (answer, code) in [
        ("HTTP/1.1 404 Not Found\r\nconnection: close\r\n\r\nno".to_owned(), "HTTP_404"),
        ("HTTP/1.1 503 Service Unavailable\r\nconnection: close\r\n\r\n".to_owned(), "HTTP_503"),
        (
            "HTTP/1.1 302 Found\r\nlocation: http://127.0.0.1:1/\r\nconnection: close\r\n\r\n".to_owned(),
            "HTTP_302",
        ),
        (large, "HTTP_BODY_TOO_LARGE"),
        ("nonsense\r\n\r\n".to_owned(), "HTTP_ERROR"),
        (String::new(), "HTTP_ERROR"),
    ] {
        let (url, _sent) = serve(answer).await;
        let error = request(json!({"url": url})).await.error.unwrap();
        assert_eq!(error.code, code, "{error}");
        assert!(!error.message.contains("/path"), "{error}");
        if code == "HTTP_404" {
            assert_eq!(error.details["body"], "no");
        }
    }
    for (config, code) in [
        (json!({"url": "http://127.0.0.1:1/"}), "HTTP_ERROR"),
        (json!({"url": "no url"}), "HTTP_ERROR"),
        (json!({"url": "http://127.0.0.1:1/", "method": "STEAL"}), "INPUT_ERROR"),
        (json!({"url": "http://127.0.0.1:1/", "headers": {"a b": "c"}}), "INPUT_ERROR"),
        (json!({}), "INPUT_ERROR"),
    ] {
        assert_eq!(request(config.clone()).await.error.unwrap().code, code, "{config}");
    }
}

#[tokio::test]
async fn a_server_that_does_not_answer_is_given_up() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/", listener.local_addr().unwrap());
    let error = tokio::time::timeout(Duration::from_secs(10), request(json!({"url": url, "timeout": 50})));
    assert_eq!(error.await.unwrap().error.unwrap().code, "HTTP_ERROR");
}

#[tokio::test]
async fn a_host_in_a_private_network_is_refused_and_nothing_is_sent() {
    // By address, in every spelling; by a name that resolves to one; and with retries, which cannot help.
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    for (host, rule) in [
        ("127.0.0.1", "loopback"),
        ("2130706433", "loopback"),
        ("0x7f.1", "loopback"),
        ("127.0.0.1.", "loopback"),
        ("[::1]", "loopback"),
        ("[::ffff:7f00:1]", "loopback"),
        ("localhost", "loopback"),
        ("LOCALHOST", "loopback"),
        ("user:password@localhost", "loopback"),
        ("169.254.169.254", "link-local"),
        ("10.0.0.1", "private"),
        ("[fd00:ec2::254]", "unique-local"),
    ] {
        let config = json!({"url": format!("http://{host}:{port}/latest/meta-data")});
        let step = Step::new("s", "http")
            .config(config)
            .retry(RetryPolicy { max_attempts: 3, ..RetryPolicy::default() });
        let flow = Flow::builder("f", "1.0.0").step(step).build().unwrap();
        let engine = builder(&MemoryBackend::realtime()).flow(flow).build().unwrap();
        let failed = engine.create("f", json!({})).run().await.unwrap();
        let error = failed.error.unwrap();
        assert_eq!((error.code.as_str(), failed.step_count), ("HTTP_HOST_REFUSED", 1), "{host}: {error}");
        assert!(error.message.contains(rule) && error.message.contains("http_access"), "{error}");
        assert!(!error.message.contains("password") && !error.message.contains("meta-data"), "{error}");
    }
    let sent = tokio::time::timeout(Duration::ZERO, listener.accept()).await;
    assert!(sent.is_err(), "nobody connected");
}

#[tokio::test]
async fn a_host_that_is_allowed_by_name_is_reached_and_another_is_not() {
    let (url, sent) = serve("HTTP/1.1 200 OK\r\nconnection: close\r\n\r\nhere").await;
    let access = HttpAccess::public().host("localhost");
    let refused = request_with(access.clone(), json!({"url": url})).await;
    assert_eq!(refused.error.unwrap().code, "HTTP_HOST_REFUSED", "by its address it was not allowed");
    let done = request_with(access, json!({"url": url.replace("127.0.0.1", "localhost")})).await;
    assert_eq!(done.context["out"]["body"], "here", "{:?}", done.error);
    assert!(sent.await.unwrap().starts_with("GET /path"));
}

#[tokio::test]
async fn a_redirect_into_a_private_network_is_not_followed() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let inside = listener.local_addr().unwrap();
    let answer = format!("HTTP/1.1 302 Found\r\nlocation: http://{inside}/\r\nconnection: close\r\n\r\n");
    let (url, _sent) = serve(answer).await;
    assert_eq!(request(json!({"url": url})).await.error.unwrap().code, "HTTP_302");
    let sent = tokio::time::timeout(Duration::ZERO, listener.accept()).await;
    assert!(sent.is_err(), "nobody connected");
}
