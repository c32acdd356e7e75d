//! One event, from its delivery to the commit that ends it.
//!
//! ```text
//! handled before? ──yes──► done
//!       │ no
//!       ▼
//! handler ──► events routed, state, receipt, settlement ──► one commit
//!    ▲                                                         │
//!    └──────────── the state was changed meanwhile ◄───────────┘
//! ```

use std::{sync::Arc, time::Duration};

use mainspring_core::{
    BoxFuture, Changes, Delivery, Error, ErrorKind, Failure, Receipt, Result, Settle, Settlement,
    trace::{TraceContext, within},
};
use mainspring_worker::{Deliver, Verdict, deadline, jittered, within_time};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tracing::Instrument;

use crate::{
    Call, CloudEvent, Handler, HandlerError, OnError, Reaction,
    backlog::Backlog,
    core::{Core, Unroutable},
    sending::{hops, identity},
};

/// How often a handler is called anew at once because its state was changed meanwhile.
const MOST_TRIES: u32 = 8;
/// How often a commit that nobody knows of, or that the database could not take, is offered again.
const MOST_OFFERS: u32 = 5;
/// How soon an event is looked at again that is not to blame.
const SOON: Duration = Duration::from_millis(200);

/// Says what becomes of an event whose handler failed.
pub type Classify = Arc<dyn Fn(&CloudEvent, &HandlerError) -> OnError + Send + Sync>;

/// Delivers events to one handler.
pub(crate) struct HandlerDeliver {
    pub(crate) core: Arc<Core>,
    pub(crate) handler: Arc<dyn Handler>,
    /// The queue they come from.
    pub(crate) queue: String,
    pub(crate) keep_receipts: Duration,
    pub(crate) classify: Option<Classify>,
    pub(crate) backlog: Option<Backlog>,
}

/// What came of offering a commit.
enum Offered {
    Done(Verdict),
    /// The state is no longer what the handler saw.
    Changed,
}

impl Deliver for HandlerDeliver {
    fn deliver(&self, delivery: Delivery, cancel: CancellationToken) -> BoxFuture<'_, Verdict> {
        Box::pin(async move {
            let event = match CloudEvent::from_json(delivery.message.data.clone()) {
                Ok(event) => event,
                Err(error) => {
                    return Settlement::DeadLetter(Failure::new("INVALID_EVENT", error.chain())).into();
                }
            };
            let span = tracing::info_span!(
                "mainspring.broker.handle",
                otel.name = format_args!("{}@{}", self.handler.source(), event.event_type()),
                otel.kind = "consumer",
                arvo.handler.execution.r#type = self.handler.source(),
                arvo.handler.execution.status = tracing::field::Empty,
                cloudevents.event_id = event.id(),
                cloudevents.event_source = event.source(),
                cloudevents.event_type = event.event_type(),
                cloudevents.event_subject = event.subject(),
                cloudevents.arvo.event_to = event.to(),
                traceparent = event.trace_parent(),
            );
            let context =
                event.trace_parent().and_then(|parent| TraceContext::parse(parent, event.trace_state()));
            let work = within(context, self.event(&event, &delivery, &cancel)).instrument(span.clone());
            let verdict = tokio::select! {
                verdict = work => verdict,
                () = cancel.cancelled() => Ok(Verdict::Abandoned),
            };
            let verdict = verdict.unwrap_or_else(|error| {
                tracing::warn!(parent: &span, error = %error.chain(), "an event cannot be handled now");
                match error.kind() {
                    // A defect, which may be in this event: not for ever.
                    ErrorKind::Internal | ErrorKind::NotFound => {
                        Settlement::Retry { error: Failure::new(error.code(), error.chain()) }.into()
                    }
                    _ => self.later(),
                }
            });
            span.record("arvo.handler.execution.status", status(&verdict));
            verdict
        })
    }

    fn lost(&self, delivery: Delivery) -> BoxFuture<'_, Verdict> {
        Box::pin(async move {
            let problem = format!("{} workers died while they handled this event", delivery.lost);
            let error = HandlerError::dead_letter(problem).with_code("WORKER_LOST");
            let Ok(event) = CloudEvent::from_json(delivery.message.data.clone()) else {
                return Settlement::DeadLetter(error.failure()).into();
            };
            self.give_up(&event, &delivery, &error).await.unwrap_or_else(|error| {
                tracing::warn!(event = event.id(), error = %error.chain(), "an event cannot be given up now");
                self.later()
            })
        })
    }

    fn maintain(&self) -> BoxFuture<'_, Result<()>> {
        Box::pin(async move {
            match &self.backlog {
                Some(backlog) => backlog.look().await,
                None => Ok(()),
            }
        })
    }
}

