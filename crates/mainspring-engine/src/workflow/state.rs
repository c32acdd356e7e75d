//! What is known and decided of a live execution, and what follows from it for its driver.

use std::{
    collections::{BTreeMap, HashMap},
    task::Waker,
};

use mainspring_core::{
    Attributes, Changes, Committed, ExecutionId, ExecutionWrite, Failure, JobWrite, NewEvent, NewMessage,
    OutputWrite, RecordedEvent, Timestamp, TokenWrite,
};
use serde_json::{Map, Value};

use super::{
    cleanup::Cleanup,
    inbox::Inbox,
    journal::{End, Journal},
    rounds::Loops,
    tx::Lent,
};

pub(crate) struct State {
    pub(crate) journal: Journal,
    pub(crate) batch: Batch,
    pub(crate) inbox: Inbox,
    /// How children ended, by the id the code knows.
    pub(crate) ended: HashMap<ExecutionId, End>,
    pub(crate) stop: Option<Stop>,
    /// The row's context as it is to be.
    pub(crate) context: Map<String, Value>,
    /// Search attributes as they are to be.
    pub(crate) attributes: Attributes,
    pub(super) context_changed: bool,
    /// Whether this driver's claim to the execution is durable.
    pub(crate) mine: bool,
    pub(super) recorded: u64,
    pub(super) durable: u64,
    pub(super) active: usize,
    pub(super) gates: Vec<Waker>,
    pub(super) turns: BTreeMap<u64, Turn>,
    pub(super) waits: BTreeMap<u64, Waiting>,
    pub(super) next: u64,
    /// Whether a look outside may bring something.
    pub(super) stale: bool,
    /// Looks outside that were asked for.
    pub(crate) knocks: u64,
    pub(super) loan: Loan,
    pub(super) borrowers: Vec<Waker>,
    /// The step that ended last, here or in the history.
    pub(super) last: Option<String>,
    /// Loops that run.
    pub(super) loops: Loops,
    /// The place of the last event that is durable.
    position: i64,
    /// Whether events are on their way behind it.
    under_way: bool,
    /// What is to be done when it is cancelled, by number.
    pub(super) cleanups: BTreeMap<u64, Cleanup>,
    /// Only replayed: nothing begins that is not recorded.
    pub(super) frozen: bool,
    /// Driven no further: what is awaited stays so.
    pub(super) closed: bool,
    pub(super) tokens: bool,
}

/// Whether the execution is with a step that commits by itself.
pub(crate) enum Loan {
    None,
    Wanted(Waker),
    Ready(Box<Lent>),
    Out,
    /// What was committed, and how much of what was recorded; `None` when nobody knows.
    Repaid(Option<Box<(Changes, Committed, u64)>>),
}

/// What was decided and is not durable yet.
#[derive(Clone, Default)]
pub(crate) struct Batch {
    pub(crate) events: Vec<NewEvent>,
    pub(crate) steps: u32,
    pub(crate) last: Option<String>,
    pub(crate) children: Vec<ExecutionWrite>,
    pub(crate) messages: Vec<NewMessage>,
    pub(crate) tokens: Vec<TokenWrite>,
    pub(crate) jobs: Vec<JobWrite>,
    /// What was published.
    pub(crate) outputs: Vec<OutputWrite>,
    /// Search attributes that were set.
    pub(crate) attributes: Attributes,
}

impl Batch {
    pub(super) fn is_empty(&self) -> bool {
        self.events.is_empty()
            && self.children.is_empty()
            && self.messages.is_empty()
            && self.tokens.is_empty()
            && self.jobs.is_empty()
    }
}

/// Why the code is not to go on.
pub(crate) enum Stop {
    /// It did what a workflow may not.
    Fail(Failure),
    /// It goes on as a new execution with this input.
    Again(Value),
}

/// What a step waits for.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Wait {
    Until(Timestamp),
    /// The next payload for this in the inbox, until the time given.
    Inbox(String, Option<Timestamp>),
    /// The end of a child.
    Child(ExecutionId),
}

