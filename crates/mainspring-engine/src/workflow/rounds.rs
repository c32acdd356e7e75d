//! Loops that may go on for ever, and what is known of those that run.

use std::{collections::BTreeMap, ops::ControlFlow};

use mainspring_core::{NewEvent, event::kind};
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use serde_json::{Value, json};

use super::{
    BodyOf, Cx, WorkflowResult,
    error::Halt,
    live::Live,
    past::is_of_a_step,
    state::State,
    step::{keep, other_type},
};

/// Events of its rounds after which a loop writes down where it stands.
const EVERY: usize = 100;
/// Most events of others that are written down with it.
const MOST_BESIDE: usize = 64;

/// What the keys of a loop's rounds begin with.
pub(super) fn prefix(key: &str) -> String {
    format!("{key}[")
}

impl Cx {
    /// A loop that may go on for ever: `each` gets the state and returns the next one, or what the loop ends with. Round 7 has
    /// the scope `name[7]/`. Every hundred events or so the state is written down, with the next commit; a replay begins at the
    /// last round that was, so it costs the same after a hundred steps and after a hundred thousand.
    ///
    /// What a round needs of the past is in its state, and it makes its steps with the [`Cx`] it is given. While steps of other
    /// scopes are made, beside the loop or in a round by another `Cx`, nothing is written down and a replay goes through all
    /// rounds.
    ///
    /// ```
    /// # use std::{ops::ControlFlow, time::Duration};
    /// # use mainspring_engine::{Cx, WorkflowResult};
    /// # async fn read(_: u64) -> Result<Option<u64>, String> { Ok(None) }
    /// async fn follow(cx: Cx, from: u64) -> WorkflowResult<u64, String> {
    ///     cx.repeat("page", from, async |cx, at| {
    ///         let Some(next) = cx.step("read", async || read(at).await).await? else {
    ///             return Ok(ControlFlow::Break(at));
    ///         };
    ///         cx.sleep(Duration::from_secs(60)).await;
    ///         Ok(ControlFlow::Continue(next))
    ///     })
    ///     .await
    /// }
    /// ```
    ///
    /// # Errors
    /// That of a round; a [`Halt`] with the code `UNSTORABLE` when a state cannot be stored, `OTHER_TYPE` when the recorded one
    /// is not of the type `S`.
    pub async fn repeat<S, T, E, F>(&self, name: &str, state: S, each: F) -> WorkflowResult<T, E>
    where
        S: Serialize + DeserializeOwned + Send,
        F: BodyOf<Self, S, WorkflowResult<ControlFlow<T, S>, E>, Fut: Send> + Send + Sync,
    {
        let key = self.key(name);
        let _running = Running { live: &self.live, key: &key };
        let (mut round, mut state) = match self.live.begin_rounds(&key) {
            Some((round, stored)) => (round, read_back(&key, stored)?),
            None => (0, state),
        };
        loop {
            let cx = self.within(&format!("{}{round}]", prefix(&key)));
            match each(cx, state).await? {
                ControlFlow::Break(end) => return Ok(end),
                ControlFlow::Continue(next) => state = next,
            }
            round += 1;
            if self.live.may_advance(&key) {
                let (stored, back) = keep(&state).map_err(Halt::new)?;
                self.live.advance(&key, round, stored);
                state = back;
            }
        }
    }
}

fn read_back<S: DeserializeOwned, E>(key: &str, stored: Value) -> WorkflowResult<S, E> {
    S::deserialize(&stored).map_err(|error| Halt::new(other_type::<S>(key, &stored, &error)).into())
}

/// An event of another step, in that of a loop that advanced.
#[derive(Serialize, Deserialize)]
struct Beside {
    #[serde(rename = "type")]
    event_type: String,
    subject: Option<String>,
    data: Value,
}

/// The event of a loop that advanced.
#[derive(Serialize, Deserialize)]
pub(super) struct Advanced {
    /// The round it stands before.
    round: u64,
    state: Value,
    /// Where its rounds are recorded from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) from: Option<i64>,
    /// What else is recorded there and still counts.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    beside: Vec<Beside>,
    /// Places of the inbox that were taken so far.
    #[serde(default, skip_serializing_if = "Value::is_null")]
    pub(super) taken: Value,
    /// Whether tokens were made.
    #[serde(default)]
    pub(super) tokens: bool,
}

impl Advanced {
    pub(super) fn read(event: &NewEvent) -> Option<Self> {
        if event.event_type != kind::LOOP_ADVANCED {
            return None;
        }
        serde_json::from_value(event.data.clone()).ok()
    }

    /// What else is recorded among its rounds and still counts.
    pub(super) fn beside(&mut self) -> Vec<NewEvent> {
        let beside = std::mem::take(&mut self.beside).into_iter();
        beside
            .map(|event| NewEvent { subject: event.subject, ..NewEvent::new(event.event_type, event.data) })
            .collect()
    }

    /// The same for another history: nothing in it is left out, and nothing of the inbox was taken.
    pub(super) fn moved(mut self) -> Value {
        self.from = None;
        self.beside.clear();
        self.taken = Value::Null;
        json!(self)
    }
}

