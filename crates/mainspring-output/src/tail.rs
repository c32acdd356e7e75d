//! Following streams: who is woken by what, and what readers of one stream share.
//!
//! ```text
//! commit ─► hint ─► every reader of the stream wakes ─► the first looks, the others take what it found
//! no hint for a while ─► the same, at most about once in that while for all readers of a stream together
//! ```

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex, PoisonError, Weak,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use mainspring_core::{BoxFuture, ChunkPage, OutputStream, Result, output::Follow};
use mainspring_pg::{Db, Hints, Subscription};

use crate::{page, write::output_hint};

/// The streams that are followed in this process.
pub(crate) struct Tails {
    pub(crate) db: Db<'static>,
    pub(crate) hints: Hints,
    pub(crate) poll: Duration,
    pub(crate) open: Mutex<HashMap<OutputStream, Weak<Tail>>>,
}

/// One of them, for as long as it has readers.
pub(crate) struct Tail {
    stream: OutputStream,
    tails: Weak<Tails>,
    /// Looks that have begun.
    begun: AtomicU64,
    last: tokio::sync::Mutex<Option<Look>>,
}

/// What the last look found; a page at most is kept.
struct Look {
    number: u64,
    from: i64,
    at: Instant,
    page: ChunkPage,
}

impl Tails {
    pub(crate) fn follow(self: &Arc<Self>, stream: &OutputStream) -> Follower {
        let hint = self.hints.subscribe(&output_hint(stream));
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        let tail = open.get(stream).and_then(Weak::upgrade).unwrap_or_else(|| {
            let tail = Tail {
                stream: stream.clone(),
                tails: Arc::downgrade(self),
                begun: AtomicU64::new(0),
                last: tokio::sync::Mutex::new(None),
            };
            let tail = Arc::new(tail);
            open.insert(stream.clone(), Arc::downgrade(&tail));
            tail
        });
        Follower { tails: Arc::clone(self), tail, hint, hinted: true }
    }
}

impl Drop for Tail {
    fn drop(&mut self) {
        let Some(tails) = self.tails.upgrade() else { return };
        let mut open = tails.open.lock().unwrap_or_else(PoisonError::into_inner);
        // Another one may have taken its place already.
        if open.get(&self.stream).is_some_and(|tail| tail.strong_count() == 0) {
            open.remove(&self.stream);
        }
    }
}

/// One reader.
pub(crate) struct Follower {
    tails: Arc<Tails>,
    tail: Arc<Tail>,
    hint: Subscription,
    /// It was woken, or has not looked yet; else it looks because no hint came for a while.
    hinted: bool,
}

impl Follower {
    async fn page(&mut self, from: i64, limit: u32) -> Result<ChunkPage> {
        let begun = self.tail.begun.load(Ordering::SeqCst);
        let mut last = self.tail.last.lock().await;
        if let Some(look) = &*last {
            if let Some(page) = look.part(from, limit) {
                return Ok(page);
            }
            let recent = look.number > begun || (!self.hinted && look.at.elapsed() < self.tails.poll);
            if look.found_nothing() && look.from == from && recent {
                return Ok(look.page.clone());
            }
        }
        let number = self.tail.begun.fetch_add(1, Ordering::SeqCst) + 1;
        let at = Instant::now();
        let page = page::read(&self.tails.db, &self.tail.stream, from, limit).await?;
        if from >= 0 {
            *last = Some(Look { number, from, at, page: page.clone() });
        }
        Ok(page)
    }
}

impl Look {
    fn found_nothing(&self) -> bool {
        self.page.chunks.is_empty()
    }

    /// What it found behind `from`, as if that had been asked for. Chunks never change; there may be more by now.
    fn part(&self, from: i64, limit: u32) -> Option<ChunkPage> {
        let skipped = usize::try_from(from - self.from).ok()?;
        let chunks = self.page.chunks.get(skipped..).filter(|rest| !rest.is_empty())?;
        let chunks: Vec<_> = chunks.iter().take(limit as usize).cloned().collect();
        let cursor = from + chunks.len() as i64;
        let has_more = cursor <= self.page.tail_index;
        Some(ChunkPage { chunks, cursor, has_more, ..self.page })
    }
}

impl Follow for Follower {
    fn look(&mut self, from: i64, limit: u32) -> BoxFuture<'_, Result<ChunkPage>> {
        Box::pin(self.page(from, limit))
    }

    fn wait(&mut self) -> BoxFuture<'_, ()> {
        Box::pin(async move { self.hinted = self.hint.wait(self.tails.poll).await })
    }
}
