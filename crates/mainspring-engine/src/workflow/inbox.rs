//! What came in from outside: signals and the payloads of hooks, in the order they were sent.
//!
//! The inbox is a stream of its own, so that senders never collide with the commits of the execution, and payloads that come
//! before the execution exists, or before it waits, are kept. A payload that was sent twice under one id counts once.

use std::collections::{BTreeMap, HashMap, HashSet, VecDeque};

use mainspring_core::{
    Append, Execution, ExecutionId, ExpectedPosition, NewEvent, RecordedEvent, event::kind,
};
use serde_json::{Value, json};

pub(crate) use mainspring_core::execution::inbox_of as stream;

/// What one waits for: the signal of this name.
pub(crate) fn signal(name: &str) -> String {
    format!("signal `{name}`")
}

/// What one waits for: payloads of the hook of this key.
pub(crate) fn hook(key: &str) -> String {
    format!("hook `{key}`")
}

/// What one waits for: the end of the step of this key, done elsewhere by this job. That of a job before a rewind is another.
pub(crate) fn step(key: &str, job: &str) -> String {
    format!("step `{key}`, {job}")
}

pub(crate) fn event(kind: &str, subject: &str, payload: Value, id: Option<String>) -> NewEvent {
    let mut event = NewEvent::new(kind, payload).about(subject);
    event.causation_id = id;
    event
}

/// Moves what is left in one inbox to that of the execution it goes on as. Refused when something came in beyond `head`.
pub(crate) fn move_on(from: &Execution, to: &ExecutionId, left: Vec<NewEvent>, head: i64) -> Vec<Append> {
    let expected = if head == 0 { ExpectedPosition::NoStream } else { ExpectedPosition::Exact(head) };
    let closed = NewEvent::new(kind::INBOX_CLOSED, json!({"continuedAs": to}));
    let mut appends = vec![Append::to(stream(&from.id), vec![closed]).expecting(expected)];
    if !left.is_empty() {
        appends.push(Append::to(stream(to), left));
    }
    for append in &mut appends {
        append.tenant.clone_from(&from.tenant);
    }
    appends
}

#[derive(Default)]
pub(crate) struct Inbox {
    /// By what they are for, each with its place.
    payloads: HashMap<String, VecDeque<(i64, Value)>>,
    /// What they came as, by place.
    events: BTreeMap<i64, NewEvent>,
    seen: HashSet<String>,
    /// The last place that was read.
    pub(crate) head: i64,
    read: bool,
}

impl Inbox {
    pub(crate) fn was_read(&self) -> bool {
        self.read
    }

    /// Takes in what was read; `took` knows what the history has taken already.
    pub(crate) fn add(&mut self, events: Vec<RecordedEvent>, took: impl Fn(i64) -> bool) {
        self.read = true;
        for recorded in events {
            self.head = self.head.max(recorded.position);
            let event = recorded.event;
            let Some(subject) = event.subject.clone() else { continue };
            let name = match event.event_type.as_str() {
                kind::SIGNAL_RECEIVED => signal(&subject),
                kind::HOOK_RECEIVED => hook(&subject),
                kind::JOB_COMPLETED | kind::JOB_FAILED => {
                    step(&subject, event.causation_id.as_deref().unwrap_or_default())
                }
                _ => continue,
            };
            let again =
                event.causation_id.as_ref().is_some_and(|id| !self.seen.insert(format!("{name} {id}")));
            if !again && !took(recorded.position) {
                let envelope = NewEvent { data: Value::Null, ..event.clone() };
                self.events.insert(recorded.position, envelope);
                self.payloads.entry(name).or_default().push_back((recorded.position, event.data));
            }
        }
    }

    /// The next payload for `name`.
    pub(crate) fn take(&mut self, name: &str) -> Option<(Value, i64)> {
        let (position, payload) = self.payloads.get_mut(name)?.pop_front()?;
        self.events.remove(&position);
        Some((payload, position))
    }

    /// Signals that nobody has taken, in order. The payloads of hooks stay: their tokens end with the execution.
    pub(crate) fn left(&self) -> Vec<NewEvent> {
        let mut left = Vec::new();
        for (position, envelope) in &self.events {
            if envelope.event_type != kind::SIGNAL_RECEIVED {
                continue;
            }
            let payload = self.payloads.values().flatten().find(|(at, _)| at == position);
            left.extend(payload.map(|(_, data)| NewEvent { data: data.clone(), ..envelope.clone() }));
        }
        left
    }
}
