//! Commands: load, decide, append what was decided where the stream was read, and again when someone else was faster.

use std::{fmt, time::Duration};

use mainspring_core::{
    Append, Appended, BoxFuture, Decider, DomainEvent, Error, EventStore, ExpectedPosition, NewEvent, Result,
    StreamId,
};
use serde::{Serialize, de::DeserializeOwned};

use crate::{
    fold::{Folded, Read},
    snapshot::Snapshots,
};

/// How often a command is decided again after a conflict, and after which pause.
///
/// A pause grows by `factor` from one try to the next; half of it is left to chance, so that those who met once do not meet
/// again.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct ConflictRetry {
    /// Tries in all; the first counts. Defaults to 4.
    pub max_attempts: u32,
    /// Before the second try. Defaults to 100 ms.
    pub pause: Duration,
    /// How much longer each pause is than the one before. Defaults to 1.5.
    pub factor: f64,
}

impl Default for ConflictRetry {
    fn default() -> Self {
        Self { max_attempts: 4, pause: Duration::from_millis(100), factor: 1.5 }
    }
}

impl ConflictRetry {
    /// A conflict is the caller's at once.
    pub const NONE: Self = Self { max_attempts: 1, pause: Duration::ZERO, factor: 1.0 };

    /// The longest pause after so many tries.
    fn after(&self, attempt: u32) -> Duration {
        let grown = self.factor.max(0.0).powi(i32::try_from(attempt).unwrap_or(i32::MAX).saturating_sub(1));
        let seconds = self.pause.as_secs_f64() * grown;
        Duration::try_from_secs_f64(seconds.min(60.0)).unwrap_or(Duration::ZERO)
    }
}

/// Why a command came to nothing.
#[derive(Debug)]
pub enum CommandError<E> {
    /// The decider refused it. Nothing was written.
    Refused(E),
    /// The store failed, or the stream was changed by others each time.
    Store(Error),
}

impl<E> CommandError<E> {
    /// Someone else was faster each time, or the stream was not where the caller expects it.
    pub fn is_conflict(&self) -> bool {
        matches!(self, Self::Store(error) if error.is_conflict())
    }

    /// Where the stream really stands, after a conflict.
    pub fn current_position(&self) -> Option<i64> {
        match self {
            Self::Refused(_) => None,
            Self::Store(error) => error.current_position(),
        }
    }
}

impl<E> From<Error> for CommandError<E> {
    fn from(error: Error) -> Self {
        Self::Store(error)
    }
}

impl<E: fmt::Display> fmt::Display for CommandError<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Refused(error) => error.fmt(f),
            Self::Store(error) => error.fmt(f),
        }
    }
}

impl<E: fmt::Debug + fmt::Display> std::error::Error for CommandError<E> {}

/// What a command came to.
#[derive(Debug, Clone, PartialEq)]
pub struct Handled<S, E> {
    /// The state after its events.
    pub state: S,
    /// What was decided; empty when there was nothing to do.
    pub events: Vec<E>,
    /// Where the stream stands now; 0 when it still does not exist.
    pub position: i64,
    /// Where the events are; `None` when nothing was written.
    pub appended: Option<Appended>,
}

/// A decider on one stream; [`handle`](Self::handle) runs it.
///
/// ```
/// # tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap().block_on(async {
/// # use mainspring_core::{Decider, DomainEvent};
/// # use serde::{Deserialize, Serialize};
/// use mainspring_core::Backend;
/// use mainspring_events::EventStoreExt;
///
/// # #[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
/// # enum Counted { Up(i64) }
/// # impl DomainEvent for Counted {}
/// # struct Counter;
/// # impl Decider for Counter {
/// #     type Command = i64; type Event = Counted; type State = i64; type Error = String;
/// #     fn initial(&self) -> i64 { 0 }
/// #     fn decide(&self, by: &i64, n: &i64) -> Result<Vec<Counted>, String> {
/// #         if n + by > 10 { Err(format!("{n} and {by} are over 10")) } else { Ok(vec![Counted::Up(*by)]) }
/// #     }
/// #     fn evolve(&self, n: i64, event: &Counted) -> i64 { let Counted::Up(by) = event; n + by }
/// # }
/// # let backend = mainspring_testing::MemoryBackend::new();
/// let events = backend.events();
/// let handled = events.decide(&Counter, "counter-1").handle(&7).await.unwrap();
/// assert_eq!((handled.state, handled.position), (7, 1));
/// let refused = events.decide(&Counter, "counter-1").handle(&4).await.unwrap_err();
/// assert_eq!(refused.to_string(), "7 and 4 are over 10");
/// # });
/// ```
#[must_use = "nothing is decided until a command is handled"]
pub struct OnStream<'s, D: Decider, S: EventStore + ?Sized> {
    store: &'s S,
    decider: &'s D,
    stream: StreamId,
    expected: Option<ExpectedPosition>,
    retry: ConflictRetry,
    snapshots: Option<&'s Snapshots>,
    load: Load<'s, D, S>,
    annotate: Option<Box<dyn Fn(NewEvent) -> NewEvent + Send + Sync + 's>>,
}

