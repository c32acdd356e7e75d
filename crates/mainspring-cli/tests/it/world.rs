//! `mainspring worker --world`.

use std::sync::Arc;

use mainspring::{
    BoxFuture, World,
    world::http::{Call, Endpoint, Guard, Reply, RouterOptions, Secret, ServeOptions, router, serve},
};
use rustix::process::Signal;
use serde_json::json;
use tokio::sync::mpsc::{UnboundedSender, unbounded_channel};

use crate::{background::Background, ground::Ground};

/// An application that says what it was called with.
struct App(UnboundedSender<String>);

impl Endpoint for App {
    fn call(&self, call: Call) -> BoxFuture<'_, Reply> {
        let _ = self.0.send(call.message.data.to_string());
        Box::pin(std::future::ready(Reply::ok()))
    }
}

#[tokio::test]
async fn a_world_calls_its_application_over_http() {
    const SECRET: &str = "only-for-this-test-5e0c1f7a9b3d";
    let ground = Ground::new().await;
    let (said, mut heard) = unbounded_channel();
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let guard = Guard::secret(Secret::new(SECRET).unwrap());
    let app = router(Arc::new(App(said)), guard, RouterOptions::default()).unwrap();
    tokio::spawn(serve(listener, app, ServeOptions::default(), std::future::pending()));

    let variables = [
        ("DATABASE_URL", ground.db.url()),
        ("WORKFLOW_POSTGRES_APP_URL", &*url),
        ("WORKFLOW_POSTGRES_SECURITY_TOKEN", SECRET),
        ("WORKFLOW_TARGET_WORLD", "@workflow/world-postgres"),
    ];
    let mut worker = Background::start(&ground, &["worker", "--world", "-o", "json"], &variables);
    let line = worker.line();
    assert!(line.contains(&url) && !line.contains(SECRET), "{line}");
    let world = World::builder(ground.stores()).build().unwrap();
    world.queue("__wkf_workflow_greet", json!({"name": "Ada"}), Default::default()).await.unwrap();
    assert!(heard.recv().await.unwrap().contains("Ada"));
    assert_eq!(worker.stop(Signal::TERM), Some(0));

    let refused = |more: &[(&str, &str)]| {
        let variables = [&variables[..2], more].concat();
        crate::ground::run_in(&ground.folder, &["worker", "--world"], &variables).refused(2)
    };
    assert!(refused(&[]).contains("SECURITY_TOKEN"));
    let elsewhere = [("WORKFLOW_POSTGRES_SECURITY_TOKEN", SECRET), ("WORKFLOW_TARGET_WORLD", "moon")];
    assert!(refused(&elsewhere).contains("target_world"));
}