pub(super) struct Turn {
    pub(super) key: String,
    pub(super) waker: Waker,
    /// For one that has no recorded end: how many others had ended when it began.
    pub(super) open: Option<usize>,
    pub(super) released: bool,
}

pub(super) struct Waiting {
    pub(super) key: String,
    pub(super) wait: Wait,
    pub(super) waker: Waker,
}

/// What there is to do for the driver.
#[derive(Debug, PartialEq)]
pub(crate) enum Task {
    /// Nothing, until something wakes it.
    Wait,
    /// Nothing either, but it is none of ours that the code waits for.
    Foreign,
    /// Make durable what was decided.
    Commit,
    /// See what came in from outside.
    Look,
    /// Park: everything waits for time or the outside.
    Park,
    /// Lend the execution to a step that commits by itself.
    Lend,
    /// Take it back.
    TakeBack,
    /// Poll once more.
    Poll,
    /// The code does not fit the history: it expected `expected` and got `got`.
    Drifted { expected: String, got: String },
    /// The code is not to go on.
    Stop,
}

impl State {
    pub(crate) fn new(journal: Journal, context: Map<String, Value>, mine: bool) -> Self {
        Self {
            tokens: journal.has_tokens,
            journal,
            batch: Batch::default(),
            inbox: Inbox::default(),
            ended: HashMap::new(),
            stop: None,
            context,
            attributes: Attributes::new(),
            context_changed: false,
            mine,
            recorded: 0,
            durable: 0,
            active: 0,
            gates: Vec::new(),
            turns: BTreeMap::new(),
            waits: BTreeMap::new(),
            next: 0,
            stale: false,
            loan: Loan::None,
            borrowers: Vec::new(),
            knocks: 0,
            last: None,
            loops: Loops::default(),
            position: 0,
            under_way: false,
            cleanups: BTreeMap::new(),
            frozen: false,
            closed: false,
        }
    }

    /// What there is to do after the code was polled. `committing`: a commit is under way.
    pub(crate) fn assess(&mut self, committing: bool) -> Task {
        if committing {
            return Task::Wait;
        }
        match &self.loan {
            Loan::None => {}
            Loan::Wanted(_) => return Task::Lend,
            Loan::Ready(_) | Loan::Out => return Task::Wait,
            Loan::Repaid(_) => return Task::TakeBack,
        }
        if self.stop.is_some() {
            return Task::Stop;
        }
        let news = !self.batch.is_empty();
        if !self.gates.is_empty() {
            if news || !self.mine {
                return Task::Commit;
            }
            self.gates.drain(..).for_each(Waker::wake);
            return Task::Poll;
        }
        if std::mem::take(&mut self.stale) {
            return Task::Look;
        }
        if self.active > 0 {
            return if news { Task::Commit } else { Task::Wait };
        }
        if !self.turns.is_empty() {
            return self.unblock();
        }
        if self.waits.is_empty() {
            return Task::Foreign;
        }
        match self.journal.forgotten() {
            Some(expected) => {
                let got = self.waits.values().next().map(|waiting| waiting.key.clone());
                Task::Drifted { expected: expected.to_owned(), got: got.unwrap_or_default() }
            }
            None => Task::Park,
        }
    }

    pub(super) fn number(&mut self) -> u64 {
        self.next += 1;
        self.next
    }

    /// The place of the last event that is durable; `None` while more are on their way.
    pub(super) fn position(&self) -> Option<i64> {
        (!self.under_way).then_some(self.position)
    }

    /// Everything up to this place is durable, and nothing is on its way.
    pub(super) fn is_at(&mut self, position: i64) {
        self.position = position;
        self.under_way = false;
    }

    /// Takes what is to be committed.
    pub(super) fn take_batch(&mut self) -> Batch {
        self.under_way = true;
        self.context_changed = false;
        let batch = std::mem::take(&mut self.batch);
        self.tokens |= makes_tokens(&batch);
        batch
    }

    /// Whether tokens were made, durable or not.
    pub(super) fn makes_tokens(&self) -> bool {
        self.tokens || makes_tokens(&self.batch)
    }