/// A loop as the history has it.
#[derive(Debug)]
pub(super) struct Recorded {
    round: u64,
    state: Value,
    rounds: Rounds,
}

impl Recorded {
    pub(super) fn new(key: &str, mut advanced: Advanced) -> Self {
        let beside = advanced.beside();
        let Advanced { round, state, from, .. } = advanced;
        Self { round, state, rounds: Rounds { from, beside, ..Rounds::of(key) } }
    }

    /// Something that is recorded behind it.
    pub(super) fn follow(&mut self, event: &NewEvent) {
        self.rounds.note(event);
    }
}

/// A loop that runs.
#[derive(Debug)]
struct Rounds {
    key: String,
    /// What the keys of its steps begin with.
    prefix: String,
    /// Where its rounds are recorded from, once that is known.
    from: Option<i64>,
    /// What others recorded since.
    beside: Vec<NewEvent>,
    /// Events of its rounds since it was last written down where it stands.
    events: usize,
    /// Whether steps were made that are none of its own: nobody knows whether a round made them.
    mixed: bool,
}

impl Rounds {
    fn of(key: &str) -> Self {
        Self {
            key: key.to_owned(),
            prefix: prefix(key),
            from: None,
            beside: Vec::new(),
            events: 0,
            mixed: false,
        }
    }

    fn note(&mut self, event: &NewEvent) {
        let Some(key) = &event.subject else { return };
        if key.starts_with(&self.prefix) {
            self.events += 1;
        } else if is_of_a_step(event) && *key != self.key && self.beside.len() <= MOST_BESIDE {
            self.beside.push(event.clone());
        }
    }

    fn is_due(&self) -> bool {
        self.events >= EVERY && !self.mixed && self.beside.len() <= MOST_BESIDE
    }
}

/// The loops of an execution that run.
#[derive(Default)]
pub(super) struct Loops(BTreeMap<String, Rounds>);

impl Loops {
    /// A step was made.
    pub(super) fn made(&mut self, key: &str) {
        self.0
            .values_mut()
            .filter(|rounds| !key.starts_with(&rounds.prefix))
            .for_each(|rounds| rounds.mixed = true);
    }

    /// Something was recorded.
    pub(super) fn note(&mut self, event: &NewEvent) {
        self.0.values_mut().for_each(|rounds| rounds.note(event));
    }
}

/// A loop that runs for as long as this lives.
struct Running<'l> {
    live: &'l Live,
    key: &'l str,
}

impl Drop for Running<'_> {
    fn drop(&mut self) {
        self.live.lock().loops.0.remove(self.key);
    }
}

impl Live {
    /// The round and the state that a loop begins with, when the history has them.
    fn begin_rounds(&self, key: &str) -> Option<(u64, Value)> {
        let mut state = self.lock();
        let recorded = state.journal.take_rounds(key);
        let (mut rounds, begin) = match recorded {
            Some(Recorded { round, state, rounds }) => (rounds, Some((round, state))),
            None => (Rounds::of(key), None),
        };
        if rounds.from.is_none() {
            state.anchor(&mut rounds);
        }
        state.loops.0.insert(key.to_owned(), rounds);
        state.wake_turns(); // what is behind it may go on now
        begin
    }

    /// Whether it is worth while, and possible, to write down where a loop stands.
    fn may_advance(&self, key: &str) -> bool {
        let mut state = self.lock();
        let Some(mut rounds) = state.loops.0.remove(key) else { return false };
        if rounds.from.is_none() {
            state.anchor(&mut rounds);
        }
        // Neither what only a replay does, nor a clean-up that a round has left behind, can be left out.
        let open =
            state.frozen || state.cleanups.values().any(|cleanup| cleanup.name().starts_with(&rounds.prefix));
        let due = rounds.from.is_some() && rounds.is_due() && !open && state.journal.is_exhausted();
        state.loops.0.insert(key.to_owned(), rounds);
        due
    }

    fn advance(&self, key: &str, round: u64, stored: Value) {
        let mut state = self.lock();
        let (taken, tokens) = (state.journal.taken.to_json(), state.makes_tokens());
        let Some(rounds) = state.loops.0.get_mut(key) else { return };
        rounds.events = 0;
        let beside = rounds.beside.iter().map(|event| Beside {
            event_type: event.event_type.clone(),
            subject: event.subject.clone(),
            data: event.data.clone(),
        });
        let (from, beside) = (rounds.from, beside.collect());
        let advanced = Advanced { round, state: stored, from, beside, taken, tokens };
        drop(state);
        self.record(NewEvent::new(kind::LOOP_ADVANCED, json!(advanced)).about(key), false);
    }
}

impl State {
    /// Notes where a loop's rounds are recorded from: behind what is durable, with what is not yet. Only when nothing is on its
    /// way.
    fn anchor(&self, rounds: &mut Rounds) {
        if let Some(position) = self.position() {
            rounds.from = Some(position + 1);
            self.batch.events.iter().for_each(|event| rounds.note(event));
        }
    }
}
