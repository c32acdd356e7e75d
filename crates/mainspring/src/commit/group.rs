//! What many callers want to commit at the same time goes into one transaction.
//!
//! Callers put their change into `pending`. A *lane* is a task that takes what is pending, commits it, and goes on until
//! nothing is left; then it ends. So an idle process has no task, and a single caller waits for nobody. A second lane starts
//! only when about as much is pending as is being committed already: two even batches side by side keep both the server and
//! this process busy, while many small ones would pay the cost of a transaction each. For the same reason a lane takes no more
//! than its share, and no less than is worth a transaction. How much that is, is counted in rows. Commits run in lanes and not in their callers: a caller that goes
//! away cannot stop one half-way.

use std::{
    collections::{HashSet, VecDeque},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use mainspring_core::{Append, Appended, BoxFuture, Changes, Committed, Error, ErrorKind, Result, limits};
use mainspring_events::{AppendTogether, LOG_HINT, PgEventStore};
use mainspring_output::output_hint;
use mainspring_pg::{Db, Hints};
use tokio::sync::oneshot;

use super::{
    commit_alone, commit_batch, meter,
    plan::{Keys, keys},
};

/// Rows that one change usually writes: a batch is measured in such changes, so that one append of a hundred events is much.
const ROWS: usize = 4;
/// Most changes of one batch, unless a single one counts as more.
const MAX_CHANGES: usize = 512;
/// Fewest changes of a batch that leaves some for another lane: below, a transaction of its own costs more than it brings.
const FEW_CHANGES: usize = 16;
/// Most rounds in which a lane lets others come along before it takes a batch.
const MOST_ROUNDS: usize = 8;
/// Most bytes of payload of one batch, unless a single change has more.
const MAX_BYTES: usize = 4 * 1024 * 1024;

/// The group commit of one set of stores.
pub(crate) struct GroupCommit {
    db: Db<'static>,
    hints: Hints,
    lanes: usize,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    pending: VecDeque<Entry>,
    /// What is pending, in changes of usual size.
    waiting: usize,
    lanes: usize,
    /// What is being committed now, over all lanes, in the same unit.
    busy: usize,
}

impl State {
    /// Whether what is pending is worth a transaction beside those under way. With none under way anything is.
    fn worth_a_lane(&self) -> bool {
        !self.pending.is_empty() && self.waiting * 4 >= self.busy * 3
    }
}

struct Entry {
    changes: Changes,
    keys: Keys,
    /// In changes of usual size.
    size: usize,
    bytes: usize,
    answer: oneshot::Sender<Result<Committed>>,
}

/// What a lane commits next.
struct Taken {
    batch: Vec<Entry>,
    /// In changes of usual size.
    size: usize,
    /// What is left is worth one more lane; it is counted already.
    leaves_a_lane: bool,
}

impl GroupCommit {
    pub(crate) fn db(&self) -> &Db<'static> {
        &self.db
    }

    pub(crate) fn new(db: Db<'static>, hints: Hints, lanes: usize) -> Self {
        Self { db, hints, lanes, state: Mutex::default() }
    }

    pub(crate) async fn commit(self: &Arc<Self>, changes: Changes) -> Result<Committed> {
        changes.check()?;
        let changes = changes.traced();
        let (answer, answered) = oneshot::channel();
        let (keys, size, bytes) = (keys(&changes)?, size(&changes), weigh(&changes));
        let entry = Entry { keys, size, bytes, changes, answer };
        let starts_a_lane = {
            let mut state = self.lock();
            state.waiting += entry.size;
            state.pending.push_back(entry);
            self.starts_a_lane(&mut state)
        };
        if starts_a_lane {
            Lane::start(self);
        }
        answered.await.unwrap_or_else(|_| {
            Err(Error::new(ErrorKind::CommitUnknown, "the runtime stopped while the commit was under way"))
        })
    }

    /// Commits what has inline projections to keep, which is not grouped: one that fails must undo nothing but its own.
    pub(crate) async fn commit_alone(
        &self,
        events: &PgEventStore<'_>,
        changes: Changes,
    ) -> Result<Committed> {
        changes.check()?;
        let changes = changes.traced();
        let committed = commit_alone(&self.db, events, &changes).await?;
        self.tell([&changes]);
        Ok(committed)
    }

    /// Wakes whoever waits for what was committed.
    pub(crate) fn tell<'c>(&self, committed: impl IntoIterator<Item = &'c Changes> + Clone) {
        tell(&self.hints, committed);
    }

    /// Whether there is to be one lane more; it is counted already.
    fn starts_a_lane(&self, state: &mut State) -> bool {
        let starts = state.lanes == 0 || (state.lanes < self.lanes && state.worth_a_lane());
        state.lanes += usize::from(starts);
        starts
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Lets whoever is about to commit at this moment come along, such as those who were just answered and take their next
    /// step: as long as every round of the scheduler brings more. It waits for no time and no event, so nobody alone waits.
    async fn gather(&self) {
        let mut pending = self.lock().pending.len();
        for _ in 0..MOST_ROUNDS {
            tokio::task::yield_now().await;
            let now = self.lock().pending.len();
            if now == pending {
                return;
            }
            pending = now;
        }
    }

    /// The next batch: in order of arrival, leaving for later what touches the same things as an earlier one. A lane with
    /// nothing worth taking is over, and no longer counted; the last one takes whatever there is. Both under one lock, so
    /// that no entry is left alone.
    fn take(&self, committed: usize) -> Option<Taken> {
        let mut state = self.lock();
        state.busy -= committed;
        if !state.worth_a_lane() {
            state.lanes -= 1;
            return None;
        }
        // A lane that took all would leave nothing to do side by side: its callers come back when it is done, all at once.
        let share = (state.waiting + state.busy).div_ceil(self.lanes);
        let most = share.clamp(FEW_CHANGES, MAX_CHANGES);
        let mut touched = Keys::default();
        let (mut size, mut bytes) = (0, 0);
        let mut batch = Vec::new();
        let mut later = VecDeque::new();
        while let Some(entry) = state.pending.pop_front() {
            let full = size >= most || (!batch.is_empty() && bytes + entry.bytes > MAX_BYTES);
            let fits = !full && entry.keys.agree_with(&touched);
            touched.extend(&entry.keys);
            if fits {
                size += entry.size;
                bytes += entry.bytes;
                batch.push(entry);
            } else {
                later.push_back(entry);
            }
            if full {
                break;
            }
        }
        later.append(&mut state.pending);
        state.pending = later;
        state.waiting -= size;
        state.busy += size;
        let leaves_a_lane = self.starts_a_lane(&mut state);
        Some(Taken { batch, size, leaves_a_lane })
    }
}

