//! Messages for workflows and steps whose code is called: pushed in the commit that needs them, delivered by a worker or by a
//! transport of the user's own.

use std::{sync::Arc, time::Duration};

use mainspring_core::{
    Available, BoxFuture, Delivery, ExecutionId, Failure, MessageOptions, NewMessage, QueueOptions, Result,
    Settlement, Timestamp, Unique,
};
use mainspring_http::{Entrypoint, Invoker, MessageData, QueueName, Reply};
use mainspring_worker::{Deliver, Verdict, deadline, within_time, worker_lost};
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use super::{
    World,
    called::Called,
    recovery::{RECOVER, Recovery},
    spans::invoke,
};
use crate::Storage;

const CALL: &str = "world.call";
/// How long a message with a key is remembered.
const WINDOW: Duration = Duration::from_secs(7 * 24 * 3600);
/// How soon one that could not be delivered is tried again.
const SOON: Duration = Duration::from_secs(5);
const EVER: Duration = mainspring_core::limits::MAX_DURATION;

/// A queue of the user's own for the messages of a world.
///
/// A message is given to it once it is durable in the database, and is the transport's from then on: it brings it to
/// [`World::handle_message`] at least once, and again when the [`Reply`] says so. It carries the trace it belongs to; what it gives
/// up it says to [`World::give_up`].
pub trait Transport: Send + Sync {
    /// Takes a message for a workflow.
    ///
    /// # Errors
    /// Any: it is offered again.
    fn push_flow(&self, message: MessageData) -> BoxFuture<'_, Result<()>>;

    /// Takes a message for a step.
    ///
    /// # Errors
    /// Any: it is offered again.
    fn push_step(&self, message: MessageData) -> BoxFuture<'_, Result<()>>;

    /// Begins to bring messages to `world`. Defaults to nothing.
    ///
    /// # Errors
    /// Any: the world does not start then.
    fn start(&self, world: World) -> BoxFuture<'_, Result<()>> {
        drop(world);
        Box::pin(std::future::ready(Ok(())))
    }

    /// Ends that, once what is under way is done. Defaults to nothing.
    fn stop(&self) -> BoxFuture<'_, ()> {
        Box::pin(std::future::ready(()))
    }
}

/// How a message is pushed; see [`World::queue`].
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct CallOptions {
    /// A second message with the same key within 7 days is the first one.
    pub idempotency_key: Option<String>,
    /// Not to be delivered before.
    pub delay: Option<Duration>,
    /// Runs in all before it is given up. Defaults to 3. Delays, lost workers and applications that cannot be reached do not
    /// count.
    pub max_attempts: Option<u32>,
}

/// How the queue of messages is kept: what waits is never thrown away, what is done is not kept.
pub(super) fn options() -> QueueOptions {
    QueueOptions { keep_queued: EVER, keep_finished: Duration::ZERO, ..QueueOptions::default() }
}

/// The queue of messages, and what is pushed to it.
#[derive(Debug, Clone)]
pub(super) struct Calls {
    pub(super) queue: String,
}

impl Calls {
    /// # Errors
    /// Invalid, naming the field and the limit.
    pub(super) fn message(
        &self,
        name: QueueName,
        payload: Value,
        options: &CallOptions,
    ) -> Result<NewMessage> {
        let data = json!({"queueName": name, "data": payload});
        let mut message = NewMessage::new(&self.queue, CALL, data);
        message.to = Some(name.name().to_owned());
        message.max_attempts = options.max_attempts;
        if let Some(delay) = options.delay {
            message.available = Available::After(delay);
        }
        if let Some(key) = &options.idempotency_key {
            // Keys of two workflows have nothing to do with each other.
            message.key = Some(format!("{name}/{key}"));
            message.options =
                MessageOptions { unique: Some(Unique::For(WINDOW)), ..MessageOptions::default() };
        }
        message.check()?;
        Ok(message)
    }

    /// The message that calls the code of a run.
    ///
    /// # Errors
    /// Invalid, when no queue can have the name of the workflow.
    pub(super) fn flow(&self, workflow_name: &str, run: &ExecutionId) -> Result<NewMessage> {
        let name = QueueName::new(Entrypoint::Flow, workflow_name)?;
        self.message(name, json!({"runId": run}), &CallOptions::default())
    }

    /// The message that calls a step of a run; there is one however often it is pushed.
    ///
    /// # Errors
    /// Invalid, when no queue can have the name of the step.
    pub(super) fn step(
        &self,
        workflow_name: &str,
        run: &ExecutionId,
        step_name: &str,
        step_id: &str,
    ) -> Result<NewMessage> {
        let name = QueueName::new(Entrypoint::Step, step_name)?;
        let data = json!({"workflowName": workflow_name, "workflowRunId": run, "stepId": step_id});
        let key = Some(format!("{run}/{step_id}"));
        self.message(name, data, &CallOptions { idempotency_key: key, ..CallOptions::default() })
    }
}

