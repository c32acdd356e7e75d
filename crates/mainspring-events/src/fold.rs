//! One stream read from end to end, in bounded pages: as a `Stream`, as a `Vec`, or folded into a state.

use std::collections::VecDeque;

use futures_util::{Stream, stream::try_unfold};
use mainspring_core::{
    Direction, Error, EventStore, ExpectedPosition, RecordedEvent, Result, StreamId, StreamPage, StreamQuery,
    event::EXECUTIONS,
};
use serde::{Serialize, de::DeserializeOwned};

use tracing::Instrument;

use crate::{pages::Pages, snapshot::Snapshots, spans};

/// Events of one page of a [`stream`](Read::stream), and of a fold.
const PAGE: u32 = 1_000;
/// The same of a read that asks for the next page while one is on its way.
const AHEAD: u32 = 2_000;
/// The largest page there is, for those who want everything at once anyway.
const LARGEST: u32 = 10_000;

/// A read of one stream, to be run by [`all`](Self::all), [`stream`](Self::stream) or [`fold`](Self::fold).
///
/// ```
/// # tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap().block_on(async {
/// use mainspring_core::{Append, Backend, NewEvent};
/// use mainspring_events::EventStoreExt;
/// use serde_json::json;
///
/// # let backend = mainspring_testing::MemoryBackend::new();
/// let events = backend.events();
/// let paid = |cents: i64| NewEvent::new("Paid", json!({ "cents": cents }));
/// events.append(Append::to("cart-1", vec![paid(100), paid(250)])).await?;
///
/// let total = events.read("cart-1").fold(0, |sum, event| sum + event.event.data["cents"].as_i64().unwrap_or(0)).await?;
/// assert_eq!((total.state, total.position), (350, 2));
///
/// let last = events.read("cart-1").backward().max_count(1).all().await?;
/// assert_eq!((last.events[0].position, last.head.position), (2, 2));
/// # Ok::<(), mainspring_core::Error>(()) }).unwrap();
/// ```
#[must_use = "a read does nothing until it is run"]
pub struct Read<'s, S: ?Sized> {
    store: &'s S,
    query: StreamQuery,
    page: Option<u32>,
    max_count: Option<u64>,
    expected: ExpectedPosition,
}

/// A state and where it was read from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Folded<T> {
    /// The state.
    pub state: T,
    /// The position of the last event of the stream; 0 when there is no such stream. What an append that builds on the state
    /// expects.
    pub position: i64,
}

impl<T> Folded<T> {
    /// Whether there is such a stream.
    pub const fn exists(&self) -> bool {
        self.position > 0
    }
}

impl<'s, S: EventStore + ?Sized> Read<'s, S> {
    pub(crate) fn new(store: &'s S, stream: StreamId) -> Self {
        let query = StreamQuery::of(stream);
        Self { store, query, page: None, max_count: None, expected: ExpectedPosition::Any }
    }

    /// Nothing below this position, which is included, in both directions.
    pub fn from(mut self, position: i64) -> Self {
        self.query.from = Some(position);
        self
    }

    /// Nothing above this position, which is included, in both directions.
    pub fn to(mut self, position: i64) -> Self {
        self.query.to = Some(position);
        self
    }

    /// At most so many events. Defaults to all there are.
    pub fn max_count(mut self, events: u64) -> Self {
        self.max_count = Some(events);
        self
    }

    /// From the last event back.
    pub fn backward(mut self) -> Self {
        self.query.direction = Direction::Backward;
        self
    }

    /// Events of one page, 1 to 10,000: what is in memory at a time when the read is a `Stream` or folded. Defaults to 1,000.
    pub fn page_size(mut self, events: u32) -> Self {
        self.page = Some(events);
        self
    }

    /// Refuses a stream that is not as expected.
    pub fn expecting(mut self, expected: ExpectedPosition) -> Self {
        self.expected = expected;
        self
    }

    /// All of it at once, and where the stream stood when the read began. What is appended in between is not in it.
    ///
    /// # Errors
    /// Conflict when the stream is not as expected, or was archived, deleted or truncated meanwhile; else of the store.
    pub async fn all(self) -> Result<StreamPage> {
        let ahead = self.may_read_ahead();
        let mut pages = self.pages(if ahead { AHEAD } else { LARGEST });
        let mut all = StreamPage::default();
        while let Some(page) = pages.next().await? {
            if all.events.is_empty() {
                all = page;
            } else {
                all.events.extend(page.events);
            }
            if ahead {
                pages.rest(&mut all.events).await?;
            }
        }
        Ok(all)
    }

