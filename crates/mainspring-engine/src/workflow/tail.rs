//! A history read from its end: without what was rewound, and without the rounds of loops that are over.
//!
//! ```text
//! created · a · b ║ poll[0]/x … poll[99]/x ║ loop.advanced poll 100 · poll[100]/x        what is recorded
//! created · a · b                            loop.advanced poll 100 · poll[100]/x        what a replay reads
//! ```
//!
//! The event of a loop that advanced names the place from which on its rounds were recorded, so they are not even read. What
//! others had recorded in between is in the event.

use std::collections::HashSet;

use mainspring_core::{
    Direction, Execution, NewEvent, RecordedEvent, Result, StreamId, StreamQuery, event::EXECUTIONS,
};

use super::{
    past::{is_of_a_step, rewound_from},
    rounds::{self, Advanced},
};
use crate::engine::Inner;

/// Events of the first page, and of the largest one.
const FIRST_PAGE: u32 = 128;
const LARGEST_PAGE: u32 = 1_000;

/// Takes the events of a history from the last one on.
pub(super) struct Tail {
    /// What counts, the last one first.
    events: Vec<RecordedEvent>,
    /// The next place that is of interest.
    next: i64,
    /// Events of steps from here on were rewound.
    rewound: i64,
    /// Loops that advanced, by key.
    advanced: HashSet<String>,
    /// What the keys of their rounds begin with.
    rounds: Vec<String>,
}

impl Tail {
    pub(super) fn new() -> Self {
        Self {
            events: Vec::new(),
            next: i64::MAX,
            rewound: i64::MAX,
            advanced: HashSet::new(),
            rounds: Vec::new(),
        }
    }

    /// Takes the event before those that were taken already.
    pub(super) fn take(&mut self, recorded: RecordedEvent) {
        let position = recorded.position;
        if position > self.next {
            return;
        }
        self.next = position - 1;
        if let Some(from) = rewound_from(&recorded.event) {
            self.rewound = self.rewound.min(from);
            return;
        }
        if is_of_a_step(&recorded.event) && position >= self.rewound {
            return;
        }
        self.keep(recorded);
    }

    fn keep(&mut self, recorded: RecordedEvent) {
        match Advanced::read(&recorded.event) {
            None => self.push(recorded),
            Some(advanced) => self.advance(recorded, advanced),
        }
    }

    fn advance(&mut self, recorded: RecordedEvent, mut advanced: Advanced) {
        let key = recorded.event.subject.clone().unwrap_or_default();
        if let Some(from) = advanced.from {
            self.next = self.next.min(from - 1);
        }
        let beside = |event: NewEvent| RecordedEvent { event, ..recorded.clone() };
        let beside: Vec<_> = advanced.beside().into_iter().map(beside).collect();
        if !self.advanced.contains(&key) && !self.is_over(&key) {
            self.rounds.push(rounds::prefix(&key));
            self.advanced.insert(key);
            self.events.push(recorded);
        }
        beside.into_iter().rev().for_each(|event| self.keep(event));
    }

    fn push(&mut self, recorded: RecordedEvent) {
        let key = recorded.event.subject.as_deref();
        if !key.is_some_and(|key| is_of_a_step(&recorded.event) && self.is_over(key)) {
            self.events.push(recorded);
        }
    }

    /// Whether a step is one of a round that is over.
    fn is_over(&self, key: &str) -> bool {
        self.rounds.iter().any(|rounds| key.starts_with(rounds))
    }

    /// What counts, in the order it was recorded.
    pub(super) fn end(mut self) -> Vec<RecordedEvent> {
        self.events.reverse();
        self.events
    }
}

/// What counts of a whole history.
pub(super) fn tail(history: Vec<RecordedEvent>) -> Vec<RecordedEvent> {
    let mut tail = Tail::new();
    history.into_iter().rev().for_each(|recorded| tail.take(recorded));
    tail.end()
}

impl Inner {
    /// What a replay of an execution needs of its history.
    pub(super) async fn tail(&self, execution: &Execution) -> Result<Vec<RecordedEvent>> {
        let stream = StreamId::new(execution.stream()).in_partition(EXECUTIONS).of_tenant(&execution.tenant);
        let (mut tail, mut limit, mut rows) = (Tail::new(), FIRST_PAGE, 0);
        loop {
            let to = (tail.next < i64::MAX).then_some(tail.next);
            let direction = Direction::Backward;
            let query = StreamQuery { direction, to, limit, ..StreamQuery::of(stream.clone()) };
            let read = || self.backend.events().read_page(query.clone());
            let page = self.patiently(read).await?.events;
            let last = page.len() < limit as usize;
            rows += page.len();
            page.into_iter().for_each(|recorded| tail.take(recorded));
            if last || tail.next < 1 {
                let events = tail.end();
                let counted = events.len();
                tracing::debug_span!("mainspring.replay", execution = %execution.id, rows, counted)
                    .in_scope(|| ());
                return Ok(events);
            }
            limit = (limit * 2).min(LARGEST_PAGE);
        }
    }
}
