//! Workflows driven by events: what comes in is decided on one after the other, and everything is in a stream of their own.
//!
//! ```text
//!              ┌── evolve ◄── own stream: inputs heard, outputs emitted ◄──┐
//! input ──► decide                                                          ├─ one commit
//!              └──► outputs ──► events of other streams, messages ──────────┘
//! ```
//! The stream is inbox and outbox at once: an input that is in it was decided on, with everything that was decided, and is
//! not decided on again. What is only a copy there, such as every input, has the workflow's name in front of its type, so that
//! who follows the log by types sees each event once.
//!
//! ```
//! use std::time::Duration;
//! use mainspring_core::{DomainEvent, Emit, EventWorkflow, event_workflow::Entry};
//! use serde::{Deserialize, Serialize};
//!
//! #[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
//! enum Heard { OrderPlaced { order: String }, Paid { order: String }, PaymentLate { order: String } }
//! impl DomainEvent for Heard {}
//!
//! #[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
//! enum Said { AskForPayment { order: String }, PaymentLate { order: String }, OrderReady {}, OrderDropped {} }
//! impl DomainEvent for Said {}
//!
//! #[derive(Debug, Clone, Copy, PartialEq)]
//! enum Payment { Unasked, Asked, Over }
//!
//! struct Payments;
//! impl EventWorkflow for Payments {
//!     type Input = Heard;
//!     type Output = Said;
//!     type State = Payment;
//!     type Error = String;
//!
//!     fn name(&self) -> &str { "payment" }
//!
//!     fn input_types(&self) -> Vec<String> { ["OrderPlaced", "Paid"].map(str::to_owned).to_vec() }
//!
//!     fn id_of(&self, input: &Heard) -> Option<String> {
//!         let (Heard::OrderPlaced { order } | Heard::Paid { order } | Heard::PaymentLate { order }) = input;
//!         Some(order.clone())
//!     }
//!
//!     fn initial(&self) -> Payment { Payment::Unasked }
//!
//!     fn decide(&self, input: &Heard, state: &Payment) -> Result<Vec<Emit<Said>>, String> {
//!         Ok(match (input, state) {
//!             (Heard::OrderPlaced { order }, Payment::Unasked) => vec![
//!                 Emit::push("payments", Said::AskForPayment { order: order.clone() }),
//!                 Emit::schedule("timers", Duration::from_secs(3600), Said::PaymentLate { order: order.clone() }),
//!             ],
//!             (Heard::Paid { order }, Payment::Asked) => {
//!                 vec![Emit::append(format!("order-{order}"), Said::OrderReady {})]
//!             }
//!             (Heard::PaymentLate { .. }, Payment::Asked) => vec![Emit::record(Said::OrderDropped {})],
//!             _ => vec![],
//!         })
//!     }
//!
//!     fn evolve(&self, state: Payment, entry: Entry<&Heard, &Said>) -> Payment {
//!         match entry {
//!             Entry::Output(Said::AskForPayment { .. }) => Payment::Asked,
//!             Entry::Output(Said::OrderReady {} | Said::OrderDropped {}) => Payment::Over,
//!             _ => state,
//!         }
//!     }
//! }
//!
//! let placed = Heard::OrderPlaced { order: "42".into() };
//! assert_eq!(Payments.decide(&placed, &Payments.initial())?.len(), 2);
//! # Ok::<(), String>(())
//! ```

use std::time::Duration;

use serde_json::{Map, Value};

use crate::{
    Append, Available, Changes, Delivery, DomainEvent, Error, ExpectedPosition, NewEvent, NewMessage,
    RecordedEvent, Result, StreamId, limits,
    trace::{self, TRACEPARENT},
};

/// The key in the metadata of an own event that says what it is there.
const WORKFLOW: &str = "workflow";
const CORRELATION_ID: &str = "correlation_id";
const CAUSATION_ID: &str = "causation_id";

/// The rules of a workflow that is driven by events. Pure: no clock, no IO; what a decision needs is in the input or in the
/// state.
pub trait EventWorkflow: Send + Sync {
    /// What comes in: events of other streams, its own recorded ones, or messages.
    type Input: DomainEvent + Send + Sync;
    /// What it emits.
    type Output: DomainEvent + Send + Sync;
    /// What its inputs and outputs so far add up to.
    type State: Send + Sync;
    /// Why an input cannot be decided on.
    type Error: Send;

    /// Its name, at most 128 bytes; a part of the names of its streams.
    fn name(&self) -> &str;

    /// The types of the events it hears of. It must not be empty.
    fn input_types(&self) -> Vec<String>;

    /// Which instance of the workflow the input is for; `None` when it is for none.
    fn id_of(&self, input: &Self::Input) -> Option<String>;

    /// The state of an instance that has heard nothing.
    fn initial(&self) -> Self::State;