    /// Whether the next page may be asked for before one is there: where pages begin is known as long as no position is left
    /// out, and somebody else's transaction has one connection.
    fn may_read_ahead(&self) -> bool {
        let query = &self.query;
        self.page.is_none()
            && query.direction == Direction::Forward
            && query.stream.partition != EXECUTIONS
            && !self.store.in_transaction()
    }

    /// Event by event, a page in memory at a time.
    ///
    /// # Errors
    /// As [`all`](Self::all), as the last item.
    pub fn stream(self) -> impl Stream<Item = Result<RecordedEvent>> + Send + use<'s, S> {
        try_unfold((self.pages(PAGE), VecDeque::new()), |(mut pages, mut ready)| async move {
            if ready.is_empty() {
                ready = pages.next().await?.map(|page| VecDeque::from(page.events)).unwrap_or_default();
            }
            Ok(ready.pop_front().map(|event| (event, (pages, ready))))
        })
    }

    /// The state that `evolve` makes of the events, one after the other.
    ///
    /// # Errors
    /// As [`all`](Self::all).
    pub async fn fold<T>(
        self,
        initial: T,
        mut evolve: impl FnMut(T, &RecordedEvent) -> T,
    ) -> Result<Folded<T>> {
        self.try_fold(initial, |state, event| Ok(evolve(state, event))).await
    }

    /// [`fold`](Self::fold) with events that may be refused.
    ///
    /// # Errors
    /// As [`all`](Self::all), and of `evolve`.
    pub async fn try_fold<T>(
        self,
        initial: T,
        mut evolve: impl FnMut(T, &RecordedEvent) -> Result<T>,
    ) -> Result<Folded<T>> {
        let span = spans::fold(&self.query.stream);
        let mut pages = self.pages(PAGE);
        let mut folded = Folded { state: initial, position: 0 };
        let mut events = 0;
        while let Some(page) = pages.next().instrument(span.clone()).await? {
            folded.position = folded.position.max(page.head.position);
            events += page.events.len();
            for event in &page.events {
                folded.state = evolve(folded.state, event)?;
            }
        }
        spans::folded(&span, events, folded.position);
        Ok(folded)
    }

    /// [`fold`](Self::fold) from the last snapshot on, and a new snapshot when enough events came after it. A snapshot of
    /// another schema version, of an older life of the stream, or that cannot be read is left alone, and the stream is
    /// folded from its first event. Saving is best effort, and not done inside a transaction of the caller's.
    ///
    /// # Errors
    /// As [`fold`](Self::fold); invalid when only a part of the stream is read.
    pub async fn fold_from<T: Serialize + DeserializeOwned>(
        self,
        snapshots: &Snapshots,
        initial: T,
        evolve: impl FnMut(T, &RecordedEvent) -> T,
    ) -> Result<Folded<T>> {
        let mut evolve = evolve;
        self.try_fold_from(snapshots, initial, |state, event| Ok(evolve(state, event))).await
    }

    pub(crate) async fn try_fold_from<T: Serialize + DeserializeOwned>(
        self,
        snapshots: &Snapshots,
        initial: T,
        mut evolve: impl FnMut(T, &RecordedEvent) -> Result<T>,
    ) -> Result<Folded<T>> {
        let query = &self.query;
        if (query.from, query.to, self.max_count, query.direction) != (None, None, None, Direction::Forward) {
            return Err(Error::invalid("read", "a part of a stream has no snapshot"));
        }
        let (store, stream) = (self.store, query.stream.clone());
        let found = snapshots.load(store, &stream).await?;
        let mut kept = 0;
        let mut read = Self { page: self.page, expected: self.expected, ..Self::new(store, stream.clone()) };
        let mut state = initial;
        if let Some((snapshot, position)) = found
            && store.head(&stream).await?.position >= position
        {
            (state, kept) = (snapshot, position);
            read = read.from(position + 1);
        }
        let folded = read.try_fold(state, &mut evolve).await?;
        if folded.position - kept >= snapshots.every() && !store.in_transaction() {
            snapshots.save(store, &stream, &folded).await;
        }
        Ok(folded)
    }

    fn pages(mut self, page: u32) -> Pages<'s, S> {
        self.query.limit = self.page.unwrap_or(page);
        Pages::new(self.store, self.query, self.max_count, self.expected)
    }
}
