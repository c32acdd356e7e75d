//! What became of a command or an input, and what is expected of it.

use std::fmt::{Debug, Write as _};

use mainspring_core::DomainEvent;

use super::decider::again;

/// What became of a command or an input: what happens, or why it is refused; and the state afterwards.
pub struct When<T, S, E> {
    pub(super) decided: Result<Vec<T>, E>,
    pub(super) state: S,
    pub(super) story: String,
    /// Whether the log gives back what it is given; else what is wrong.
    pub(super) survives: fn(&T) -> Result<(), String>,
}

impl<T: Debug + PartialEq, S, E: Debug> When<T, S, E> {
    /// This happens, in this order. Each is also encoded and decoded again, as it will be by the log.
    ///
    /// # Panics
    /// When something else happens, telling the whole story.
    #[track_caller]
    pub fn then(self, expected: impl IntoIterator<Item = T>) -> Self {
        let expected: Vec<T> = expected.into_iter().collect();
        match &self.decided {
            Ok(events) if *events == expected => {}
            _ => panic!("{}", self.told(&lines(&expected))),
        }
        for event in &expected {
            if let Err(problem) = (self.survives)(event) {
                panic!("{}{problem}\n", self.story);
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

    /// It is refused for this reason.
    ///
    /// # Panics
    /// When it is not, or for another reason, telling the whole story.
    #[track_caller]
    pub fn then_refused<R>(self, expected: R)
    where
        E: PartialEq<R>,
        R: Debug,
    {
        match &self.decided {
            Err(error) if *error == expected => {}
            _ => panic!("{}", self.told(&format!("    refused: {expected:?}\n"))),
        }
    }

    /// It is refused, and `reason` says yes to why.
    ///
    /// # Panics
    /// When it is not, telling the whole story.
    #[track_caller]
    pub fn then_refused_as(self, reason: impl Fn(&E) -> bool) {
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
    pub fn then_state(self, holds: impl Fn(&S) -> bool) -> Self {
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

/// The first part of every story.
pub(super) fn begin<T: Debug>(given: &[T]) -> String {
    format!("given\n{}", lines(given))
}

pub(super) fn lines<T: Debug>(items: &[T]) -> String {
    if items.is_empty() {
        return "    nothing\n".to_owned();
    }
    items.iter().fold(String::new(), |mut text, item| {
        let _ = writeln!(text, "    {item:?}");
        text
    })
}

/// Whether an event is the same when the log gives it back.
pub(super) fn read_back<E: DomainEvent + PartialEq + Debug>(event: &E) -> Result<(), String> {
    match again(event) {
        Ok(Some(read)) if read == *event => Ok(()),
        Ok(read) => Err(format!("the log makes of {event:?}\n    {read:?}")),
        Err(error) => Err(format!("the log cannot hold {event:?}\n    {}", error.chain())),
    }
}
