//! One processor: its handler and how it is to be run.

use std::{sync::Arc, time::Duration};

use mainspring_core::{BoxFuture, Error, RecordedEvent, Result, limits};

use crate::handler::{Projector, Reactor};

/// Where a processor begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum StartFrom {
    /// Where it was, else at the beginning of the log.
    #[default]
    Current,
    /// At the beginning, wherever it was. What it did is done again.
    Beginning,
    /// Where it was, else behind everything that is settled when it starts.
    End,
    /// Behind this global position, wherever it was.
    After(i64),
}

/// What to do when another instance runs the same processor.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum LeasePolicy {
    /// The start fails with a conflict.
    #[default]
    Fail,
    /// Stand by, and take over when the other one stops or dies.
    Wait,
    /// Try so often, with a pause in between, then fail.
    Retry {
        /// Tries in all, the first included.
        attempts: u32,
        /// Between two tries.
        pause: Duration,
    },
}

/// What to do about an event whose handling fails. Failures of the database do not count: they are waited out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OnError {
    /// Tries in all, the first included; 1 to 1,000. Defaults to 5.
    pub attempts: u32,
    /// Before the second try; doubled with each further one. Defaults to 100 ms.
    pub backoff: Duration,
    /// Longest pause between two tries. Defaults to 10 s.
    pub longest: Duration,
    /// When all tries are used up. Defaults to [`Then::Stop`] for projectors, whose tables would be wrong without the
    /// event, and to [`Then::Park`] for reactors.
    pub then: Then,
}

/// What to do about an event that failed for good.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Then {
    /// Put it aside and go on; see [`Processors::parked`](crate::Processors::parked).
    Park,
    /// Stop this processor with the error, before the event.
    Stop,
}

impl OnError {
    /// The defaults with another ending.
    pub fn then(then: Then) -> Self {
        Self { attempts: 5, backoff: Duration::from_millis(100), longest: Duration::from_secs(10), then }
    }

    /// So many tries in all.
    #[must_use]
    pub fn attempts(mut self, attempts: u32) -> Self {
        self.attempts = attempts;
        self
    }

    /// The pause before the second try.
    #[must_use]
    pub fn backoff(mut self, first: Duration) -> Self {
        self.backoff = first;
        self
    }

    pub(crate) fn pause(&self, failures: u32) -> Duration {
        self.backoff.saturating_mul(2_u32.saturating_pow(failures.saturating_sub(1))).min(self.longest)
    }
}

pub(crate) enum Work {
    Project(Box<dyn Projector>),
    React(Box<dyn Reactor>),
}

pub(crate) type Hook = Arc<dyn Fn() -> BoxFuture<'static, Result<()>> + Send + Sync>;

#[derive(Default, Clone)]
pub(crate) struct Hooks {
    pub(crate) init: Option<Hook>,
    pub(crate) start: Option<Hook>,
    pub(crate) close: Option<Hook>,
}

pub(crate) type Until = Arc<dyn Fn(&RecordedEvent) -> bool + Send + Sync>;

/// A projector or reactor with a name, under which its checkpoint is kept.
#[must_use = "a processor does nothing until a consumer runs it"]
pub struct Processor {
    pub(crate) name: String,
    pub(crate) version: u32,
    pub(crate) work: Work,
    pub(crate) event_types: Vec<String>,
    pub(crate) start: StartFrom,
    pub(crate) policy: LeasePolicy,
    pub(crate) on_error: OnError,
    pub(crate) ephemeral: bool,
    pub(crate) until: Option<Until>,
    pub(crate) hooks: Hooks,
}

impl Processor {
    /// A processor that changes tables.
    pub fn projector(name: impl Into<String>, projector: impl Projector) -> Self {
        let types = projector.event_types();
        Self::new(name.into(), types, Work::Project(Box::new(projector)), Then::Stop)
    }

