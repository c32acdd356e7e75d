//! What a user writes: projectors, which change tables, and reactors, which do something.

use std::{error::Error as StdError, sync::Arc};

use mainspring_core::{BoxFuture, Changes, RecordedEvent};
use mainspring_pg::Db;

/// Any error of a handler: `?` takes every error there is.
pub type BoxError = Box<dyn StdError + Send + Sync>;

/// Takes events into tables of this database, in the transaction of its checkpoint: each event counts exactly once.
pub trait Projector: Send + Sync + 'static {
    /// The types it wants; empty for all. Defaults to all.
    fn event_types(&self) -> Vec<String> {
        Vec::new()
    }

    /// Called once before it starts, in a transaction of its own: to create its tables. Defaults to nothing.
    fn init<'a>(&'a self, tx: &'a Db<'a>) -> BoxFuture<'a, Result<(), BoxError>> {
        let _ = tx;
        Box::pin(async { Ok(()) })
    }

    /// Takes in a batch. Everything it does goes through `tx`, and is committed with the checkpoint or not at all. It may run
    /// again for the same events, in smaller batches too, when a transaction did not commit.
    ///
    /// # Errors
    /// Any: the batch is rolled back and comes again event by event, and the one that fails alone is treated as the
    /// [`OnError`](crate::OnError) of the processor says.
    fn apply<'a>(
        &'a self,
        tx: &'a Db<'a>,
        events: &'a [RecordedEvent],
    ) -> BoxFuture<'a, Result<(), BoxError>>;
}

/// Does something about an event, outside any transaction, and decides what is to be committed with the checkpoint.
///
/// It runs at least once for each event. What it answers counts exactly once.
pub trait Reactor: Send + Sync + 'static {
    /// The types it wants; empty for all. Defaults to all.
    fn event_types(&self) -> Vec<String> {
        Vec::new()
    }

    /// Events with the same key are handled in commits of their own: what came of one is committed before the next one's
    /// turn comes. Defaults to none, where several of a batch are committed together.
    fn order_key(&self, event: &RecordedEvent) -> Option<String> {
        let _ = event;
        None
    }

    /// Handles one event.
    ///
    /// # Errors
    /// Any: it is treated as the [`OnError`](crate::OnError) of the processor says.
    fn react<'a>(&'a self, event: &'a RecordedEvent) -> BoxFuture<'a, Result<Next, BoxError>>;
}

/// What a reactor wants after an event.
#[derive(Debug, Clone, PartialEq)]
pub enum Next {
    /// Commit these together with the checkpoint, and go on.
    Go(Box<Changes>),
    /// The event is not for this reactor: go on. The reason is logged.
    Skip(String),
    /// The event is done, and so is the processor: it stops behind this event.
    Stop(String),
    /// The processor stops with this error before the event, which is the first when it is started again.
    Fail(String),
}

impl From<()> for Next {
    fn from((): ()) -> Self {
        Self::Go(Box::default())
    }
}

impl From<Changes> for Next {
    fn from(changes: Changes) -> Self {
        Self::Go(Box::new(changes))
    }
}

impl<T: Projector + ?Sized> Projector for Arc<T> {
    fn event_types(&self) -> Vec<String> {
        (**self).event_types()
    }

    fn init<'a>(&'a self, tx: &'a Db<'a>) -> BoxFuture<'a, Result<(), BoxError>> {
        (**self).init(tx)
    }

    fn apply<'a>(
        &'a self,
        tx: &'a Db<'a>,
        events: &'a [RecordedEvent],
    ) -> BoxFuture<'a, Result<(), BoxError>> {
        (**self).apply(tx, events)
    }
}

