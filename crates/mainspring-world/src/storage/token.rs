//! Tokens of hooks: each is a stream, named by its digest, in which its hooks follow each other.
//!
//! The last event says who has it. Whoever wants it appends at the position that was seen, in the commit of its own run, so of
//! two that want it one is refused. It is free when that hook was disposed of, or its run is over: nothing has to be written
//! when a run ends.

use std::fmt::Write;

use mainspring_core::{
    Append, Backend, Direction, Error, ExecutionId, ExpectedPosition, NewEvent, Result, StreamId,
    StreamQuery, event::STREAMS,
};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use crate::names::log;

/// What is known of a token.
pub(crate) struct Look {
    /// Position of the last event.
    pub(crate) head: i64,
    /// The run and the hook that have it.
    pub(crate) owner: Option<(ExecutionId, String)>,
}

pub(crate) fn stream_of(token: &str) -> StreamId {
    let mut name = "hook-".to_owned();
    for byte in Sha256::digest(token.as_bytes()) {
        let _ = write!(name, "{byte:02x}");
    }
    StreamId::new(name).in_partition(STREAMS)
}

/// Who has a token.
pub(crate) async fn look(backend: &dyn Backend, token: &str) -> Result<Look> {
    let query = StreamQuery { direction: Direction::Backward, limit: 1, ..StreamQuery::of(stream_of(token)) };
    let Some(last) = backend.events().read_page(query).await?.events.pop() else {
        return Ok(Look { head: 0, owner: None });
    };
    let head = last.position;
    let text = |key: &str| last.event.data.get(key).and_then(Value::as_str).map(ToOwned::to_owned);
    let named = text("runId").map(ExecutionId::from_stored).zip(text("hookId"));
    let Some((run, hook)) = named.filter(|_| last.event.event_type == log::HOOK_CREATED) else {
        return Ok(Look { head, owner: None });
    };
    let row = backend.executions().get(&run).await?;
    let alive = row.is_some_and(|row| !row.status.is_terminal());
    Ok(Look { head, owner: alive.then_some((run, hook)) })
}

/// Takes a token at the position at which it was seen free.
pub(crate) fn claim(token: &str, seen: i64, run: &ExecutionId, hook: &str) -> Append {
    let event = NewEvent::new(log::HOOK_CREATED, json!({"runId": run, "hookId": hook}));
    Append::to(stream_of(token), vec![event]).expecting(ExpectedPosition::Exact(seen))
}

/// Lets it go. Only who has it may.
pub(crate) fn release(token: &str, run: &ExecutionId, hook: &str) -> Append {
    let event = NewEvent::new(log::HOOK_DISPOSED, json!({"runId": run, "hookId": hook}));
    Append::to(stream_of(token), vec![event])
}

/// The error of a token that nobody has.
pub(crate) fn unknown() -> Error {
    // A token may be a secret: it is not repeated.
    Error::new(mainspring_core::ErrorKind::NotFound, "no hook has this token")
}
