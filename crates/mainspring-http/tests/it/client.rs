//! What the other side of a connection can do (faults F90 to F93), by canned answers.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use mainspring_http::{Credential, HttpInvoker, HttpOptions, Invoker, Reply, Secret};
use serde_json::json;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
};

use crate::ground::{secret, step};

/// Answers every request as `answer` does, one for each connection; the address, and how many came.
async fn canned<F>(answer: impl Fn(TcpStream, usize) -> F + Send + 'static) -> (String, Arc<AtomicUsize>)
where
    F: Future<Output = ()> + Send + 'static,
{
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let base = format!("http://{}", listener.local_addr().unwrap());
    let count = Arc::new(AtomicUsize::new(0));
    let counted = count.clone();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let n = counted.fetch_add(1, Ordering::SeqCst);
            let mut bytes = vec![0; 64 * 1024];
            let mut length = 0;
            // Requests here are small; their last byte ends a JSON object.
            while length == 0 || !bytes[..length].ends_with(b"}") {
                match stream.read(&mut bytes[length..]).await {
                    Ok(more @ 1..) => length += more,
                    _ => break,
                }
            }
            tokio::spawn(answer(stream, n));
        }
    });
    (base, count)
}

async fn saying(text: &'static str) -> (String, Arc<AtomicUsize>) {
    canned(move |mut stream, _| async move {
        let _ = stream.write_all(text.as_bytes()).await;
        let _ = stream.shutdown().await;
    })
    .await
}

fn invoker(base: &str, options: HttpOptions) -> HttpInvoker {
    HttpInvoker::new(base, Credential::secret(secret()), options).unwrap()
}

async fn answered(text: &'static str) -> Reply {
    let (base, _) = saying(text).await;
    invoker(&base, HttpOptions::default()).invoke(&step(json!({}))).await
}

fn unavailable(reply: &Reply) -> Option<Duration> {
    match reply {
        Reply::Unavailable { retry_after, .. } => Some(retry_after.unwrap_or_default()),
        _ => None,
    }
}

/// fault F90: what is no failure of the message is none, and it says how long to wait.
#[tokio::test]
async fn answers_of_others_than_the_application_are_no_failures() {
    let seven = Duration::from_secs(7);
    for (text, wait) in [
        ("HTTP/1.1 503 Busy\r\nretry-after: 7\r\nconnection: close\r\n\r\n", seven),
        ("HTTP/1.1 429 Slow down\r\nretry-after: 7\r\nconnection: close\r\n\r\n{}", seven),
        (
            "HTTP/1.1 429 Slow down\r\nretry-after: Sun, 06 Nov 1994 08:49:37 GMT\r\nconnection: close\r\n\r\n",
            Duration::ZERO,
        ),
        ("HTTP/1.1 502 Bad Gateway\r\nconnection: close\r\n\r\n<html>", Duration::ZERO),
        ("HTTP/1.1 404 Not Found\r\nconnection: close\r\n\r\n<html>", Duration::ZERO),
        ("HTTP/1.1 200 OK\r\nconnection: close\r\n\r\n<html>please log in</html>", Duration::ZERO),
        ("HTTP/1.1 200 OK\r\ncontent-length: 100\r\nconnection: close\r\n\r\n{\"ok\"", Duration::ZERO),
        ("this is no HTTP\r\n\r\n", Duration::ZERO),
        ("", Duration::ZERO),
    ] {
        let reply = answered(text).await;
        assert_eq!(unavailable(&reply), Some(wait), "{text}: {reply:?}");
    }
    assert_eq!(
        answered("HTTP/1.1 500 Oh\r\nconnection: close\r\n\r\nboom").await,
        Reply::failed("was answered 500")
    );
    assert_eq!(answered("HTTP/1.1 204 Fine\r\nconnection: close\r\n\r\n").await, Reply::ok());
    assert_eq!(answered("HTTP/1.1 403 No\r\nconnection: close\r\n\r\n").await, Reply::Unauthorized);
    let again = "HTTP/1.1 503 Later\r\nconnection: close\r\n\r\n{\"timeoutSeconds\": 90}";
    assert_eq!(answered(again).await, Reply::Again(Duration::from_secs(90)));
}

/// fault F90: the secret goes nowhere else.
#[tokio::test]
async fn a_redirect_is_not_followed() {
    let (elsewhere, visits) = saying("HTTP/1.1 200 OK\r\nconnection: close\r\n\r\n{}").await;
    for status in [301, 302, 307, 308] {
        let to = elsewhere.clone();
        let (base, _) = canned(move |mut stream, _| {
            let text = format!("HTTP/1.1 {status} Moved\r\nlocation: {to}\r\nconnection: close\r\n\r\n");
            async move {
                let _ = stream.write_all(text.as_bytes()).await;
            }
        })
        .await;
        let reply = invoker(&base, HttpOptions::default()).invoke(&step(json!({}))).await;
        assert!(unavailable(&reply).is_some(), "{status}: {reply:?}");
    }
    assert_eq!(visits.load(Ordering::SeqCst), 0);
}

