//! The store: who writes goes together, who reads goes alone or follows.

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use bytes::Bytes;
use mainspring_core::{
    BoxFuture, ChunkPage, ChunkQuery, Error, ExecutionId, OutputInfo, OutputStore, OutputStream, OutputWrite,
    Result, Timestamp, limits, output::Follow,
};
use mainspring_pg::{Db, Hints, Share, TxRef, row::get};

use crate::{
    page,
    tail::Tails,
    write::{Answer, SharedWrites, Writes},
};

/// How long a reader waits for a hint before it looks by itself.
const POLL: Duration = Duration::from_millis(500);

/// Output streams on Postgres; see the crate.
#[derive(Clone)]
pub struct PgOutputStore<'t> {
    db: Db<'t>,
    hints: Option<Hints>,
    shared: Option<Share<SharedWrites>>,
    tails: Option<Arc<Tails>>,
}

impl PgOutputStore<'static> {
    /// The same store, where writes of many tasks at the same time are one statement and one commit. Each is still all or
    /// nothing and answered by itself. Once begun, a write happens even when its caller goes away.
    #[must_use]
    pub fn with_shared_writes(mut self) -> Self {
        self.shared =
            Some(Share::new(SharedWrites(Writes { db: self.db.clone(), hints: self.hints.clone() })));
        self
    }
}

impl<'t> PgOutputStore<'t> {
    /// A store on a pool or a transaction. Readers are woken by writers of the same store, else they find new chunks by
    /// looking twice a second.
    pub fn new(db: &Db<'t>) -> Self {
        let hints = (!db.in_transaction()).then(Hints::poll_only);
        let tails = tails(db, hints.as_ref(), POLL);
        Self { db: db.clone(), hints, shared: None, tails }
    }

    /// The same store with hints, so that readers of other processes are woken too.
    #[must_use]
    pub fn with_hints(self, hints: Hints) -> Self {
        let tails = tails(&self.db, Some(&hints), POLL);
        Self { db: self.db, hints: Some(hints), shared: None, tails }
    }

    /// The same store, whose readers look by themselves this often when no hint comes. Defaults to 500 ms.
    #[must_use]
    pub fn with_poll(mut self, poll: Duration) -> Self {
        self.tails = tails(&self.db, self.hints.as_ref(), poll);
        self
    }

    /// The same store, standing on your transaction. What is written there is visible to readers after your commit; they find
    /// it by looking. Until then other writers of the same stream wait.
    pub fn on<'u>(&self, tx: impl Into<TxRef<'u>>) -> PgOutputStore<'u> {
        PgOutputStore { db: self.db.on(tx), hints: None, shared: None, tails: None }
    }

    async fn ask(&self, stream: &OutputStream, chunks: Vec<Bytes>, closes: bool) -> Result<Answer> {
        let wish = OutputWrite { stream: stream.clone(), chunks, closes };
        wish.check()?;
        match &self.shared {
            Some(shared) => shared.ask(wish).await,
            None => {
                let writes = Writes { db: self.db.clone(), hints: self.hints.clone() };
                let answer = writes.write(&[wish]).await?.pop();
                answer.ok_or_else(|| Error::internal("a write was not answered"))
            }
        }
    }
}

fn tails(db: &Db<'_>, hints: Option<&Hints>, poll: Duration) -> Option<Arc<Tails>> {
    let (db, hints) = (db.to_pool()?, hints?.clone());
    Some(Arc::new(Tails { db, hints, poll, open: Mutex::default() }))
}

const INFO: &str =
    "SELECT chunks, closed_at IS NOT NULL FROM {output_streams} WHERE owner = $1 AND name = $2";

const LIST: &str =
    "SELECT name FROM {output_streams} WHERE owner = $1 AND name > $2 ORDER BY name LIMIT 1000";

const DELETE: &str = "DELETE FROM {output_streams} WHERE owner = $1 AND name = $2";

const DELETE_OLD: &str = "DELETE FROM {output_streams} WHERE id = ANY (ARRAY(
    SELECT id FROM {output_streams} WHERE owner = '' AND closed_at < $1 ORDER BY closed_at LIMIT 100 FOR UPDATE SKIP LOCKED))";

impl OutputStore for PgOutputStore<'_> {
    fn write_many<'a>(
        &'a self,
        stream: &'a OutputStream,
        chunks: Vec<Bytes>,
    ) -> BoxFuture<'a, Result<Option<i64>>> {
        Box::pin(self.ask(stream, chunks, false))
    }

    fn close<'a>(&'a self, stream: &'a OutputStream) -> BoxFuture<'a, Result<bool>> {
        Box::pin(async move { Ok(self.ask(stream, Vec::new(), true).await?.is_some()) })
    }

    fn get_chunks(&self, query: ChunkQuery) -> BoxFuture<'_, Result<ChunkPage>> {
        Box::pin(async move {
            query.check()?;
            page::read(&self.db, &query.stream, query.from, query.limit).await
        })
    }

    fn info<'a>(&'a self, stream: &'a OutputStream) -> BoxFuture<'a, Result<OutputInfo>> {
        Box::pin(async move {
            stream.check()?;
            match self.db.opt(INFO, &[&stream.owner(), &stream.name]).await? {
                Some(row) => Ok(OutputInfo { tail_index: get::<i64>(&row, 0)? - 1, done: get(&row, 1)? }),
                None => Ok(OutputInfo { tail_index: -1, done: false }),
            }
        })
    }

    fn list<'a>(
        &'a self,
        execution: &'a ExecutionId,
        after: Option<&'a str>,
    ) -> BoxFuture<'a, Result<Vec<String>>> {
        Box::pin(async move {
            if let Some(after) = after {
                limits::check_id("output.after", after)?;
            }
            let rows = self.db.all(LIST, &[&execution.as_str(), &after.unwrap_or_default()]).await?;
            rows.iter().map(|row| get(row, 0)).collect()
        })
    }

    fn delete<'a>(&'a self, stream: &'a OutputStream) -> BoxFuture<'a, Result<bool>> {
        Box::pin(async move {
            stream.check()?;
            Ok(self.db.exec(DELETE, &[&stream.owner(), &stream.name]).await? == 1)
        })
    }

    fn delete_old(&self, before: Timestamp) -> BoxFuture<'_, Result<u64>> {
        Box::pin(async move {
            let before = std::time::SystemTime::from(before);
            self.db.exec(DELETE_OLD, &[&before]).await
        })
    }

    fn follow(&self, stream: &OutputStream) -> Result<Box<dyn Follow>> {
        stream.check()?;
        match &self.tails {
            Some(tails) => Ok(Box::new(tails.follow(stream))),
            None => Err(Error::invalid("output", "nobody may wait in a transaction: read it by pages")),
        }
    }
}