    /// What is emitted when `input` comes in at `state`; nothing, when there is nothing to do.
    ///
    /// # Errors
    /// The input cannot be decided on: it is not recorded, and comes again.
    fn decide(
        &self,
        input: &Self::Input,
        state: &Self::State,
    ) -> Result<Vec<Emit<Self::Output>>, Self::Error>;

    /// The state after an input, and after each output that was decided on it.
    fn evolve(&self, state: Self::State, entry: Entry<&Self::Input, &Self::Output>) -> Self::State;
}

/// Something in the own stream of a workflow.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Entry<I, O> {
    /// It came in.
    Input(I),
    /// It was emitted.
    Output(O),
}

/// An output and where it goes. All of them are in the own stream besides, in their order.
#[derive(Debug, Clone, PartialEq)]
pub struct Emit<O> {
    /// What it is.
    pub output: O,
    /// Where it goes.
    pub to: EmitTo,
}

/// Where an output goes.
#[derive(Debug, Clone, PartialEq)]
pub enum EmitTo {
    /// Nowhere: it is an event of the own stream.
    Own,
    /// It becomes an event of this other stream, behind what is there.
    Stream(StreamId),
    /// It becomes a message of this queue.
    Queue {
        /// The queue.
        queue: String,
        /// After so long; zero for at once.
        delay: Duration,
    },
}

impl<O> Emit<O> {
    /// An event of the own stream.
    pub fn record(event: O) -> Self {
        Self { output: event, to: EmitTo::Own }
    }

    /// An event of another stream, whatever is in it.
    pub fn append(stream: impl Into<StreamId>, event: O) -> Self {
        Self { output: event, to: EmitTo::Stream(stream.into()) }
    }

    /// A message, such as a command to somebody.
    pub fn push(queue: impl Into<String>, message: O) -> Self {
        Self::schedule(queue, Duration::ZERO, message)
    }

    /// A message that comes so much later, such as a reminder.
    pub fn schedule(queue: impl Into<String>, delay: Duration, message: O) -> Self {
        Self { output: message, to: EmitTo::Queue { queue: queue.into(), delay } }
    }

    /// What the own stream calls it.
    fn action(&self) -> &'static str {
        match &self.to {
            EmitTo::Own => "recorded",
            EmitTo::Stream(_) => "appended",
            EmitTo::Queue { delay, .. } if delay.is_zero() => "pushed",
            EmitTo::Queue { .. } => "scheduled",
        }
    }
}

/// An input as it came: the event or the message, and what names it.
#[derive(Debug, Clone, PartialEq)]
pub struct Incoming {
    /// Names it: what has the same name was heard before. Of an event, its place in the log.
    pub id: String,
    /// Whose it is, and so whose the workflow is; empty for nobody.
    pub tenant: String,
    /// What it says.
    pub event: NewEvent,
}

impl From<&RecordedEvent> for Incoming {
    fn from(event: &RecordedEvent) -> Self {
        let id = format!("event-{}", event.global_position);
        Self { id, tenant: event.tenant.clone(), event: event.event.clone() }
    }
}

/// A message says with its headers `correlation_id` and `traceparent` what it belongs to.
impl From<&Delivery> for Incoming {
    fn from(delivery: &Delivery) -> Self {
        let message = &delivery.message;
        let header = |name: &str| message.headers.get(name).and_then(Value::as_str).map(str::to_owned);
        let mut event = NewEvent::new(&message.message_type, message.data.clone());
        event.correlation_id = header(CORRELATION_ID);
        if let Some(parent) = header(TRACEPARENT) {
            event = event.traced(parent);
        }
        Self { id: message.id.to_string(), tenant: message.tenant.clone(), event }
    }
}

/// The own stream of one instance of a workflow: `workflow:<name>-<id>`.
///
/// # Errors
/// Invalid, when that is no name of a stream.
pub fn own_stream(workflow: &str, tenant: &str, id: &str) -> Result<StreamId> {
    limits::check_name("workflow.name", workflow)?;
    let stream = StreamId::new(format!("workflow:{workflow}-{id}")).of_tenant(tenant);
    limits::check_id("workflow.id", id).and_then(|()| stream.check()).map(|()| stream)
}

/// One instance, as its stream has it, at the arrival of an input. [`take`](Self::take) every event of the stream, then
/// [`decide`](Self::decide).
pub struct Instance<'w, W: EventWorkflow> {
    workflow: &'w W,
    stream: StreamId,
    state: W::State,
    incoming: Incoming,
    input: W::Input,
    heard: bool,
}

impl<'w, W: EventWorkflow> Instance<'w, W> {
    /// The instance that `incoming` is for, before anything has happened; `None` when it is for none.
    ///
    /// # Errors
    /// Internal, when the input cannot be read; invalid for an id that is no name.
    pub fn of(workflow: &'w W, incoming: Incoming) -> Result<Option<Self>> {
        let Some(input) = W::Input::decode(&incoming.event)? else { return Ok(None) };
        let Some(id) = workflow.id_of(&input) else { return Ok(None) };
        let stream = own_stream(workflow.name(), &incoming.tenant, &id)?;
        Ok(Some(Self { workflow, stream, state: workflow.initial(), incoming, input, heard: false }))
    }

