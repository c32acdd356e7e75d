//! Publish and subscribe: a message to a topic becomes a message in every queue that has subscribed, all of them or none.
//!
//! A topic is words with dots between them, such as `order.paid.eu`. A subscription names one, or a pattern in which `*`
//! stands for exactly one word and `#` for any number of them, none included. Nobody has to subscribe: what is published to
//! nobody is gone.
//!
//! ```
//! use mainspring_core::NewMessage;
//! use mainspring_queue::topic::PgTopics;
//! use serde_json::json;
//!
//! # #[tokio::main(flavor = "current_thread")] async fn main() -> mainspring_core::Result<()> {
//! # let test = mainspring_testing::TestDb::new().await; let db = test.db();
//! let topics = PgTopics::new(&db);
//! topics.subscribe("order.paid.*", "invoices").await?;
//! topics.subscribe("order.#", "audit").await?;
//!
//! let paid = NewMessage::new("", "order.paid", json!({"order": 7}));
//! assert_eq!(topics.publish("order.paid.eu", &paid).await?, ["audit", "invoices"]);
//! assert_eq!(topics.publish("mail.sent", &paid).await?, [""; 0]);
//! # Ok(()) }
//! ```

use std::{collections::BTreeSet, time::SystemTime};

use mainspring_core::{
    Error, MessageId, NewMessage, QueueDriver, Result, Timestamp, execution::page_size, limits,
};
use mainspring_pg::{Db, Hints, TxRef, row::get};

use crate::PgQueue;

/// Topics and who has subscribed to them; see the [module](self).
#[derive(Clone)]
pub struct PgTopics<'t> {
    db: Db<'t>,
    hints: Option<Hints>,
}

/// That a queue gets what is published to topics of a pattern.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Subscribed {
    /// The topic or pattern.
    pub topic: String,
    /// The queue.
    pub queue: String,
    /// Since when.
    pub created_at: Timestamp,
}

impl<'t> PgTopics<'t> {
    /// Without hints: workers find what is published by polling.
    pub fn new(db: &Db<'t>) -> Self {
        Self { db: db.clone(), hints: None }
    }

    /// With hints, so that waiting workers start at once.
    #[must_use]
    pub fn with_hints(mut self, hints: Hints) -> Self {
        self.hints = Some(hints);
        self
    }

    /// The same topics, standing on your transaction: what is published there is delivered after your commit, or not at all.
    pub fn on<'u>(&self, tx: impl Into<TxRef<'u>>) -> PgTopics<'u> {
        PgTopics { db: self.db.on(tx), hints: None }
    }

    /// From now on `queue` gets a copy of what is published to topics of this pattern. Answers whether that is new.
    ///
    /// # Errors
    /// Invalid, for a bad pattern or queue.
    pub async fn subscribe(&self, pattern: &str, queue: &str) -> Result<bool> {
        check_pattern(pattern)?;
        limits::check_name("subscription.queue", queue)?;
        Ok(self.db.exec(SUBSCRIBE, &[&pattern, &queue, &is_wild(pattern)]).await? > 0)
    }

    /// Ends that. What was published before stays in the queue. Answers whether it was there.
    ///
    /// # Errors
    /// Invalid, for a bad pattern or queue.
    pub async fn unsubscribe(&self, pattern: &str, queue: &str) -> Result<bool> {
        check_pattern(pattern)?;
        limits::check_name("subscription.queue", queue)?;
        Ok(self.db.exec(UNSUBSCRIBE, &[&pattern, &queue]).await? > 0)
    }

    /// Subscriptions by pattern and queue, of one queue or of all, at most `limit`, up to 10,000; 0 is 100.
    ///
    /// # Errors
    /// Invalid for a bad limit.
    pub async fn subscriptions(&self, queue: Option<&str>, limit: u32) -> Result<Vec<Subscribed>> {
        let rows = self.db.all(LIST, &[&queue, &page_size(limit)?]).await?;
        rows.iter()
            .map(|row| {
                let created_at = get::<SystemTime>(row, 2)?.into();
                Ok(Subscribed { topic: get(row, 0)?, queue: get(row, 1)?, created_at })
            })
            .collect()
    }

    /// Pushes a copy of `message` into every queue that has subscribed, once into each however many of its patterns match, in
    /// one transaction. The queue of `message` does not matter. Every copy has the same id when one queue gets it, else ids
    /// that end with the queue. Answers the queues, by name.
    ///
    /// # Errors
    /// Invalid, for a bad topic or message; and as a push, when one queue refuses its copy. Nothing is published then.
    pub async fn publish(&self, topic: &str, message: &NewMessage) -> Result<Vec<String>> {
        check_topic(topic)?;
        // a copy is checked when it is pushed; this is for the topic nobody has subscribed to
        NewMessage { queue: "any".to_owned(), ..message.clone() }.check()?;
        let queues = self.db.with_tx(async |tx| publish_in(tx, topic, message).await).await?;
        if let Some(hints) = &self.hints {
            hints.offer(queues.iter().map(String::as_str));
        }
        Ok(queues)
    }
}