fn status(verdict: &Verdict) -> &'static str {
    match verdict {
        Verdict::Committed => "success",
        Verdict::Settle(Settlement::Done) => "repeated",
        Verdict::Abandoned => "abandoned",
        Verdict::Settle(Settlement::SnoozeUntil(_)) => "later",
        Verdict::Settle(_) | Verdict::Failed(_) => "error",
    }
}

impl HandlerDeliver {
    /// Again soon; uses up no attempt.
    fn later(&self) -> Verdict {
        Settlement::SnoozeUntil(self.core.backend.now() + jittered(SOON) + SOON).into()
    }

    async fn event(
        &self,
        event: &CloudEvent,
        delivery: &Delivery,
        cancel: &CancellationToken,
    ) -> Result<Verdict> {
        let backend = &*self.core.backend;
        let receipt = self.receipt(event);
        let cancel = &cancel.child_token();
        let until = deadline(delivery);
        if backend.queues().has_receipt(&receipt.queue, &receipt.key).await? {
            return Ok(Settlement::Done.into());
        }
        for _ in 0..MOST_TRIES {
            let call = Call { event, attempt: delivery.attempt(), backend, cancel };
            let (reaction, settlement) = match self.handled(&call, until).await {
                Ok(reaction) => (reaction, Settlement::Done),
                Err(error) if error.is_passing() => return Ok(self.later()),
                Err(error) => match self.failed(&call, &error, delivery.is_last_try()).await {
                    (Some(reaction), settlement) => (reaction, settlement),
                    (None, settlement) => return Ok(settlement.into()),
                },
            };
            if let Offered::Done(verdict) = self.conclude(delivery, &receipt, reaction, settlement).await? {
                return Ok(verdict);
            }
        }
        Ok(self.later())
    }

    fn receipt(&self, event: &CloudEvent) -> Receipt {
        Receipt { queue: self.queue.clone(), key: identity(event), keep: self.keep_receipts }
    }

    /// What the handler says. One that panics, or takes so long that the queue would soon take the event back and tell nobody,
    /// has failed like any other.
    async fn handled(&self, call: &Call<'_>, until: Option<Instant>) -> Result<Reaction, HandlerError> {
        let handled = within_time(until, self.handler.handle(call)).await;
        handled.unwrap_or_else(|failure| {
            call.cancel.cancel();
            Err(HandlerError::retry(failure.message).with_code(failure.code))
        })
    }

    /// Commits what was decided: all of it, or nothing.
    async fn conclude(
        &self,
        delivery: &Delivery,
        receipt: &Receipt,
        reaction: Reaction,
        settlement: Settlement,
    ) -> Result<Offered> {
        let messages = match self.core.route_all(&reaction.events, hops(&delivery.message)).await {
            Ok(messages) => messages,
            Err(Unroutable::Loops(problem)) => {
                let dead = Settlement::DeadLetter(Failure::new("HOP_LIMIT", problem));
                return Ok(Offered::Done(dead.into()));
            }
            Err(Unroutable::Error(error)) => return Err(error),
        };
        let changes = Changes {
            executions: reaction.state.into_iter().collect(),
            messages,
            receipts: if settlement == Settlement::Done { vec![receipt.clone()] } else { Vec::new() },
            settle: Some(Settle::new(delivery.lease.clone(), settlement)),
            ..Changes::default()
        };
        self.offer(&changes, receipt).await
    }

