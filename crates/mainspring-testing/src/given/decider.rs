//! A decider: events, a command, what happens.

use std::fmt::{Debug, Write as _};

use mainspring_core::{Decider, DomainEvent};

use super::when::{When, begin, read_back};

/// A stream with these events in it.
pub fn given<D>(decider: &D, events: impl IntoIterator<Item = D::Event>) -> Given<'_, D>
where
    D: Decider,
    D::Event: Debug,
{
    let events: Vec<D::Event> = events.into_iter().collect();
    let story = begin(&events);
    let state = events.iter().fold(decider.initial(), |state, event| decider.evolve(state, event));
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
    D::Event: Debug + PartialEq,
    D::Command: Debug,
{
    /// What the decider makes of `command`.
    #[must_use = "say what is expected"]
    pub fn when(self, command: &D::Command) -> When<D::Event, D::State, D::Error> {
        let Self { decider, mut state, mut story } = self;
        let _ = writeln!(story, "when\n    {command:?}");
        let decided = decider.decide(command, &state);
        if let Ok(events) = &decided {
            for event in events {
                state = decider.evolve(state, event);
            }
        }
        When { decided, state, story, survives: read_back::<D::Event> }
    }
}

/// As an event of the log.
pub(super) fn again<E: DomainEvent>(event: &E) -> mainspring_core::Result<Option<E>> {
    event.encode().and_then(|encoded| E::decode(&encoded))
}
