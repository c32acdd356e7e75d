//! How a worker of one process hears of a message pushed by another when hints are lost: by looking (Q47, fault F69).

use std::sync::Arc;

use mainspring::{
    NewMessage, PgStoreOptions, PgStores, QueueDriver, Settings, Settlement, Spy, SpyState, Verdict, Worker,
    create_pg_stores, deliver_fn, pool,
};
use mainspring_testing::Proxy;
use mainspring_tests::{LOOK, Lab, PATIENCE};
use serde_json::json;
use tokio::time::timeout;

fn stores(lab: &Lab, listen: Option<Settings>) -> PgStores<'static> {
    let options = PgStoreOptions { listen, ..PgStoreOptions::default() };
    create_pg_stores(pool(lab.db().settings(), 4).unwrap(), options).unwrap()
}

fn worker(stores: &PgStores<'static>, spy: &Spy) -> Worker {
    let handler = deliver_fn(|_, _| async { Verdict::Settle(Settlement::Done) });
    Worker::new(Arc::new(stores.queue.clone()), Arc::new(handler)).queue("wake").poll_interval(LOOK).spy(spy)
}

/// Pushes from another process, and waits until the worker has done it.
async fn push_and_see(lab: &Lab, spy: &Spy, n: u32) {
    let message = NewMessage::new("wake", "test", json!(n));
    let id = message.id.clone();
    lab.near().queue.push(vec![message]).await.unwrap();
    timeout(PATIENCE, spy.wait_for(&id, SpyState::Completed)).await.expect("it was heard of");
}

#[tokio::test(flavor = "multi_thread")]
async fn lost_hints_and_no_hints_cost_a_look_and_nothing_else() {
    // Q47, fault F69: half-open, refused, and never asked for
    let lab = Lab::new().await;
    let proxy = Proxy::before(lab.db()).await.unwrap();
    let nowhere = lab.db().settings().clone().with("port", "1").unwrap();
    for (n, listen) in (0..).zip([Some(proxy.settings().clone()), Some(nowhere), None]) {
        let spy = Spy::new();
        let running = worker(&stores(&lab, listen), &spy).start().unwrap();
        push_and_see(&lab, &spy, 10 * n).await;
        proxy.black_hole(true);
        push_and_see(&lab, &spy, 10 * n + 1).await;
        proxy.black_hole(false);
        push_and_see(&lab, &spy, 10 * n + 2).await;
        running.stop().await.unwrap();
    }
}