    /// A processor that does something.
    pub fn reactor(name: impl Into<String>, reactor: impl Reactor) -> Self {
        let types = reactor.event_types();
        Self::new(name.into(), types, Work::React(Box::new(reactor)), Then::Park)
    }

    fn new(name: String, event_types: Vec<String>, work: Work, then: Then) -> Self {
        Self {
            name,
            version: 1,
            work,
            event_types,
            start: StartFrom::default(),
            policy: LeasePolicy::default(),
            on_error: OnError::then(then),
            ephemeral: false,
            until: None,
            hooks: Hooks::default(),
        }
    }

    /// Another version has a checkpoint of its own. Defaults to 1.
    pub fn version(mut self, version: u32) -> Self {
        self.version = version;
        self
    }

    /// Only events of these types. Defaults to what the handler says, which is all unless it says otherwise.
    pub fn event_types<T: Into<String>>(mut self, types: impl IntoIterator<Item = T>) -> Self {
        self.event_types = types.into_iter().map(Into::into).collect();
        self
    }

    /// Where to begin. Defaults to [`StartFrom::Current`].
    pub fn start_from(mut self, start: StartFrom) -> Self {
        self.start = start;
        self
    }

    /// What to do when it runs elsewhere. Defaults to [`LeasePolicy::Fail`].
    pub fn lease_policy(mut self, policy: LeasePolicy) -> Self {
        self.policy = policy;
        self
    }

    /// What to do about an event that fails.
    pub fn on_error(mut self, on_error: OnError) -> Self {
        self.on_error = on_error;
        self
    }

    /// Without a checkpoint and a lease: every instance sees every event, from [`start_from`](Self::start_from) on, at each
    /// start again. For what is kept in memory. An event that fails for good is logged and left out.
    pub fn ephemeral(mut self) -> Self {
        self.ephemeral = true;
        self
    }

    /// Stops behind the first event for which this is true.
    pub fn stop_after(mut self, is_last: impl Fn(&RecordedEvent) -> bool + Send + Sync + 'static) -> Self {
        self.until = Some(Arc::new(is_last));
        self
    }

    /// Called once at each start of the consumer, before anything else. Its failure fails the start.
    pub fn on_init<F, Fut>(mut self, hook: F) -> Self
    where
        F: Fn() -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<()>> + Send + 'static,
    {
        self.hooks.init = Some(Arc::new(move || Box::pin(hook())));
        self
    }

    /// Called each time it has got its lease, before its first event. Its failure stops the processor.
    pub fn on_start<F, Fut>(mut self, hook: F) -> Self
    where
        F: Fn() -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<()>> + Send + 'static,
    {
        self.hooks.start = Some(Arc::new(move || Box::pin(hook())));
        self
    }

    /// Called each time it has given back its lease, or lost it. Its failure is logged.
    pub fn on_close<F, Fut>(mut self, hook: F) -> Self
    where
        F: Fn() -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<()>> + Send + 'static,
    {
        self.hooks.close = Some(Arc::new(move || Box::pin(hook())));
        self
    }

    pub(crate) fn check(&self) -> Result<()> {
        limits::check_name("processor.name", &self.name)?;
        if !(1..=1_000_000).contains(&self.version) {
            let problem = format!("{} is not within 1 to 1000000", self.version);
            return Err(Error::invalid("processor.version", problem));
        }
        if !(1..=limits::MAX_ATTEMPTS).contains(&self.on_error.attempts) {
            let problem = format!("{} is not within 1 to 1000", self.on_error.attempts);
            return Err(Error::invalid("processor.on_error.attempts", problem));
        }
        if let StartFrom::After(position) = self.start
            && position < 0
        {
            return Err(Error::invalid("processor.start_from", format!("{position} is below 0")));
        }
        self.event_types.iter().try_for_each(|name| limits::check_name("processor.event_type", name))
    }

    pub(crate) fn wants(&self, event: &RecordedEvent) -> bool {
        self.event_types.is_empty() || self.event_types.contains(&event.event.event_type)
    }
}
