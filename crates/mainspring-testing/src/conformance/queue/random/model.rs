//! The rules of queues that hold messages back, small enough to be believed: what may be claimed beside what, what has to be,
//! and what becomes of a message. Where it waits meanwhile is the backend's business.

use std::time::Duration;

use mainspring_core::SUSPECT_AFTER;

/// Seconds since the beginning of the history.
pub(super) type Seconds = u64;

/// How long a try may take, and how long a message waits after a failure, unless the handler says how long. Time only moves in
/// steps of thirty seconds, so that nothing is ever due just now.
pub(super) const TIMEOUT: Seconds = 105;
pub(super) const RETRY: Seconds = 75;
pub(super) const SOON: Seconds = 45;
pub(super) const TICK: Seconds = 30;
pub(super) const ATTEMPTS: u32 = 3;

/// What holds messages back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// `key_strict_fifo`: a gate is a key.
    Keys,
    /// Group limits: a gate is a group of one tier, and messages without one are free.
    Groups,
    /// Group limits where the messages of one group have different tiers.
    Tiers,
}

/// How many of each tier may run; of `Groups`, of each group.
pub(super) const LIMITS: [usize; 3] = [2, 3, 1];

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum State {
    Waiting { due: Seconds },
    Running { expires: Seconds },
    Dead,
    Ended,
}

#[derive(Debug)]
pub(super) struct Message {
    pub(super) gate: Option<usize>,
    /// Of how many in its group, at most, it may be one.
    limit: usize,
    pub(super) priority: i16,
    pub(super) state: State,
    pub(super) pushed: Seconds,
    failures: u32,
    attempts: u32,
    /// How many holders died with it.
    pub(super) lost: u32,
    /// It was pushed to wait, so its turn is not that of its push.
    delayed: bool,
    /// It has been claimed and has not ended.
    begun: bool,
}

/// What a holder says of a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    Done,
    Retry,
    RetrySoon,
    Snooze,
    Dead,
    PutBack,
}

impl Verdict {
    pub(super) const ALL: [Self; 6] =
        [Self::Done, Self::Retry, Self::RetrySoon, Self::Snooze, Self::Dead, Self::PutBack];
}

pub(super) struct Model {
    pub(super) kind: Kind,
    pub(super) now: Seconds,
    /// By their number, which is the order of the pushes.
    pub(super) messages: Vec<Message>,
}

/// What is wrong, in words.
pub(super) type Checked = Result<(), String>;

impl Model {
    pub(super) fn new(kind: Kind) -> Self {
        Self { kind, now: 0, messages: Vec::new() }
    }

    pub(super) fn push(&mut self, gate: Option<usize>, tier: usize, priority: i16, delay: Seconds) {
        self.messages.push(Message {
            gate,
            limit: LIMITS[tier],
            priority,
            state: State::Waiting { due: self.now + delay },
            pushed: self.now,
            failures: 0,
            attempts: ATTEMPTS,
            lost: 0,
            delayed: delay > 0,
            begun: false,
        });
    }

    /// Checks a claim that brought these, in this order, when it might have brought `max`; then they run.
    pub(super) fn claim(&mut self, numbers: &[usize], max: usize) -> Checked {
        for (n, next) in numbers.iter().zip(numbers.iter().skip(1)) {
            let place = |n: usize| (-i32::from(self.messages[n].priority), n);
            if place(*n) > place(*next) {
                return Err(format!("message {n} came before {next}"));
            }
        }
        for &n in numbers {
            self.may_run(n)?;
            let expires = self.now + TIMEOUT;
            let message = &mut self.messages[n];
            (message.state, message.begun) = (State::Running { expires }, true);
        }
        if numbers.len() < max { self.nothing_left() } else { Ok(()) }
    }

