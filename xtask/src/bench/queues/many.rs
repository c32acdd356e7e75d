//! `queue.backlog`: claims from a million queued messages; `queue.many`: 200 queues on one pool against one.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use mainspring::{ClaimRequest, QueueDriver, Settle, Settlement, Verdict, Worker, WorkerId, deliver_fn};

use super::{Bench, Line, Result, batch, cost::Before, drain::quick, empty, fill, percentile};

pub async fn backlog(bench: &Bench) -> Result<()> {
    let queued = bench.messages * 10;
    backlog_of(bench, 20_000).await?;
    let mut few = claims(bench).await?;
    backlog_of(bench, queued).await?;
    let mut many = claims(bench).await?;
    let (ours, floor) = (percentile(&mut many, 0.99), percentile(&mut few, 0.99));
    let unit = format!("ms, p99 of a claim of 10 with {queued} queued; floor: with 20000");
    Line { bench: "queue.backlog", ours, floor, unit: &unit, costs: None }.print(bench);
    empty(&bench.stores).await
}

/// A queue of so many, made by the server, which takes a tenth of the time of pushes.
async fn backlog_of(bench: &Bench, count: usize) -> Result<()> {
    empty(&bench.stores).await?;
    let fill = "INSERT INTO {messages} (queue, priority, max_attempts, created_at, id, tenant, type, data)
      SELECT 'backlog', 0, 3, now(), 'msg_' || g, '', 'bench', jsonb_build_object('n', g, 'to', 'user@example.com')
      FROM generate_series(1, $1::bigint) g";
    bench.stores.db().exec(fill, &[&i64::try_from(count)?]).await?;
    bench.stores.db().exec("ANALYZE {messages}", &[]).await?;
    bench.stores.db().exec("CHECKPOINT", &[]).await?;
    Ok(())
}

/// How long 1,000 claims of ten took, in milliseconds.
async fn claims(bench: &Bench) -> Result<Vec<f64>> {
    let holder = WorkerId::generate();
    let mut took = Vec::new();
    for _ in 0..1_000 {
        let request = ClaimRequest {
            queue: "backlog".into(),
            holder: holder.clone(),
            lease: Duration::from_secs(30),
            max: 10,
            suspects: 1,
            select: mainspring::Select::default(),
        };
        let before = Instant::now();
        let claimed = bench.stores.queue.claim(request).await?;
        took.push(before.elapsed().as_secs_f64() * 1e3);
        let done = |lease| Settle::new(lease, Settlement::Done);
        bench.stores.queue.settle(claimed.deliveries.into_iter().map(|d| done(d.lease)).collect()).await?;
    }
    Ok(took)
}

pub async fn queues(bench: &Bench) -> Result<()> {
    const QUEUES: usize = 200;
    let each = bench.messages / QUEUES;
    let (mut ours, mut floor) = (Vec::new(), Vec::new());
    for _ in 0..bench.rounds {
        empty(&bench.stores).await?;
        fill(&bench.stores, "one", each * QUEUES).await?;
        let before = Before::now(bench).await?;
        quick(&bench.stores, "one").drain().await?;
        floor.push(before.cost(bench, each * QUEUES).await?.rate);

        empty(&bench.stores).await?;
        for n in 0..QUEUES {
            bench.stores.queue.push(batch(&format!("many{n}"), each)).await?;
        }
        bench.stores.db().exec("ANALYZE {messages}", &[]).await?;
        bench.stores.db().exec("CHECKPOINT", &[]).await?;
        let before = Before::now(bench).await?;
        let workers = (0..QUEUES).map(|n| {
            let handler = deliver_fn(|_, _| async { Verdict::Settle(Settlement::Done) });
            let worker = Worker::new(Arc::new(bench.stores.queue.clone()), Arc::new(handler));
            worker.queue(format!("many{n}")).concurrency(1).prefetch(1_000).drain()
        });
        let drained = futures_util::future::try_join_all(workers).await?;
        assert_eq!(drained.iter().sum::<u64>(), (each * QUEUES) as u64);
        ours.push(before.cost(bench, each * QUEUES).await?.rate);
    }
    let (ours, floor) = (super::median(ours), super::median(floor));
    let unit = "messages/s from 200 queues; floor: from one";
    Line { bench: "queue.many", ours, floor, unit, costs: None }.print(bench);
    Ok(())
}
