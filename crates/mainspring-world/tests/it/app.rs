//! The application's side: health checks, webhooks, output streams, all from one router.

use std::{sync::Arc, time::Duration};

use futures_util::TryStreamExt;
use mainspring::{PgStoreOptions, PgStores};
use mainspring_core::{ChunkQuery, ErrorKind, ExecutionId, OutputStream};
use mainspring_http::{Entrypoint, Guard, RouterOptions, Secret, WebhookReply};
use mainspring_world::{Fact, NewRun, RunEvent, StepHandlers, World};
use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

use crate::{
    ground::{self, Ground, on_both, start},
    way::{Way, over_both, served},
};

over_both! {
    #[tokio::test(start_paused = true)]
    a_health_check_goes_the_way_of_a_message_and_back_in_a_stream
}

on_both! {
    a_world_has_the_streams_of_its_runs
    a_webhook_is_answered_as_its_hook_says
    a_webhook_waits_for_an_answer_by_hand
}

async fn a_health_check_goes_the_way_of_a_message_and_back_in_a_stream(way: Way) {
    // W47
    let backend = way.ground().await;
    let invoker = way.to(StepHandlers::new(), backend.clone()).await;
    let world = World::builder(backend.clone()).invoker(invoker).build().unwrap();
    let patience = Duration::from_millis(100);
    let nobody = world.check_health(Entrypoint::Flow, patience).await.unwrap_err();
    assert_eq!(nobody.kind(), ErrorKind::Unavailable);
    world.start().await.unwrap();
    for (entrypoint, name) in [(Entrypoint::Flow, "workflow"), (Entrypoint::Step, "step")] {
        let answer = world.check_health(entrypoint, Duration::from_secs(60)).await.unwrap();
        assert_eq!((&answer["healthy"], &answer["endpoint"]), (&json!(true), &json!(name)), "{answer}");
        let stream = format!("__health_check__{}", answer["correlationId"].as_str().unwrap());
        let info = backend.outputs().info(&OutputStream::named(stream)).await.unwrap();
        assert_eq!(info.tail_index, -1, "it is not kept");
    }
    world.close().await.unwrap();
}

async fn a_world_has_the_streams_of_its_runs(ground: Ground) {
    // W38, W39, W40
    let run = ground.created().await;
    let world = World::builder(Arc::clone(&ground.backend)).build().unwrap();
    let (streams, log) = (world.streamer(), OutputStream::of(&run, "log"));
    let reading = tokio::spawn({
        let chunks = streams.read(&log, 0);
        chunks.map_ok(|chunk| chunk.data).try_collect::<Vec<_>>()
    });
    assert_eq!(streams.info(&log).await.unwrap().tail_index, -1);
    assert_eq!(streams.write(&log, "a".into()).await.unwrap(), Some(0));
    let binary = b"\0\xff".to_vec();
    assert_eq!(streams.write_many(&log, vec![binary.clone().into(), "c".into()]).await.unwrap(), Some(1));
    assert!(streams.close(&log).await.unwrap());
    assert!(!streams.close(&log).await.unwrap());
    assert_eq!(streams.write(&log, "late".into()).await.unwrap(), None);
    assert_eq!(reading.await.unwrap().unwrap(), ["a".as_bytes(), &binary, b"c"]);
    let last: Vec<_> = streams.read(&log, -1).map_ok(|chunk| chunk.index).try_collect().await.unwrap();
    assert_eq!(last, [2]);
    let page = streams.get_chunks(ChunkQuery { limit: 2, ..ChunkQuery::of(log) }).await.unwrap();
    assert_eq!((page.chunks.len(), page.has_more, page.done, page.tail_index), (2, true, true, 2));
    assert_eq!(streams.list(&run, None).await.unwrap(), ["log"]);
}

/// An application that is served, and a run of it with a hook.
struct Served {
    ground: Ground,
    world: World,
    base: String,
    secret: Secret,
    run: ExecutionId,
}

impl Served {
    async fn new(ground: Ground) -> Self {
        let world = World::builder(Arc::clone(&ground.backend)).build().unwrap();
        let secret = Secret::generate().unwrap();
        let app: Arc<StepHandlers> = Arc::default();
        let options = RouterOptions { webhook_deadline: Duration::from_secs(20), ..RouterOptions::default() };
        let base = served(world.router(app, Guard::secret(secret.clone()), options).unwrap()).await;
        let run = world.storage().runs().create(NewRun::new("order", json!(1))).await.unwrap().run_id;
        world.storage().events().create(Some(&run), start()).await.unwrap();
        Self { ground, world, base, secret, run }
    }

    async fn hook(&self, token: &str, is_webhook: bool, metadata: Value) {
        let fact = Fact::HookCreated { token: token.to_owned(), metadata: Some(metadata), is_webhook };
        let event = RunEvent::about(format!("hook-{token}"), fact);
        self.world.storage().events().create(Some(&self.run), event).await.unwrap();
    }

