//! What the code of a workflow and its driver share while the execution is live.
//!
//! The code asks and records; nothing here waits for the database. The driver looks after every poll what there is to do
//! ([`Live::assess`]): commit, park, look into the inbox, or nothing. Two rules make that safe:
//!
//! 1. The body of a step begins only when everything recorded before it is durable ([`Live::gate`]).
//! 2. Once the driver has decided to stop, nothing the code awaits becomes ready again until it is driven again.

use std::{
    future::poll_fn,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Poll, Waker},
};

use mainspring_core::{
    Attribute, Backend, Changes, Committed, ExecutionId, Failure, NewEvent, Timestamp, check_attributes,
    event::kind,
};
use serde_json::{Map, Value, json};
use tokio::sync::{Notify, watch};
use tokio_util::sync::CancellationToken;

use super::{
    journal::{Answer, End, Journal, Note},
    state::{Batch, Loan, State, Stop, Task, Turn, Wait, Waiting},
    tx::Lent,
};

/// What never changes of an execution while it is live.
pub(crate) struct Facts {
    pub(crate) id: ExecutionId,
    pub(crate) flow: String,
    pub(crate) root: ExecutionId,
    pub(crate) tenant: String,
    pub(crate) queue: String,
    /// Where steps that are done elsewhere are pushed to.
    pub(crate) step_queue: String,
    /// What random numbers and ULIDs follow from: its id and its creation, or those of the execution it was forked from.
    pub(crate) seed: (ExecutionId, Timestamp),
    pub(crate) metadata: Map<String, Value>,
}

pub(crate) struct Live {
    pub(crate) facts: Facts,
    pub(crate) backend: Arc<dyn Backend>,
    /// Fires when the execution is cancelled, taken over, or handed over.
    pub(crate) cancel: CancellationToken,
    /// Something for the driver to see.
    pub(crate) attention: Notify,
    covered: watch::Sender<u64>,
    state: Mutex<State>,
}

/// What a step is to do.
pub(crate) enum Go {
    /// Return what is recorded.
    Return(End),
    /// Do its work; `loose` when it comes out of turn.
    Work { note: Note, loose: bool },
}

impl Live {
    pub(crate) fn new(
        facts: Facts,
        backend: Arc<dyn Backend>,
        cancel: CancellationToken,
        journal: Journal,
        context: Map<String, Value>,
        mine: bool,
    ) -> Self {
        let state = State::new(journal, context, mine);
        Self {
            facts,
            backend,
            cancel,
            attention: Notify::new(),
            covered: watch::Sender::new(0),
            state: Mutex::new(state),
        }
    }

    pub(crate) fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Ends the execution: the code did what it may not.
    pub(crate) fn refuse(&self, failure: Failure) {
        self.lock().stop.get_or_insert(Stop::Fail(failure));
        self.attention.notify_one();
    }

    /// When the step `key` may go on, and how.
    pub(crate) async fn turn(&self, key: &str) -> Go {
        let mut place = Place { live: self, turn: None, wait: None };
        poll_fn(|cx| {
            let mut state = self.lock();
            if state.closed || state.stop.is_some() {
                return Poll::Pending;
            }
            let released = place.turn.and_then(|n| state.turns.get(&n)).is_some_and(|turn| turn.released);
            let open = match state.journal.ask(key) {
                Answer::Ended(end) => {
                    state.last = Some(key.to_owned());
                    state.wake_turns();
                    return Poll::Ready(Go::Return(end));
                }
                Answer::Open { note, .. } if state.frozen => Some(note.after),
                Answer::Open { note, free } if free || released => {
                    return Poll::Ready(Go::Work { note, loose: !free });
                }
                Answer::Open { note, .. } => Some(note.after),
                Answer::Later => None,
            };
            let number = *place.turn.get_or_insert_with(|| state.number());
            let turn = Turn { key: key.to_owned(), waker: cx.waker().clone(), open, released: false };
            state.turns.insert(number, turn);
            Poll::Pending
        })
        .await
    }

