//! Given, when, then: deciders tested by examples, without a database.
//!
//! ```
//! # use mainspring_core::{Decider, DomainEvent};
//! # use serde::{Deserialize, Serialize};
//! use mainspring_testing::given;
//!
//! # #[derive(Debug, PartialEq, Clone, Serialize, Deserialize)]
//! # enum Door { Opened, Closed }
//! # impl DomainEvent for Door {}
//! # #[derive(Debug)]
//! # enum Ask { Open, Close }
//! # struct DoorRules;
//! # impl Decider for DoorRules {
//! #     type Command = Ask; type Event = Door; type State = bool; type Error = &'static str;
//! #     fn initial(&self) -> bool { false }
//! #     fn decide(&self, ask: &Ask, open: &bool) -> Result<Vec<Door>, &'static str> {
//! #         match (ask, open) {
//! #             (Ask::Open, true) => Ok(vec![]),
//! #             (Ask::Open, false) => Ok(vec![Door::Opened]),
//! #             (Ask::Close, true) => Ok(vec![Door::Closed]),
//! #             (Ask::Close, false) => Err("it is closed"),
//! #         }
//! #     }
//! #     fn evolve(&self, _: bool, event: &Door) -> bool { *event == Door::Opened }
//! # }
//! given(&DoorRules, []).when(&Ask::Open).then([Door::Opened]).then_state(|open| *open);
//! given(&DoorRules, [Door::Opened]).when(&Ask::Open).then_nothing();
//! given(&DoorRules, [Door::Opened, Door::Closed]).when(&Ask::Close).then_refused("it is closed");
//! ```

#![allow(clippy::panic, reason = "an example that does not hold is a failed test")]

use std::fmt::{Debug, Write as _};

use mainspring_core::{Decider, DomainEvent};

/// A stream with these events in it.
pub fn given<D>(decider: &D, events: impl IntoIterator<Item = D::Event>) -> Given<'_, D>
where
    D: Decider,
    D::Event: Debug,
{
    let mut story = String::from("given\n");
    let mut state = decider.initial();
    let mut events = events.into_iter().peekable();
    if events.peek().is_none() {
        story.push_str("    nothing\n");
    }
    for event in events {
        let _ = writeln!(story, "    {event:?}");
        state = decider.evolve(state, &event);
    }
    Given { decider, state, story }
}

/// What was there before the command; see [`given()`].
#[must_use = "nothing is tested until a command is asked for"]
pub struct Given<'d, D: Decider> {
    decider: &'d D,
    state: D::State,
    story: String,
}

impl<D: Decider> Given<'_, D>
where
    D::Event: Debug,
    D::Command: Debug,
{
    /// What the decider makes of `command`.
    #[must_use = "say what is expected"]
    pub fn when(self, command: &D::Command) -> When<D> {
        let Self { decider, mut state, mut story } = self;
        let _ = writeln!(story, "when\n    {command:?}");
        let decided = decider.decide(command, &state);
        if let Ok(events) = &decided {
            for event in events {
                state = decider.evolve(state, event);
            }
        }
        When { decided, state, story }
    }
}

/// What became of the command.
pub struct When<D: Decider> {
    decided: Result<Vec<D::Event>, D::Error>,
    state: D::State,
    story: String,
}

impl<D: Decider> When<D>
where
    D::Event: Debug + PartialEq,
    D::Error: Debug,
{
    /// These events happen, in this order. Each is also encoded and decoded again, as it will be by the log.
    ///
    /// # Panics
    /// When something else happens, telling the whole story.
    #[track_caller]
    pub fn then(self, expected: impl IntoIterator<Item = D::Event>) -> Self {
        let expected: Vec<D::Event> = expected.into_iter().collect();
        match &self.decided {
            Ok(events) if *events == expected => {}
            _ => panic!("{}", self.told(&lines(&expected))),
        }
        for event in &expected {
            match event.encode().and_then(|encoded| D::Event::decode(&encoded)) {
                Ok(Some(read)) if read == *event => {}
                Ok(read) => panic!("{}the log makes of {event:?}\n    {read:?}\n", self.story),
                Err(error) => panic!("{}the log cannot hold {event:?}\n    {}\n", self.story, error.chain()),
            }
        }
        self
    }

    /// Nothing happens, and nothing is refused.
    ///
    /// # Panics
    /// When something happens, telling the whole story.
    #[track_caller]
    pub fn then_nothing(self) {
        self.then([]);
    }

    /// The command is refused for this reason.
    ///
    /// # Panics
    /// When it is not, or for another reason, telling the whole story.
    #[track_caller]
    pub fn then_refused<E>(self, expected: E)
    where
        D::Error: PartialEq<E>,
        E: Debug,
    {
        match &self.decided {
            Err(error) if *error == expected => {}
            _ => panic!("{}", self.told(&format!("    refused: {expected:?}\n"))),
        }
    }

    /// The command is refused, and `reason` says yes to why.
    ///
    /// # Panics
    /// When it is not, telling the whole story.
    #[track_caller]
    pub fn then_refused_as(self, reason: impl Fn(&D::Error) -> bool) {
        match &self.decided {
            Err(error) if reason(error) => {}
            _ => panic!("{}", self.told("    refused for another reason\n")),
        }
    }

    /// The state afterwards is as `holds` says.
    ///
    /// # Panics
    /// When it is not, telling the whole story.
    #[track_caller]
    pub fn then_state(self, holds: impl Fn(&D::State) -> bool) -> Self {
        if !holds(&self.state) {
            panic!("{}", self.told("    another state\n"));
        }
        self
    }

    fn told(&self, expected: &str) -> String {
        let got = match &self.decided {
            Ok(events) => lines(events),
            Err(error) => format!("    refused: {error:?}\n"),
        };
        format!("{}then expected\n{expected}but got\n{got}", self.story)
    }
}

fn lines<E: Debug>(events: &[E]) -> String {
    if events.is_empty() {
        return "    nothing\n".to_owned();
    }
    events.iter().fold(String::new(), |mut text, event| {
        let _ = writeln!(text, "    {event:?}");
        text
    })
}