    fn may_run(&self, n: usize) -> Checked {
        let Some(message) = self.messages.get(n) else { return Err(format!("nobody pushed message {n}")) };
        match message.state {
            State::Waiting { due } if due <= self.now => {}
            other => return Err(format!("message {n} was claimed although it is {other:?} at {}", self.now)),
        }
        let mut others =
            self.messages.iter().enumerate().filter(|(other, m)| *other != n && m.gate == message.gate);
        let in_front = match (self.kind, message.gate) {
            // Strictly one after the other: whoever has begun blocks its key, and so does whoever is in front.
            (Kind::Keys, _) => others.find(|(other, m)| {
                let waits = matches!(m.state, State::Waiting { .. });
                (m.begun && m.state != State::Ended)
                    || (*other < n && waits && !m.delayed && !message.delayed && !message.begun)
            }),
            // Of those that run, the last of the ones with a limit of `limit` or less was admitted when all others were.
            (Kind::Groups | Kind::Tiers, Some(gate)) => {
                let crowded = LIMITS.iter().find(|limit| {
                    message.limit <= **limit && self.running(gate, |m| m.limit <= **limit) >= **limit
                });
                match crowded {
                    None => None,
                    Some(limit) => {
                        return Err(format!("message {n} is one too many of group {gate}: {limit} run"));
                    }
                }
            }
            // A claim takes suspects by themselves, so one may come before those in front of it.
            (Kind::Groups | Kind::Tiers, None) if message.lost >= SUSPECT_AFTER => None,
            (Kind::Groups | Kind::Tiers, None) => others.find(|(other, m)| {
                let waits = matches!(m.state, State::Waiting { due } if due <= self.now);
                waits && (m.priority, n) > (message.priority, *other)
            }),
        };
        match in_front {
            Some((other, m)) => Err(format!("message {n} was claimed and {other} was in front: {m:?}")),
            None => Ok(()),
        }
    }

    fn running(&self, gate: usize, counts: impl Fn(&Message) -> bool) -> usize {
        let of = self.messages.iter().filter(|m| m.gate == Some(gate) && counts(m));
        of.filter(|m| matches!(m.state, State::Running { .. })).count()
    }

    /// A claim came back short: nobody may wait who could run.
    fn nothing_left(&self) -> Checked {
        let due = |m: &Message| matches!(m.state, State::Waiting { due } if due <= self.now);
        for (n, message) in self.messages.iter().enumerate().filter(|(_, m)| due(m)) {
            let blocked = match (self.kind, message.gate) {
                (Kind::Keys, gate) => {
                    let mut of = self.messages.iter().enumerate().filter(|(_, m)| m.gate == gate);
                    of.any(|(other, m)| other != n && m.begun && m.state != State::Ended)
                }
                (Kind::Groups | Kind::Tiers, Some(gate)) => self.running(gate, |_| true) >= message.limit,
                (Kind::Groups | Kind::Tiers, None) => false,
            };
            if !blocked {
                return Err(format!("message {n} was left behind although it could run: {message:?}"));
            }
        }
        Ok(())
    }

    pub(super) fn settle(&mut self, n: usize, verdict: Verdict) {
        match verdict {
            Verdict::Done => self.messages[n].state = State::Ended,
            Verdict::Retry => self.fail(n, RETRY),
            Verdict::RetrySoon => self.fail(n, SOON),
            Verdict::Snooze => {
                let due = self.now + SOON;
                let message = &mut self.messages[n];
                (message.state, message.failures) = (State::Waiting { due }, 0);
            }
            Verdict::Dead => self.messages[n].state = State::Dead,
            Verdict::PutBack => self.lose(n),
        }
    }

    fn fail(&mut self, n: usize, delay: Seconds) {
        let due = self.now + delay;
        let message = &mut self.messages[n];
        message.failures += 1;
        let again = message.failures < message.attempts;
        message.state = if again { State::Waiting { due } } else { State::Dead };
    }

    /// Its holder is gone, or gave it back.
    pub(super) fn lose(&mut self, n: usize) {
        self.messages[n].state = State::Waiting { due: self.now };
    }

    /// Ends the tries that take too long; which.
    pub(super) fn expire(&mut self) -> Vec<usize> {
        let late = |m: &Message| matches!(m.state, State::Running { expires } if expires <= self.now);
        let late: Vec<usize> = (0..self.messages.len()).filter(|n| late(&self.messages[*n])).collect();
        for n in &late {
            self.fail(*n, RETRY);
        }
        late
    }

    /// One that was given up gets another run.
    pub(super) fn revive(&mut self, n: usize) {
        let due = self.now;
        let message = &mut self.messages[n];
        message.state = State::Waiting { due };
        message.attempts = message.attempts.max(message.failures + 1);
        message.lost = 0;
    }

    pub(super) fn end(&mut self, n: usize) {
        self.messages[n].state = State::Ended;
    }

    pub(super) fn in_state(&self, wanted: impl Fn(State) -> bool) -> Vec<usize> {
        (0..self.messages.len()).filter(|n| wanted(self.messages[*n].state)).collect()
    }
}

pub(super) const fn secs(seconds: Seconds) -> Duration {
    Duration::from_secs(seconds)
}
