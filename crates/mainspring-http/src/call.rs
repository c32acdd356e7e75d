//! Who calls and who is called, as traits.

use std::time::Duration;

use bytes::Bytes;
use mainspring_core::{
    BoxFuture, Error,
    trace::{self, TraceContext},
};
use serde_json::Value;

use crate::{Entrypoint, MessageData, Reply};

/// One delivery of one message to an application.
#[derive(Debug, Clone, PartialEq)]
pub struct Call {
    /// What is delivered. Its queue says where it goes in.
    pub message: MessageData,
    /// The trace it belongs to, as the W3C header `traceparent`.
    pub trace_parent: Option<String>,
    /// What is beside it, as the header `tracestate`.
    pub trace_state: Option<String>,
}

impl Call {
    /// A call without a trace.
    pub fn new(message: MessageData) -> Self {
        Self { message, trace_parent: None, trace_state: None }
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

    /// The trace as it can be gone on with.
    pub fn context(&self) -> Option<TraceContext> {
        TraceContext::parse(self.trace_parent.as_deref()?, self.trace_state.as_deref())
    }

    /// Where it goes in.
    pub fn entrypoint(&self) -> Entrypoint {
        self.message.queue_name.entrypoint()
    }
}

/// How a worker calls an application: [`FunctionInvoker`](crate::FunctionInvoker) in the same process,
/// `HttpInvoker` elsewhere. Both answer alike.
pub trait Invoker: Send + Sync {
    /// Delivers once and says what became of it. Everything that can go wrong is a [`Reply`].
    fn invoke<'a>(&'a self, call: &'a Call) -> BoxFuture<'a, Reply>;
}

/// The application: what runs workflows and steps.
///
/// A message is delivered at least once: after a lost reply it comes again with the same `message_id`, and only an endpoint
/// that has recorded the first delivery knows that it has done it already.
pub trait Endpoint: Send + Sync {
    /// Runs the workflow or step of a message.
    fn call(&self, call: Call) -> BoxFuture<'_, Reply>;

    /// Answers a health check that came as a message. Defaults to [`Reply::ok`].
    fn health(&self, check: HealthCheck) -> BoxFuture<'_, Reply> {
        drop(check);
        Box::pin(std::future::ready(Reply::ok()))
    }

    /// A request to a webhook: what the caller is answered. It may wait for a workflow that answers by itself. Defaults to not
    /// found, as for every token that is not, or no longer, one.
    fn webhook(&self, request: WebhookRequest) -> BoxFuture<'_, WebhookReply> {
        drop(request);
        Box::pin(std::future::ready(WebhookReply::not_found()))
    }
}

/// The payload `{"__healthCheck": true, "correlationId": …}` of a message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HealthCheck {
    /// The way it came.
    pub entrypoint: Entrypoint,
    /// Who asks knows the answer by it.
    pub correlation_id: Option<String>,
}

impl HealthCheck {
    pub(crate) fn of(message: &MessageData) -> Option<Self> {
        if message.data.get("__healthCheck") != Some(&Value::Bool(true)) {
            return None;
        }
        let correlation_id = message.data.get("correlationId").and_then(Value::as_str).map(str::to_owned);
        Some(Self { entrypoint: message.queue_name.entrypoint(), correlation_id })
    }
}

/// A request to `/.well-known/workflow/v1/webhook/{token}`.
#[derive(Clone)]
pub struct WebhookRequest {
    /// The token: a secret, not to be logged.
    pub token: String,
    /// GET, POST, …
    pub method: String,
    /// What followed `?`.
    pub query: Option<String>,
    /// Names in lower case; those whose values are no text are left out.
    pub headers: Vec<(String, String)>,
    /// The body, within the limit of the router.
    pub body: Bytes,
}

/// What a webhook answers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WebhookReply {
    /// 200 to 599.
    pub status: u16,
    /// Names and values.
    pub headers: Vec<(String, String)>,
    /// The body.
    pub body: Bytes,
}

impl WebhookReply {
    /// Only a status.
    pub fn status(status: u16) -> Self {
        Self { status, headers: Vec::new(), body: Bytes::new() }
    }

    /// 202: it was taken, and whoever waits for it goes on. The default of a webhook that answers nothing of its own.
    pub fn accepted() -> Self {
        Self::status(202)
    }

    /// 404: unknown, used and expired tokens alike, so that nobody learns which.
    pub fn not_found() -> Self {
        Self::status(404)
    }
}

impl Reply {
    /// The reply for an error of this library: again soon for what may succeed later, else failed, and for good when the
    /// input can never be accepted.
    pub fn from_error(error: &Error) -> Self {
        if error.is_retryable() || error.is_commit_unknown() {
            return Self::Unavailable { error: error.to_string(), retry_after: Some(Duration::from_secs(1)) };
        }
        Self::Failed { error: error.to_string(), fatal: error.is_invalid(), retry_after: None }
    }
}
