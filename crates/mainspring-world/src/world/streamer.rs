//! The output streams of a world.

use std::sync::Arc;

use bytes::Bytes;
use mainspring_core::{
    Backend, BoxFuture, ChunkPage, ChunkQuery, ExecutionId, OutputInfo, OutputStore, OutputStream, Result,
    Timestamp, output::Follow,
};

use super::World;

impl World {
    /// Its output streams: `write`, `write_many`, `close`, `read`, `get_chunks`, `info`, `list`. They work without
    /// [`start`](Self::start).
    ///
    /// ```
    /// use futures_util::TryStreamExt;
    /// use mainspring_core::OutputStream;
    /// use mainspring_testing::MemoryBackend;
    /// use mainspring_world::{NewRun, World};
    ///
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> mainspring_core::Result<()> {
    /// let world = World::builder(MemoryBackend::new()).build()?;
    /// let run = world.storage().runs().create(NewRun::new("report", 1)).await?.run_id;
    /// let (streams, lines) = (world.streamer(), OutputStream::of(&run, "lines"));
    /// streams.write_many(&lines, vec!["one".into(), "two".into(), "three".into()]).await?;
    /// streams.close(&lines).await?;
    /// let last: Vec<_> = streams.read(&lines, -2).map_ok(|chunk| chunk.data).try_collect().await?;
    /// assert_eq!(last, ["two", "three"]);
    /// assert_eq!(streams.list(&run, None).await?, ["lines"]);
    /// # Ok(()) }
    /// ```
    pub fn streamer(&self) -> Arc<dyn OutputStore> {
        Arc::new(Streamer(Arc::clone(self.storage().backend())))
    }
}

/// The streams of a backend, for as long as whoever reads them needs it.
struct Streamer(Arc<dyn Backend>);

impl OutputStore for Streamer {
    fn write_many<'a>(
        &'a self,
        stream: &'a OutputStream,
        chunks: Vec<Bytes>,
    ) -> BoxFuture<'a, Result<Option<i64>>> {
        self.0.outputs().write_many(stream, chunks)
    }

    fn close<'a>(&'a self, stream: &'a OutputStream) -> BoxFuture<'a, Result<bool>> {
        self.0.outputs().close(stream)
    }

    fn get_chunks(&self, query: ChunkQuery) -> BoxFuture<'_, Result<ChunkPage>> {
        self.0.outputs().get_chunks(query)
    }

    fn info<'a>(&'a self, stream: &'a OutputStream) -> BoxFuture<'a, Result<OutputInfo>> {
        self.0.outputs().info(stream)
    }

    fn list<'a>(
        &'a self,
        execution: &'a ExecutionId,
        after: Option<&'a str>,
    ) -> BoxFuture<'a, Result<Vec<String>>> {
        self.0.outputs().list(execution, after)
    }

    fn delete<'a>(&'a self, stream: &'a OutputStream) -> BoxFuture<'a, Result<bool>> {
        self.0.outputs().delete(stream)
    }

    fn delete_old(&self, before: Timestamp) -> BoxFuture<'_, Result<u64>> {
        self.0.outputs().delete_old(before)
    }

    fn follow(&self, stream: &OutputStream) -> Result<Box<dyn Follow>> {
        self.0.outputs().follow(stream)
    }
}
