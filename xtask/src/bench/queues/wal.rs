//! `queue.wal`: the log of a message from its push to its end, in a queue that is filled and emptied all the time.
//!
//! Not part of it are the images of pages that are changed for the first time after a checkpoint, which `queue.drain` counts:
//! there every page was written before the checkpoint. How much they are depends on how long messages lie and how often
//! checkpoints come.

use super::{Bench, Cost, Line, Result, batch, cost::Before, drain::quick, empty};
use mainspring::QueueDriver;

const QUEUE: &str = "wal";
const MESSAGES: usize = 10_000;

pub async fn run(bench: &Bench) -> Result<()> {
    let (mut ours, mut floor) = (Vec::new(), Vec::new());
    for _ in 0..bench.rounds {
        let client = bench.floor.client().await?;
        client.batch_execute("TRUNCATE floor.q; CHECKPOINT").await?;
        through_floor(&client).await?;
        let before = Before::now(bench).await?;
        through_floor(&client).await?;
        floor.push(before.cost(bench, MESSAGES).await?);

        empty(&bench.stores).await?;
        bench.stores.db().exec("CHECKPOINT", &[]).await?;
        through(bench).await?;
        let before = Before::now(bench).await?;
        through(bench).await?;
        ours.push(before.cost(bench, MESSAGES).await?);
    }
    let (ours, floor) = (Cost::median(&ours), Cost::median(&floor));
    let (unit, costs) = ("bytes of log a message, in and out", Some((ours, floor)));
    Line { bench: "queue.wal", ours: ours.wal, floor: floor.wal, unit, costs }.print(bench);
    Ok(())
}

async fn through(bench: &Bench) -> Result<()> {
    for _ in (0..MESSAGES).step_by(1_000) {
        bench.stores.queue.push(batch(QUEUE, 1_000)).await?;
    }
    assert_eq!(quick(&bench.stores, QUEUE).drain().await?, MESSAGES as u64);
    Ok(())
}

/// Insert, claim and delete, 1,000 at a time, a commit each.
async fn through_floor(client: &tokio_postgres::Client) -> Result<()> {
    const ROUND: &str =
        "INSERT INTO floor.q (data) SELECT jsonb_build_object('n', g, 'to', 'user@example.com')
        FROM generate_series(1, 1000) g";
    const CLAIM: &str =
        "UPDATE floor.q SET state = 1, locked_at = now() WHERE id = ANY (ARRAY(SELECT id FROM floor.q
        WHERE state = 0 ORDER BY id FOR UPDATE SKIP LOCKED LIMIT 1000))";
    for _ in (0..MESSAGES).step_by(1_000) {
        client.execute(ROUND, &[]).await?;
    }
    while client.execute(CLAIM, &[]).await? > 0 {
        client.execute("DELETE FROM floor.q WHERE state = 1", &[]).await?;
    }
    Ok(())
}
