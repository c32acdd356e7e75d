//! Streams by name, where they stand, and which part of one to read.

use std::fmt;

use serde_json::Value;

use super::{EXECUTIONS, RecordedEvent, STREAMS};
use crate::{Error, Result, limits};

/// Names one stream. The same name in two tenants, or in two partitions, is two streams.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct StreamId {
    /// Its partition of the log.
    pub partition: String,
    /// Isolation key; empty for none.
    pub tenant: String,
    /// Its name there.
    pub stream: String,
}

impl StreamId {
    /// A stream of no tenant in the partition [`STREAMS`].
    pub fn new(stream: impl Into<String>) -> Self {
        Self { partition: STREAMS.to_owned(), tenant: String::new(), stream: stream.into() }
    }

    /// The stream of that name in another partition.
    #[must_use]
    pub fn in_partition(mut self, partition: impl Into<String>) -> Self {
        self.partition = partition.into();
        self
    }

    /// The stream of that name of a tenant.
    #[must_use]
    pub fn of_tenant(mut self, tenant: impl Into<String>) -> Self {
        self.tenant = tenant.into();
        self
    }

    /// Checks everything a caller could have put in.
    ///
    /// # Errors
    /// Invalid, naming the field and the limit.
    pub fn check(&self) -> Result<()> {
        limits::check_id("stream", &self.stream)?;
        if !self.tenant.is_empty() {
            limits::check_id("tenant", &self.tenant)?;
        }
        limits::check_name("partition", &self.partition)
    }

    /// The same, and refuses the histories of executions, which only their commits may change.
    ///
    /// # Errors
    /// Invalid, naming the field and the limit.
    pub fn check_writable(&self) -> Result<()> {
        self.check()?;
        if self.partition == EXECUTIONS {
            return Err(Error::invalid(
                "partition",
                "`executions` is written by the commits of executions only",
            ));
        }
        Ok(())
    }

    /// What kind of stream it is by its name: the text before the first `-`, as in `cart-42`.
    pub fn type_by_name(&self) -> Option<&str> {
        self.stream.split_once('-').map(|(kind, _)| kind).filter(|kind| !kind.is_empty())
    }
}

impl From<&str> for StreamId {
    fn from(stream: &str) -> Self {
        Self::new(stream)
    }
}

impl From<String> for StreamId {
    fn from(stream: String) -> Self {
        Self::new(stream)
    }
}

impl From<&StreamId> for StreamId {
    fn from(stream: &StreamId) -> Self {
        stream.clone()
    }
}

/// The name, and in front of it the partition and the tenant where they are not the usual ones.
impl fmt::Display for StreamId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.partition != STREAMS {
            write!(f, "{}:", self.partition)?;
        }
        if !self.tenant.is_empty() {
            write!(f, "{}/", self.tenant)?;
        }
        f.write_str(&self.stream)
    }
}

/// Where a stream stands.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct StreamHead {
    /// The position of its last event; 0 when there is no such stream, or it is archived or deleted.
    pub position: i64,
    /// What kind of stream it is, when that is known.
    pub stream_type: Option<String>,
}

impl StreamHead {
    /// Whether it has an event.
    pub const fn exists(&self) -> bool {
        self.position > 0
    }
}

/// From which end a stream is read.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Direction {
    /// From the first event on.
    #[default]
    Forward,
    /// From the last event back.
    Backward,
}

/// Which page of one stream to read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StreamQuery {
    /// The stream.
    pub stream: StreamId,
    /// In which order, and at which end `limit` begins to count.
    pub direction: Direction,
    /// Nothing below this position, in both directions; it is included.
    pub from: Option<i64>,
    /// Nothing above this position, in both directions; it is included.
    pub to: Option<i64>,
    /// At most so many events, 1 to 10,000.
    pub limit: u32,
}

impl StreamQuery {
    /// The first 1,000 events of a stream.
    pub fn of(stream: impl Into<StreamId>) -> Self {
        let direction = Direction::Forward;
        Self { stream: stream.into(), direction, from: None, to: None, limit: 1_000 }
    }

    /// Checks everything a caller could have put in.
    ///
    /// # Errors
    /// Invalid, naming the field and the limit.
    pub fn check(&self) -> Result<()> {
        self.stream.check()?;
        match self.limit {
            1..=10_000 => Ok(()),
            limit => Err(Error::invalid("limit", format!("{limit} is not within 1 to 10000"))),
        }
    }
}

/// A part of one stream, and where the stream stood at the moment it was read.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct StreamPage {
    /// The events, in the order that was asked for.
    pub events: Vec<RecordedEvent>,
    /// The stream as a whole, whatever part of it was read.
    pub head: StreamHead,
}

/// The state of a stream as somebody folded it up to some event. Never the truth: it may be gone at any time.
#[derive(Debug, Clone, PartialEq)]
pub struct Snapshot {
    /// Of the shape of `state`, from 1.
    pub schema_version: u32,
    /// The position of the last event that is in it.
    pub position: i64,
    /// The state.
    pub state: Value,
}

impl Snapshot {
    /// Checks everything a caller could have put in.
    ///
    /// # Errors
    /// Invalid, naming the field and the limit.
    pub fn check(&self, name: &str) -> Result<()> {
        limits::check_name("snapshot.name", name)?;
        if self.schema_version == 0 || i32::try_from(self.schema_version).is_err() {
            let problem = format!("{} is not within 1 to {}", self.schema_version, i32::MAX);
            return Err(Error::invalid("snapshot.schema_version", problem));
        }
        limits::check_json("snapshot.state", &self.state)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_says_what_kind_of_stream_it_is() {
        for (name, kind) in [("cart-1", Some("cart")), ("a-b-c", Some("a")), ("cart", None), ("-1", None)] {
            assert_eq!(StreamId::new(name).type_by_name(), kind, "{name}");
        }
    }

    #[test]
    fn histories_are_written_by_their_commits_only() {
        let history = StreamId::new("execution-1").in_partition(EXECUTIONS);
        history.check().unwrap();
        assert!(history.check_writable().unwrap_err().is_invalid());
    }
}