    /// Until everything recorded so far is durable, and the execution this driver's own.
    pub(crate) async fn gate(&self) {
        let mut target = None;
        poll_fn(|cx| {
            let mut state = self.lock();
            let target = *target.get_or_insert(state.recorded);
            if !state.closed && !state.frozen && state.stop.is_none() && state.mine && state.durable >= target
            {
                return Poll::Ready(());
            }
            state.gates.push(cx.waker().clone());
            Poll::Pending
        })
        .await;
    }

    /// Until what `key` waits for is there; the payload and its place in the inbox, when it is one.
    pub(crate) async fn wait(&self, key: &str, wait: Wait) -> Option<(Value, i64)> {
        let mut place = Place { live: self, turn: None, wait: None };
        poll_fn(|cx| {
            let mut state = self.lock();
            if state.closed || state.stop.is_some() {
                return Poll::Pending;
            }
            match &wait {
                Wait::Until(at) if *at <= self.backend.now() => return Poll::Ready(None),
                Wait::Child(id) if state.ended.contains_key(id) => return Poll::Ready(None),
                Wait::Inbox(name, until) => {
                    if let Some(payload) = state.inbox.take(name) {
                        return Poll::Ready(Some(payload));
                    }
                    // What came in time counts, however late one looks.
                    if state.inbox.was_read() && until.is_some_and(|at| at <= self.backend.now()) {
                        return Poll::Ready(None);
                    }
                }
                Wait::Until(_) | Wait::Child(_) => {}
            }
            if place.wait.is_none() && matches!(wait, Wait::Inbox(..)) && !state.inbox.was_read() {
                state.stale = true;
            }
            let number = *place.wait.get_or_insert_with(|| state.number());
            let waiting = Waiting { key: key.to_owned(), wait: wait.clone(), waker: cx.waker().clone() };
            state.waits.insert(number, waiting);
            Poll::Pending
        })
        .await
    }

    /// Writes down how a step ended.
    pub(crate) fn record_end(&self, kind: &str, key: &str, end: &End, loose: bool, inbox: Option<i64>) {
        self.record(Self::end_event(kind, key, end, loose, inbox), true);
    }

    /// How a step ended, as an event.
    pub(crate) fn end_event(kind: &str, key: &str, end: &End, loose: bool, inbox: Option<i64>) -> NewEvent {
        let mut data = end.data();
        if loose {
            data["loose"] = json!(true);
        }
        if let Some(position) = inbox {
            data["inbox"] = json!(position);
        }
        NewEvent::new(kind, data).about(key)
    }

    /// Writes something down.
    pub(crate) fn record(&self, event: NewEvent, ends_a_step: bool) {
        let mut state = self.lock();
        state.recorded += 1;
        state.note(&event);
        state.batch.steps += u32::from(ends_a_step);
        state.batch.last.clone_from(&event.subject);
        if ends_a_step {
            state.last.clone_from(&event.subject);
        }
        state.batch.events.push(event);
    }

    /// A value that is no step: computed once, the same at every replay, durable with the next commit.
    pub(crate) fn mark(&self, key: &str, compute: impl FnOnce(&mut State) -> Option<Value>) -> Option<Value> {
        let mut state = self.lock();
        if let Some(value) = state.journal.peek(key) {
            return Some(value);
        }
        let value = compute(&mut state)?;
        let mut data = End::Completed(value.clone()).data();
        data["loose"] = json!(true);
        state.recorded += 1;
        let event = NewEvent::new(kind::STEP_COMPLETED, data).about(key);
        state.note(&event);
        state.batch.events.push(event);
        Some(value)
    }

