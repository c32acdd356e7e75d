//! What an execution's history says about its steps, and in which order the code gets it back.
//!
//! A replay gives each recorded end to the code in the order of the history, one after the other: the same step asks first,
//! the same race is won, whatever combinators the code is made of. A step that was never recorded waits until there is
//! nothing left to give. When the code then waits for something that was recorded later than something nobody asks for, the
//! code and the history have drifted apart.

use std::collections::{HashMap, HashSet};

use mainspring_core::{ExecutionId, Failure, JobId, NewEvent, Timestamp, event::kind};
use serde_json::{Value, json};

use super::{
    rounds::{self, Advanced},
    taken::Taken,
};

/// How a step ended.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum End {
    /// With a result.
    Completed(Value),
    /// With an error of the application's own.
    App(Value),
    /// With something else.
    Broken(Failure),
}

impl End {
    /// The fact, as an event of this kind about the step.
    pub(crate) fn data(&self) -> Value {
        match self {
            Self::Completed(result) => json!({"result": result}),
            Self::App(error) => json!({"error": error}),
            Self::Broken(failure) => json!({"failure": failure}),
        }
    }

    /// How it ended, from the fact.
    pub(crate) fn read(data: &Value) -> Self {
        if let Some(error) = data.get("error") {
            return Self::App(error.clone());
        }
        match data.get("failure").map(|failure| serde_json::from_value(failure.clone())) {
            Some(Ok(failure)) => Self::Broken(failure),
            Some(Err(_)) => Self::Broken(Failure::new("UNREADABLE", "the recorded failure cannot be read")),
            None => Self::Completed(data.get("result").cloned().unwrap_or(Value::Null)),
        }
    }
}

/// What is known of a step that has not ended.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Note {
    /// When its sleep, or the wait before its next run, is over.
    pub(crate) until: Option<Timestamp>,
    /// Runs that failed.
    pub(crate) attempts: u32,
    /// The child it started.
    pub(crate) child: Option<ExecutionId>,
    /// The job it is done by elsewhere.
    pub(crate) job: Option<JobId>,
    /// Whether it is recorded that it waits.
    pub(crate) waits: bool,
    /// How many steps had ended when it began.
    pub(crate) after: usize,
}

/// What a step that asks gets.
#[derive(Debug, PartialEq)]
pub(crate) enum Answer {
    /// Its recorded end.
    Ended(End),
    /// It has ended, but it is not its turn.
    Later,
    /// It has not ended. `free`: nothing recorded is left that would have to come first.
    Open { note: Note, free: bool },
}

/// The recorded steps of one execution.
#[derive(Debug, Default)]
pub(crate) struct Journal {
    ends: Vec<Recorded>,
    by_key: HashMap<String, usize>,
    notes: HashMap<String, Note>,
    /// Those of `notes` that the code has made again.
    asked: HashSet<String>,
    /// The first of `ends` that was not given back.
    next: usize,
    /// How many of `ends` were not given back.
    left: usize,
    /// Loops that advanced and that the code has not come to, by key.
    loops: HashMap<String, rounds::Recorded>,
    /// Places in the inbox that were taken.
    pub(super) taken: Taken,
    /// Whether tokens were made.
    pub(crate) has_tokens: bool,
}

#[derive(Debug)]
struct Recorded {
    key: String,
    /// `None` once it was given back.
    end: Option<End>,
    /// Given back whenever the code asks: recorded out of turn.
    loose: bool,
}

