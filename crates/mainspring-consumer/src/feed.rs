//! One reader for all processors of a consumer.
//!
//! Processors ask for what follows their position. Those at about the same place share the pages that were read last; one
//! that falls behind, because it is slow or waits to try something again, reads its own and holds up nobody. While all wait,
//! one task looks for news: a single row, at growing intervals, cut short by hints.

use std::{
    collections::VecDeque,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use mainspring_core::{RecordedEvent, Result};
use mainspring_events::{GlobalReader, LOG_HINT, Settled};
use mainspring_pg::Hints;
use tokio::{
    sync::{Mutex, Notify, watch},
    time::sleep,
};

/// Pages kept for processors that come later.
const KEPT: usize = 4;
/// What one page should weigh at most.
const PAGE_BYTES: usize = 4 * 1024 * 1024;
/// Most events of one page.
const PAGE_EVENTS: usize = 1_000;
/// First pause of a watcher that found nothing.
const FIRST_PAUSE: Duration = Duration::from_millis(20);

/// What follows one position.
pub(crate) struct Stretch {
    from: i64,
    /// Everything up to here was looked at.
    pub(crate) to: i64,
    pub(crate) events: Vec<RecordedEvent>,
}

pub(crate) struct Feed {
    reader: GlobalReader,
    /// Events a page brings at least, so that a batch is never cut short.
    batch: usize,
    longest_pause: Duration,
    hints: Option<Hints>,
    state: Mutex<State>,
    news: watch::Sender<i64>,
    waiting: AtomicUsize,
    somebody_waits: Notify,
}

#[derive(Default)]
struct State {
    settled: Option<Settled>,
    pages: VecDeque<Arc<Stretch>>,
    /// Bytes of one event, as the last page had them.
    weight: usize,
}

impl Feed {
    pub(crate) fn new(
        reader: GlobalReader,
        batch: usize,
        longest_pause: Duration,
        hints: Option<Hints>,
    ) -> Self {
        let (state, news, waiting, somebody_waits) = Default::default();
        Self { reader, batch, longest_pause, hints, state, news, waiting, somebody_waits }
    }

    /// The last position given out, settled or not.
    pub(crate) async fn last(&self) -> Result<i64> {
        self.reader.last().await
    }

    /// Everything up to here is settled.
    pub(crate) async fn settled(&self) -> Result<i64> {
        self.reader.settled().await.map(Settled::position)
    }

    /// What follows `after`; `None` when nothing does, for now.
    pub(crate) async fn next(&self, after: i64) -> Result<Option<Arc<Stretch>>> {
        let mut state = self.state.lock().await;
        if let Some(page) = state.pages.iter().find(|page| page.from <= after && after < page.to) {
            return Ok(Some(page.clone()));
        }
        let settled = match state.settled.filter(|settled| after < settled.position()) {
            Some(settled) => settled,
            None => *state.settled.insert(self.reader.settled().await?),
        };
        if after >= settled.position() {
            return Ok(None);
        }
        let light = PAGE_BYTES / state.weight.max(1);
        let events = light.min(PAGE_EVENTS).max(self.batch);
        let page = self.reader.read(after, settled, u32::try_from(events).unwrap_or(u32::MAX)).await?;
        state.weight = page.bytes / page.events.len().max(1);
        let stretch = Arc::new(Stretch { from: after, to: page.next, events: page.events });
        state.pages.push_back(stretch.clone());
        if state.pages.len() > KEPT {
            state.pages.pop_front();
        }
        Ok(Some(stretch))
    }

    /// Waits until something beyond `after` is settled.
    pub(crate) async fn wait(&self, after: i64) {
        let mut news = self.news.subscribe();
        let _waiting = Waiting::new(&self.waiting);
        self.somebody_waits.notify_one();
        // The sender lives as long as the feed.
        let _ = news.wait_for(|settled| *settled > after).await;
    }

    /// Looks for news while somebody waits for them. Never ends.
    pub(crate) async fn watch(&self) {
        let mut hints = self.hints.as_ref().map(|hints| hints.subscribe(LOG_HINT));
        let mut pause = FIRST_PAUSE;
        loop {
            if self.waiting.load(Ordering::Relaxed) == 0 {
                self.somebody_waits.notified().await;
                pause = FIRST_PAUSE;
            }
            match self.look().await {
                Ok(true) => pause = FIRST_PAUSE,
                Ok(false) => {}
                Err(error) => tracing::warn!(error = %error.chain(), "cannot look for new events"),
            }
            let hinted = match &mut hints {
                Some(hints) => hints.wait(pause).await,
                None => {
                    sleep(pause).await;
                    false
                }
            };
            pause = if hinted { FIRST_PAUSE } else { pause.saturating_mul(2) }.min(self.longest_pause);
        }
    }

    async fn look(&self) -> Result<bool> {
        let known = *self.news.borrow();
        if self.reader.last().await? <= known {
            return Ok(false);
        }
        let settled = self.reader.settled().await?.position();
        self.news.send_replace(settled);
        Ok(settled > known)
    }
}

struct Waiting<'a>(&'a AtomicUsize);

impl<'a> Waiting<'a> {
    fn new(count: &'a AtomicUsize) -> Self {
        count.fetch_add(1, Ordering::Relaxed);
        Self(count)
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}
