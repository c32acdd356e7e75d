//! `queue.one`: ten handlers at once, nothing claimed ahead, one message at a time.

use std::sync::Arc;

use mainspring::{Settlement, Verdict, Worker, deliver_fn};

use super::{Bench, Cost, Line, Result, cost::Before, empty, fill};

const WORKERS: usize = 10;

pub async fn at_a_time(bench: &Bench) -> Result<()> {
    let messages = (bench.messages / 10).max(1_000);
    let (mut ours, mut floor) = (Vec::new(), Vec::new());
    for _ in 0..bench.rounds {
        floor.push(drain_floor(bench, messages / 2).await?);
        empty(&bench.stores).await?;
        fill(&bench.stores, "one", messages).await?;
        let before = Before::now(bench).await?;
        let handler = deliver_fn(|_, _| async { Verdict::Settle(Settlement::Done) });
        let worker = Worker::new(Arc::new(bench.stores.queue.clone()), Arc::new(handler));
        assert_eq!(worker.queue("one").concurrency(WORKERS).drain().await?, messages as u64);
        ours.push(before.cost(bench, messages).await?);
    }
    let (ours, floor) = (Cost::median(&ours), Cost::median(&floor));
    let costs = Some((ours, floor));
    Line { bench: "queue.one", ours: ours.rate, floor: floor.rate, unit: "messages/s", costs }.print(bench);
    Ok(())
}

/// Ten clients that claim one and delete it, two commits.
async fn drain_floor(bench: &Bench, rows: usize) -> Result<Cost> {
    let fill = format!(
        "TRUNCATE floor.q; INSERT INTO floor.q (data) SELECT jsonb_build_object('n', g, 'to', 'user@example.com')
         FROM generate_series(1, {rows}) g; ANALYZE floor.q; CHECKPOINT"
    );
    let mut clients = vec![bench.floor.client().await?];
    clients[0].batch_execute(&fill).await?;
    for _ in 1..WORKERS {
        clients.push(bench.floor.client().await?);
    }
    let before = Before::now(bench).await?;
    let each = clients.into_iter().map(|client| async move {
        let claim = client
            .prepare(
                "UPDATE floor.q SET state = 1, locked_at = now() WHERE id = (SELECT id FROM floor.q
                 WHERE state = 0 ORDER BY id FOR UPDATE SKIP LOCKED LIMIT 1) RETURNING id, data",
            )
            .await?;
        let complete = client.prepare("DELETE FROM floor.q WHERE id = $1 AND state = 1").await?;
        while let Some(row) = client.query_opt(&claim, &[]).await? {
            client.execute(&complete, &[&row.get::<_, i64>(0)]).await?;
        }
        Ok::<_, tokio_postgres::Error>(())
    });
    futures_util::future::try_join_all(each).await?;
    before.cost(bench, rows).await
}