impl Journal {
    /// Takes in the next event of the history.
    pub(crate) fn read(&mut self, event: NewEvent) {
        self.loops.values_mut().for_each(|recorded| recorded.follow(&event));
        if let Some(advanced) = Advanced::read(&event) {
            return self.read_rounds(event.subject, advanced);
        }
        let NewEvent { event_type, subject, data, .. } = event;
        if event_type == kind::TOKEN_CREATED {
            self.has_tokens = true;
        }
        let Some(key) = subject else { return };
        match event_type.as_str() {
            kind::STEP_COMPLETED | kind::STEP_FAILED | kind::CHILD_FINISHED => {
                self.notes.remove(&key);
                if let Some(place) = data.get("inbox").and_then(Value::as_i64) {
                    self.taken.add(place);
                }
                let loose = data.get("loose").is_some();
                self.by_key.insert(key.clone(), self.ends.len());
                self.ends.push(Recorded { key, end: Some(End::read(&data)), loose });
                self.left += 1;
            }
            kind::STEP_WAITING | kind::STEP_RETRY | kind::CHILD_STARTED => {
                let ends = self.ends.len();
                let note = self.notes.entry(key).or_insert_with(|| Note { after: ends, ..Note::default() });
                let until = data.get("until").and_then(Value::as_str).and_then(|text| text.parse().ok());
                note.until = until.or(note.until);
                note.waits |= event_type == kind::STEP_WAITING;
                if let Some(attempt) = data.get("attempt").and_then(Value::as_u64) {
                    note.attempts = u32::try_from(attempt).unwrap_or(u32::MAX);
                }
                let job = data.get("jobId").and_then(Value::as_str);
                note.job = job.map(|id| JobId::from_stored(id.to_owned())).or(note.job.take());
                let child = data.get("childExecutionId").and_then(Value::as_str);
                note.child = child.map(|id| ExecutionId::from_stored(id.to_owned())).or(note.child.take());
            }
            _ => {}
        }
        self.skip();
    }

    fn read_rounds(&mut self, key: Option<String>, advanced: Advanced) {
        self.has_tokens |= advanced.tokens;
        self.taken.extend(Taken::read(&advanced.taken));
        if let Some(key) = key {
            let recorded = rounds::Recorded::new(&key, advanced);
            self.loops.insert(key, recorded);
        }
    }

    /// The code has come to a loop.
    pub(super) fn take_rounds(&mut self, key: &str) -> Option<rounds::Recorded> {
        self.loops.remove(key)
    }

    /// Takes over what does not begin anew after `before`.
    pub(crate) fn follow(&mut self, before: Self) {
        self.taken.extend(before.taken);
        self.has_tokens |= before.has_tokens;
    }

    /// Whether everything recorded was given back.
    pub(crate) fn is_exhausted(&self) -> bool {
        self.next >= self.ends.len() && self.loops.is_empty()
    }

    /// Whether the inbox's message at this place was taken.
    pub(crate) fn took(&self, position: i64) -> bool {
        self.taken.contains(position)
    }

    /// The code made a step, which it may or may not await.
    pub(crate) fn mention(&mut self, key: &str) {
        if self.notes.contains_key(key) {
            self.asked.insert(key.to_owned());
        }
    }

    /// The code asks for a step.
    pub(crate) fn ask(&mut self, key: &str) -> Answer {
        let Some(at) = self.by_key.get(key).copied() else {
            let note = self.notes.get(key).cloned().unwrap_or_default();
            return Answer::Open { note, free: self.is_exhausted() };
        };
        let turn = at == self.next;
        match self.ends.get_mut(at) {
            Some(recorded) if turn || recorded.loose => match recorded.end.take() {
                Some(end) => {
                    self.given_back();
                    Answer::Ended(end)
                }
                None => Answer::Later,
            },
            _ => Answer::Later,
        }
    }

    /// What has no turn of its own, given back at once: a recorded value that is no step.
    pub(crate) fn peek(&mut self, key: &str) -> Option<Value> {
        let at = self.by_key.get(key)?;
        let end = self.ends.get_mut(*at)?.end.take()?;
        self.given_back();
        match end {
            End::Completed(value) => Some(value),
            End::App(_) | End::Broken(_) => None,
        }
    }

    /// Whether something that began after so many ends may go on before the recorded end whose turn it is. Something new
    /// may, since it was perhaps put in between; something that began later may not.
    pub(crate) fn admits(&self, after: usize) -> bool {
        after <= self.next
    }

