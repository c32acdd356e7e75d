//! Queues as rows.

use std::time::SystemTime;

use mainspring_core::{
    Error, Policy, Queue, QueueCreated, QueueFilter, QueueOptions, Result, execution::page_size, limits,
};
use mainspring_pg::{
    Query, Row,
    row::{get, to_json, typed, unreadable},
};

use crate::{PgQueue, receipt::FORGET};

const COLUMNS: &str = "name, options, paused, created_at, updated_at";

/// The queue and the one for its dead letters; that one with the defaults, and only when it is missing.
const CREATE: &str = "WITH c AS MATERIALIZED (SELECT {now}() AS at), dead AS (
    INSERT INTO {queues} (name, options, created_at, updated_at) SELECT $3, $4, c.at, c.at FROM c WHERE $3::text IS NOT NULL
    ON CONFLICT DO NOTHING
  ), bucket AS (
    INSERT INTO {rates} (queue, tokens, at) SELECT $1, ($2::jsonb->'rate'->>'count')::float8, c.at FROM c WHERE $2::jsonb ? 'rate'
    ON CONFLICT DO NOTHING
  )
  INSERT INTO {queues} (name, options, created_at, updated_at) SELECT $1, $2, c.at, c.at FROM c
  ON CONFLICT DO NOTHING RETURNING name, options, paused, created_at, updated_at";

/// Nothing for another policy.
const UPDATE: &str = "WITH c AS MATERIALIZED (SELECT {now}() AS at), dead AS (
    INSERT INTO {queues} (name, options, created_at, updated_at) SELECT $3, $4, c.at, c.at FROM c WHERE $3::text IS NOT NULL
    ON CONFLICT DO NOTHING
  ), bucket AS (
    INSERT INTO {rates} (queue, tokens, at) SELECT $1, ($2::jsonb->'rate'->>'count')::float8, c.at FROM c WHERE $2::jsonb ? 'rate'
    ON CONFLICT (queue) DO UPDATE SET tokens = excluded.tokens, at = excluded.at
  )
  UPDATE {queues} q SET options = $2, updated_at = c.at FROM c WHERE q.name = $1 AND (q.policy = $2->>'policy' OR $5)
  RETURNING q.name, q.options, q.paused, q.created_at, q.updated_at";

const PAUSE: &str =
    "UPDATE {queues} SET paused = $2 WHERE name = $1 RETURNING name, options, paused, created_at, updated_at";

const GET: &str = "SELECT name, options, paused, created_at, updated_at FROM {queues} WHERE name = $1";

const LIST: &str = "SELECT name, options, paused, created_at, updated_at FROM {queues}
  WHERE name > $1 AND starts_with(name, $2) AND ($3::text IS NULL OR policy = $3) AND ($4::boolean IS NULL OR paused = $4)
    AND ($5::text IS NULL OR options->>'dead_letter' = $5)
  ORDER BY name LIMIT $6";

const LOCK: &str = "SELECT name FROM {queues} WHERE name = $1 FOR UPDATE";

const IN_USE: &str = "SELECT (SELECT count(*) FROM {messages} WHERE queue = $1) + (SELECT count(*) FROM {deferred} WHERE queue = $1)
    + (SELECT count(*) FROM {held} WHERE queue = $1) + (SELECT count(*) FROM {blocked} WHERE queue = $1),
  (SELECT min(name) FROM {queues} WHERE options->>'dead_letter' = $1)";

const EMPTY: &str = "WITH e AS MATERIALIZED (SELECT {empty_queue}($1, true, true, true)) SELECT * FROM e";

const DELETE: &str =
    "WITH bucket AS (DELETE FROM {rates} WHERE queue = $1) DELETE FROM {queues} WHERE name = $1";

const OPEN: &str = "WITH o AS MATERIALIZED (SELECT {open_waiting}($1)) SELECT FROM o";

