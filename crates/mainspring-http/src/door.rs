//! The way in that all callers take, whatever carries them: credential, message, endpoint, answer.

use std::{panic::AssertUnwindSafe, sync::Arc};

use futures_util::FutureExt;
use mainspring_core::trace::within;
use serde_json::Value;
use tracing::Instrument;

use crate::{
    Call, Endpoint, Entrypoint, Guard, MessageData, QueueName, Reply,
    call::HealthCheck,
    guard::{Admission, Presented},
    reply::Answer,
    spans,
};

/// An endpoint behind its guard.
pub(crate) struct Door {
    pub(crate) endpoint: Arc<dyn Endpoint>,
    pub(crate) guard: Guard,
}

impl Door {
    /// What a caller is answered before its body is read; `None` when it may go on.
    pub(crate) fn stops(&self, presented: &Presented<'_>) -> Option<Answer> {
        (!self.guard.admits(presented)).then(|| Answer::of(Reply::Unauthorized))
    }

    /// Delivers a body to an entrypoint. Who was [stopped](Self::stops) does not come here.
    pub(crate) async fn enter(
        &self,
        entrypoint: Entrypoint,
        presented: &Presented<'_>,
        body: &[u8],
    ) -> Answer {
        Answer::of(self.reply(entrypoint, presented, body).await)
    }

    async fn reply(&self, entrypoint: Entrypoint, presented: &Presented<'_>, body: &[u8]) -> Reply {
        match self.guard.admits_body(presented, body) {
            Admission::Granted => {}
            Admission::Refused => return Reply::Unauthorized,
            Admission::Full => {
                let error = "too many signed requests to remember".to_owned();
                return Reply::Unavailable { error, retry_after: Some(Admission::PAUSE) };
            }
        }
        let message = match read(entrypoint, body) {
            Ok(message) => message,
            Err(problem) => return Reply::BadRequest(problem),
        };
        let context = presented.context();
        let span = spans::endpoint(&message, context.as_ref());
        let check = HealthCheck::of(&message);
        let call = Call {
            message,
            trace_parent: context.as_ref().map(ToString::to_string),
            trace_state: context.as_ref().and_then(|context| context.state().map(str::to_owned)),
        };
        let answer = match check {
            Some(check) => self.endpoint.health(check),
            None => self.endpoint.call(call),
        };
        let answer = within(context, answer).instrument(span);
        // A panic of the application is a failure of this message, not of the worker or the connection.
        AssertUnwindSafe(answer)
            .catch_unwind()
            .await
            .unwrap_or_else(|_| Reply::failed("the handler panicked"))
    }
}

fn read(entrypoint: Entrypoint, body: &[u8]) -> Result<MessageData, String> {
    let body: Value = serde_json::from_slice(body).map_err(|_| "the body is not JSON".to_owned())?;
    let queue = body.get("queueName").and_then(Value::as_str).unwrap_or_default();
    let right = queue.parse::<QueueName>().is_ok_and(|name| name.entrypoint() == entrypoint);
    if !right {
        return Err("Invalid queue name".to_owned());
    }
    let message: MessageData = serde_json::from_value(body).map_err(|error| error.to_string())?;
    message.check().map_err(|error| error.to_string())?;
    Ok(message)
}