/// How the state is loaded: a function, so that only deciders whose state can be stored have to say how it is.
type Load<'s, D, S> =
    for<'r> fn(&'r OnStream<'s, D, S>, Read<'s, S>) -> BoxFuture<'r, Result<Folded<<D as Decider>::State>>>;

impl<'s, D: Decider, S: EventStore + ?Sized> OnStream<'s, D, S> {
    pub(crate) fn new(store: &'s S, decider: &'s D, stream: StreamId) -> Self {
        let (retry, load): (_, Load<'s, D, S>) = (ConflictRetry::default(), whole);
        Self { store, decider, stream, expected: None, retry, snapshots: None, load, annotate: None }
    }

    /// The stream must be as the caller expects it; a conflict is then never decided again. Defaults to where it was read.
    pub fn expecting(mut self, expected: ExpectedPosition) -> Self {
        self.expected = Some(expected);
        self
    }

    /// What to do about conflicts. Defaults to four tries. In a transaction of the caller's there is only one: nobody waits
    /// there.
    pub fn retrying(mut self, retry: ConflictRetry) -> Self {
        self.retry = retry;
        self
    }

    /// What is added to each event before it is appended: ids, causes, metadata.
    pub fn annotated(mut self, annotate: impl Fn(NewEvent) -> NewEvent + Send + Sync + 's) -> Self {
        self.annotate = Some(Box::new(annotate));
        self
    }

    /// Loads from snapshots, and makes them.
    pub fn from_snapshots(mut self, snapshots: &'s Snapshots) -> Self
    where
        D::State: Serialize + DeserializeOwned,
    {
        self.snapshots = Some(snapshots);
        self.load = from_snapshots;
        self
    }

    /// Decides on one command and appends what happens.
    ///
    /// # Errors
    /// Refused by the decider; else of the store, a conflict when others were faster each time.
    pub async fn handle(
        self,
        command: &D::Command,
    ) -> Result<Handled<D::State, D::Event>, CommandError<D::Error>> {
        self.handle_all(&[command]).await
    }

    /// Decides on several commands, each on the state after those before, and appends everything together: all of it, or
    /// nothing when one is refused.
    ///
    /// # Errors
    /// As [`handle`](Self::handle).
    pub async fn handle_all(
        self,
        commands: &[&D::Command],
    ) -> Result<Handled<D::State, D::Event>, CommandError<D::Error>> {
        let may_wait = self.expected.is_none() && !self.store.in_transaction();
        let mut attempt = 1;
        loop {
            match self.attempt(commands).await {
                Err(error) if error.is_conflict() && may_wait && attempt < self.retry.max_attempts => {
                    let longest = self.retry.after(attempt);
                    tracing::debug!(stream = %self.stream, attempt, "command is decided again after a conflict");
                    mainspring_pg::pause_about(longest).await;
                    attempt += 1;
                }
                result => return result,
            }
        }
    }

    async fn attempt(
        &self,
        commands: &[&D::Command],
    ) -> Result<Handled<D::State, D::Event>, CommandError<D::Error>> {
        let read = Read::new(self.store, self.stream.clone());
        let read = read.expecting(self.expected.unwrap_or(ExpectedPosition::Any));
        let Folded { mut state, position } = (self.load)(self, read).await?;
        let mut events = Vec::new();
        for command in commands {
            let decided = self.decider.decide(command, &state).map_err(CommandError::Refused)?;
            for event in decided {
                state = self.decider.evolve(state, &event);
                events.push(event);
            }
        }
        if events.is_empty() {
            return Ok(Handled { state, events, position, appended: None });
        }
        let mut encoded = events.iter().map(DomainEvent::encode).collect::<Result<Vec<NewEvent>>>()?;
        if let Some(annotate) = &self.annotate {
            encoded = encoded.into_iter().map(annotate).collect();
        }
        let append = Append::to(&self.stream, encoded).expecting(ExpectedPosition::Exact(position));
        let appended = self.store.append(append).await?;
        Ok(Handled { state, events, position: appended.last, appended: Some(appended) })
    }
}

fn whole<'r, 's, D: Decider, S: EventStore + ?Sized>(
    on: &'r OnStream<'s, D, S>,
    read: Read<'s, S>,
) -> BoxFuture<'r, Result<Folded<D::State>>> {
    Box::pin(read.try_fold(on.decider.initial(), |state, event| evolve(on.decider, state, event)))
}

fn from_snapshots<'r, 's, D: Decider, S: EventStore + ?Sized>(
    on: &'r OnStream<'s, D, S>,
    read: Read<'s, S>,
) -> BoxFuture<'r, Result<Folded<D::State>>>
where
    D::State: Serialize + DeserializeOwned,
{
    match on.snapshots {
        Some(snapshots) => {
            let evolve = |state, event: &mainspring_core::RecordedEvent| evolve(on.decider, state, event);
            Box::pin(read.try_fold_from(snapshots, on.decider.initial(), evolve))
        }
        None => whole(on, read),
    }
}

fn evolve<D: Decider>(
    decider: &D,
    state: D::State,
    event: &mainspring_core::RecordedEvent,
) -> Result<D::State> {
    Ok(match D::Event::decode(&event.event)? {
        Some(event) => decider.evolve(state, &event),
        None => state,
    })
}
