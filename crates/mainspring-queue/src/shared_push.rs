//! Pushes of many tasks at the same time in one statement and one commit.
//!
//! Nobody waits for a batch to fill: what arrives while a push is under way is the next one. When the database refuses a
//! batch, each push of it is tried by itself, so that one that cannot be stored spares the others.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use mainspring_core::{Error, ErrorKind, NewMessage, Result};
use tokio::sync::oneshot;

use crate::PgQueue;

/// Most messages of one statement, unless a single push has more.
const MOST: usize = 1_000;
/// A push of more messages than this gains nothing by company.
pub(crate) const LARGE: usize = 100;

pub(crate) struct SharedPush {
    queue: PgQueue<'static>,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    waiting: VecDeque<Wish>,
    busy: bool,
}

struct Wish {
    messages: Vec<NewMessage>,
    answer: oneshot::Sender<Result<()>>,
}

impl SharedPush {
    /// Pushes through `queue`.
    pub(crate) fn new(queue: PgQueue<'static>) -> Self {
        Self { queue, state: Mutex::default() }
    }

    /// Pushes messages that were checked, all of them or none.
    pub(crate) async fn push(self: &Arc<Self>, messages: Vec<NewMessage>) -> Result<()> {
        let (answer, answered) = oneshot::channel();
        let begins = {
            let mut state = self.lock();
            state.waiting.push_back(Wish { messages, answer });
            !std::mem::replace(&mut state.busy, true)
        };
        if begins {
            tokio::spawn(Round { share: Arc::clone(self), over: false }.run());
        }
        answered.await.unwrap_or_else(|_| {
            Err(Error::new(ErrorKind::CommitUnknown, "the runtime stopped while the push was under way"))
        })
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The next pushes that fit together. With none left nobody is busy any more, under the same lock.
    fn take(&self) -> Vec<Wish> {
        let mut state = self.lock();
        let (mut wishes, mut count) = (Vec::new(), 0);
        while let Some(wish) = state.waiting.pop_front() {
            if !wishes.is_empty() && count + wish.messages.len() > MOST {
                state.waiting.push_front(wish);
                break;
            }
            count += wish.messages.len();
            wishes.push(wish);
        }
        state.busy = !wishes.is_empty();
        wishes
    }

    async fn push_together(&self, mut wishes: Vec<Wish>) {
        let all: Vec<NewMessage> = wishes.iter().flat_map(|wish| &wish.messages).cloned().collect();
        let error = match self.queue.push_all(&all).await {
            Ok(_) => {
                for wish in wishes {
                    let _ = wish.answer.send(Ok(())); // a caller that went away does not want to know
                }
                return;
            }
            Err(error) => error,
        };
        if wishes.len() == 1 {
            if let Some(wish) = wishes.pop() {
                let _ = wish.answer.send(Err(error));
            }
            return;
        }
        // Nothing was stored, or nobody knows, and then to push again would be to push twice.
        let alone = !error.is_commit_unknown() && !error.is_retryable();
        for Wish { messages, answer } in wishes {
            let said = match alone {
                true => self.queue.push_all(&messages).await.map(drop),
                false => Err(Error::new(error.kind(), error.chain())),
            };
            let _ = answer.send(said);
        }
    }
}

/// The one who pushes for all until nobody waits.
struct Round {
    share: Arc<SharedPush>,
    over: bool,
}

impl Round {
    async fn run(mut self) {
        loop {
            // Whoever is about to push at this moment comes along; those who were just answered, too.
            tokio::task::yield_now().await;
            let wishes = self.share.take();
            if wishes.is_empty() {
                self.over = true;
                return;
            }
            self.share.push_together(wishes).await;
        }
    }
}

/// When its runtime drops it half-way nobody would take what waits, so that is answered now.
impl Drop for Round {
    fn drop(&mut self) {
        if self.over {
            return;
        }
        let mut state = self.share.lock();
        state.busy = false;
        let abandoned = std::mem::take(&mut state.waiting);
        drop(state);
        for wish in abandoned {
            let stopped = "the runtime of the pushes stopped; nothing was stored";
            let _ = wish.answer.send(Err(Error::new(ErrorKind::Unavailable, stopped)));
        }
    }
}
