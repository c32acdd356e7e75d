//! Health checks that go the way of a message: through the queue, the invoker and the application, and back in a stream.

use std::time::Duration;

use futures_util::TryStreamExt;
use mainspring_core::{Error, ErrorKind, MessageId, OutputStream, Result};
use mainspring_http::{Entrypoint, HealthCheck, QueueName, Reply};
use serde_json::{Value, json};

use super::{CallOptions, World};

/// In front of the correlation id in the name of the stream with the answer.
const ANSWERS: &str = "__health_check__";
/// The name of the workflow or step whose queue is checked.
const NAME: &str = "health_check";

impl World {
    /// Sends a health check through the queue to the application and waits for its answer, which is in the stream
    /// `__health_check__<correlationId>`: `{healthy, endpoint, correlationId, timestamp}`.
    ///
    /// # Errors
    /// Unavailable when none came within `patience`: no worker runs, the queue is paused, or nobody can be reached.
    pub async fn check_health(&self, entrypoint: Entrypoint, patience: Duration) -> Result<Value> {
        let correlation_id = MessageId::generate().to_string();
        let answers = answers(&correlation_id);
        let name = QueueName::new(entrypoint, NAME)?.to_string();
        let check = json!({"__healthCheck": true, "correlationId": correlation_id});
        self.queue(&name, check, CallOptions { max_attempts: Some(1), ..CallOptions::default() }).await?;
        let streams = self.streamer();
        // To its end, so that nobody writes to it any more when it is deleted.
        let chunks = streams.read(&answers, 0).map_ok(|chunk| chunk.data.to_vec()).try_concat();
        let Ok(answer) = tokio::time::timeout(patience, chunks).await else {
            return Err(Error::new(ErrorKind::Unavailable, format!("no answer within {patience:?}")));
        };
        let answer = serde_json::from_slice(&answer?)
            .map_err(|error| Error::internal("the answer to a health check is no JSON").with_source(error))?;
        streams.delete(&answers).await?;
        Ok(answer)
    }

    /// Whether the database answers.
    ///
    /// # Errors
    /// Those of the backend.
    pub async fn check_database(&self) -> Result<()> {
        self.storage().backend().queue().stats(self.calls_queue()).await.map(drop)
    }

    pub(super) async fn answer_health(&self, check: HealthCheck) -> Reply {
        let Some(correlation_id) = check.correlation_id else { return Reply::ok() };
        let endpoint = match check.entrypoint {
            Entrypoint::Flow => "workflow",
            Entrypoint::Step => "step",
        };
        let answer = json!({"healthy": true, "endpoint": endpoint, "correlationId": correlation_id,
            "timestamp": self.storage().backend().now()});
        let (streams, answers) = (self.streamer(), answers(&correlation_id));
        let written = match streams.write(&answers, answer.to_string().into()).await {
            Ok(_) => streams.close(&answers).await,
            Err(error) => Err(error),
        };
        written.map_or_else(|error| Reply::from_error(&error), |_| Reply::Ok(answer))
    }
}

fn answers(correlation_id: &str) -> OutputStream {
    OutputStream::named(format!("{ANSWERS}{correlation_id}"))
}
