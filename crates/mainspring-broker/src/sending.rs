//! How an event is sent: what its message asks for, and what it is called.

use mainspring_core::{Available, ExecutionId, Group, MessageId, MessageOptions, NewMessage, Unique, limits};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use sha2::{Digest, Sha256};

use crate::CloudEvent;

/// What one event asks for instead of what the queue it goes to says.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Sending {
    /// Higher goes first.
    pub priority: Option<i16>,
    /// When it may first be handled.
    pub available: Available,
    /// Runs in all, the first included.
    pub max_attempts: Option<u32>,
    /// What the policy of the queue and uniqueness go by. Defaults to what the handler says.
    pub key: Option<String>,
    /// Whose share of the queue it takes.
    pub group: Option<Group>,
    /// The rest. Uniqueness defaults to what the handler says.
    pub options: MessageOptions,
}

/// What is the key of an event in the queue of its handler.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum KeyBy {
    /// None.
    #[default]
    Nothing,
    /// The process it belongs to: a policy that goes by keys then counts for each process.
    Subject,
    /// The same for all: a policy counts for the whole queue.
    Text(String),
}

/// What a handler says of every event that is sent to it, in whatever process.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub(crate) struct Addressing {
    pub(crate) key: KeyBy,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) unique: Option<Unique>,
    /// Whether the policy of its queue leaves messages out.
    #[serde(default)]
    pub(crate) selective: bool,
}

/// In the headers of a message: how many handlers the event came through.
const HOPS: &str = "hops";

/// How many handlers the event in a message came through.
pub(crate) fn hops(message: &NewMessage) -> u32 {
    let hops = message.headers.get(HOPS).and_then(Value::as_u64).unwrap_or(0);
    u32::try_from(hops).unwrap_or(u32::MAX)
}

/// An event as a message to a queue.
pub(crate) fn message(
    event: &CloudEvent,
    queue: &str,
    sending: &Sending,
    address: &Addressing,
    hops: u32,
) -> NewMessage {
    let mut message = NewMessage::new(queue, event.event_type(), event.to_json());
    message.id = message_id(event);
    message.source = Some(event.source().to_owned());
    message.subject = Some(process_id(event.subject()).to_string());
    message.to = event.to().map(str::to_owned);
    message.priority = sending.priority;
    message.available = sending.available;
    message.max_attempts = sending.max_attempts;
    message.group.clone_from(&sending.group);
    message.options = sending.options.clone();
    message.options.unique = sending.options.unique.or(address.unique);
    message.key = sending.key.clone().or_else(|| match &address.key {
        KeyBy::Nothing => None,
        KeyBy::Subject => message.subject.clone(),
        KeyBy::Text(key) => Some(key.clone()),
    });
    if hops > 0 {
        message.headers.insert(HOPS.to_owned(), hops.into());
    }
    message
}

/// The same for every message that carries this event, so that sending it again is answered alike.
pub(crate) fn message_id(event: &CloudEvent) -> MessageId {
    MessageId::from_stored(format!("msg_{}", identity(event)))
}

/// What an event is: its source and its id, as a text of 40 letters and digits.
pub(crate) fn identity(event: &CloudEvent) -> String {
    let mut digest = digest(&[event.source(), event.id()]);
    digest.truncate(40);
    digest
}

/// The execution that is the process of a subject. A subject may be longer than an id.
pub(crate) fn process_id(subject: &str) -> ExecutionId {
    match limits::check_id("subject", subject) {
        Ok(()) if !subject.starts_with(HASHED) => ExecutionId::from_stored(subject.to_owned()),
        _ => ExecutionId::from_stored(hashed(subject)),
    }
}

/// A text of 72 bytes in place of a subject.
pub(crate) fn hashed(subject: &str) -> String {
    format!("{HASHED}{}", digest(&[subject]))
}

/// In front of an execution's id that is the digest of its subject.
pub(crate) const HASHED: &str = "subject-";

fn digest(texts: &[&str]) -> String {
    let mut hasher = Sha256::new();
    for text in texts {
        hasher.update(text.len().to_le_bytes());
        hasher.update(text);
    }
    hasher.finalize().iter().map(|byte| format!("{byte:02x}")).collect()
}