    /// The recorded end whose turn it is.
    pub(crate) fn next_key(&self) -> Option<&str> {
        let end = self.ends.get(self.next).map(|recorded| recorded.key.as_str());
        end.or_else(|| self.loops.keys().next().map(String::as_str))
    }

    /// Gives up on the recorded end whose turn it is.
    pub(crate) fn drop_next(&mut self) {
        match self.ends.get_mut(self.next) {
            Some(recorded) => {
                if recorded.end.take().is_some() {
                    self.given_back();
                }
            }
            None => self.loops.clear(),
        }
    }

    /// A step that waits according to the history, and that the code has not made.
    pub(crate) fn forgotten(&self) -> Option<&str> {
        self.notes.keys().find(|key| !self.asked.contains(*key)).map(String::as_str)
    }

    /// Forgets what [`forgotten`](Self::forgotten) found.
    pub(crate) fn forget(&mut self) {
        let asked = &self.asked;
        self.notes.retain(|key, _| asked.contains(key));
    }

    /// One of `ends` is no longer needed; when none is, nothing of them is kept.
    fn given_back(&mut self) {
        self.left -= 1;
        if self.left == 0 {
            self.ends = Vec::new();
            self.by_key = HashMap::new();
            self.next = 0;
        }
        self.skip();
    }

    fn skip(&mut self) {
        while self.ends.get(self.next).is_some_and(|recorded| recorded.loose || recorded.end.is_none()) {
            self.next += 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn journal(keys: &[&str]) -> Journal {
        let mut journal = Journal::default();
        for key in keys {
            journal.read(NewEvent::new(kind::STEP_COMPLETED, json!({"result": key})).about(*key));
        }
        journal
    }

    fn ended(key: &str) -> Answer {
        Answer::Ended(End::Completed(json!(key)))
    }

    #[test]
    fn ends_come_back_in_the_order_of_the_history() {
        let mut journal = journal(&["b", "a"]);
        assert_eq!(journal.ask("a"), Answer::Later);
        assert!(matches!(journal.ask("c"), Answer::Open { free: false, .. }));
        assert_eq!(journal.ask("b"), ended("b"));
        assert_eq!(journal.ask("a"), ended("a"));
        assert!(journal.is_exhausted());
        assert!(matches!(journal.ask("c"), Answer::Open { free: true, .. }));
    }

    #[test]
    fn what_was_recorded_out_of_turn_comes_back_whenever_it_is_asked_for() {
        let mut journal = journal(&["a"]);
        let loose = json!({"result": 1, "loose": true});
        journal.read(NewEvent::new(kind::STEP_COMPLETED, loose).about("x"));
        assert_eq!(journal.ask("x"), Answer::Ended(End::Completed(json!(1))));
        assert_eq!(journal.ask("a"), ended("a"));
        assert!(journal.is_exhausted());
    }

    #[test]
    fn a_wait_that_nobody_asks_for_is_found() {
        let mut journal = journal(&["a"]);
        let until = json!({"until": Timestamp::MIN});
        journal.read(NewEvent::new(kind::STEP_WAITING, until).about("nap"));
        assert_eq!(journal.forgotten(), Some("nap"));
        journal.mention("nap");
        match journal.ask("nap") {
            Answer::Open { note, free: false } => assert_eq!(note.until, Some(Timestamp::MIN)),
            other => panic!("{other:?}"),
        }
        assert_eq!(journal.forgotten(), None);
    }

    #[test]
    fn ends_are_read_as_they_were_written() {
        for end in [
            End::Completed(json!({"a": null})),
            End::Completed(Value::Null),
            End::App(json!({"Declined": 3})),
            End::App(Value::Null),
            End::Broken(Failure::new("TIMEOUT", "too slow")),
        ] {
            assert_eq!(End::read(&end.data()), end);
        }
    }
}
