//! What many tasks want at the same time, in one statement and one commit.
//!
//! Nobody waits for a batch to fill: what arrives while one is under way is the next one. When the database refuses a batch,
//! each wish of it is tried by itself, so that one that cannot be spares the others.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use mainspring_core::{Error, ErrorKind, Result};
use tokio::sync::oneshot;

/// What is done together, and how.
pub trait Batch: Send + Sync + 'static {
    /// What one caller wants.
    type Wish: Send + Sync + 'static;
    /// What it is answered.
    type Answer: Send + 'static;
    /// Most weight of one batch, unless a single wish has more.
    const MOST: usize;

    /// How heavy a wish is.
    fn weight(wish: &Self::Wish) -> usize;

    /// Does all of them in one transaction, or nothing. Answers for each, in order.
    fn run(&self, wishes: &[Self::Wish]) -> impl Future<Output = Result<Vec<Self::Answer>>> + Send;
}

/// Shares batches among all that hold a clone of it. It has a task only while somebody waits.
pub struct Share<B: Batch>(Arc<Inner<B>>);

impl<B: Batch> Clone for Share<B> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

struct Inner<B: Batch> {
    batch: B,
    state: Mutex<State<B>>,
}

struct State<B: Batch> {
    waiting: VecDeque<Entry<B>>,
    busy: bool,
}

struct Entry<B: Batch> {
    wish: B::Wish,
    answer: oneshot::Sender<Result<B::Answer>>,
}

impl<B: Batch> Share<B> {
    /// Batches done by `batch`.
    pub fn new(batch: B) -> Self {
        let state = State { waiting: VecDeque::new(), busy: false };
        Self(Arc::new(Inner { batch, state: Mutex::new(state) }))
    }

    /// Has a wish done. Once begun it happens even when its caller goes away.
    ///
    /// # Errors
    /// Its own, as if it had been alone; of all of a batch when nobody knows what became of it, or the database is busy.
    pub async fn ask(&self, wish: B::Wish) -> Result<B::Answer> {
        let (answer, answered) = oneshot::channel();
        let begins = {
            let mut state = self.0.lock();
            state.waiting.push_back(Entry { wish, answer });
            !std::mem::replace(&mut state.busy, true)
        };
        if begins {
            tokio::spawn(Round { share: Arc::clone(&self.0), over: false }.run());
        }
        answered.await.unwrap_or_else(|_| {
            Err(Error::new(ErrorKind::CommitUnknown, "the runtime stopped while the commit was under way"))
        })
    }
}

impl<B: Batch> Inner<B> {
    fn lock(&self) -> MutexGuard<'_, State<B>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The next wishes that fit together. With none left nobody is busy any more, under the same lock.
    fn take(&self) -> Vec<Entry<B>> {
        let mut state = self.lock();
        let (mut entries, mut weight) = (Vec::new(), 0);
        while let Some(entry) = state.waiting.pop_front() {
            let more = B::weight(&entry.wish);
            if !entries.is_empty() && weight + more > B::MOST {
                state.waiting.push_front(entry);
                break;
            }
            weight += more;
            entries.push(entry);
        }
        state.busy = !entries.is_empty();
        entries
    }

    async fn run_together(&self, entries: Vec<Entry<B>>) {
        type Answers<T> = Vec<oneshot::Sender<Result<T>>>;
        let (wishes, mut answers): (Vec<B::Wish>, Answers<B::Answer>) =
            entries.into_iter().map(|entry| (entry.wish, entry.answer)).unzip();
        let error = match self.batch.run(&wishes).await {
            Ok(said) => {
                for (answer, said) in answers.into_iter().zip(said) {
                    let _ = answer.send(Ok(said)); // a caller that went away does not want to know
                }
                return;
            }
            Err(error) => error,
        };
        if wishes.len() == 1 {
            if let Some(answer) = answers.pop() {
                let _ = answer.send(Err(error));
            }
            return;
        }
        // Nothing was stored, or nobody knows, and then to try again would be to do it twice.
        let alone = !error.is_commit_unknown() && !error.is_retryable();
        for (wish, answer) in wishes.into_iter().zip(answers) {
            let said = match alone {
                true => self.run_alone(wish).await,
                false => Err(Error::new(error.kind(), error.chain())),
            };
            let _ = answer.send(said);
        }
    }

    async fn run_alone(&self, wish: B::Wish) -> Result<B::Answer> {
        let said = self.batch.run(&[wish]).await?.pop();
        said.ok_or_else(|| Error::internal("a wish was not answered"))
    }
}

/// The one who runs the batches for all until nobody waits.
struct Round<B: Batch> {
    share: Arc<Inner<B>>,
    over: bool,
}

impl<B: Batch> Round<B> {
    async fn run(mut self) {
        loop {
            // Whoever is about to ask at this moment comes along; those who were just answered, too.
            tokio::task::yield_now().await;
            let entries = self.share.take();
            if entries.is_empty() {
                self.over = true;
                return;
            }
            self.share.run_together(entries).await;
        }
    }
}

/// When its runtime drops it half-way nobody would take what waits, so that is answered now.
impl<B: Batch> Drop for Round<B> {
    fn drop(&mut self) {
        if self.over {
            return;
        }
        let mut state = self.share.lock();
        state.busy = false;
        let abandoned = std::mem::take(&mut state.waiting);
        drop(state);
        for entry in abandoned {
            let stopped = "the runtime of the commits stopped; nothing was stored";
            let _ = entry.answer.send(Err(Error::new(ErrorKind::Unavailable, stopped)));
        }
    }
}
