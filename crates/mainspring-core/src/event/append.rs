//! Appends: what one expects of its stream, and what became of it.

use std::{
    borrow::Borrow,
    collections::{HashMap, HashSet},
};

use super::{NewEvent, STREAMS, StreamHead, StreamId};
use crate::{Error, Result, limits};

/// What an append expects of its stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ExpectedPosition {
    /// Nothing: never a conflict.
    Any,
    /// It has no event.
    NoStream,
    /// It has at least one event.
    StreamExists,
    /// Its last event is at this position; 0 is [`NoStream`](Self::NoStream).
    Exact(i64),
}

impl ExpectedPosition {
    /// Whether a stream whose last event is at `current` (0: none) is as expected.
    pub const fn holds(self, current: i64) -> bool {
        let (low, high) = self.range();
        low <= current && current <= high
    }

    /// The positions at which it holds, both ends included.
    pub const fn range(self) -> (i64, i64) {
        match self {
            Self::Any => (0, i64::MAX),
            Self::NoStream => (0, 0),
            Self::StreamExists => (1, i64::MAX),
            Self::Exact(position) => (position, position),
        }
    }
}

/// Events for one stream, appended together and in order.
///
/// An append whose events all have ids may be repeated: when all of them are in the stream already it changes nothing,
/// whatever it expects, and answers where they are. When only some of them are, it is a conflict: it is not the append that
/// was made before.
#[derive(Debug, Clone, PartialEq)]
pub struct Append {
    /// The partition of the log; [`STREAMS`], or one that was made for it.
    pub partition: String,
    /// Isolation key; empty for none.
    pub tenant: String,
    /// The stream.
    pub stream: String,
    /// What kind of stream this begins; `None` for the text before the first `-` of its name. Of no effect on a stream
    /// that exists.
    pub stream_type: Option<String>,
    /// What it must be like.
    pub expected: ExpectedPosition,
    /// The events; appending none is a no-op that still checks `expected`.
    pub events: Vec<NewEvent>,
}

impl Append {
    /// An append that expects nothing.
    pub fn to(stream: impl Into<StreamId>, events: Vec<NewEvent>) -> Self {
        let StreamId { partition, tenant, stream } = stream.into();
        Self { partition, tenant, stream, stream_type: None, expected: ExpectedPosition::Any, events }
    }

    /// The same with an expectation.
    #[must_use]
    pub fn expecting(mut self, expected: ExpectedPosition) -> Self {
        self.expected = expected;
        self
    }

    /// The stream.
    pub fn stream_id(&self) -> StreamId {
        StreamId {
            partition: self.partition.clone(),
            tenant: self.tenant.clone(),
            stream: self.stream.clone(),
        }
    }

    /// Whether it can stand behind another append to the same stream in one commit: nothing about it depends on where the
    /// stream is.
    pub fn goes_anywhere(&self) -> bool {
        self.expected == ExpectedPosition::Any && self.events.iter().all(|event| event.id.is_none())
    }

    /// Checks everything a caller could have put in.
    ///
    /// # Errors
    /// Invalid, naming the field and the limit.
    pub fn check(&self) -> Result<()> {
        self.check_stream()?;
        if let Some(kind) = &self.stream_type {
            limits::check_name("stream_type", kind)?;
        }
        if let ExpectedPosition::Exact(position) = self.expected
            && position < 0
        {
            return Err(Error::invalid("expected_position", format!("{position} is below 0")));
        }
        let mut ids = HashSet::new();
        for event in &self.events {
            event.check()?;
            if let Some(id) = &event.id
                && !ids.insert(id)
            {
                return Err(Error::invalid("event.id", format!("`{id}` is in the append twice")));
            }
        }
        Ok(())
    }

    fn check_stream(&self) -> Result<()> {
        if self.partition == STREAMS {
            limits::check_id("stream", &self.stream)?;
            return if self.tenant.is_empty() { Ok(()) } else { limits::check_id("tenant", &self.tenant) };
        }
        self.stream_id().check_writable()
    }

    /// The error of an expectation that did not hold.
    pub fn conflict(&self, current: i64) -> Error {
        let expected = match self.expected {
            ExpectedPosition::Any => "anything".to_owned(),
            ExpectedPosition::NoStream => "no stream".to_owned(),
            ExpectedPosition::StreamExists => "an existing stream".to_owned(),
            ExpectedPosition::Exact(position) => format!("position {position}"),
        };
        let stream = self.stream_id();
        Error::conflict_at(
            current,
            format!("stream `{stream}` is at position {current}, expected {expected}"),
        )
    }

    /// The error of an append to an archived stream.
    pub fn archived(&self) -> Error {
        Error::conflict_at(0, format!("stream `{}` is archived; restore it first", self.stream_id()))
    }

    /// The error of an append of which `recorded` events are in the stream already, and others are not.
    pub fn overlaps(&self, recorded: usize) -> Error {
        let (stream, events) = (self.stream_id(), self.events.len());
        Error::conflict(format!("stream `{stream}` has {recorded} of these {events} events already"))
    }
}

/// Refuses appends of one commit that a statement could not tell apart: two to one stream, unless all of them
/// [go anywhere](Append::goes_anywhere).
///
/// # Errors
/// Invalid, naming the stream.
pub fn check_streams_once<'a>(
    appends: impl IntoIterator<Item = &'a (impl Borrow<Append> + 'a)>,
) -> Result<()> {
    let mut seen: HashMap<(&str, &str, &str), bool> = HashMap::new();
    for append in appends {
        let append = append.borrow();
        let anywhere = append.goes_anywhere();
        let key = (append.partition.as_str(), append.tenant.as_str(), append.stream.as_str());
        if let Some(before) = seen.insert(key, anywhere)
            && !(before && anywhere)
        {
            return Err(Error::invalid("changes", format!("touches stream `{}` twice", append.stream_id())));
        }
    }
    Ok(())
}

/// Where the events of an append are.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Appended {
    /// The position of the first event in its stream; `last + 1` when nothing was appended.
    pub first: i64,
    /// The position of the last event in its stream; where the stream stands when nothing was appended.
    pub last: i64,
    /// The global position of each event, in order. They grow, with gaps.
    pub global_positions: Vec<i64>,
    /// Whether this append began the stream.
    pub created_stream: bool,
    /// Whether the events had been appended before, so that this call changed nothing.
    pub repeated: bool,
}

impl Appended {
    /// Of an append of nothing to a stream that stands at `head`.
    pub fn nothing(head: &StreamHead) -> Self {
        Self { first: head.position + 1, last: head.position, ..Self::default() }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::EventId;

    #[test]
    fn expectations_hold_where_they_should() {
        use ExpectedPosition::*;
        for (expected, at_0, at_2) in [
            (Any, true, true),
            (NoStream, true, false),
            (StreamExists, false, true),
            (Exact(2), false, true),
            (Exact(0), true, false),
        ] {
            assert_eq!((expected.holds(0), expected.holds(2)), (at_0, at_2), "{expected:?}");
        }
    }

    #[test]
    fn an_id_stands_in_an_append_once() {
        let event = NewEvent::new("a", json!(1)).identified(EventId::new("evt_1").unwrap());
        let twice = Append::to("s", vec![event.clone(), event]);
        assert!(twice.check().unwrap_err().is_invalid());
        assert!(!twice.goes_anywhere());
    }
}
