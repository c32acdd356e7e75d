//! Output streams: bytes that steps publish, for readers who may be there before, while and after they are written.
//!
//! ```text
//! write, write, …  ─►  chunk 0, 1, 2 …  ─close─►  done: what is written later is ignored
//! ```
//! The database gives the indexes, without gaps, whoever writes. A reader gets what is there, then what comes, until the end.

mod follow;

use bytes::Bytes;
use futures_util::Stream;

use crate::{BoxFuture, Error, ExecutionId, Result, Timestamp, limits};

pub use follow::{Follow, follow};

/// Most bytes of one chunk.
pub const MAX_CHUNK: usize = limits::MAX_PAYLOAD;
/// Most chunks of one write.
pub const MAX_CHUNKS: usize = 1_000;
/// Most bytes of one write.
pub const MAX_WRITE: usize = 8 * 1024 * 1024;
/// Chunks of a page unless asked for otherwise.
pub const DEFAULT_PAGE: u32 = 100;
/// Most chunks of a page.
pub const MAX_PAGE: u32 = 1_000;
/// A page has no more bytes than this, unless its first chunk alone has more.
pub const MAX_PAGE_BYTES: usize = 2 * 1024 * 1024;

/// A stream of results behind a pointer, which owns all it needs.
pub type BoxStream<T> = std::pin::Pin<Box<dyn Stream<Item = Result<T>> + Send>>;

/// Names one output stream: its name, among those of one execution or of none.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct OutputStream {
    /// Whose it is. It is deleted with it.
    pub execution: Option<ExecutionId>,
    /// 1 to 255 bytes without control characters.
    pub name: String,
}

impl OutputStream {
    /// A stream of an execution, which must exist when it is first written or closed.
    pub fn of(execution: &ExecutionId, name: impl Into<String>) -> Self {
        Self { execution: Some(execution.clone()), name: name.into() }
    }

    /// A stream of nobody, which stays until it is deleted.
    pub fn named(name: impl Into<String>) -> Self {
        Self { execution: None, name: name.into() }
    }

    /// The text of the execution's id; empty without one.
    pub fn owner(&self) -> &str {
        self.execution.as_ref().map_or("", ExecutionId::as_str)
    }

    /// Checks what a caller could have put in.
    ///
    /// # Errors
    /// Invalid, naming the field and the limit.
    pub fn check(&self) -> Result<()> {
        if let Some(execution) = &self.execution {
            limits::check_id("output.execution", execution.as_str())?;
        }
        limits::check_id("output.name", &self.name)
    }
}

/// One piece of an output stream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Chunk {
    /// Its place: 0, 1, 2, …
    pub index: i64,
    /// Any bytes, also none.
    pub data: Bytes,
}

/// Which part of a stream to read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ChunkQuery {
    /// Of which stream.
    pub stream: OutputStream,
    /// Index of the first chunk; the cursor of a page to go on behind it. Negative counts from the end: -1 is the last chunk
    /// there is now. Defaults to 0.
    pub from: i64,
    /// Most chunks, 1 to 1,000. Defaults to 100.
    pub limit: u32,
}

impl ChunkQuery {
    /// The first page.
    pub fn of(stream: OutputStream) -> Self {
        Self { stream, from: 0, limit: DEFAULT_PAGE }
    }

    /// Checks everything a caller could have put in.
    ///
    /// # Errors
    /// Invalid, naming the field and the limit.
    pub fn check(&self) -> Result<()> {
        self.stream.check()?;
        if !(1..=MAX_PAGE).contains(&self.limit) {
            return Err(Error::invalid(
                "output.limit",
                format!("{} is not within 1 to {MAX_PAGE}", self.limit),
            ));
        }
        Ok(())
    }
}

/// A part of a stream, as it was at one moment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ChunkPage {
    /// In order, without gaps.
    pub chunks: Vec<Chunk>,
    /// Where the next page begins.
    pub cursor: i64,
    /// There are more already.
    pub has_more: bool,
    /// The stream was closed: no chunk will be added.
    pub done: bool,
    /// Index of the last chunk there was; -1 when there was none.
    pub tail_index: i64,
}

/// Where a stream stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OutputInfo {
    /// Index of the last chunk; -1 when there is none, or no such stream.
    pub tail_index: i64,
    /// Whether it was closed.
    pub done: bool,
}

