//! One message as it travels to the application, and where it goes in.

use std::{fmt, str::FromStr};

use mainspring_core::{
    Error, MessageId, Result, limits,
    trace::{self, TraceContext},
};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use serde_json::Value;

/// The two ways into an application.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Entrypoint {
    /// Runs a workflow as far as it goes.
    Flow,
    /// Runs one step.
    Step,
}

impl Entrypoint {
    /// Both.
    pub const ALL: [Self; 2] = [Self::Flow, Self::Step];

    /// What the names of its queues begin with.
    pub const fn queue_prefix(self) -> &'static str {
        match self {
            Self::Flow => "__wkf_workflow_",
            Self::Step => "__wkf_step_",
        }
    }

    /// Where it is, below the base of an application's address.
    pub const fn path(self) -> &'static str {
        match self {
            Self::Flow => "/.well-known/workflow/v1/flow",
            Self::Step => "/.well-known/workflow/v1/step",
        }
    }
}

/// `__wkf_workflow_<name>` or `__wkf_step_<name>`.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct QueueName {
    entrypoint: Entrypoint,
    name: String,
}

impl QueueName {
    /// The queue of a workflow or a step.
    ///
    /// # Errors
    /// Invalid: empty, over 128 bytes, or control characters.
    pub fn new(entrypoint: Entrypoint, name: impl Into<String>) -> Result<Self> {
        let name = name.into();
        limits::check_name("queueName", &name)?;
        Ok(Self { entrypoint, name })
    }

    /// Where its messages go in.
    pub fn entrypoint(&self) -> Entrypoint {
        self.entrypoint
    }

    /// The name of the workflow or step.
    pub fn name(&self) -> &str {
        &self.name
    }
}

impl fmt::Display for QueueName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}", self.entrypoint.queue_prefix(), self.name)
    }
}

impl FromStr for QueueName {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let of = |entrypoint: Entrypoint| Some((entrypoint, text.strip_prefix(entrypoint.queue_prefix())?));
        match Entrypoint::ALL.into_iter().find_map(of) {
            Some((entrypoint, name)) => Self::new(entrypoint, name),
            None => {
                Err(Error::invalid("queueName", "begins neither with __wkf_workflow_ nor with __wkf_step_"))
            }
        }
    }
}

impl Serialize for QueueName {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for QueueName {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(de::Error::custom)
    }
}

/// One message, as its JSON goes over the wire.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct MessageData {
    /// The name of the workflow or step.
    pub id: String,
    /// Messages with the same key are one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub idempotency_key: Option<String>,
    /// The queue it is in.
    pub queue_name: QueueName,
    /// The payload: any JSON, which travels as base64.
    #[serde(with = "base64_json")]
    pub data: Value,
    /// The same on every delivery of this message.
    pub message_id: String,
    /// Which run this is; 1 is the first. Delays and lost workers do not count.
    pub attempt: u32,
    /// For a queue of one's own that brings the message back later: the trace it belongs to, as the W3C header `traceparent`. An
    /// application gets it as a header instead.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trace_parent: Option<String>,
    /// What is beside it, as the header `tracestate`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trace_state: Option<String>,
}

impl MessageData {
    /// The first run of a new message.
    pub fn new(queue_name: QueueName, data: Value) -> Self {
        let (id, message_id) = (queue_name.name().to_owned(), MessageId::generate().as_str().to_owned());
        let (trace_parent, trace_state) = (None, None);
        Self {
            id,
            idempotency_key: None,
            queue_name,
            data,
            message_id,
            attempt: 1,
            trace_parent,
            trace_state,
        }
    }

    /// The same in the [present trace](mainspring_core::trace), if there is one.
    #[must_use]
    pub fn traced(mut self) -> Self {
        if let Some(context) = trace::current() {
            self.trace_parent = Some(context.to_string());
            self.trace_state = context.state().map(str::to_owned);
        }
        self
    }

    /// Takes the trace out, to be gone on with.
    pub fn take_trace(&mut self) -> Option<TraceContext> {
        let (parent, state) = (self.trace_parent.take(), self.trace_state.take());
        TraceContext::parse(parent.as_deref()?, state.as_deref())
    }

    /// Checks everything that could have come from elsewhere.
    ///
    /// # Errors
    /// Invalid, naming the field and the limit.
    pub fn check(&self) -> Result<()> {
        limits::check_name("id", &self.id)?;
        limits::check_id("messageId", &self.message_id)?;
        if let Some(key) = &self.idempotency_key {
            limits::check_id("idempotencyKey", key)?;
        }
        if self.attempt == 0 {
            return Err(Error::invalid("attempt", "0, but the first is 1"));
        }
        limits::check_json("data", &self.data)
    }
}

mod base64_json {
    //! JSON within base64 within JSON.

    use base64::{Engine as _, engine::general_purpose::STANDARD};
    use serde::{Deserialize, Deserializer, Serializer, de, ser};
    use serde_json::Value;

    pub(super) fn serialize<S: Serializer>(value: &Value, serializer: S) -> Result<S::Ok, S::Error> {
        let text = serde_json::to_vec(value).map_err(ser::Error::custom)?;
        serializer.serialize_str(&STANDARD.encode(text))
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Value, D::Error> {
        let text = String::deserialize(deserializer)?;
        let bytes = STANDARD.decode(text).map_err(|_| de::Error::custom("data is not base64"))?;
        serde_json::from_slice(&bytes).map_err(|_| de::Error::custom("data is not JSON in base64"))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_message_is_the_json_of_the_contract() {
        let mut message = MessageData::new("__wkf_step_add".parse().unwrap(), json!({"stepId": "s1"}));
        message.message_id = "msg_1".into();
        let text = json!({"id": "add", "queueName": "__wkf_step_add", "data": "eyJzdGVwSWQiOiJzMSJ9",
            "messageId": "msg_1", "attempt": 1});
        assert_eq!(serde_json::to_value(&message).unwrap(), text);
        assert_eq!(serde_json::from_value::<MessageData>(text).unwrap(), message);
        message.idempotency_key = Some("k".into());
        assert_eq!(serde_json::to_value(&message).unwrap()["idempotencyKey"], "k");
    }

    #[test]
    fn a_queue_name_says_where_it_goes() {
        let name: QueueName = "__wkf_workflow_order".parse().unwrap();
        assert_eq!((name.entrypoint(), name.name()), (Entrypoint::Flow, "order"));
        for wrong in ["", "order", "__wkf_step_", "__wkf_other_x", "__wkf_step_a\nb"] {
            assert!(wrong.parse::<QueueName>().unwrap_err().is_invalid(), "{wrong}");
        }
    }

    #[test]
    fn what_no_worker_would_send_is_refused() {
        let fine = MessageData::new("__wkf_step_add".parse().unwrap(), json!(1));
        fine.check().unwrap();
        for wrong in [
            MessageData { attempt: 0, ..fine.clone() },
            MessageData { id: String::new(), ..fine.clone() },
            MessageData { message_id: "x".repeat(256), ..fine.clone() },
            MessageData { idempotency_key: Some(String::new()), ..fine.clone() },
            MessageData { data: json!("a\0b"), ..fine.clone() },
        ] {
            assert!(wrong.check().unwrap_err().is_invalid());
        }
    }
}
