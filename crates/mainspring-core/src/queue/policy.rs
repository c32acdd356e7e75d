//! What a queue allows beside each other.

use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::Error;

/// Which messages of a queue may be there or at work at the same time. All but [`Standard`](Self::Standard) go by the key
/// of a message; messages without a key count as having one and the same.
///
/// | policy | waiting for their first run | at work | waiting for a retry |
/// |---|---|---|---|
/// | standard | any | any | any |
/// | short | 1 | any | any |
/// | singleton | any | 1 | any |
/// | stately | 1 | 1 | 1, a second one is given up |
/// | exclusive | 1 in all | | |
/// | key_strict_fifo | any | in the order of the pushes, one after the other | blocks its key |
///
/// A message too many is a duplicate when it is pushed; one that only has to wait is held back.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Policy {
    /// No restriction.
    #[default]
    Standard,
    /// One waiting for its first run.
    Short,
    /// One at work.
    Singleton,
    /// One in each state.
    Stately,
    /// One that has not ended.
    Exclusive,
    /// Strictly one after the other. A message that was given up blocks its key until it is retried or deleted. Every
    /// message needs a key.
    KeyStrictFifo,
}

impl Policy {
    /// All of them.
    pub const ALL: [Self; 6] =
        [Self::Standard, Self::Short, Self::Singleton, Self::Stately, Self::Exclusive, Self::KeyStrictFifo];

    /// The name in the database.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Standard => "standard",
            Self::Short => "short",
            Self::Singleton => "singleton",
            Self::Stately => "stately",
            Self::Exclusive => "exclusive",
            Self::KeyStrictFifo => "key_strict_fifo",
        }
    }

    /// Whether a message may have to wait until another one of its key is done.
    pub const fn limits_work(self) -> bool {
        matches!(self, Self::Singleton | Self::Stately | Self::KeyStrictFifo)
    }
}

impl FromStr for Policy {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        let known = Self::ALL.into_iter().find(|policy| policy.as_str() == text);
        known.ok_or_else(|| Error::invalid("queue.policy", format!("`{}` is none", text.escape_debug())))
    }
}
