//! What the broker drives: something that takes an event and says what follows from it.

use mainspring_core::{Backend, BoxFuture, ExecutionWrite};
use tokio_util::sync::CancellationToken;

use crate::{CloudEvent, HandlerError, Sending};

/// Takes events. [`Service`](crate::Service), [`Orchestrator`](crate::Orchestrator) and [`Resumable`](crate::Resumable) are the
/// ways to make one.
pub trait Handler: Send + Sync + 'static {
    /// Its address: events whose `to` is this are its. Also the name of its queue.
    fn source(&self) -> &str;

    /// Handles an event. It may be called again for the same event, when a commit was refused or a process died; what it
    /// answers counts once.
    ///
    /// # Errors
    /// Why it cannot, and what becomes of the event.
    fn handle<'a>(&'a self, call: &'a Call<'a>) -> BoxFuture<'a, Result<Reaction, HandlerError>>;

    /// What follows when no retry can help: the events that tell of `error`, and the state of a process that has failed. `None`
    /// when nobody could be told: the event is dead-lettered.
    ///
    /// # Errors
    /// As [`handle`](Self::handle).
    fn fail<'a>(
        &'a self,
        call: &'a Call<'a>,
        error: &'a HandlerError,
    ) -> BoxFuture<'a, Result<Option<Reaction>, HandlerError>> {
        let _ = (call, error);
        Box::pin(async { Ok(None) })
    }

    /// What follows, beside its dead letter, when an event is given up: its last try has failed, its error asked for it, or it
    /// cost too many workers. Who waits for an answer is to hear. Both are one commit. Defaults to what [`fail`](Self::fail) says.
    ///
    /// # Errors
    /// As [`handle`](Self::handle); nobody hears then.
    fn give_up<'a>(
        &'a self,
        call: &'a Call<'a>,
        error: &'a HandlerError,
    ) -> BoxFuture<'a, Result<Option<Reaction>, HandlerError>> {
        self.fail(call, error)
    }

    /// What becomes of an event whose error asks for nothing.
    fn usual(&self) -> crate::OnError {
        crate::OnError::Retry
    }
}

/// One call of a handler.
pub struct Call<'a> {
    /// The event.
    pub event: &'a CloudEvent,
    /// Which run this is: 1 for the first.
    pub attempt: u32,
    /// Where the state of processes is.
    pub backend: &'a dyn Backend,
    /// Fires when whatever is still done does not count any more.
    pub cancel: &'a CancellationToken,
}

/// What follows from an event. All of it becomes durable with the end of the event, or none of it.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Reaction {
    /// Events to route, in order.
    pub events: Vec<Emission>,
    /// The state of the process, guarded by the revision that was read.
    pub state: Option<ExecutionWrite>,
}

/// An event to route, and how it is sent.
#[derive(Debug, Clone, PartialEq)]
pub struct Emission {
    /// The event.
    pub event: CloudEvent,
    /// How.
    pub sending: Sending,
}

impl From<CloudEvent> for Emission {
    fn from(event: CloudEvent) -> Self {
        Self { event, sending: Sending::default() }
    }
}

impl From<Vec<CloudEvent>> for Reaction {
    fn from(events: Vec<CloudEvent>) -> Self {
        Self { events: events.into_iter().map(Emission::from).collect(), state: None }
    }
}