/// fault F90: nobody answers, or without an end.
#[tokio::test]
async fn silence_and_endless_bodies_end() {
    let options = HttpOptions { deadline: Duration::from_millis(200), ..HttpOptions::default() };
    let (silent, _) = canned(|stream, _| async move {
        let _stream = stream;
        std::future::pending::<()>().await;
    })
    .await;
    let reply = invoker(&silent, options.clone()).invoke(&step(json!({}))).await;
    assert!(unavailable(&reply).is_some(), "{reply:?}");
    let (slow, _) = canned(|mut stream, _| async move {
        let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nconnection: close\r\n\r\n{").await;
        std::future::pending::<()>().await;
    })
    .await;
    let reply = invoker(&slow, options).invoke(&step(json!({}))).await;
    assert!(unavailable(&reply).is_some(), "{reply:?}");
    let (endless, _) = canned(|mut stream, _| async move {
        let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nconnection: close\r\n\r\n").await;
        while stream.write_all(&[b' '; 65_536]).await.is_ok() {}
    })
    .await;
    let options = HttpOptions { most_bytes: 100_000, ..HttpOptions::default() };
    let reply = invoker(&endless, options).invoke(&step(json!({}))).await;
    assert_eq!(reply, Reply::fatal("the reply has more than 100000 bytes"));
}

/// fault F93: after some calls that reach nobody nothing is sent for a while; others are not affected; one call tries again.
#[tokio::test]
async fn the_circuit_opens_and_closes() {
    let (base, calls) = canned(|mut stream, n| async move {
        let status = if n < 2 { "502 Bad Gateway" } else { "200 OK" };
        let _ = stream.write_all(format!("HTTP/1.1 {status}\r\nconnection: close\r\n\r\n").as_bytes()).await;
    })
    .await;
    let pause = Duration::from_millis(400);
    let options = HttpOptions { failures: 2, pause, longest_pause: pause, ..HttpOptions::default() };
    let (away, other) =
        (invoker(&base, options.clone()), saying("HTTP/1.1 200 OK\r\nconnection: close\r\n\r\n").await);
    let other = invoker(&other.0, options);
    for _ in 0..2 {
        assert!(unavailable(&away.invoke(&step(json!({}))).await).is_some());
    }
    let refused = away.invoke(&step(json!({}))).await;
    let wait = unavailable(&refused).unwrap();
    assert!(!wait.is_zero() && wait <= pause, "{refused:?}");
    assert_eq!(calls.load(Ordering::SeqCst), 2, "nothing was sent");
    assert_eq!(other.invoke(&step(json!({}))).await, Reply::ok());
    tokio::time::sleep(wait).await;
    assert_eq!(away.invoke(&step(json!({}))).await, Reply::ok());
    assert_eq!(away.invoke(&step(json!({}))).await, Reply::ok());
}

/// fault F91: the reply is lost after the work was done; the same message comes again, and its id says so.
#[tokio::test]
async fn a_lost_reply_brings_the_same_message_again() {
    let (base, calls) = canned(|mut stream, n| async move {
        if n > 0 {
            let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nconnection: close\r\n\r\n").await;
        }
    })
    .await;
    let invoker = HttpInvoker::new(&base, Credential::signed(secret()), HttpOptions::default()).unwrap();
    let call = step(json!({}));
    assert!(unavailable(&invoker.invoke(&call).await).is_some());
    assert_eq!(invoker.invoke(&call).await, Reply::ok());
    assert_eq!(calls.load(Ordering::SeqCst), 2);
}

#[test]
fn addresses_that_would_give_the_secret_away_are_refused() {
    let made = |base: &str, credential| HttpInvoker::new(base, credential, HttpOptions::default()).map(drop);
    let plain = || Credential::secret(secret());
    let weak = || Credential::secret(Secret::insecure("secret").unwrap());
    for base in
        ["", "app", "ftp://app", "https://user:pw@app", "https://app?x=1", "https://app#x", "file:///x"]
    {
        assert!(made(base, plain()).unwrap_err().is_invalid(), "{base}");
    }
    for base in
        ["http://localhost:3000", "http://127.0.0.1", "http://[::1]:1", "https://app.example.com/base/"]
    {
        made(base, plain()).unwrap();
    }
    assert!(made("http://app.example.com", plain()).unwrap_err().is_invalid());
    made("http://app.example.com", Credential::signed(secret())).unwrap();
    let open = HttpOptions { plaintext: true, ..HttpOptions::default() };
    HttpInvoker::new("http://app.internal", plain(), open).unwrap();
    assert!(made("https://app.example.com", weak()).unwrap_err().is_invalid());
    made("http://localhost:3000", weak()).unwrap();
}