    /// A dead letter without the handler's word, and word of it to whoever waits for the answer.
    async fn give_up(
        &self,
        event: &CloudEvent,
        delivery: &Delivery,
        error: &HandlerError,
    ) -> Result<Verdict> {
        let (backend, receipt, cancel) = (&*self.core.backend, self.receipt(event), CancellationToken::new());
        // A copy of what was handled before.
        if backend.queues().has_receipt(&receipt.queue, &receipt.key).await? {
            return Ok(Settlement::Done.into());
        }
        for _ in 0..MOST_TRIES {
            let call = Call { event, attempt: delivery.attempt(), backend, cancel: &cancel };
            let dead = Settlement::DeadLetter(error.failure());
            let Some(reaction) = self.told(&call, error).await else { return Ok(dead.into()) };
            if let Offered::Done(verdict) = self.conclude(delivery, &receipt, reaction, dead).await? {
                return Ok(verdict);
            }
        }
        Ok(self.later())
    }

    /// What tells whoever waits for the answer that there will be none.
    async fn told(&self, call: &Call<'_>, error: &HandlerError) -> Option<Reaction> {
        self.handler.give_up(call, error).await.unwrap_or_else(|error| {
            tracing::warn!(event = call.event.id(), %error, "nobody can be told that an event is given up");
            None
        })
    }

    /// What follows from the failure of a handler, and what becomes of the event. One that is dead-lettered has no receipt, so
    /// that it is handled when it is brought back.
    async fn failed(
        &self,
        call: &Call<'_>,
        error: &HandlerError,
        last_try: bool,
    ) -> (Option<Reaction>, Settlement) {
        let asked = match &self.classify {
            Some(classify) => classify(call.event, error),
            None => error.on_error(),
        };
        let asked = if asked == OnError::AsUsual { self.handler.usual() } else { asked };
        tracing::warn!(event = call.event.id(), handler = self.handler.source(), %error, ?asked, "a handler failed");
        let failure = error.failure();
        let settlement = match asked {
            OnError::AsUsual | OnError::Retry => Settlement::Retry { error: failure },
            OnError::RetryAfter(delay) => Settlement::RetryAfter { delay, error: failure },
            OnError::DeadLetter => return (self.told(call, error).await, Settlement::DeadLetter(failure)),
            OnError::Fail => match self.handler.fail(call, error).await {
                Ok(Some(reaction)) => return (Some(reaction), Settlement::Done),
                Ok(None) => return (self.told(call, error).await, Settlement::DeadLetter(failure)),
                Err(error) => return (None, Settlement::Retry { error: error.failure() }),
            },
        };
        if !last_try {
            return (None, settlement);
        }
        (self.told(call, error).await, settlement)
    }

    /// Offers a commit until it is known what became of it. One that had been committed and is offered again finds its lease
    /// gone.
    async fn offer(&self, changes: &Changes, receipt: &Receipt) -> Result<Offered> {
        let mut offers = 1;
        loop {
            let error = match self.core.backend.commit(changes.clone()).await {
                Ok(_) => return Ok(Offered::Done(Verdict::Committed)),
                Err(error) => error,
            };
            match error.kind() {
                ErrorKind::Fenced => return Ok(Offered::Done(Verdict::Abandoned)),
                ErrorKind::Conflict => {
                    let queues = self.core.backend.queues();
                    let repeated = queues.has_receipt(&receipt.queue, &receipt.key).await?;
                    let done = || Offered::Done(Settlement::Done.into());
                    return Ok(if repeated { done() } else { Offered::Changed });
                }
                ErrorKind::Invalid => return Ok(Offered::Done(dead(&error))),
                _ if offers == MOST_OFFERS => return Err(error),
                _ => {
                    tokio::time::sleep(jittered(SOON * offers)).await;
                    offers += 1;
                }
            }
        }
    }
}

fn dead(error: &Error) -> Verdict {
    Settlement::DeadLetter(Failure::new("INVALID", error.chain())).into()
}
