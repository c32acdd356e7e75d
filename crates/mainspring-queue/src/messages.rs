//! Messages found, changed, called off, brought back.

use std::time::SystemTime;

use mainspring_core::{
    Available, BlockedKey, Error, MessageId, MessageQuery, MessageStatus, MessageUpdate, NewMessage, Policy,
    Pushed, Redrive, Redriven, Result, StoredMessage, Target, Timestamp, Which, limits,
    queue::check_messages, trace,
};
use mainspring_pg::{
    Query, Row,
    row::{count, get, object, time, to_json, typed},
};
use serde_json::Value;
use tracing::Instrument;

use crate::{
    PgQueue,
    push::{Push, pushed},
    row::{Own, micros},
    spans,
};

const FIND: &str = include_str!("sql/find.sql");

const MISSING: &str =
    "SELECT n FROM unnest($1::text[]) n WHERE NOT EXISTS (SELECT FROM {queues} q WHERE q.name = n) LIMIT 1";

const END: &str =
    "WITH e AS MATERIALIZED (SELECT id FROM {end_messages}($1, $2, $3, $4) AS e(id)) SELECT id FROM e";

const REVIVE: &str = "WITH r AS MATERIALIZED (SELECT id FROM {revive}($1, $2, $3) AS r(id)) SELECT id FROM r";

const EMPTY: &str =
    "WITH e AS MATERIALIZED (SELECT n FROM {empty_queue}($1, $2, $3, $4) AS e(n)) SELECT n FROM e";

const CHANGE: &str = "WITH target AS MATERIALIZED (
    SELECT ARRAY(SELECT w.id FROM {waiting_of_key}($1, $2) w
      ORDER BY CASE $3 WHEN 'newest' THEN -w.seq ELSE w.seq END LIMIT CASE $3 WHEN 'all' THEN NULL ELSE 1 END) || $4::text[] AS ids
  ), q AS MATERIALIZED (
    SELECT coalesce($10::timestamptz, {now}() + coalesce($11::bigint, CASE WHEN $12 THEN coalesce((x.options->>'delay_us')::bigint, 0) END)
      * interval '1 microsecond') AS due FROM {queues} x WHERE x.name = $1
  ), changed AS MATERIALIZED (
    SELECT c.id FROM target t, q CROSS JOIN LATERAL {change_messages}($1, t.ids, $5, $6, $7, $8, $9, q.due) AS c(id)
  ) SELECT id FROM changed";

const REDRIVE: &str =
    "WITH r AS MATERIALIZED (SELECT * FROM {redrive}($1, $2, $3, $4)) SELECT moved, skipped FROM r";

const BLOCKED: &str = "SELECT d.key, d.id, d.dead_at, (SELECT count(*) FROM {held} h WHERE h.queue = d.queue AND h.gate = d.gate)
  FROM {dead_letters} d WHERE d.queue = $1 AND d.placed ORDER BY d.key";

const ADMIT: &str =
    "WITH a AS MATERIALIZED (SELECT {admit}(name) FROM {queues} WHERE name = $1 AND gated) SELECT FROM a";

