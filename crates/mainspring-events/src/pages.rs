//! The pages of a read: one after the other, or one while the next one is on its way.

use futures_util::{StreamExt, TryStreamExt, stream::iter};
use mainspring_core::{
    Direction, Error, EventStore, ExpectedPosition, RecordedEvent, Result, StreamId, StreamPage, StreamQuery,
};

/// The pages of a read, one after the other.
pub(crate) struct Pages<'s, S: ?Sized> {
    store: &'s S,
    query: StreamQuery,
    left: Option<u64>,
    expected: ExpectedPosition,
    at: At,
}

enum At {
    Start,
    /// The position the next page begins with.
    Before(i64),
    End,
}

impl<'s, S: EventStore + ?Sized> Pages<'s, S> {
    pub(crate) fn new(
        store: &'s S,
        query: StreamQuery,
        left: Option<u64>,
        expected: ExpectedPosition,
    ) -> Self {
        Self { store, query, left, expected, at: At::Start }
    }

    /// The next page, or none. The first one always comes, empty or not.
    pub(crate) async fn next(&mut self) -> Result<Option<StreamPage>> {
        if matches!(self.at, At::End) {
            return Ok(None);
        }
        let full = self.query.limit;
        let wanted = self.left.map_or(full, |left| u32::try_from(left).unwrap_or(full).min(full));
        // A page of none has a head too.
        let query = StreamQuery { limit: wanted.max(1), ..self.query.clone() };
        let mut page = self.store.read_page(query).await?;
        page.events.truncate(wanted as usize);
        match self.at {
            At::Start => self.begin(&page)?,
            // Backward there may be nothing left: what is truncated is not read.
            At::Before(_) if page.events.is_empty() && self.query.direction == Direction::Backward => {}
            At::Before(position) if page.events.first().map(|event| event.position) != Some(position) => {
                return Err(changed(&self.query.stream));
            }
            _ => {}
        }
        self.left = self.left.map(|left| left - page.events.len() as u64);
        let position = page.events.last().map(|event| event.position);
        self.at = match position.map(|position| self.after(position)) {
            Some(Some(next)) if page.events.len() == full as usize && self.left != Some(0) => {
                At::Before(next)
            }
            _ => At::End,
        };
        Ok(Some(page))
    }

    /// All that is left of a read forward, two pages at the same time: one is unpacked while the other one is on its way.
    /// Every position up to the end of the read is taken, so each page begins where the one before it ends.
    pub(crate) async fn rest(&mut self, events: &mut Vec<RecordedEvent>) -> Result<()> {
        let At::Before(mut from) = std::mem::replace(&mut self.at, At::End) else { return Ok(()) };
        let left = self.left.and_then(|left| i64::try_from(left).ok()).unwrap_or(i64::MAX);
        let end = self.query.to.unwrap_or(i64::MAX).min(from.saturating_add(left).saturating_sub(1));
        let mut asked = Vec::new();
        events.reserve_exact(usize::try_from(end - from + 1).unwrap_or(0));
        while from <= end {
            let to = end.min(from + i64::from(self.query.limit) - 1);
            asked.push(self.read(from, to));
            from = to + 1;
        }
        let mut pages = iter(asked).buffered(2);
        while let Some(page) = pages.try_next().await? {
            events.extend(page);
        }
        Ok(())
    }

    /// The events from one position to another one, all of which are there.
    fn read(
        &self,
        from: i64,
        to: i64,
    ) -> impl Future<Output = Result<Vec<RecordedEvent>>> + Send + use<'s, S> {
        let query = StreamQuery { from: Some(from), to: Some(to), ..self.query.clone() };
        let store = self.store;
        async move {
            let stream = query.stream.clone();
            let events = store.read_page(query).await?.events;
            let whole = i64::try_from(events.len()).is_ok_and(|count| count == to - from + 1);
            if whole { Ok(events) } else { Err(changed(&stream)) }
        }
    }

    /// Fixes the end of the read where the stream stands now.
    fn begin(&mut self, page: &StreamPage) -> Result<()> {
        let position = page.head.position;
        if !self.expected.holds(position) {
            let append = mainspring_core::Append::to(&self.query.stream, Vec::new()).expecting(self.expected);
            return Err(append.conflict(position));
        }
        self.query.to = Some(self.query.to.map_or(position, |to| to.min(position)));
        Ok(())
    }

    /// The position behind this one, if the read goes so far.
    fn after(&mut self, position: i64) -> Option<i64> {
        let (from, to) = (self.query.from.unwrap_or(1), self.query.to.unwrap_or(i64::MAX));
        match self.query.direction {
            Direction::Forward if position < to => self.query.from = Some(position + 1),
            Direction::Backward if position > from => self.query.to = Some(position - 1),
            _ => return None,
        }
        Some(if self.query.direction == Direction::Forward { position + 1 } else { position - 1 })
    }
}

fn changed(stream: &StreamId) -> Error {
    Error::conflict(format!("stream `{stream}` was archived, deleted or truncated while it was read"))
}
