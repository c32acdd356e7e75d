//! Output streams in memory.

use std::{collections::BTreeMap, time::Duration};

use bytes::Bytes;
use mainspring_core::{
    BoxFuture, Chunk, ChunkPage, ChunkQuery, ExecutionId, OutputInfo, OutputStore, OutputStream, OutputWrite,
    Result, Timestamp, limits,
    output::{Follow, MAX_PAGE_BYTES},
};
use tokio::sync::watch;

use super::{MemoryBackend, State};

/// How long a reader waits for the bell before it looks by itself.
const POLL: Duration = Duration::from_millis(500);
const DELETED: usize = 100;
const LISTED: usize = 1_000;

#[derive(Default)]
pub(super) struct Outputs {
    rows: BTreeMap<OutputStream, Row>,
    /// Rung at every change of any stream.
    bell: watch::Sender<()>,
}

#[derive(Default)]
struct Row {
    chunks: Vec<Bytes>,
    closed_at: Option<Timestamp>,
}

impl Outputs {
    pub(super) fn clear(&mut self, execution: &ExecutionId) {
        self.rows.retain(|stream, _| stream.execution.as_ref() != Some(execution));
        self.bell.send_replace(());
    }

    fn page(&self, query: &ChunkQuery) -> ChunkPage {
        let Some(row) = self.rows.get(&query.stream) else {
            let cursor = query.from.max(0);
            return ChunkPage { chunks: Vec::new(), cursor, has_more: false, done: false, tail_index: -1 };
        };
        let count = row.chunks.len() as i64;
        let start = if query.from < 0 { (count + query.from).max(0) } else { query.from };
        let rest = usize::try_from(start).ok().and_then(|start| row.chunks.get(start..)).unwrap_or_default();
        let mut bytes = 0;
        let fits = |chunk: &&Bytes| {
            let first = bytes == 0;
            bytes += chunk.len().max(1);
            first || bytes <= MAX_PAGE_BYTES
        };
        let chunks = rest.iter().take(query.limit as usize).take_while(fits).cloned();
        let chunks: Vec<Chunk> = (start..).zip(chunks).map(|(index, data)| Chunk { index, data }).collect();
        let cursor = start + chunks.len() as i64;
        let done = row.closed_at.is_some();
        ChunkPage { chunks, cursor, has_more: cursor < count, done, tail_index: count - 1 }
    }
}

impl State {
    /// The open stream, which begins now if there was none; `None` when it is closed.
    fn open(&mut self, stream: &OutputStream) -> Result<Option<&mut Row>> {
        if let (Some(execution), false) = (&stream.execution, self.outputs.rows.contains_key(stream)) {
            self.require(execution)?;
        }
        let row = self.outputs.rows.entry(stream.clone()).or_default();
        Ok(row.closed_at.is_none().then_some(row))
    }

    /// Where the chunks begin, `None` when the stream was closed before.
    pub(super) fn write_output(&mut self, write: OutputWrite, at: Timestamp) -> Result<Option<i64>> {
        write.check()?;
        let Some(row) = self.open(&write.stream)? else { return Ok(None) };
        let first = row.chunks.len() as i64;
        row.chunks.extend(write.chunks);
        row.closed_at = write.closes.then_some(at);
        self.outputs.bell.send_replace(());
        Ok(Some(first))
    }
}

impl OutputStore for MemoryBackend {
    fn write_many<'a>(
        &'a self,
        stream: &'a OutputStream,
        chunks: Vec<Bytes>,
    ) -> BoxFuture<'a, Result<Option<i64>>> {
        let write = OutputWrite { stream: stream.clone(), chunks, closes: false };
        self.run(move |state, at| state.write_output(write, at))
    }

    fn close<'a>(&'a self, stream: &'a OutputStream) -> BoxFuture<'a, Result<bool>> {
        let write = OutputWrite { stream: stream.clone(), chunks: Vec::new(), closes: true };
        self.run(move |state, at| Ok(state.write_output(write, at)?.is_some()))
    }

    fn get_chunks(&self, query: ChunkQuery) -> BoxFuture<'_, Result<ChunkPage>> {
        self.run(move |state, _| {
            query.check()?;
            Ok(state.outputs.page(&query))
        })
    }

    fn info<'a>(&'a self, stream: &'a OutputStream) -> BoxFuture<'a, Result<OutputInfo>> {
        self.run(move |state, _| {
            stream.check()?;
            let row = state.outputs.rows.get(stream);
            let tail_index = row.map_or(-1, |row| row.chunks.len() as i64 - 1);
            Ok(OutputInfo { tail_index, done: row.is_some_and(|row| row.closed_at.is_some()) })
        })
    }

    fn list<'a>(
        &'a self,
        execution: &'a ExecutionId,
        after: Option<&'a str>,
    ) -> BoxFuture<'a, Result<Vec<String>>> {
        self.run(move |state, _| {
            if let Some(after) = after {
                limits::check_id("output.after", after)?;
            }
            let same =
                state.outputs.rows.keys().filter(|stream| stream.execution.as_ref() == Some(execution));
            let names = same.map(|stream| stream.name.clone());
            Ok(names.filter(|name| after.is_none_or(|after| name.as_str() > after)).take(LISTED).collect())
        })
    }

    fn delete<'a>(&'a self, stream: &'a OutputStream) -> BoxFuture<'a, Result<bool>> {
        self.run(move |state, _| {
            stream.check()?;
            let deleted = state.outputs.rows.remove(stream).is_some();
            state.outputs.bell.send_replace(());
            Ok(deleted)
        })
    }

    fn delete_old(&self, before: Timestamp) -> BoxFuture<'_, Result<u64>> {
        self.run(move |state, _| {
            let is_old = |row: &Row| row.closed_at.is_some_and(|closed| closed < before);
            let rows = state.outputs.rows.iter().filter(|(stream, _)| stream.execution.is_none());
            let old = rows.filter(|(_, row)| is_old(row)).map(|(stream, _)| stream.clone());
            let old: Vec<OutputStream> = old.take(DELETED).collect();
            for stream in &old {
                state.outputs.rows.remove(stream);
            }
            state.outputs.bell.send_replace(());
            Ok(old.len() as u64)
        })
    }

    fn follow(&self, stream: &OutputStream) -> Result<Box<dyn Follow>> {
        stream.check()?;
        let bell = self.lock().outputs.bell.subscribe();
        Ok(Box::new(Follower { backend: self.clone(), stream: stream.clone(), bell }))
    }
}

struct Follower {
    backend: MemoryBackend,
    stream: OutputStream,
    bell: watch::Receiver<()>,
}

impl Follow for Follower {
    fn look(&mut self, from: i64, limit: u32) -> BoxFuture<'_, Result<ChunkPage>> {
        self.backend.get_chunks(ChunkQuery { stream: self.stream.clone(), from, limit })
    }

    fn wait(&mut self) -> BoxFuture<'_, ()> {
        Box::pin(async move {
            let _ = tokio::time::timeout(POLL, self.bell.changed()).await; // a look finds the truth
        })
    }
}