impl PgQueue<'_> {
    pub(crate) async fn create(&self, name: &str, options: QueueOptions) -> Result<QueueCreated> {
        limits::check_name("queue.name", name)?;
        options.check(name)?;
        loop {
            let rows = self.db.run(written(CREATE, name, &options)).await?;
            if let Some(row) = rows.first() {
                return Ok(QueueCreated {
                    queue: queue_from_row(row)?,
                    created: true,
                    differences: Vec::new(),
                });
            }
            if let Some(queue) = self.get(name).await? {
                let differences = queue.options.differences(&options);
                return Ok(QueueCreated { queue, created: false, differences });
            }
            // Deleted since: then it can be created.
        }
    }

    pub(crate) async fn update(&self, name: &str, options: QueueOptions) -> Result<Queue> {
        options.check(name)?;
        let queries =
            vec![written(UPDATE, name, &options).bind(false), Query::new(OPEN).bind(name.to_owned())];
        let answers = self.db.together(queries).await?;
        match answers.first().and_then(|rows| rows.first()) {
            Some(row) => {
                self.notify([name]);
                queue_from_row(row)
            }
            None => {
                let policy = self.existing(name).await?.options.policy.as_str();
                Err(Error::invalid("queue.policy", format!("is {policy} and cannot change")))
            }
        }
    }

    pub(crate) async fn recreate(&self, name: &str, options: QueueOptions) -> Result<Queue> {
        options.check(name)?;
        self.existing(name).await?;
        let queries = vec![
            Query::new(EMPTY).bind(name.to_owned()),
            Query::new(FORGET).bind(name.to_owned()),
            written(UPDATE, name, &options).bind(true),
        ];
        let answers = self.db.together(queries).await?;
        let row = answers.last().and_then(|rows| rows.first());
        row.map_or_else(|| Err(Error::not_found("queue", name)), queue_from_row)
    }

    pub(crate) async fn delete(&self, name: &str) -> Result<()> {
        let ended: Result<()> = self
            .db
            .with_tx(async |tx: &mainspring_pg::Db<'_>| {
                if tx.opt(LOCK, &[&name]).await?.is_none() {
                    return Err(Error::not_found("queue", name));
                }
                let row = tx.one(IN_USE, &[&name]).await?;
                let count: i64 = get(&row, 0)?;
                if count > 0 {
                    let problem = format!("queue `{name}` has {count} messages that have not ended");
                    return Err(Error::conflict(problem));
                }
                if let Some(user) = get::<Option<String>>(&row, 1)? {
                    let problem = format!("queue `{user}` sends its dead letters to `{name}`");
                    return Err(Error::conflict(problem));
                }
                tx.all(EMPTY, &[&name]).await?;
                tx.exec(FORGET, &[&name]).await?;
                tx.exec(DELETE, &[&name]).await?;
                Ok(())
            })
            .await;
        ended
    }

    pub(crate) async fn pause(&self, name: &str, paused: bool) -> Result<Queue> {
        let row = self.db.opt(PAUSE, &[&name, &paused]).await?;
        let row = row.ok_or_else(|| Error::not_found("queue", name))?;
        self.notify([name]);
        queue_from_row(&row)
    }

    pub(crate) async fn get(&self, name: &str) -> Result<Option<Queue>> {
        self.db.opt(GET, &[&name]).await?.as_ref().map(queue_from_row).transpose()
    }

    pub(crate) async fn list(&self, filter: QueueFilter) -> Result<Vec<Queue>> {
        let QueueFilter { prefix, policy, paused, dead_letter, after, limit } = filter;
        let (after, prefix) = (after.unwrap_or_default(), prefix.unwrap_or_default());
        let policy = policy.map(Policy::as_str);
        let rows =
            self.db.all(LIST, &[&after, &prefix, &policy, &paused, &dead_letter, &page_size(limit)?]).await?;
        rows.iter().map(queue_from_row).collect()
    }

    pub(crate) async fn existing(&self, name: &str) -> Result<Queue> {
        self.get(name).await?.ok_or_else(|| Error::not_found("queue", name))
    }

    pub(crate) async fn existing_with(&self, name: &str, policy: Policy) -> Result<()> {
        match self.existing(name).await?.options.policy {
            has if has == policy => Ok(()),
            has => {
                Err(Error::invalid("queue.policy", format!("is {}, not {}", has.as_str(), policy.as_str())))
            }
        }
    }
}

fn written(sql: &'static str, name: &str, options: &QueueOptions) -> Query {
    Query::new(sql)
        .bind(name.to_owned())
        .bind(to_json(Some(options)))
        .bind(options.dead_letter.clone())
        .bind(to_json(Some(&QueueOptions::default())))
}

fn queue_from_row(row: &Row) -> Result<Queue> {
    debug_assert_eq!(row.len(), COLUMNS.split(", ").count());
    Ok(Queue {
        name: get(row, 0)?,
        options: typed(row, 1)?.ok_or_else(|| unreadable(row, 1))?,
        paused: get(row, 2)?,
        created_at: get::<SystemTime>(row, 3)?.into(),
        updated_at: get::<SystemTime>(row, 4)?.into(),
    })
}
