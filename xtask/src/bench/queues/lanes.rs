//! `queue.lanes`: another way to keep a queue, by hand and as fast as it goes, against our drain: whoever owns a lane is its only
//! reader, so a message is not claimed but read from a cursor in memory, and the end of a batch and the beginning of the next
//! are one commit, with a receipt for what is in hand. See `docs/decisions/013-lanes-or-rows.md`.

use std::sync::Arc;

use tokio::try_join;
use tokio_postgres::Client;

use super::{BATCH, Bench, Cost, Line, Result, cost::Before, drain};

const LANES: i16 = 2;

const TABLES: &str = "
DROP SCHEMA IF EXISTS lanes CASCADE; CREATE SCHEMA lanes;
CREATE TABLE lanes.lane (lane smallint PRIMARY KEY, owner text NOT NULL, epoch bigint NOT NULL);
INSERT INTO lanes.lane VALUES (0, 'me', 1), (1, 'me', 1);
CREATE TABLE lanes.ready (lane smallint NOT NULL, xid xid8 NOT NULL DEFAULT pg_current_xact_id(),
  seq bigint GENERATED ALWAYS AS IDENTITY, attempt smallint NOT NULL DEFAULT 0, id text NOT NULL, tenant text NOT NULL,
  type text NOT NULL, created_at timestamptz NOT NULL, data jsonb NOT NULL, PRIMARY KEY (lane, xid, seq));
CREATE TABLE lanes.receipt (rid bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, lane smallint NOT NULL, seqs bigint[] NOT NULL);";

pub async fn run(bench: &Bench) -> Result<()> {
    let (mut lanes, mut ours) = (Vec::new(), Vec::new());
    for _ in 0..bench.rounds {
        ours.push(drain::drain(bench).await?);
        lanes.push(by_lanes(bench).await?);
    }
    let (lanes, ours) = (Cost::median(&lanes), Cost::median(&ours));
    let (unit, costs) = ("messages/s by lanes; floor: our drain", Some((lanes, ours)));
    Line { bench: "queue.lanes", ours: lanes.rate, floor: ours.rate, unit, costs }.print(bench);
    Ok(())
}

async fn by_lanes(bench: &Bench) -> Result<Cost> {
    let count = bench.messages;
    let client = bench.floor.client().await?;
    client.batch_execute(TABLES).await?;
    for lane in 0..LANES {
        let fill = format!(
            "INSERT INTO lanes.ready (lane, id, tenant, type, created_at, data)
             SELECT {lane}, 'msg_' || lpad(to_hex(g), 26, '0'), 'default', 'bench', clock_timestamp(),
                    jsonb_build_object('n', g, 'to', 'user@example.com')
             FROM generate_series(1, {}) g",
            count / LANES as usize
        );
        client.batch_execute(&fill).await?;
    }
    client.batch_execute("ANALYZE lanes.ready; CHECKPOINT").await?;
    let clients = [Arc::new(client), Arc::new(bench.floor.client().await?)];
    let before = Before::now(bench).await?;
    let owners = (0..LANES).zip(clients).map(|(lane, client)| tokio::spawn(own(client, lane)));
    let mut drained = 0;
    for owner in owners.collect::<Vec<_>>() {
        drained += owner.await??;
    }
    assert_eq!(drained, count / LANES as usize * LANES as usize, "every message once");
    before.cost(bench, count).await
}

/// Reads one lane to its end; how many there were.
async fn own(client: Arc<Client>, lane: i16) -> std::result::Result<usize, tokio_postgres::Error> {
    for plan in ["enable_seqscan", "enable_bitmapscan", "enable_sort", "jit"] {
        client.batch_execute(&format!("SET {plan} = off")).await?;
    }
    let fence = "SELECT pg_advisory_xact_lock_shared(7, $1::smallint::int), (SELECT epoch FROM lanes.lane
        WHERE lane = $1 AND owner = 'me' AND epoch = 1)";
    let fence = client.prepare(fence).await?;
    // A guard the planner cannot use keeps it on the places of the rows.
    let end =
        "DELETE FROM lanes.ready WHERE ctid = ANY ($1::text[]::tid[]) AND coalesce(lane, 0::smallint) = $2";
    let end = client.prepare(end).await?;
    let settle = client.prepare("DELETE FROM lanes.receipt WHERE rid = $1").await?;
    // Both sides by their table: an alias of the output would be sorted by, as text.
    let next =
        "SELECT r.ctid::text, r.xid::text, r.seq, r.id, r.tenant, r.type, r.created_at, r.attempt, r.data
        FROM lanes.ready r WHERE r.lane = $1 AND (r.xid, r.seq) > ($2::text::xid8, $3)
          AND pg_visible_in_snapshot(r.xid, pg_current_snapshot()) ORDER BY r.xid, r.seq LIMIT $4";
    let next = client.prepare(next).await?;
    let receive =
        client.prepare("INSERT INTO lanes.receipt (lane, seqs) VALUES ($1, $2) RETURNING rid").await?;
    let (mut count, mut cursor, mut rid, mut rows) =
        (0, ("0".to_owned(), 0_i64), 0_i64, Vec::<String>::new());
    loop {
        let args: [&(dyn tokio_postgres::types::ToSql + Sync); 4] =
            [&lane, &cursor.0, &cursor.1, &(BATCH as i64)];
        let (_, fenced, ended, _, found) = try_join!(
            client.batch_execute("BEGIN"),
            async { client.query_one(&fence, &[&lane]).await },
            async { client.execute(&end, &[&rows, &lane]).await },
            async { client.execute(&settle, &[&rid]).await },
            client.query(&next, &args),
        )?;
        assert!(fenced.get::<_, Option<i64>>(1).is_some() && ended == rows.len() as u64, "the lane is ours");
        let seqs: Vec<i64> = found.iter().map(|row| row.get(2)).collect();
        let (receipt, ()) = try_join!(
            async { client.query_one(&receive, &[&lane, &seqs]).await },
            client.batch_execute("COMMIT"),
        )?;
        if found.is_empty() {
            return Ok(count);
        }
        rid = receipt.get(0);
        rows = found.iter().map(|row| row.get(0)).collect();
        for row in &found {
            cursor = (row.get(1), row.get(2));
            let _: (String, String, String) = (row.get(3), row.get(4), row.get(5));
            let _: (std::time::SystemTime, serde_json::Value) = (row.get(6), row.get(8));
        }
        count += found.len();
    }
}