impl PgQueue<'_> {
    pub(crate) async fn push_known(&self, mut messages: Vec<NewMessage>) -> Result<Vec<Pushed>> {
        check_messages(&messages)?;
        let span = spans::push(&messages);
        span.in_scope(|| trace::stamp(messages.iter_mut().map(|message| &mut message.headers)));
        let names: Vec<&str> = messages.iter().map(|message| message.queue.as_str()).collect();
        if let Some(row) = self.db.opt(MISSING, &[&names]).await? {
            return Err(Error::not_found("queue", get::<&str>(&row, 0)?));
        }
        self.push_all(&messages).instrument(span).await
    }

    pub(crate) async fn upsert(&self, mut message: NewMessage) -> Result<Pushed> {
        message.check()?;
        let span = spans::push(std::slice::from_ref(&message));
        span.in_scope(|| trace::stamp([&mut message.headers]));
        self.existing(&message.queue).await?;
        if message.key.is_none() {
            return Err(Error::invalid("message.key", "an upsert needs one"));
        }
        if !message.depends_on.is_empty() {
            return Err(Error::invalid("message.depends_on", "an upsert waits for nothing"));
        }
        let queries = vec![Push::upsert(&message)];
        let answers = self.db.together(queries).instrument(span).await?;
        let queue = message.queue.clone();
        let (mut pushed, held) = pushed(&[message], &[vec![0]], &answers)?;
        if held && !self.db.in_transaction() {
            self.db.all(ADMIT, &[&queue]).await?;
        }
        self.notify([queue.as_str()]);
        pushed.pop().ok_or_else(|| Error::internal("an upsert has no answer"))
    }

    pub(crate) async fn find(&self, queue: &str, query: MessageQuery) -> Result<Vec<StoredMessage>> {
        query.check()?;
        let ids: Option<Vec<String>> =
            (!query.ids.is_empty()).then(|| query.ids.iter().map(ToString::to_string).collect());
        let statuses: Vec<&str> = match query.statuses.is_empty() {
            true => MessageStatus::ALL.iter().map(|status| status.as_str()).collect(),
            false => query.statuses.iter().map(|status| status.as_str()).collect(),
        };
        let limit = i64::from(if query.limit == 0 { 100 } else { query.limit });
        let rows = self
            .db
            .all(FIND, &[&queue, &ids, &query.key, &query.data, &statuses, &limit, &query.before])
            .await?;
        rows.iter().map(|row| stored_from_row(queue, row)).collect()
    }

    pub(crate) async fn change(&self, queue: &str, target: Target, update: MessageUpdate) -> Result<u64> {
        update.check()?;
        self.existing(queue).await?;
        let (key, which, ids) = match target {
            Target::Id(id) => (None, "all", vec![id.to_string()]),
            Target::Newest(key) => (Some(key), "newest", Vec::new()),
            Target::Oldest(key) => (Some(key), "oldest", Vec::new()),
            Target::Key(key) => (Some(key), "all", Vec::new()),
        };
        let options =
            to_json(Some(&update.options)).filter(|options| *options != Value::Object(Default::default()));
        let query = Query::new(CHANGE)
            .bind(queue.to_owned())
            .bind(key)
            .bind(which)
            .bind(ids)
            .bind(update.data)
            .bind(update.headers.map(Value::Object))
            .bind(update.priority)
            .bind(update.max_attempts.map(|n| i32::try_from(n).unwrap_or(i32::MAX)))
            .bind(options)
            .bind(match update.available {
                Some(Available::At(at)) => Some(SystemTime::from(at)),
                _ => None,
            })
            .bind(match update.available {
                Some(Available::Now) => Some(0),
                Some(Available::After(delay)) => Some(micros(delay)),
                _ => None,
            })
            .bind(update.available == Some(Available::Default));
        let changed = self.db.run(query).await?.len() as u64;
        if changed > 0 {
            self.notify([queue]);
        }
        Ok(changed)
    }

    /// Verdicts: `cancel`, `done`, `drop`.
    pub(crate) async fn end(
        &self,
        queue: &str,
        ids: &[MessageId],
        verdict: &str,
        output: Option<Value>,
    ) -> Result<Vec<MessageId>> {
        if let Some(output) = &output {
            limits::check_json("output", output)?;
        }
        let ids: Vec<&str> = ids.iter().map(MessageId::as_str).collect();
        let ended = ids_of(&self.db.all(END, &[&queue, &ids, &verdict, &output]).await?)?;
        if !ended.is_empty() {
            self.notify([queue]); // somebody may have been admitted
        }
        Ok(ended)
    }

    pub(crate) async fn revive(&self, queue: &str, ids: &[MessageId], from: &str) -> Result<Vec<MessageId>> {
        let ids: Vec<&str> = ids.iter().map(MessageId::as_str).collect();
        let revived = ids_of(&self.db.all(REVIVE, &[&queue, &ids, &from]).await?)?;
        self.notify([queue]);
        Ok(revived)
    }

    pub(crate) async fn remove(&self, queue: &str, which: Which) -> Result<u64> {
        let (waiting, claimed, ended) = match which {
            Which::Ids(ids) => return Ok(self.end(queue, &ids, "drop", None).await?.len() as u64),
            Which::Queued => (true, false, false),
            Which::Stored => (false, false, true),
            Which::All => (true, true, true),
        };
        let row = self.db.one(EMPTY, &[&queue, &waiting, &claimed, &ended]).await?;
        Ok(u64::try_from(get::<i64>(&row, 0)?).unwrap_or(0))
    }

    pub(crate) async fn redrive_now(&self, queue: &str, redrive: Redrive) -> Result<Redriven> {
        let limit = i32::try_from(redrive.limit()?).unwrap_or(i32::MAX);
        self.existing(queue).await?;
        let row = self.db.one(REDRIVE, &[&queue, &redrive.to, &redrive.from, &limit]).await?;
        let count = |index| get::<i64>(&row, index).map(|n| u64::try_from(n).unwrap_or(0));
        let done = Redriven { moved: count(0)?, skipped: count(1)? };
        if done.moved > 0 {
            self.notify(redrive.to.as_deref().or(redrive.from.as_deref()));
        }
        Ok(done)
    }

    pub(crate) async fn blocked(&self, queue: &str) -> Result<Vec<BlockedKey>> {
        self.existing_with(queue, Policy::KeyStrictFifo).await?;
        let rows = self.db.all(BLOCKED, &[&queue]).await?;
        let blocked = |row: &Row| {
            Ok(BlockedKey {
                key: get::<Option<String>>(row, 0)?.unwrap_or_default(),
                by: MessageId::from_stored(get(row, 1)?),
                since: get::<SystemTime>(row, 2)?.into(),
                waiting: u64::try_from(get::<i64>(row, 3)?).unwrap_or(0),
            })
        };
        rows.iter().map(blocked).collect()
    }
}

fn ids_of(rows: &[Row]) -> Result<Vec<MessageId>> {
    rows.iter().map(|row| Ok(MessageId::from_stored(get(row, 0)?))).collect()
}

/// Reads the rows of `find.sql`.
fn stored_from_row(queue: &str, row: &Row) -> Result<StoredMessage> {
    let own = typed::<Own>(row, 20)?.unwrap_or_default();
    let (origin, group, options) = own.into_parts();
    Ok(StoredMessage {
        status: get::<&str>(row, 0)?.parse()?,
        seq: get(row, 6)?,
        available_at: time(row, 1)?,
        finished_at: time(row, 2)?,
        output: get(row, 3)?,
        reason: typed(row, 4)?,
        failures: count(row, 7)?,
        lost: count(row, 8)?,
        delays: count(row, 9)?,
        created_at: Timestamp::from(get::<SystemTime>(row, 11)?),
        origin,
        message: NewMessage {
            id: MessageId::from_stored(get(row, 12)?),
            queue: queue.to_owned(),
            tenant: get(row, 13)?,
            message_type: get(row, 14)?,
            source: get(row, 15)?,
            subject: get(row, 16)?,
            to: get(row, 17)?,
            data: get(row, 18)?,
            headers: object(row, 19)?,
            priority: Some(get(row, 5)?),
            available: Available::Default,
            max_attempts: Some(count(row, 10)?),
            key: get(row, 21)?,
            group,
            depends_on: typed(row, 22)?.unwrap_or_default(),
            options,
        },
    })
}