impl<'t> PgQueue<'t> {
    /// The topics beside this queue, standing where it stands and with its hints.
    pub fn topics(&self) -> PgTopics<'t> {
        PgTopics { db: self.db.clone(), hints: self.hints.clone() }
    }
}

async fn publish_in(tx: &Db<'_>, topic: &str, message: &NewMessage) -> Result<Vec<String>> {
    let mut queues = BTreeSet::new();
    for row in tx.all(MATCHING, &[&topic]).await? {
        let pattern: &str = get(&row, 0)?;
        if matches(pattern, topic) {
            queues.insert(get::<String>(&row, 1)?);
        }
    }
    let one = queues.len() == 1;
    let copies = queues.iter().map(|queue| {
        let id = if one { message.id.clone() } else { MessageId::new(format!("{}.{queue}", message.id))? };
        Ok(NewMessage { id, queue: queue.clone(), ..message.clone() })
    });
    let copies: Vec<NewMessage> = copies.collect::<Result<_>>()?;
    if !copies.is_empty() {
        PgQueue::new(tx).push(copies).await?;
    }
    Ok(queues.into_iter().collect())
}

/// Whether a pattern is for this topic.
pub fn matches(pattern: &str, topic: &str) -> bool {
    let topic: Vec<&str> = topic.split('.').collect();
    // reached[i]: the words of the pattern so far can stand for the first i words of the topic
    let mut reached = vec![false; topic.len() + 1];
    if let Some(first) = reached.first_mut() {
        *first = true;
    }
    for word in pattern.split('.') {
        let before = reached.clone();
        let mut any = false;
        for (i, here) in reached.iter_mut().enumerate() {
            any |= before.get(i).copied().unwrap_or(false);
            let taken = i.checked_sub(1).and_then(|last| Some((*before.get(last)?, *topic.get(last)?)));
            *here = match word {
                "#" => any,
                "*" => taken.is_some_and(|(reached, _)| reached),
                word => taken.is_some_and(|(reached, text)| reached && text == word),
            };
        }
    }
    reached.last().copied().unwrap_or(false)
}

fn is_wild(pattern: &str) -> bool {
    pattern.split('.').any(|word| word == "*" || word == "#")
}

fn check_topic(topic: &str) -> Result<()> {
    check_pattern(topic)?;
    if topic.contains(['*', '#']) {
        return Err(Error::invalid(
            "topic",
            "is for everybody who subscribed to it: * and # are for subscriptions",
        ));
    }
    Ok(())
}

fn check_pattern(pattern: &str) -> Result<()> {
    limits::check_name("topic", pattern)?;
    for word in pattern.split('.') {
        if word.is_empty() {
            return Err(Error::invalid("topic", "has an empty word between its dots"));
        }
        if word.len() > 1 && word.contains(['*', '#']) {
            return Err(Error::invalid("topic", "* and # stand for whole words"));
        }
    }
    Ok(())
}

const SUBSCRIBE: &str =
    "INSERT INTO {subscriptions} (topic, queue, wild, created_at) VALUES ($1, $2, $3, {now}())
  ON CONFLICT DO NOTHING";

const UNSUBSCRIBE: &str = "DELETE FROM {subscriptions} WHERE topic = $1 AND queue = $2";

const LIST: &str = "SELECT topic, queue, created_at FROM {subscriptions} WHERE $1::text IS NULL OR queue = $1
  ORDER BY topic, queue LIMIT $2";

const MATCHING: &str = "SELECT topic, queue FROM {subscriptions} WHERE topic = $1
  UNION SELECT topic, queue FROM {subscriptions} WHERE wild";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_match_by_words() {
        let cases = [
            ("order.paid", "order.paid", true),
            ("order.paid", "order.paid.eu", false),
            ("order.*", "order.paid", true),
            ("order.*", "order", false),
            ("order.*", "order.paid.eu", false),
            ("*.paid", "order.paid", true),
            ("*", "order", true),
            ("#", "order.paid.eu", true),
            ("order.#", "order", true),
            ("order.#", "order.paid.eu", true),
            ("order.#", "orders.paid", false),
            ("#.eu", "order.paid.eu", true),
            ("#.eu", "eu", true),
            ("order.#.eu", "order.eu", true),
            ("order.#.eu", "order.paid.late.eu", true),
            ("order.#.eu", "order.paid.us", false),
            ("#.*.#", "a", true),
            ("*.#.*", "a", false),
        ];
        for (pattern, topic, expected) in cases {
            assert_eq!(matches(pattern, topic), expected, "{pattern} for {topic}");
        }
        // many # do not take for ever
        assert!(matches(&["#"; 60].join("."), &["a"; 60].join(".")));
        assert!(!matches(&format!("{}.x", ["#.a"; 30].join(".")), &["a"; 60].join(".")));
    }
}
