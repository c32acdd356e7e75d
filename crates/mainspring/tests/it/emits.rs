//! What workflows publish, on Postgres: each chunk is there with the record of it, and readers are woken by that commit.

use std::time::Duration;

use futures_util::TryStreamExt;
use mainspring::{
    Cx, CxTx, Db, Engine, OutputStore, OutputStream, PgOutputStore, PgStoreOptions, PgStores, TxError,
    Workflow, WorkflowResult,
};
use mainspring_pg::Hints;
use mainspring_testing::{Cut, Proxy, TestDb};

const REPORT: Workflow<u32, u32, String> = Workflow::new("report");

async fn report(cx: Cx, parts: u32) -> WorkflowResult<u32, String> {
    for part in 0..parts {
        cx.emit("progress", format!("{part} begun")).await;
        cx.step("part", async || Ok::<_, String>(part)).await?;
        cx.emit("progress", format!("{part} done")).await;
    }
    Ok(parts)
}

fn engine(stores: PgStores<'static>) -> Engine {
    Engine::builder(stores).register(REPORT, report).build().unwrap()
}

/// All of it, to its end.
async fn read(stores: &PgStores<'static>, id: &mainspring::ExecutionId) -> Vec<String> {
    let chunks = stores.outputs.read(&OutputStream::of(id, "progress"), 0);
    let chunks = chunks.map_ok(|chunk| String::from_utf8(chunk.data.to_vec()).unwrap());
    chunks.try_collect().await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn cut_at_any_commit_every_chunk_is_published_once() {
    // W38, faults F30 to F32, X3: before the COMMIT, after it, and when its answer is lost
    for cut in [Cut::BeforeCommit, Cut::AfterCommit, Cut::DropReply] {
        for nth in 1..=4 {
            let (near, db) = crate::fresh().await;
            let proxy = Proxy::before(&db).await.unwrap();
            let far = mainspring::pool(proxy.settings(), 4).unwrap();
            let engine = engine(mainspring::create_pg_stores(far, PgStoreOptions::default()).unwrap());
            let handle = engine.start(REPORT, &2).id("it").await.unwrap();
            proxy.arm(cut, nth);
            let worker = engine.worker().start().unwrap();
            let (seen, result) = tokio::join!(read(&near, handle.id()), handle.result());
            worker.stop().await.unwrap();
            assert_eq!(result.unwrap(), 2);
            assert_eq!(seen, ["0 begun", "0 done", "1 begun", "1 done"], "{cut:?} {nth}");
            assert_eq!(proxy.cuts(), 1, "{cut:?} {nth}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_commit_of_a_workflow_wakes_the_readers_of_another_process() {
    let db = TestDb::new().await;
    let here = PgStores::connect(db.url(), PgStoreOptions::default()).unwrap();
    let mut there = here.clone();
    // It would look by itself only after an hour.
    let hints = Hints::new(None, Some(db.settings().clone()), db.names().clone());
    there.outputs = PgOutputStore::new(&db.db()).with_hints(hints).with_poll(Duration::from_secs(3_600));
    let engine = engine(here);
    let worker = engine.worker().start().unwrap();
    let handle = engine.start(REPORT, &20).await.unwrap();
    assert_eq!(read(&there, handle.id()).await.len(), 40);
    worker.stop().await.unwrap();
}

const LEDGER: Workflow<(), (), String> = Workflow::new("ledger");

async fn ledger(cx: Cx, (): ()) -> WorkflowResult<(), String> {
    cx.emit("progress", "noted").await;
    cx.tx("note", async |db: &Db<'_>| Ok::<_, TxError<String>>(db.exec("SELECT 1", &[]).await?)).await?;
    // No later commit could wake anybody.
    std::future::pending().await
}

#[tokio::test(flavor = "multi_thread")]
async fn the_transaction_of_a_step_wakes_the_readers_of_another_process() {
    // It would be found by polling only after an hour.
    let db = TestDb::new().await;
    let here = PgStores::connect(db.url(), PgStoreOptions::default()).unwrap();
    let hints = Hints::new(None, Some(db.settings().clone()), db.names().clone());
    let mut there = here.clone();
    there.outputs = PgOutputStore::new(&db.db()).with_hints(hints).with_poll(Duration::from_secs(3_600));
    let engine = Engine::builder(here).register(LEDGER, ledger).build().unwrap();
    let handle = engine.start(LEDGER, &()).await.unwrap();
    let stream = OutputStream::of(handle.id(), "progress");
    let mut chunks = there.outputs.read(&stream, 0);
    let worker = engine.worker().start().unwrap();
    assert_eq!(chunks.try_next().await.unwrap().unwrap().data, "noted");
    drop(worker);
}
