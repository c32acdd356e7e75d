//! Whether every message can be read, wherever it is and whether or not its queue was created.

use mainspring_core::{Failure, Result};
use mainspring_pg::{
    Query, Row,
    row::{get, typed},
};

use crate::{PgQueue, row::delivery_from_row};

/// Rows of one look.
const PAGE: i64 = 200;

/// As [`delivery_from_row`] reads them, in the order of a key that has an index.
macro_rules! rows {
    ($table:literal, $counts:literal, $managed:literal, $reason:literal, $lane:literal) => {
        concat!(
            "SELECT priority, seq, 0::bigint, ",
            $counts,
            ", max_attempts, created_at, id, tenant, type, source, subject, recipient, data, headers, NULL, ",
            $managed,
            ", key, options, NULL::bigint, NULL::bigint, queue, ",
            $reason,
            " FROM ",
            $table,
            " WHERE ",
            $lane,
            "seq > $1 ORDER BY seq LIMIT $2"
        )
    };
    ($table:literal) => {
        rows!($table, "failures, lost, delays", "managed", "NULL::jsonb", "")
    };
}

const MESSAGES: &str = rows!(
    "{messages}",
    "failures, lost, delays",
    "managed",
    "NULL::jsonb",
    "queue = $3 AND priority = $4 AND "
);

const LANES: &str = "SELECT DISTINCT queue, priority FROM {messages}";

const OTHERS: [(&str, &str); 5] = [
    ("deferred", rows!("{deferred}")),
    ("held", rows!("{held}")),
    ("blocked", rows!("{blocked}", "0, 0, 0", "true", "NULL::jsonb", "")),
    ("finished", rows!("{finished}")),
    ("dead_letters", rows!("{dead_letters}", "failures, lost, delays", "managed", "reason", "")),
];

impl PgQueue<'_> {
    /// Reads every message, a page at a time, and says which cannot be read: the table and a sentence for each.
    ///
    /// # Errors
    /// Those of the database.
    pub async fn check_messages(&self) -> Result<Vec<(&'static str, String)>> {
        let mut found = Vec::new();
        for lane in self.db.all(LANES, &[]).await? {
            let (queue, priority): (String, i16) = (get(&lane, 0)?, get(&lane, 1)?);
            let page = |after| Query::new(MESSAGES).bind(after).bind(PAGE).bind(queue.clone()).bind(priority);
            self.check_rows("messages", page, &mut found).await?;
        }
        for (table, sql) in OTHERS {
            self.check_rows(table, |after| Query::new(sql).bind(after).bind(PAGE), &mut found).await?;
        }
        Ok(found)
    }

    async fn check_rows(
        &self,
        table: &'static str,
        page: impl Fn(i64) -> Query,
        found: &mut Vec<(&'static str, String)>,
    ) -> Result<()> {
        let mut after = i64::MIN;
        loop {
            let rows = self.db.run(page(after)).await?;
            for row in &rows {
                after = get(row, 1)?;
                if let Err(error) = check(row) {
                    let id = get::<String>(row, 8).unwrap_or_default();
                    found.push((table, format!("message {}: {error}", id.escape_debug())));
                }
            }
            if rows.is_empty() {
                return Ok(());
            }
        }
    }
}

fn check(row: &Row) -> Result<()> {
    delivery_from_row(get(row, 22)?, row)?;
    typed::<Failure>(row, 23).map(drop)
}
