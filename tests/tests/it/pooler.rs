//! Everything through a pooler in transaction mode (fault F41): every transaction may meet another connection of the server, no
//! setting of a session stays, no hint arrives.

use std::time::Duration;

use futures_util::{
    TryStreamExt,
    future::{join_all, try_join_all},
};
use mainspring::{
    Append, Backend, Chunk, ClaimRequest, EventStoreExt, NewEvent, NewMessage, OutputStore, OutputStream,
    PgStores, QueueStats, Settings, Settle, Settlement, WorkerId,
};
use mainspring_pg::Statements;
use mainspring_tests::{Bouncer, Lab, worker};
use serde_json::json;
use tokio::task::JoinSet;

/// Clients of each of two processes; the pooler has two connections.
const CLIENTS: usize = 6;

async fn engine_and_queue(lab: &Lab, way: &Settings) {
    let processes: Vec<_> = (0..2).map(|_| lab.engine_on(lab.stores_by(way, CLIENTS))).collect();
    let workers: Vec<_> = processes.iter().map(|engine| worker(engine).start().unwrap()).collect();
    let mut creating = JoinSet::new();
    for n in 0..20_usize {
        let engine = processes[n % 2].clone();
        creating.spawn(async move { engine.create("order", json!({})).await.unwrap().execution.id });
    }
    let ids = creating.join_all().await;
    lab.all_completed(&ids).await;
    for worker in workers {
        worker.stop().await.unwrap();
    }
    queue(&lab.stores_by(way, CLIENTS)).await;
    log(&lab.stores_by(way, CLIENTS)).await;
    transactions(&lab.stores_by(way, CLIENTS)).await;
    outputs(&lab.stores_by(way, CLIENTS), &lab.stores_by(way, CLIENTS)).await;
}

/// Claims and settlements of many at once.
async fn queue(stores: &PgStores<'static>) {
    let queue = stores.queue();
    let push = |n: usize| queue.push(vec![NewMessage::new("mail", "m", json!({"n": n}))]);
    try_join_all((0..60).map(push)).await.unwrap();
    // So many that they are copied.
    let many = (0..1_500).map(|n| NewMessage::new("bulk", "m", json!(n))).collect();
    queue.push(many).await.unwrap();
    assert_eq!(queue.stats("bulk").await.unwrap().ready, 1_500);
    let take = async || {
        let request = ClaimRequest {
            queue: "mail".into(),
            holder: WorkerId::generate(),
            lease: Duration::from_secs(30),
            max: 10,
            suspects: 1,
            select: mainspring::Select::default(),
        };
        let claimed = queue.claim(request).await.unwrap().deliveries;
        let settles = claimed.iter().map(|d| Settle::new(d.lease.clone(), Settlement::Done));
        let settled = queue.settle(settles.collect()).await.unwrap();
        assert!(settled.iter().all(Result::is_ok), "{settled:?}");
        claimed.len()
    };
    let mut taken = 0;
    while queue.stats("mail").await.unwrap() != QueueStats::default() {
        taken += join_all((0..4).map(|_| take())).await.into_iter().sum::<usize>();
    }
    assert_eq!(taken, 60);
}

/// Events that are copied, and read two pages at a time.
async fn log(stores: &PgStores<'static>) {
    let events = (0..4_500).map(|n| NewEvent::new("Moved", json!(n))).collect();
    let imported = stores.events.import([Append::to("moved", events)]).await.unwrap();
    assert_eq!((imported.events, imported.streams), (4_500, 1));
    let read = stores.events.read("moved").all().await.unwrap();
    assert!(read.events.iter().map(|event| event.position).eq(1..=4_500));
}

/// A transaction of the caller's, committed and given up, and statements of its own in it.
async fn transactions(stores: &PgStores<'static>) {
    for kept in [true, false] {
        let pushed = stores.db().with_tx(async |tx: &mainspring::Db<'_>| {
            let here = stores.queue.on(tx);
            mainspring::QueueDriver::push(&here, vec![NewMessage::new("kept", "m", json!(1))]).await?;
            if kept { Ok(()) } else { Err(mainspring::Error::internal("given up")) }
        });
        assert_eq!(pushed.await.is_ok(), kept);
    }
    assert_eq!(stores.queue().stats("kept").await.unwrap().ready, 1);
}

/// W38, W39: readers of one process, writers of another, and no hint between them.
async fn outputs(here: &PgStores<'static>, there: &PgStores<'static>) {
    let stream = |n: usize| OutputStream::named(format!("s{}", n % 3));
    let readers = join_all((0..6).map(|n| here.outputs.read(&stream(n), 0).try_collect::<Vec<Chunk>>()));
    let writes = async {
        try_join_all((0..90).map(|n| {
            let stream = stream(n);
            async move { there.outputs.write(&stream, n.to_string().into()).await }
        }))
        .await
        .unwrap();
        let written = there.db().with_tx(async |tx: &mainspring::Db<'_>| {
            there.outputs.on(tx).write_many(&stream(0), vec!["a".into(), "b".into()]).await
        });
        assert_eq!(written.await.unwrap(), Some(30));
        for n in 0..3 {
            assert!(there.outputs.close(&stream(n)).await.unwrap());
        }
    };
    let (read, ()) = tokio::join!(readers, writes);
    for (n, chunks) in read.into_iter().enumerate() {
        let chunks = chunks.unwrap();
        assert_eq!(chunks.len(), if n % 3 == 0 { 32 } else { 30 });
        assert!(chunks.iter().zip(0..).all(|(chunk, index)| chunk.index == index));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn everything_works_through_a_pooler_that_knows_no_names_of_statements() {
    // fault F41
    let lab = Lab::new().await;
    let Some(bouncer) = Bouncer::start(&lab).await else { return };
    engine_and_queue(&lab, &bouncer.way(Statements::Unnamed)).await;
    // Nothing was left behind on the connections that others use next.
    let left = "SELECT 1 / (count(*) = 0)::int FROM pg_prepared_statements";
    let session = bouncer.way(Statements::Unnamed).connect().await.unwrap();
    for _ in 0..8 {
        session.simple_query(left).await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn everything_works_through_a_pooler_that_knows_the_names_of_statements() {
    // fault F41
    let lab = Lab::new().await;
    let Some(bouncer) = Bouncer::start(&lab).await else { return };
    if bouncer.knows_names() {
        engine_and_queue(&lab, &bouncer.way(Statements::Named)).await;
        return;
    }
    // It does not, and what goes wrong then is told and kept from doing harm.
    let stores = lab.stores_by(&bouncer.way(Statements::Named), CLIENTS);
    let pushes = (0..40).map(|n| stores.queue().push(vec![NewMessage::new("mail", "m", json!(n))]));
    let failed = join_all(pushes).await.into_iter().filter_map(Result::err).collect::<Vec<_>>();
    assert!(failed.iter().all(|error| error.is_retryable() || error.is_commit_unknown()), "{failed:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn queues_that_hold_messages_back_keep_to_the_model_through_a_pooler() {
    // fault F41, Q20, Q28
    let lab = Lab::new().await;
    if Bouncer::start(&lab).await.is_none() {
        return;
    }
    let kept = std::sync::Mutex::new(Vec::new());
    let fresh = async || {
        let lab = Lab::new().await;
        let bouncer = Bouncer::start(&lab).await.unwrap();
        let stores = lab.stores_by(&bouncer.way(Statements::Unnamed), CLIENTS);
        let time = lab.db().clone();
        kept.lock().unwrap().push((lab, bouncer));
        (stores, time)
    };
    mainspring_testing::conformance::queue::random::suite(fresh, 1).await;
}