/// An async closure over a transaction and events whose future can be required to be `Send`. Every fitting closure is one.
pub trait ApplyFn<'a>:
    AsyncFn(&'a Db<'a>, &'a [RecordedEvent]) -> Result<(), BoxError>
    + Fn(&'a Db<'a>, &'a [RecordedEvent]) -> <Self as ApplyFn<'a>>::Fut
{
    /// The future of one call.
    type Fut: Future<Output = Result<(), BoxError>>;
}

impl<'a, F, Fut> ApplyFn<'a> for F
where
    F: AsyncFn(&'a Db<'a>, &'a [RecordedEvent]) -> Result<(), BoxError>
        + Fn(&'a Db<'a>, &'a [RecordedEvent]) -> Fut,
    Fut: Future<Output = Result<(), BoxError>>,
{
    type Fut = Fut;
}

/// A [`Projector`] made of an async closure. It cannot own what it captures: for that there is [`projector_with`].
pub fn projector_fn<F>(function: F) -> ProjectorFn<F>
where
    for<'a> F: AsyncFn(&'a Db<'a>, &'a [RecordedEvent]) -> Result<(), BoxError>
        + ApplyFn<'a, Fut: Send>
        + Send
        + Sync
        + 'static,
{
    ProjectorFn(function)
}

/// See [`projector_fn`].
pub struct ProjectorFn<F>(F);

impl<F> Projector for ProjectorFn<F>
where
    for<'a> F: ApplyFn<'a, Fut: Send> + Send + Sync + 'static,
{
    fn apply<'a>(
        &'a self,
        tx: &'a Db<'a>,
        events: &'a [RecordedEvent],
    ) -> BoxFuture<'a, Result<(), BoxError>> {
        Box::pin((self.0)(tx, events))
    }
}

/// [`ApplyFn`] with a state before its arguments.
pub trait ApplyWith<'a, S: 'a>:
    AsyncFn(&'a S, &'a Db<'a>, &'a [RecordedEvent]) -> Result<(), BoxError>
    + Fn(&'a S, &'a Db<'a>, &'a [RecordedEvent]) -> <Self as ApplyWith<'a, S>>::Fut
{
    /// The future of one call.
    type Fut: Future<Output = Result<(), BoxError>>;
}

impl<'a, S: 'a, F, Fut> ApplyWith<'a, S> for F
where
    F: AsyncFn(&'a S, &'a Db<'a>, &'a [RecordedEvent]) -> Result<(), BoxError>
        + Fn(&'a S, &'a Db<'a>, &'a [RecordedEvent]) -> Fut,
    Fut: Future<Output = Result<(), BoxError>>,
{
    type Fut = Fut;
}

/// A [`Projector`] made of an async closure and what it needs, since such a closure cannot own anything it borrows.
pub fn projector_with<S, F>(state: S, function: F) -> ProjectorWith<S, F>
where
    S: Send + Sync + 'static,
    for<'a> F: AsyncFn(&'a S, &'a Db<'a>, &'a [RecordedEvent]) -> Result<(), BoxError>
        + ApplyWith<'a, S, Fut: Send>
        + Send
        + Sync
        + 'static,
{
    ProjectorWith(state, function)
}

/// See [`projector_with`].
pub struct ProjectorWith<S, F>(S, F);

impl<S, F> Projector for ProjectorWith<S, F>
where
    S: Send + Sync + 'static,
    for<'a> F: ApplyWith<'a, S, Fut: Send> + Send + Sync + 'static,
{
    fn apply<'a>(
        &'a self,
        tx: &'a Db<'a>,
        events: &'a [RecordedEvent],
    ) -> BoxFuture<'a, Result<(), BoxError>> {
        Box::pin((self.1)(&self.0, tx, events))
    }
}

/// A [`Reactor`] made of an async closure, which gets each event as its own.
pub fn reactor_fn<F, Fut, N>(function: F) -> ReactorFn<F>
where
    F: Fn(RecordedEvent) -> Fut + Send + Sync + 'static,
    Fut: Future<Output = Result<N, BoxError>> + Send + 'static,
    N: Into<Next>,
{
    ReactorFn(function)
}

/// See [`reactor_fn`].
pub struct ReactorFn<F>(F);

impl<F, Fut, N> Reactor for ReactorFn<F>
where
    F: Fn(RecordedEvent) -> Fut + Send + Sync + 'static,
    Fut: Future<Output = Result<N, BoxError>> + Send + 'static,
    N: Into<Next>,
{
    fn react<'a>(&'a self, event: &'a RecordedEvent) -> BoxFuture<'a, Result<Next, BoxError>> {
        let next = (self.0)(event.clone());
        Box::pin(async move { next.await.map(Into::into) })
    }
}