    /// Its stream.
    pub fn stream(&self) -> &StreamId {
        &self.stream
    }

    /// Takes in an event of its stream.
    ///
    /// # Errors
    /// Internal, when it cannot be read.
    pub fn take(mut self, event: &NewEvent) -> Result<Self> {
        let what = event.metadata.get(WORKFLOW).and_then(Value::as_str);
        let is_input = what == Some("input");
        self.heard |= is_input && event.causation_id.as_deref() == Some(&self.incoming.id);
        // Somebody else's event in this stream means nothing here.
        if what.is_none() {
            return Ok(self);
        }
        let mut event = event.clone();
        if let Some(kind) = event.event_type.strip_prefix(&prefix(self.workflow)) {
            event.event_type = kind.to_owned();
        }
        if is_input {
            if let Some(input) = W::Input::decode(&event)? {
                self.state = self.workflow.evolve(self.state, Entry::Input(&input));
            }
        } else if let Some(output) = W::Output::decode(&event)? {
            self.state = self.workflow.evolve(self.state, Entry::Output(&output));
        }
        Ok(self)
    }

    /// Whether it has heard this input before, so that there is nothing to decide.
    pub fn has_heard(&self) -> bool {
        self.heard
    }

    /// Decides on the input; what is to be committed, when its stream is still at `position`.
    ///
    /// # Errors
    /// The workflow's own, inside; and invalid, when an output cannot be written.
    pub fn decide(self, position: i64) -> Result<Result<Changes>, W::Error> {
        let emitted = self.workflow.decide(&self.input, &self.state)?;
        Ok(self.changes(emitted, position))
    }

    fn changes(self, emitted: Vec<Emit<W::Output>>, position: i64) -> Result<Changes> {
        let Incoming { id, event: input, .. } = &self.incoming;
        let correlation = input.correlation_id.clone().unwrap_or_else(|| self.stream.stream.clone());
        let span = trace::span().map(|span| span.to_string());
        let parent = span.or_else(|| input.traceparent().map(str::to_owned));
        let belonging = |event: NewEvent| {
            let event = event.caused_by(&correlation, id);
            match &parent {
                Some(parent) => event.traced(parent),
                None => event,
            }
        };
        let copy = |event: &NewEvent| {
            let mut event = event.clone();
            event.event_type = format!("{}{}", prefix(self.workflow), event.event_type);
            event
        };
        let heard = NewEvent { id: None, metadata: Map::new(), ..input.clone() };
        let mut own = vec![marked(belonging(copy(&heard)), "input")];
        let mut others: Vec<Append> = Vec::new();
        let mut messages = Vec::new();
        for emit in &emitted {
            let output = belonging(emit.output.encode()?);
            match &emit.to {
                EmitTo::Own => own.push(marked(output, emit.action())),
                EmitTo::Stream(stream) => {
                    own.push(marked(copy(&output), emit.action()));
                    match others.iter_mut().find(|append| append.stream_id() == *stream) {
                        Some(append) => append.events.push(output),
                        None => others.push(Append::to(stream, vec![output])),
                    }
                }
                EmitTo::Queue { queue, delay } => {
                    own.push(marked(copy(&output), emit.action()));
                    messages.push(self.message(queue, *delay, output));
                }
            }
        }
        if others.iter().any(|append| append.stream_id() == self.stream) {
            return Err(Error::invalid("emit.to", "what goes to the own stream is recorded, not appended"));
        }
        let mut appends = vec![Append::to(&self.stream, own).expecting(ExpectedPosition::Exact(position))];
        appends.append(&mut others);
        Ok(Changes { appends, messages, ..Changes::default() })
    }

    fn message(&self, queue: &str, delay: Duration, event: NewEvent) -> NewMessage {
        let mut message = NewMessage::new(queue, event.event_type, event.data);
        message.tenant.clone_from(&self.stream.tenant);
        message.source = Some(self.workflow.name().to_owned());
        message.subject = Some(self.stream.stream.clone());
        message.headers = event.metadata;
        for (name, id) in [(CORRELATION_ID, event.correlation_id), (CAUSATION_ID, event.causation_id)] {
            message.headers.extend(id.map(|id| (name.to_owned(), Value::String(id))));
        }
        if !delay.is_zero() {
            message.available = Available::After(delay);
        }
        message
    }
}

fn prefix(workflow: &impl EventWorkflow) -> String {
    format!("{}:", workflow.name())
}

fn marked(mut event: NewEvent, what: &str) -> NewEvent {
    event.metadata.insert(WORKFLOW.to_owned(), Value::String(what.to_owned()));
    event
}
