//! What a workflow publishes while it runs, for readers anywhere: every chunk once, whatever crashes.
//!
//! A chunk and the record that it was published are one commit, so a replay knows what is out. The streams of an execution end
//! with it, however it ends: the row names them, and whoever commits its end ends them too.

use std::borrow::Cow;

use bytes::Bytes;
use mainspring_core::{BoxFuture, Changes, ExecutionWrite, Failure, OutputStream, OutputWrite};
use serde_json::{Value, json};

use super::{Cx, INVALID_STEP, is_workflow};

/// In the row's context: the names of the streams.
const STREAMS: &str = "streams";
/// Most streams of one execution.
const MOST_STREAMS: usize = 100;
/// Chunks and bytes that may wait for a commit.
const MOST_WAITING: (usize, usize) = (500, 1024 * 1024);

impl Cx {
    /// Publishes a chunk on this execution's output stream of this name, exactly once:
    /// `cx.emit("progress", "half of it").await`. Readers find it at
    /// [`OutputStream::of`]`(execution, "progress")`; it ends with the execution.
    ///
    /// No commit of its own: durable with the next one, which is before the body of the next step begins, or when the
    /// execution is parked or over. It waits only when much was published since the last one. At most 100 streams.
    ///
    /// The body of a step may run more than once: what is to be seen while it runs is written to
    /// [`outputs`](mainspring_core::Backend::outputs), and may be seen twice.
    pub fn emit(&self, stream: &str, chunk: impl Into<Bytes>) -> BoxFuture<'static, ()> {
        self.publish(stream, vec![chunk.into()], false)
    }

    /// Ends an output stream of this execution before it ends by itself. What is published on it later is ignored.
    pub fn close_output(&self, stream: &str) -> BoxFuture<'static, ()> {
        self.publish(stream, Vec::new(), true)
    }

    fn publish(&self, stream: &str, chunks: Vec<Bytes>, closes: bool) -> BoxFuture<'static, ()> {
        let key = self.key("emit");
        let live = &self.live;
        let write = OutputWrite { stream: OutputStream::of(&live.facts.id, stream), chunks, closes };
        if let Err(error) = write.check() {
            live.refuse(Failure::new(INVALID_STEP, error.to_string()));
            return Box::pin(std::future::pending());
        }
        let (mut new, mut streams) = (false, 0);
        live.mark(&key, |state| {
            new = true;
            let known = state.context.get(STREAMS).and_then(Value::as_object);
            streams = known.filter(|known| !known.contains_key(stream)).map_or(0, serde_json::Map::len);
            state.batch.outputs.push(write);
            Some(Value::Null)
        });
        if !new {
            return Box::pin(std::future::ready(()));
        }
        if streams >= MOST_STREAMS {
            live.refuse(Failure::new(INVALID_STEP, format!("more than {MOST_STREAMS} output streams")));
            return Box::pin(std::future::pending());
        }
        live.show(STREAMS, Some(stream), json!(true));
        let live = std::sync::Arc::clone(live);
        Box::pin(async move {
            if is_much(&live.lock().batch.outputs) {
                live.gate().await;
            }
        })
    }
}

fn is_much(waiting: &[OutputWrite]) -> bool {
    let bytes: usize = waiting.iter().flat_map(|write| &write.chunks).map(Bytes::len).sum();
    waiting.len() >= MOST_WAITING.0 || bytes >= MOST_WAITING.1
}

/// The changes, and the ends of the streams of the workflows that they end.
pub(crate) fn with_ends(changes: &Changes) -> Cow<'_, Changes> {
    let over = changes.executions.iter().filter(|write| write.execution.status.is_terminal());
    let ends: Vec<OutputWrite> = over.flat_map(ends_of).collect();
    if ends.is_empty() {
        return Cow::Borrowed(changes);
    }
    let mut changes = changes.clone();
    changes.outputs.extend(ends);
    Cow::Owned(changes)
}

fn ends_of(write: &ExecutionWrite) -> impl Iterator<Item = OutputWrite> {
    let execution = &write.execution;
    let streams = execution.context.get(STREAMS).filter(|_| is_workflow(execution));
    let names = streams.and_then(Value::as_object).into_iter().flat_map(serde_json::Map::keys);
    let id = &execution.id;
    names.map(|name| OutputWrite { stream: OutputStream::of(id, name), chunks: Vec::new(), closes: true })
}
