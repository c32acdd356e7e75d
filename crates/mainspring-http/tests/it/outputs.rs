//! Output streams as server-sent events.

use std::{sync::Arc, time::Duration};

use mainspring_core::{Backend, OutputStore, OutputStream};
use mainspring_http::{Guard, OutputAccess, RouterOptions};
use mainspring_testing::MemoryBackend;

use crate::ground::{app, get, raw, secret, served};

const PATH: &str = "/.well-known/workflow/v1/stream/answer";

fn own(headers: &str) -> String {
    format!("x-workflow-secret: {}\r\n{headers}", secret().reveal())
}

/// The events of an answer, without the frame of HTTP.
fn ids(answer: &str) -> Vec<i64> {
    answer.lines().filter_map(|line| line.strip_prefix("id: ")?.parse().ok()).collect()
}

async fn access(backend: &MemoryBackend) -> OutputAccess {
    let stream = OutputStream::named("answer");
    let outputs = backend.outputs();
    outputs.write_many(&stream, vec!["a".into(), b"\0\xff".to_vec().into(), "".into()]).await.unwrap();
    outputs.close(&stream).await.unwrap();
    OutputAccess::new(Arc::new(backend.clone()) as Arc<dyn OutputStore>)
}

#[tokio::test]
async fn a_reader_gets_all_or_goes_on_where_it_was() {
    let backend = MemoryBackend::new();
    let options = RouterOptions::default().outputs(access(&backend).await);
    let base = served(app(), Guard::secret(secret()), options).await;
    let all = raw(&base, get(PATH, &own(""))).await;
    assert!(all.contains("content-type: text/event-stream"), "{all}");
    assert!(all.contains("id: 0\nevent: chunk\ndata: YQ==\n\n") && all.contains("data: AP8=\n\n"), "{all}");
    assert_eq!(ids(&all), [0, 1, 2]);
    assert!(all.contains("event: end"), "{all}");
    assert_eq!(ids(&raw(&base, get(PATH, &own("last-event-id: 1\r\n"))).await), [2]);
    assert_eq!(ids(&raw(&base, get(&format!("{PATH}?start=-2"), &own(""))).await), [1, 2]);
    for (path, headers, status) in [
        (PATH.to_owned(), String::new(), "401"),
        (format!("{PATH}?execution="), own(""), "400"),
        (format!("{PATH}?start=x"), own(""), "400"),
    ] {
        assert_eq!(raw(&base, get(&path, &headers)).await.split(' ').nth(1), Some(status), "{path}");
    }
}

/// A browser with a session of its own, a heartbeat while nothing comes, and no more readers than there are places.
#[tokio::test]
async fn a_live_reader_hears_that_the_connection_is_alive() {
    let backend = MemoryBackend::realtime();
    let access = access(&backend).await.heartbeat(Duration::from_millis(20)).clients(1);
    let access = access.allow(|headers, stream| headers.contains_key("cookie") && stream.name != "private");
    let base = served(app(), Guard::secret(secret()), RouterOptions::default().outputs(access)).await;
    let live = "/.well-known/workflow/v1/stream/live";
    let first = tokio::spawn({
        let base = base.clone();
        async move { raw(&base, get(live, "cookie: session\r\n")).await }
    });
    // The only place is taken as soon as somebody else is refused.
    while !raw(&base, get(PATH, "cookie: session\r\n")).await.contains("503") {
        tokio::task::yield_now().await;
    }
    let private = live.replace("live", "private");
    assert!(raw(&base, get(&private, "cookie: session\r\n")).await.contains("401"));
    assert!(raw(&base, get(PATH, &own(""))).await.contains("401"));
    tokio::time::sleep(Duration::from_millis(100)).await;
    let stream = OutputStream::named("live");
    backend.outputs().write(&stream, "x".into()).await.unwrap();
    backend.outputs().close(&stream).await.unwrap();
    let answer = first.await.unwrap();
    assert!(answer.contains(": alive\n\n") && answer.contains("event: end"), "{answer}");
    assert_eq!(ids(&answer), [0]);
}