/// Checks the chunks of one write.
///
/// # Errors
/// Invalid: more than [`MAX_CHUNKS`], a chunk over [`MAX_CHUNK`], or over [`MAX_WRITE`] bytes in all.
pub fn check_chunks(chunks: &[Bytes]) -> Result<()> {
    if chunks.len() > MAX_CHUNKS {
        return Err(Error::invalid("chunks", format!("{}, at most {MAX_CHUNKS} are allowed", chunks.len())));
    }
    if let Some(large) = chunks.iter().map(Bytes::len).find(|length| *length > MAX_CHUNK) {
        return Err(Error::invalid("chunk", format!("{large} bytes, at most {MAX_CHUNK} are allowed")));
    }
    let all: usize = chunks.iter().map(Bytes::len).sum();
    if all > MAX_WRITE {
        return Err(Error::invalid("chunks", format!("{all} bytes, at most {MAX_WRITE} are allowed")));
    }
    Ok(())
}

/// What is added to one output stream, together and in order, and whether it ends it. A closed stream ignores it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OutputWrite {
    /// Which stream. Its execution must exist.
    pub stream: OutputStream,
    /// At most 1,000, and 8 MiB together.
    pub chunks: Vec<Bytes>,
    /// Whether the stream ends behind them.
    pub closes: bool,
}

impl OutputWrite {
    /// Checks everything a caller could have put in.
    ///
    /// # Errors
    /// Invalid, naming the field and the limit.
    pub fn check(&self) -> Result<()> {
        self.stream.check()?;
        check_chunks(&self.chunks)
    }
}

/// Output streams.
pub trait OutputStore: Send + Sync {
    /// Adds chunks at the end, together and in order; the index of the first. `None` when the stream is closed: nothing was
    /// added then. With no chunks it says where the next one would be.
    ///
    /// # Errors
    /// Invalid as [`check_chunks`] says; not found when its execution does not exist. After
    /// [commit unknown](Error::is_commit_unknown) they may have been added.
    fn write_many<'a>(
        &'a self,
        stream: &'a OutputStream,
        chunks: Vec<Bytes>,
    ) -> BoxFuture<'a, Result<Option<i64>>>;

    /// [`write_many`](Self::write_many) of one.
    ///
    /// # Errors
    /// As there.
    fn write<'a>(&'a self, stream: &'a OutputStream, chunk: Bytes) -> BoxFuture<'a, Result<Option<i64>>> {
        self.write_many(stream, vec![chunk])
    }

    /// Ends a stream behind all that was written; whether this call did. One that was never written to ends empty.
    ///
    /// # Errors
    /// Not found when its execution does not exist.
    fn close<'a>(&'a self, stream: &'a OutputStream) -> BoxFuture<'a, Result<bool>>;

    /// A page of what is there. A stream that does not exist is empty.
    ///
    /// # Errors
    /// Invalid, as [`ChunkQuery::check`] says.
    fn get_chunks(&self, query: ChunkQuery) -> BoxFuture<'_, Result<ChunkPage>>;

    /// Where a stream stands.
    fn info<'a>(&'a self, stream: &'a OutputStream) -> BoxFuture<'a, Result<OutputInfo>>;

    /// The names of an execution's streams, sorted; at most 1,000 behind `after`.
    fn list<'a>(
        &'a self,
        execution: &'a ExecutionId,
        after: Option<&'a str>,
    ) -> BoxFuture<'a, Result<Vec<String>>>;

    /// Deletes a stream; whether it was there. Its readers are told that it expired.
    fn delete<'a>(&'a self, stream: &'a OutputStream) -> BoxFuture<'a, Result<bool>>;

    /// Deletes streams of nobody that were closed before `before`, at most 100; how many. Those of executions go with them.
    fn delete_old(&self, before: Timestamp) -> BoxFuture<'_, Result<u64>>;

    /// Begins to follow a stream: for [`read`](Self::read), and for readers with needs of their own.
    ///
    /// # Errors
    /// Invalid for a name that cannot be, and inside a transaction, where nobody may wait.
    fn follow(&self, stream: &OutputStream) -> Result<Box<dyn Follow>>;

    /// What is there from `start` on, then what comes, until the stream is closed. A negative `start` counts from the end as it
    /// is at the first look. It reads a page when it is asked for the next chunk and has none, and holds nothing else: no
    /// connection, no more than a page. After an error it goes on where it was when it is asked again.
    ///
    /// ```
    /// # use mainspring_core::{Backend, OutputStream, Result};
    /// use futures_util::TryStreamExt;
    /// # async fn example(backend: &dyn Backend) -> Result<()> {
    /// let letters = OutputStream::named("letters");
    /// let mut chunks = backend.outputs().read(&letters, 0);
    /// while let Some(chunk) = chunks.try_next().await? {
    ///     println!("{}: {} bytes", chunk.index, chunk.data.len());
    /// }
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// As [`follow`](Self::follow), in place of the first chunk; expired when the stream is deleted meanwhile, which ends it.
    fn read(&self, stream: &OutputStream, start: i64) -> BoxStream<Chunk> {
        follow(self.follow(stream), start)
    }
}