/// One running lane.
struct Lane {
    group: Arc<GroupCommit>,
    counted: bool,
    busy: usize,
}

impl Lane {
    /// Starts one that is counted.
    fn start(group: &Arc<GroupCommit>) {
        tokio::spawn(Self { group: Arc::clone(group), counted: true, busy: 0 }.run());
    }

    async fn run(mut self) {
        loop {
            self.group.gather().await;
            let Some(taken) = self.group.take(std::mem::take(&mut self.busy)) else {
                self.counted = false;
                return;
            };
            self.busy = taken.size;
            if taken.leaves_a_lane {
                Self::start(&self.group);
            }
            let batch = taken.batch;
            let changes: Vec<&Changes> = batch.iter().map(|entry| &entry.changes).collect();
            let answers = commit_batch(&self.group.db, &changes).await;
            let committed = batch.iter().zip(&answers).filter(|(_, answer)| answer.is_ok());
            let committed: Vec<&Changes> = committed.map(|(entry, _)| &entry.changes).collect();
            self.group.tell(committed);
            for (entry, answer) in batch.into_iter().zip(answers) {
                // A caller that went away does not want to know.
                let _ = entry.answer.send(answer);
            }
        }
    }
}

/// A lane that its runtime drops half-way leaves its place to another. When it was the last one, nobody would take what is
/// pending, so that is answered now.
impl Drop for Lane {
    fn drop(&mut self) {
        if !self.counted {
            return;
        }
        let mut state = self.group.lock();
        state.lanes -= 1;
        state.busy -= self.busy;
        let abandoned = if state.lanes == 0 {
            state.waiting = 0;
            std::mem::take(&mut state.pending)
        } else {
            VecDeque::new()
        };
        drop(state);
        for entry in abandoned {
            let stopped =
                Error::new(ErrorKind::Unavailable, "the runtime of the commits stopped; nothing was changed");
            let _ = entry.answer.send(Err(stopped));
        }
    }
}

/// The group commit as the event store sees it.
pub(crate) struct Appends(pub(crate) Arc<GroupCommit>);

