//! What carries hints between processes instead of NOTIFY: a server beside Postgres that may be lost at any time.
//!
//! A carrier also counts *tickets*: how many messages of a queue nobody has claimed yet, as far as it knows. Whoever waits takes
//! as many as it has room for, so that of many processes only those look into the database for whom there is something. A
//! ticket too few is a message that is found by polling; one too many is a look for nothing.

use std::{fmt, sync::Arc};

use mainspring_core::{BoxFuture, Result};

use crate::board::Board;

/// Carries hints and counts tickets. Whatever fails or is lost here costs time, never a message.
pub trait Carrier: fmt::Debug + Send + Sync + 'static {
    /// Tells every process that listens, and adds up the tickets.
    ///
    /// # Errors
    /// Unavailable. These hints are lost then.
    fn send(&self, hints: Vec<Hint>) -> BoxFuture<'_, Result<()>>;

    /// Passes on what is heard until it is dropped, and [everything](Heard::everything) whenever something may have been missed.
    fn listen(&self, heard: Heard) -> BoxFuture<'static, ()>;

    /// Takes at most `most` tickets of a queue; how many.
    ///
    /// # Errors
    /// Unavailable, within a second: nobody waits long for a carrier.
    fn take<'a>(&'a self, queue: &'a str, most: u32) -> BoxFuture<'a, Result<u32>>;

    /// Whether it was there when it was last asked.
    fn is_up(&self) -> bool;

    /// So many tickets brought no message.
    fn ghosts(&self, tickets: u32);
}

/// What others are told about one name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hint {
    /// A queue, or something else that is waited for.
    pub name: String,
    /// Whether everybody who waits for it is to look.
    pub look: bool,
    /// Tickets to add to those of the queue; negative for messages that were claimed without one.
    pub tickets: i64,
}

/// Where a carrier passes on what it hears.
#[derive(Clone)]
pub struct Heard(pub(crate) Arc<Board>);

impl Heard {
    /// Everybody who waits for `name` is to look.
    pub fn look(&self, name: &str) {
        self.0.wake(name);
    }

    /// There are new tickets of this queue.
    pub fn tickets(&self, queue: &str) {
        self.0.wake_for_tickets(queue);
    }

    /// Hints may have been missed: everybody is to look.
    pub fn everything(&self) {
        self.0.wake_all();
    }
}

impl fmt::Debug for Heard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Heard").finish_non_exhaustive()
    }
}