    /// Something is recorded.
    pub(super) fn note(&mut self, event: &NewEvent) {
        if let Some(place) = event.data.get("inbox").and_then(Value::as_i64) {
            self.journal.taken.add(place);
        }
        self.loops.note(event);
    }

    /// What was to be committed is to be committed by the next one.
    pub(super) fn put_back(&mut self, mut batch: Batch) {
        self.under_way = false;
        std::mem::swap(&mut batch, &mut self.batch);
        let Batch { events, steps, last, children, messages, tokens, jobs, outputs, attributes } = batch;
        self.batch.events.extend(events);
        self.batch.steps += steps;
        self.batch.last = last.or(self.batch.last.take());
        self.batch.children.extend(children);
        self.batch.messages.extend(messages);
        self.batch.tokens.extend(tokens);
        self.batch.jobs.extend(jobs);
        self.batch.outputs.extend(outputs);
        self.batch.attributes.extend(attributes);
    }

    pub(super) fn wake_turns(&self) {
        self.turns.values().for_each(|turn| turn.waker.wake_by_ref());
    }

    /// Everything stands still in the middle of a replay.
    fn unblock(&mut self) -> Task {
        let expected = self.journal.next_key().map(ToOwned::to_owned);
        if expected.is_none() {
            self.wake_turns(); // their turn came while nobody looked
            return Task::Poll;
        }
        let mut open = false;
        let journal = &self.journal;
        let admitted = |turn: &&mut Turn| turn.open.is_some_and(|after| journal.admits(after));
        for turn in self.turns.values_mut().filter(admitted) {
            open = true;
            turn.released = true;
            turn.waker.wake_by_ref();
        }
        if open {
            return Task::Poll;
        }
        let got = self.turns.values().next().map(|turn| turn.key.clone());
        Task::Drifted { expected: expected.unwrap_or_default(), got: got.unwrap_or_default() }
    }

    pub(super) fn next_time(&self) -> Option<Timestamp> {
        let times = self.waits.values().filter_map(|waiting| match waiting.wait {
            Wait::Until(at) => Some(at),
            Wait::Inbox(_, until) => until,
            Wait::Child(_) => None,
        });
        times.min()
    }

    /// Takes in what was read of the inbox.
    pub(crate) fn receive(&mut self, events: Vec<RecordedEvent>) {
        let journal = &self.journal;
        self.inbox.add(events, |position| journal.took(position));
    }

    /// Children that something waits for and that are not known to have ended.
    pub(crate) fn awaited_children(&self) -> Vec<ExecutionId> {
        let ids = self.waits.values().filter_map(|waiting| match &waiting.wait {
            Wait::Child(id) if !self.ended.contains_key(id) => Some(id.clone()),
            _ => None,
        });
        ids.collect()
    }

    pub(crate) fn waits_for_inbox(&self) -> bool {
        self.waits.values().any(|waiting| matches!(waiting.wait, Wait::Inbox(..)))
    }

    /// Why it waits, for people.
    pub(crate) fn reason(&self) -> String {
        let first = self.waits.values().next();
        let what = first.map_or(String::new(), |waiting| match &waiting.wait {
            Wait::Until(at) => format!("`{}` until {at}", waiting.key),
            Wait::Inbox(name, None) => format!("`{}` for {name}", waiting.key),
            Wait::Inbox(name, Some(until)) => format!("`{}` for {name} until {until}", waiting.key),
            Wait::Child(id) => format!("`{}` for the child `{id}`", waiting.key),
        });
        match self.waits.len() {
            0 | 1 => what,
            n => format!("{what} and {} more", n - 1),
        }
    }

    /// Whether a park would write anything that is not in the row already.
    pub(crate) fn has_news(&self) -> bool {
        !self.batch.is_empty() || self.context_changed
    }

    pub(crate) fn has_tokens(&self) -> bool {
        self.tokens
    }

    pub(crate) fn look_again(&mut self) {
        self.stale = true;
    }
}

fn makes_tokens(batch: &Batch) -> bool {
    batch.tokens.iter().any(|token| matches!(token, TokenWrite::Create(_)))
}
