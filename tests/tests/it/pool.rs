//! A pool of two connections is enough, and nothing is held while handlers run (X10, fault F37, I11, rule 1).

use std::sync::Arc;

use mainspring::{
    Cx, Engine, Flow, Invocation, PgStoreOptions, Workflow, WorkflowError, WorkflowResult, create_pg_stores,
    flow::Step,
};
use mainspring_testing::Faults;
use mainspring_tests::{Lab, order, until, worker};
use serde_json::{Value, json};
use tokio::sync::{Semaphore, TryAcquireError};

const IN_TRANSACTION: &str = "SELECT pid, query FROM pg_stat_activity WHERE datname = current_database()
    AND state LIKE 'idle in transaction%' AND clock_timestamp() - state_change > interval '100 ms'";

/// What the database does for its sessions right now.
const ADVISORY_LOCKS: &str = "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory'
    AND database = (SELECT oid FROM pg_database WHERE datname = current_database())";

#[tokio::test(flavor = "multi_thread")]
async fn two_connections_are_enough_for_16_deliveries_at_once() {
    // X10, fault F37
    let lab = Lab::new().await;
    let engine = lab.engine_on(lab.stores(2));
    let worker = worker(&engine).concurrency(16).start().unwrap();
    let ids = lab.create(&engine, 60).await; // through the same two connections
    lab.all_completed(&ids).await;
    worker.stop().await.unwrap();
    assert!(lab.ledger.repeats().is_empty());
}

/// No connection is out of the pool for long, no transaction is open, and no advisory lock is held.
async fn nothing_is_held(lab: &Lab, pool: &mainspring::Pool) {
    // Heartbeats and polls borrow a connection for a moment; a handler that held one would keep it from ever being free.
    let client = lab.client().await;
    for _ in 0..20 {
        until("both connections are in the pool", async || pool.status().available == 2).await;
        let open = client.query(IN_TRANSACTION, &[]).await.unwrap();
        assert!(open.is_empty(), "{open:?}");
    }
    let unlocked = async || client.query_one(ADVISORY_LOCKS, &[]).await.unwrap().get::<_, i64>(0) == 0;
    until("no advisory lock is held", unlocked).await;
}

/// An engine whose `gate` steps stand until `gate` has permits; `inside` counts those that came so far.
fn gated(
    lab: &Lab,
    engine: mainspring::PgStores<'static>,
    inside: &Arc<Semaphore>,
    gate: &Arc<Semaphore>,
) -> Engine {
    let flow = Flow::builder("gate", "1.0.0")
        .step(Step::new("stand", "stand").on_success("close"))
        .step(Step::new("close", "effect"));
    let (inside, gate) = (inside.clone(), gate.clone());
    let stand = move |_call: Invocation, _input: Value| {
        let (inside, gate) = (inside.clone(), gate.clone());
        async move {
            inside.add_permits(1);
            gate.acquire().await?.forget();
            Ok(json!(null))
        }
    };
    let builder = order::builder(engine, &lab.ledger, &Faults::none());
    builder.handle_fn("stand", stand).flow(flow.build().unwrap()).build().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn while_handlers_run_nothing_is_held() {
    // I11, rule 1: no transaction, no lock, no pooled connection
    let lab = Lab::new().await;
    let pool = mainspring::pool(lab.db().settings(), 2).unwrap();
    let stores = create_pg_stores(pool.clone(), PgStoreOptions::default()).unwrap();
    let (inside, gate) = (Arc::new(Semaphore::new(0)), Arc::new(Semaphore::new(0)));
    let engine = gated(&lab, stores, &inside, &gate);
    engine.publish().await.unwrap();
    let mut ids = Vec::new();
    for _ in 0..16 {
        ids.push(engine.create("gate", json!({})).await.unwrap().execution.id);
    }
    let worker = worker(&engine).concurrency(16).start().unwrap();
    let all_inside = inside.acquire_many(16).await.unwrap();

    nothing_is_held(&lab, &pool).await;
    assert_eq!(gate.try_acquire().err(), Some(TryAcquireError::NoPermits), "the handlers stood all the time");
    assert_eq!(lab.ledger.len(), 0);

    drop(all_inside);
    gate.add_permits(16);
    lab.verdict(&ids).await;
    worker.stop().await.unwrap();
    assert_eq!((lab.ledger.len(), inside.available_permits()), (16, 16), "no handler ran twice");
}

const STANDING: Workflow<u32, u32, String> = Workflow::new("standing");

#[tokio::test(flavor = "multi_thread")]
async fn while_the_code_of_a_workflow_runs_nothing_is_held() {
    // I10, I11, rule 1: neither by its steps nor by its own code between them
    let lab = Lab::new().await;
    let pool = mainspring::pool(lab.db().settings(), 2).unwrap();
    let stores = create_pg_stores(pool.clone(), PgStoreOptions::default()).unwrap();
    let (inside, gate) = (Arc::new(Semaphore::new(0)), Arc::new(Semaphore::new(0)));
    let (came, stand) = (inside.clone(), gate.clone());
    let standing = move |cx: Cx, n: u32| {
        let (came, stand) = (came.clone(), stand.clone());
        async move {
            let here = async || {
                came.add_permits(1);
                stand
                    .acquire()
                    .await
                    .map(tokio::sync::SemaphorePermit::forget)
                    .map_err(|error| error.to_string())
            };
            cx.step("recorded", async || Ok::<_, String>(n)).await?;
            if n.is_multiple_of(2) {
                cx.step("stand", async || here().await).await?;
            } else {
                here().await.map_err(WorkflowError::App)?;
            }
            WorkflowResult::<u32, String>::Ok(n)
        }
    };
    let engine = Engine::builder(stores).register(STANDING, standing).build().unwrap();
    let mut handles = Vec::new();
    for n in 0..8 {
        handles.push(engine.start(STANDING, &n).await.unwrap());
    }
    let worker = worker(&engine).concurrency(8).start().unwrap();
    let all_inside = inside.acquire_many(8).await.unwrap();
    nothing_is_held(&lab, &pool).await;
    drop(all_inside);
    gate.add_permits(8);
    for (handle, n) in handles.into_iter().zip(0..) {
        assert_eq!(handle.result().await.unwrap(), n);
    }
    worker.stop().await.unwrap();
    assert_eq!(inside.available_permits(), 8, "no code stood twice");
}