/// Delivers messages by invoking, or hands them on.
pub(super) struct CallDeliver {
    pub(super) storage: Storage,
    pub(super) queue: String,
    pub(super) recovery: Arc<Recovery>,
    /// Whether recovery goes on by itself, and so how far code sees is of use.
    pub(super) recovers: bool,
    pub(super) invoker: Arc<dyn Invoker>,
    pub(super) transport: Option<Arc<dyn Transport>>,
}

impl CallDeliver {
    async fn handle(&self, delivery: &Delivery) -> Verdict {
        if delivery.message.message_type == RECOVER {
            return self.recovery.asked().await.into();
        }
        let message = match unpack(delivery) {
            Ok(message) => message,
            Err(error) => {
                return Settlement::DeadLetter(Failure::new(error.code(), error.to_string())).into();
            }
        };
        match &self.transport {
            Some(transport) => {
                let message = message.traced();
                let taken = match message.queue_name.entrypoint() {
                    Entrypoint::Flow => transport.push_flow(message).await,
                    Entrypoint::Step => transport.push_step(message).await,
                };
                match taken {
                    Ok(()) => Settlement::Done.into(),
                    Err(error) => {
                        tracing::warn!(error = %error.chain(), "the transport did not take a message");
                        Settlement::SnoozeUntil(self.now() + SOON).into()
                    }
                }
            }
            None => {
                let backend = &**self.storage.backend();
                let called = if self.recovers { Called::by(backend, &message).await } else { None };
                let reply = invoke(&*self.invoker, message).await;
                if let (Some(called), Reply::Ok(_) | Reply::Again(_)) = (called, &reply) {
                    called.keep(backend).await;
                }
                self.verdict(delivery, reply).await
            }
        }
    }

    fn now(&self) -> Timestamp {
        self.storage.backend().now()
    }

    /// Only a failure of the application itself uses up an attempt.
    async fn verdict(&self, delivery: &Delivery, reply: Reply) -> Verdict {
        match reply {
            Reply::Ok(_) => Settlement::Done.into(),
            Reply::Again(after) => Settlement::SnoozeUntil(self.now() + after).into(),
            Reply::Unavailable { error, retry_after } => {
                tracing::warn!(%error, "an application cannot be reached now");
                Settlement::SnoozeUntil(self.now() + retry_after.unwrap_or(SOON)).into()
            }
            Reply::Unauthorized => {
                tracing::error!(queue = %self.queue, "the secret is refused: the queue is paused until someone resumes it");
                if let Err(error) = self.storage.backend().queues().pause_queue(&self.queue, true).await {
                    tracing::error!(error = %error.chain(), "the queue cannot be paused");
                }
                Settlement::SnoozeUntil(self.now() + SOON).into()
            }
            Reply::BadRequest(error) => Settlement::DeadLetter(Failure::new("BAD_REQUEST", error)).into(),
            Reply::Failed { error, fatal: true, .. } => {
                Settlement::DeadLetter(Failure::new("FATAL", error)).into()
            }
            Reply::Failed { error, retry_after, .. } => {
                let failure = Failure::new("FAILED", error);
                match retry_after {
                    Some(delay) => Settlement::RetryAfter { delay, error: failure }.into(),
                    None => Verdict::failed(delivery, failure),
                }
            }
        }
    }
}

impl Deliver for CallDeliver {
    fn deliver(&self, delivery: Delivery, cancel: CancellationToken) -> BoxFuture<'_, Verdict> {
        Box::pin(async move {
            let ended = async {
                let handled = within_time(deadline(&delivery), Box::pin(self.handle(&delivery))).await;
                let verdict = handled.unwrap_or_else(|failure| Verdict::failed(&delivery, failure));
                match verdict.gives_up(&delivery) {
                    Some(why) => self.give_up(&delivery, delivery.attempt(), why.clone()).await,
                    None => verdict,
                }
            };
            tokio::select! {
                verdict = ended => verdict,
                () = cancel.cancelled() => Verdict::Abandoned,
            }
        })
    }

    fn lost(&self, delivery: Delivery) -> BoxFuture<'_, Verdict> {
        Box::pin(async move {
            self.give_up(&delivery, delivery.failures + delivery.lost, worker_lost(&delivery)).await
        })
    }
}

fn unpack(delivery: &Delivery) -> Result<MessageData> {
    let message = &delivery.message;
    let name = message.data.get("queueName").and_then(Value::as_str).unwrap_or_default();
    let data = message.data.get("data").cloned().unwrap_or_default();
    let mut called = MessageData::new(name.parse()?, data);
    called.message_id = message.id.to_string();
    called.idempotency_key.clone_from(&message.key);
    called.attempt = delivery.failures + 1;
    Ok(called)
}