impl AppendTogether for Appends {
    fn append_together(&self, appends: Vec<Append>) -> BoxFuture<'_, Result<Vec<Appended>>> {
        Box::pin(async move { Ok(self.0.commit(Changes { appends, ..Changes::default() }).await?.appended) })
    }
}

/// Wakes whoever waits for what was committed, and counts it.
pub(crate) fn tell<'c>(hints: &Hints, committed: impl IntoIterator<Item = &'c Changes> + Clone) {
    hint(hints, committed.clone());
    meter::count(committed);
}

/// Wakes whoever waits for the events, the messages and the chunks of what was committed.
pub(crate) fn hint<'c>(hints: &Hints, committed: impl IntoIterator<Item = &'c Changes> + Clone) {
    if committed.clone().into_iter().any(touches_the_log) {
        hints.mention(LOG_HINT);
    }
    let messages = committed.clone().into_iter().flat_map(|changes| &changes.messages);
    hints.offer(messages.map(|message| message.queue.as_str()));
    let outputs = committed.into_iter().flat_map(|changes| &changes.outputs);
    let streams: HashSet<String> = outputs.map(|output| output_hint(&output.stream)).collect();
    hints.notify(streams.iter().map(String::as_str));
}

/// Whether there are new events.
fn touches_the_log(changes: &Changes) -> bool {
    changes.appends.iter().any(|append| !append.events.is_empty())
        || changes.executions.iter().any(|write| !write.events.is_empty())
}

/// In changes of usual size.
fn size(changes: &Changes) -> usize {
    let histories: usize = changes.executions.iter().map(|write| 1 + write.events.len()).sum();
    let events: usize = changes.appends.iter().map(|append| append.events.len()).sum();
    let chunks: usize = changes.outputs.iter().map(|output| output.chunks.len()).sum();
    (histories + events + chunks + changes.messages.len()).div_ceil(ROWS).max(1)
}

fn weigh(changes: &Changes) -> usize {
    let executions = changes.executions.iter().map(|write| {
        let context: usize = write.execution.context.values().map(limits::json_size).sum();
        context + write.events.iter().map(|event| limits::json_size(&event.data)).sum::<usize>()
    });
    let messages = changes.messages.iter().map(|message| limits::json_size(&message.data));
    let appends = changes.appends.iter().flat_map(|append| &append.events);
    let appends = appends.map(|event| limits::json_size(&event.data));
    let chunks = changes.outputs.iter().flat_map(|output| &output.chunks).map(bytes::Bytes::len);
    executions.chain(messages).chain(appends).chain(chunks).sum()
}

#[cfg(test)]
mod tests {
    use mainspring_core::NewEvent;
    use mainspring_pg::{Settings, pool};
    use serde_json::Value;

    use super::*;

    /// Two lanes, and so many appends that wait, each of so many events to a stream of its own.
    fn waiting(appends: usize, events: usize) -> GroupCommit {
        let settings = Settings::parse("postgres://nobody@localhost/nowhere").unwrap();
        let names = crate::PgStoreOptions::default().names().unwrap();
        let db = Db::new(pool(&settings, 1).unwrap(), names.clone());
        let group = GroupCommit::new(db, Hints::new(None, None, names), 2);
        for n in 0..appends {
            let events = vec![NewEvent::new("Added", Value::Null); events];
            let changes =
                Changes { appends: vec![Append::to(format!("s-{n}"), events)], ..Changes::default() };
            let entry = Entry {
                keys: keys(&changes).unwrap(),
                size: size(&changes),
                bytes: weigh(&changes),
                changes,
                answer: oneshot::channel().0,
            };
            let mut state = group.lock();
            state.waiting += entry.size;
            state.pending.push_back(entry);
            state.lanes = 1;
        }
        group
    }

    #[tokio::test]
    async fn a_lane_takes_what_is_worth_a_transaction_and_leaves_as_much_to_another_one() {
        let small = waiting(16, 1).take(0).unwrap();
        assert_eq!((small.batch.len(), small.leaves_a_lane), (16, false));
        let group = waiting(4, 100);
        let large = group.take(0).unwrap();
        assert_eq!((large.batch.len(), large.leaves_a_lane), (2, true));
        let other = group.take(0).unwrap();
        assert_eq!((other.batch.len(), other.leaves_a_lane), (2, false));
        assert!(group.take(large.size).is_none() && group.take(other.size).is_none());
        let state = group.lock();
        assert_eq!((state.lanes, state.busy, state.waiting), (0, 0, 0));
    }
}