    async fn get(&self, path: &str) -> String {
        let secret = self.secret.reveal();
        self.raw(format!(
            "GET {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\nx-workflow-secret: {secret}\r\n\r\n"
        ))
        .await
    }

    async fn call(&self, token: &str, body: &[u8]) -> String {
        let path = format!("/.well-known/workflow/v1/webhook/{token}");
        let length = body.len();
        let mut request = format!(
            "POST {path}?a=1 HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-length: {length}\r\n\r\n"
        )
        .into_bytes();
        request.extend_from_slice(body);
        self.raw(request).await
    }

    async fn raw(&self, request: impl AsRef<[u8]>) -> String {
        let mut stream = TcpStream::connect(self.base.trim_start_matches("http://")).await.unwrap();
        stream.write_all(request.as_ref()).await.unwrap();
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).await.unwrap();
        String::from_utf8_lossy(&answer).into_owned()
    }

    /// What came in for a hook last.
    async fn payload(&self, token: &str) -> Value {
        let id = format!("hook-{token}");
        let events = self.world.storage().events();
        let page = events.list_by_correlation_id(&id, &Default::default(), Default::default()).await.unwrap();
        page.data.last().unwrap().event_data.clone().unwrap()["payload"].clone()
    }
}

fn status(answer: &str) -> u16 {
    answer.split(' ').nth(1).and_then(|status| status.parse().ok()).unwrap_or(0)
}

async fn a_webhook_is_answered_as_its_hook_says(ground: Ground) {
    // W15, W42
    let app = Served::new(ground).await;
    app.hook("plain", true, json!({})).await;
    assert_eq!(status(&app.call("plain", b"hello").await), 202);
    let payload = app.payload("plain").await;
    assert_eq!((&payload["method"], &payload["query"]), (&json!("POST"), &json!("a=1")));
    assert_eq!((&payload["body"], &payload["headers"]["host"]), (&json!("hello"), &json!("x")));
    assert_eq!(status(&app.call("plain", b"\0\xff").await), 202);
    let payload = app.payload("plain").await;
    assert_eq!((&payload["body"], &payload["bodyEncoding"]), (&json!("AP8="), &json!("base64")));

    let own = json!({"status": 201, "headers": {"x-own": "yes"}, "body": "made"});
    app.hook("own", true, json!({"respondWith": own})).await;
    let answer = app.call("own", b"").await;
    assert!(status(&answer) == 201 && answer.contains("x-own: yes") && answer.ends_with("made"), "{answer}");

    app.hook("hidden", false, json!({})).await;
    for token in ["hidden", "unknown"] {
        assert_eq!(status(&app.call(token, b"").await), 404, "{token}");
    }
    app.world.cancel(&app.run, "enough").await.unwrap();
    assert_eq!(status(&app.call("plain", b"").await), 404, "its run is over");
    drop(app.ground);
}

async fn a_webhook_waits_for_an_answer_by_hand(ground: Ground) {
    // W15
    let app = Served::new(ground).await;
    app.hook("ask", true, json!({"respondWith": "manual"})).await;
    let by_hand = async {
        loop {
            let payload = app.payload("ask").await;
            if let Some(respond_to) = payload["respondTo"].as_str() {
                let headers = vec![("x-by".to_owned(), "hand".to_owned())];
                let reply = WebhookReply { status: 203, headers, body: b"\0\xff"[..].into() };
                assert!(app.world.respond(&app.run, respond_to, reply.clone()).await.unwrap());
                assert!(!app.world.respond(&app.run, respond_to, reply).await.unwrap(), "the first counts");
                return;
            }
            tokio::task::yield_now().await;
        }
    };
    let (answer, ()) = tokio::join!(app.call("ask", b"?"), by_hand);
    assert!(status(&answer) == 203 && answer.contains("x-by: hand"), "{answer}");
    assert!(answer.contains("\0"), "{answer:?}");
}

#[tokio::test]
async fn one_router_has_streams_and_says_whether_the_database_answers() {
    let app = Served::new(ground::postgres().await).await;
    let log = OutputStream::of(&app.run, "log");
    app.world.streamer().write(&log, "x".into()).await.unwrap();
    app.world.streamer().close(&log).await.unwrap();
    let path = format!("/.well-known/workflow/v1/stream/log?execution={}", app.run);
    let events = app.get(&path).await;
    assert!(
        events.contains("id: 0\nevent: chunk\ndata: eA==\n\n") && events.contains("event: end"),
        "{events}"
    );
    assert_eq!((status(&app.get("/livez").await), status(&app.get("/readyz").await)), (200, 200));
    let nowhere = PgStores::connect("postgres://nobody@127.0.0.1:1/none", PgStoreOptions::default()).unwrap();
    let world = World::builder(nowhere).build().unwrap();
    let guard = Guard::secret(app.secret.clone());
    let router = world.router(Arc::new(StepHandlers::new()), guard, RouterOptions::default()).unwrap();
    let app = Served { base: served(router).await, ..app };
    assert_eq!((status(&app.get("/livez").await), status(&app.get("/readyz").await)), (200, 503));
}