    /// Counts as busy until the answer is dropped.
    pub(crate) fn activate(&self) -> Active<'_> {
        self.lock().active += 1;
        Active(self)
    }

    /// Sets one value of the row's context, durable with the next commit.
    pub(crate) fn show(&self, group: &str, key: Option<&str>, value: Value) {
        let mut state = self.lock();
        let slot = state.context.entry(group).or_insert(Value::Null);
        let old = match key {
            Some(key) => slot.get(key),
            None => Some(&*slot),
        };
        if old == Some(&value) {
            return;
        }
        match key {
            Some(key) if slot.is_object() => slot[key] = value,
            Some(key) => *slot = json!({key: value}),
            None => *slot = value,
        }
        state.context_changed = true;
    }

    /// Sets a search attribute, durable with the next commit.
    pub(crate) fn set_attribute(&self, name: &str, value: Attribute) {
        let mut state = self.lock();
        if state.attributes.get(name) == Some(&value) {
            return;
        }
        state.attributes.insert(name.to_owned(), value.clone());
        if let Err(error) = check_attributes(&state.attributes) {
            drop(state);
            return self.refuse(Failure::new(super::INVALID_STEP, error.to_string()));
        }
        state.batch.attributes.insert(name.to_owned(), value);
        state.context_changed = true;
    }

    /// What there is to do after the code was polled. `committing`: a commit is under way.
    pub(crate) fn assess(&self, committing: bool) -> Task {
        self.lock().assess(committing)
    }

    /// The driver goes on although code and history have drifted apart.
    pub(crate) fn accept_drift(&self) {
        let mut state = self.lock();
        if state.turns.is_empty() {
            state.journal.forget();
        } else {
            state.journal.drop_next();
            state.wake_turns();
        }
    }

    /// Takes what is to be committed.
    pub(crate) fn take_batch(&self) -> (Batch, u64) {
        let mut state = self.lock();
        (state.take_batch(), state.recorded)
    }

    /// Lends the execution to the step that wants it.
    pub(crate) fn lend(&self, lent: Lent) {
        let mut state = self.lock();
        if let Loan::Wanted(waker) = std::mem::replace(&mut state.loan, Loan::Ready(Box::new(lent))) {
            waker.wake();
        }
    }

    /// Takes it back, with what became of it.
    pub(crate) fn take_back(&self) -> Option<Box<(Changes, Committed, u64)>> {
        let mut state = self.lock();
        let repaid = std::mem::replace(&mut state.loan, Loan::None);
        state.borrowers.drain(..).for_each(Waker::wake);
        match repaid {
            Loan::Repaid(done) => done,
            _ => None,
        }
    }

    /// Everything recorded up to `recorded` is durable, the last of it at this place of the history.
    pub(crate) fn committed(&self, recorded: u64, position: i64) {
        let mut state = self.lock();
        state.is_at(position);
        state.mine = true;
        state.durable = state.durable.max(recorded);
        state.gates.drain(..).for_each(Waker::wake);
    }

    /// The first time that something waits for.
    pub(crate) fn next_time(&self) -> Option<Timestamp> {
        self.lock().next_time()
    }

    /// Lets those go on whose time has come, or whose answer is there.
    pub(crate) fn wake_waits(&self) {
        let state = self.lock();
        state.waits.values().for_each(|waiting| waiting.waker.wake_by_ref());
    }

    /// Knocks up to this one were seen, and a commit since then proved that this driver is the one.
    pub(crate) fn cover(&self, knocks: u64) {
        self.covered.send_if_modified(|covered| std::mem::replace(covered, knocks.max(*covered)) < knocks);
    }

    /// Tells the driver that something came in; what says when it was seen. `None` when it no longer looks.
    pub(crate) fn knock(&self) -> Option<(u64, watch::Receiver<u64>)> {
        let mut state = self.lock();
        if state.closed {
            return None;
        }
        state.stale = true;
        state.knocks += 1;
        let number = state.knocks;
        drop(state);
        self.attention.notify_one();
        Some((number, self.covered.subscribe()))
    }

    pub(crate) fn is_active(&self) -> bool {
        self.lock().active > 0
    }

    /// Nothing the code awaits becomes ready any more. `None` when something came in that nobody has looked at.
    pub(crate) fn close(&self, unless_stale: bool) -> Option<()> {
        let mut state = self.lock();
        if unless_stale && state.stale {
            return None;
        }
        state.closed = true;
        Some(())
    }
}

/// A place among those who wait, given up when dropped.
struct Place<'l> {
    live: &'l Live,
    turn: Option<u64>,
    wait: Option<u64>,
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        if self.turn.is_none() && self.wait.is_none() {
            return;
        }
        let mut state = self.live.lock();
        if let Some(number) = self.turn {
            state.turns.remove(&number);
        }
        if let Some(number) = self.wait {
            state.waits.remove(&number);
        }
    }
}

/// Something of the code that is at work.
pub(crate) struct Active<'l>(&'l Live);

impl Drop for Active<'_> {
    fn drop(&mut self) {
        self.0.lock().active -= 1;
    }
}
