//! The one connection for commands that all share. Whatever fails on it, it counts as away for a second, so that nobody waits
//! for a Redis that does not answer more than once.

use std::{
    sync::{Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use mainspring_core::{Error, ErrorKind, Result};
use redis::RedisResult;
use tokio::time::timeout;

use crate::wire::{Reach, Wire};

/// How long it counts as away.
const AWAY: Duration = Duration::from_secs(1);

pub(crate) struct Line {
    pub(crate) reach: Reach,
    deadline: Duration,
    state: Mutex<State>,
    connecting: tokio::sync::Mutex<()>,
}

enum State {
    Fresh,
    Up(Wire),
    Away(Instant),
}

impl Line {
    pub(crate) fn new(reach: Reach, deadline: Duration) -> Self {
        let (state, connecting) = (Mutex::new(State::Fresh), tokio::sync::Mutex::default());
        Self { reach, deadline, state, connecting }
    }

    /// Whether nothing has failed since it was last connected.
    pub(crate) fn is_up(&self) -> bool {
        matches!(*self.state(), State::Up(_))
    }

    /// Runs commands within the deadline.
    pub(crate) async fn ask<T>(&self, commands: impl AsyncFnOnce(Wire) -> RedisResult<T>) -> Result<T> {
        let late = |_| Error::new(ErrorKind::Unavailable, "redis does not answer in time");
        let answer = timeout(self.deadline, async { commands(self.wire().await?).await.map_err(failed) });
        let answer = answer.await.map_err(late).flatten();
        if answer.is_err() {
            let mut state = self.state();
            if !matches!(*state, State::Away(until) if until > Instant::now()) {
                *state = State::Away(Instant::now() + AWAY);
            }
        }
        answer
    }

    async fn wire(&self) -> Result<Wire> {
        if let Some(wire) = self.known()? {
            return Ok(wire);
        }
        let _one_at_a_time = self.connecting.lock().await;
        if let Some(wire) = self.known()? {
            return Ok(wire);
        }
        let wire = self.reach.commands().await.map_err(failed)?;
        *self.state() = State::Up(wire.clone());
        Ok(wire)
    }

    fn known(&self) -> Result<Option<Wire>> {
        match &*self.state() {
            State::Up(wire) => Ok(Some(wire.clone())),
            State::Away(until) if *until > Instant::now() => {
                Err(Error::new(ErrorKind::Unavailable, "redis is away"))
            }
            State::Away(_) | State::Fresh => Ok(None),
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What went wrong with Redis. Its errors name no password.
pub(crate) fn failed(error: redis::RedisError) -> Error {
    Error::new(ErrorKind::Unavailable, "redis").with_source(error)
}
