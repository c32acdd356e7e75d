//! Large pushes: what nobody has to look at goes in by COPY, the rest as ever, all in one transaction.
//!
//! A queue takes part when it was never created, or when its policy is the standard one; when one message of a push asks for
//! more than that, all those of its queue go the usual way, so that they stay in order.

use std::{
    collections::{HashMap, HashSet},
    time::{Duration, SystemTime},
};

use mainspring_core::{
    Available, NewMessage, Policy, Pushed, QueueOptions, Result, Timestamp,
    message::{DEFAULT_MAX_ATTEMPTS, DEFAULT_PRIORITY},
};
use mainspring_pg::{
    CopyRow, CopyType, Db,
    row::{get, time, typed, unreadable},
};
use serde_json::Value;

use crate::{
    PgQueue,
    push::{Push, pushed, queues},
};

/// A push of more messages than this is worth the round trips of a COPY.
pub(crate) const COPY_FROM: usize = 1_000;

/// The time, and which of the queues were created.
const KNOWN: &str = "SELECT (SELECT {now}()), q.name, q.options
  FROM (SELECT 1) AS one LEFT JOIN {queues} q ON q.name = ANY ($1)";

const READY: &str = "COPY {messages} (queue, priority, max_attempts, created_at, id, tenant, type, source, subject, recipient, data,
  headers, managed) FROM STDIN (FORMAT binary)";

const DEFERRED: &str = "COPY {deferred} (queue, priority, max_attempts, created_at, id, tenant, type, source, subject, recipient,
  data, headers, managed, available_at, keep_until) FROM STDIN (FORMAT binary)";

const COLUMNS: [CopyType; 15] = [
    CopyType::Text,
    CopyType::SmallInt,
    CopyType::Integer,
    CopyType::Time,
    CopyType::Text,
    CopyType::Text,
    CopyType::Text,
    CopyType::Text,
    CopyType::Text,
    CopyType::Text,
    CopyType::Json,
    CopyType::Json,
    CopyType::Bool,
    CopyType::Time,
    CopyType::Time,
];

/// As many of [`COLUMNS`] belong to [`READY`].
const OF_READY: usize = 13;

impl PgQueue<'_> {
    /// Pushes messages that were checked; what became of each, and whether one was held back.
    pub(crate) async fn push_large(&self, messages: &[NewMessage]) -> Result<(Vec<Pushed>, bool)> {
        self.db.with_tx(async |tx: &Db<'_>| push_in(tx, messages).await).await
    }
}

async fn push_in(tx: &Db<'_>, messages: &[NewMessage]) -> Result<(Vec<Pushed>, bool)> {
    let refs: Vec<&NewMessage> = messages.iter().collect();
    let known = Known::of(tx, &queues(&refs)).await?;
    let special: HashSet<&str> = messages
        .iter()
        .filter(|message| message.is_special() || !known.is_plain(&message.queue))
        .flat_map(|message| message.depends_on.iter().map(|parent| &parent.queue).chain([&message.queue]))
        .map(String::as_str)
        .collect();
    let (mut ready, mut deferred, mut others) = (Vec::new(), Vec::new(), Vec::new());
    for (n, message) in messages.iter().enumerate() {
        if special.contains(message.queue.as_str()) {
            others.push(n);
            continue;
        }
        match known.due(message) {
            None => ready.push(known.row(message)),
            Some(due) => deferred.push(known.deferred_row(message, due)),
        }
    }
    for (sql, columns, rows) in
        [(READY, COLUMNS.get(..OF_READY), ready), (DEFERRED, COLUMNS.get(..), deferred)]
    {
        if !rows.is_empty() {
            tx.copy_in(sql, columns.unwrap_or_default(), rows).await?;
        }
    }
    let rest: Vec<&NewMessage> = others.iter().filter_map(|n| messages.get(*n)).collect();
    let (queries, numbers) = Push::of(&rest).split();
    let answers = tx.together(queries).await?;
    let in_all = |of_rest: Vec<usize>| of_rest.into_iter().filter_map(|n| others.get(n).copied()).collect();
    let numbers: Vec<Vec<usize>> = numbers.into_iter().map(in_all).collect();
    pushed(messages, &numbers, &answers)
}

/// What the queues of a push say, as of one time.
struct Known {
    at: Timestamp,
    created: HashMap<String, QueueOptions>,
}

impl Known {
    async fn of(tx: &Db<'_>, names: &[String]) -> Result<Self> {
        let rows = tx.all(KNOWN, &[&names]).await?;
        let (mut at, mut created) = (None, HashMap::new());
        for row in &rows {
            at = time(row, 0)?;
            if let Some(name) = get::<Option<String>>(row, 1)? {
                created.insert(name, typed(row, 2)?.ok_or_else(|| unreadable(row, 2))?);
            }
        }
        let at = at.ok_or_else(|| mainspring_core::Error::internal("the database did not tell the time"))?;
        Ok(Self { at, created })
    }

    /// Whether there is nothing to look at when a message is put in.
    fn is_plain(&self, queue: &str) -> bool {
        self.created.get(queue).is_none_or(|options| options.policy == Policy::Standard)
    }

    /// When a message may be claimed, unless at once.
    fn due(&self, message: &NewMessage) -> Option<Timestamp> {
        let after = |delay: Duration| (!delay.is_zero()).then(|| self.at + delay);
        match message.available {
            Available::Default => self.created.get(&message.queue).and_then(|options| after(options.delay)),
            Available::Now => None,
            Available::After(delay) => after(delay),
            Available::At(at) => Some(at).filter(|at| *at > self.at),
        }
    }

    fn row(&self, message: &NewMessage) -> CopyRow {
        let options = self.created.get(&message.queue);
        let priority = options.map_or(DEFAULT_PRIORITY, |options| options.priority);
        let attempts = options.map_or(DEFAULT_MAX_ATTEMPTS, |options| options.max_attempts);
        let attempts = message.max_attempts.unwrap_or(attempts);
        let headers = (!message.headers.is_empty()).then(|| Value::Object(message.headers.clone()));
        vec![
            Box::new(message.queue.clone()),
            Box::new(message.priority.unwrap_or(priority)),
            Box::new(i32::try_from(attempts).unwrap_or(i32::MAX)),
            Box::new(SystemTime::from(self.at)),
            Box::new(message.id.to_string()),
            Box::new(message.tenant.clone()),
            Box::new(message.message_type.clone()),
            Box::new(message.source.clone()),
            Box::new(message.subject.clone()),
            Box::new(message.to.clone()),
            Box::new(message.data.clone()),
            Box::new(headers),
            Box::new(options.is_some()),
        ]
    }

    fn deferred_row(&self, message: &NewMessage, due: Timestamp) -> CopyRow {
        let keep =
            self.created.get(&message.queue).map(|options| SystemTime::from(due + options.keep_queued));
        let mut row = self.row(message);
        row.push(Box::new(SystemTime::from(due)));
        row.push(Box::new(keep));
        row
    }
}
