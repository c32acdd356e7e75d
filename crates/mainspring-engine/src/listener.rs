//! Listeners: functions of this process that are told what was committed by it.
//!
//! They are called after the commit, in the order of the events, with what cannot be changed. A listener that panics is
//! reported and affects nobody. What must not be missed belongs into a consumer of the log instead.

use std::{
    fmt,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{
        Arc, PoisonError, RwLock, Weak,
        atomic::{AtomicU64, Ordering},
    },
};

use mainspring_core::{Execution, ExecutionId, NewEvent, Timestamp, event::kind};
use serde_json::{Value, json};

/// Something that was committed about an execution.
#[derive(Debug, Clone, PartialEq)]
pub struct Lifecycle {
    /// What happened; see [`mainspring_core::event::kind`].
    pub event_type: String,
    /// The execution.
    pub execution_id: ExecutionId,
    /// Its flow.
    pub flow_id: String,
    /// Its isolation key; empty for none.
    pub tenant: String,
    /// The step it is about.
    pub step_id: Option<String>,
    /// The fact.
    pub data: Value,
    /// The database's time of the commit.
    pub at: Timestamp,
}

type Listener = Arc<dyn Fn(&Lifecycle) + Send + Sync>;

#[derive(Default)]
pub(crate) struct Listeners {
    next: AtomicU64,
    all: RwLock<Vec<(u64, Pattern, Listener)>>,
}

/// An exact type, or a beginning of types.
#[derive(Clone)]
enum Pattern {
    Exact(String),
    Beginning(String),
}

impl Pattern {
    fn new(text: &str) -> Self {
        match text.strip_suffix('*') {
            Some(beginning) => Self::Beginning(beginning.to_owned()),
            None => Self::Exact(text.to_owned()),
        }
    }

    fn matches(&self, event_type: &str) -> bool {
        match self {
            Self::Exact(text) => text == event_type,
            Self::Beginning(text) => event_type.starts_with(text.as_str()),
        }
    }
}

impl Listeners {
    pub(crate) fn subscribe(
        self: &Arc<Self>,
        pattern: &str,
        listener: impl Fn(&Lifecycle) + Send + Sync + 'static,
    ) -> Subscription {
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        let entry = (number, Pattern::new(pattern), Arc::new(listener) as Listener);
        self.all.write().unwrap_or_else(PoisonError::into_inner).push(entry);
        Subscription { number, listeners: Arc::downgrade(self) }
    }

    fn unsubscribe(&self, number: u64) {
        self.all.write().unwrap_or_else(PoisonError::into_inner).retain(|(n, ..)| *n != number);
    }

    /// Tells everyone what was committed about `execution`.
    pub(crate) fn tell(&self, execution: &Execution, events: &[NewEvent], at: Timestamp) {
        // Nobody holds the lock while a listener runs, so listeners may subscribe and unsubscribe.
        let listeners = self.all.read().unwrap_or_else(PoisonError::into_inner).clone();
        if listeners.is_empty() {
            return;
        }
        let told = |event_type: &str, event: &NewEvent, data: Value| Lifecycle {
            event_type: event_type.to_owned(),
            execution_id: execution.id.clone(),
            flow_id: execution.flow_id.clone(),
            tenant: execution.tenant.clone(),
            step_id: event.subject.clone(),
            data,
            at,
        };
        let all = events.iter().flat_map(|event| {
            let moved = transition(event).map(|data| told(kind::TRANSITION, event, data));
            std::iter::once(told(&event.event_type, event, event.data.clone())).chain(moved)
        });
        for told in all {
            for (_, pattern, listener) in &listeners {
                if pattern.matches(&told.event_type)
                    && catch_unwind(AssertUnwindSafe(|| listener(&told))).is_err()
                {
                    tracing::error!(event = %told.event_type, "a listener panicked");
                }
            }
        }
    }
}

/// Where the execution went, when this event says so.
fn transition(event: &NewEvent) -> Option<Value> {
    let (on, to) = (event.data.get("on")?, event.data.get("to")?);
    let ends = kind::ENDS_OF_A_STEP.contains(&&*event.event_type);
    ends.then(|| json!({"on": on, "from": event.subject, "to": to}))
}

/// A listener that is told as long as this lives.
#[must_use = "dropping the subscription ends it"]
pub struct Subscription {
    number: u64,
    listeners: Weak<Listeners>,
}

impl Subscription {
    /// Keeps the listener for as long as the engine lives.
    pub fn forever(mut self) {
        self.listeners = Weak::new();
    }
}

impl Drop for Subscription {
    fn drop(&mut self) {
        if let Some(listeners) = self.listeners.upgrade() {
            listeners.unsubscribe(self.number);
        }
    }
}

impl fmt::Debug for Subscription {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Subscription({})", self.number)
    }
}
