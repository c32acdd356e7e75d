//! Receipts: written with what came of a message, looked at before the same is handled again.

use std::collections::HashSet;

use mainspring_core::{Receipt, Result};
use mainspring_pg::{Batch, Db, Query, Row, row::get};

use crate::{PgQueue, row::micros};

/// One whose time is over is as good as none. In order, so that two batches cannot wait for each other.
const WRITE: &str = "WITH c AS MATERIALIZED (SELECT {now}() AS at)
  INSERT INTO {receipts} AS r (queue, key, keep_until)
  SELECT u.queue, u.key, c.at + u.keep_us * interval '1 microsecond'
  FROM c, unnest($1::text[], $2::text[], $3::bigint[]) AS u(queue, key, keep_us)
  ORDER BY u.queue COLLATE \"C\", u.key COLLATE \"C\"
  ON CONFLICT (queue, key) DO UPDATE SET keep_until = excluded.keep_until
    WHERE r.keep_until <= (SELECT at FROM c)
  RETURNING queue, key";

/// Each by its index, however many there are.
const HAS: &str = "SELECT EXISTS (
    SELECT FROM {receipts} r WHERE r.queue = u.queue AND r.key = u.key AND r.keep_until > {now}())
  FROM unnest($1::text[], $2::text[]) WITH ORDINALITY AS u(queue, key, n) ORDER BY u.n";

pub(crate) const FORGET: &str = "DELETE FROM {receipts} WHERE queue = $1";

/// The statement that writes receipts and answers which there were not.
pub fn receipt_query(receipts: &[&Receipt]) -> Query {
    let column = |of: fn(&Receipt) -> &str| receipts.iter().map(|r| of(r).to_owned()).collect::<Vec<_>>();
    Query::new(WRITE)
        .bind(column(|r| &r.queue))
        .bind(column(|r| &r.key))
        .bind(receipts.iter().map(|r| micros(r.keep)).collect::<Vec<_>>())
}

/// Queue and key of the receipts that were written.
///
/// # Errors
/// Internal, when the rows are not of that statement.
pub fn decode_receipts(rows: &[Row]) -> Result<HashSet<(String, String)>> {
    rows.iter().map(|row| Ok((get(row, 0)?, get(row, 1)?))).collect()
}

/// Receipts that many tasks look for at the same time.
pub(crate) struct Receipts(pub(crate) Db<'static>);

impl Batch for Receipts {
    type Wish = (String, String);
    type Answer = bool;
    const MOST: usize = 1_000;

    fn weight(_: &(String, String)) -> usize {
        1
    }

    async fn run(&self, wishes: &[(String, String)]) -> Result<Vec<bool>> {
        has(&self.0, wishes).await
    }
}

/// Which of these there are, in order.
async fn has(db: &Db<'_>, receipts: &[(String, String)]) -> Result<Vec<bool>> {
    let (queues, keys): (Vec<String>, Vec<String>) = receipts.iter().cloned().unzip();
    db.all(HAS, &[&queues, &keys]).await?.iter().map(|row| get(row, 0)).collect()
}

impl PgQueue<'_> {
    pub(crate) async fn receipt(&self, queue: &str, key: &str) -> Result<bool> {
        let wish = (queue.to_owned(), key.to_owned());
        match &self.receipts {
            Some(shared) => shared.ask(wish).await,
            None => Ok(has(&self.db, &[wish]).await?.first().copied().unwrap_or(false)),
        }
    }
}
