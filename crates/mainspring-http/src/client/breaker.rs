//! The circuit to one application: nobody knocks all the time at a door behind which nobody is.
//!
//! ```text
//! closed ──n calls in a row do not reach it──► open ──pause──► one call tries ──reaches it──► closed
//!                                                ▲                  └──does not── twice the pause ┐
//!                                                └────────────────────────────────────────────────┘
//! ```

use std::time::{Duration, Instant};

use super::HttpOptions;

pub(super) struct Breaker {
    failures: u32,
    pause: Duration,
    longest: Duration,
    /// How long a call that tries may take before another one may.
    trial: Duration,
    state: State,
}

#[derive(Debug, PartialEq, Eq)]
enum State {
    Closed { failed: u32 },
    Open { until: Instant, pause: Duration },
    Trying { until: Instant, pause: Duration },
}

impl Breaker {
    pub(super) fn new(options: &HttpOptions) -> Self {
        let HttpOptions { failures, pause, longest_pause, deadline, .. } = *options;
        Self { failures, pause, longest: longest_pause, trial: deadline, state: State::Closed { failed: 0 } }
    }

    /// Whether a call may be made now; else for how long none may.
    pub(super) fn ask(&mut self, now: Instant) -> Result<(), Duration> {
        match self.state {
            State::Closed { .. } => Ok(()),
            State::Open { until, pause } | State::Trying { until, pause } if until <= now => {
                self.state = State::Trying { until: now + self.trial, pause };
                Ok(())
            }
            State::Open { until, .. } => Err(until - now),
            State::Trying { until, .. } => Err((until - now).min(self.pause)),
        }
    }

    /// A call has reached the application, whatever it answered.
    pub(super) fn reached(&mut self) {
        self.state = State::Closed { failed: 0 };
    }

    /// A call has not.
    pub(super) fn missed(&mut self, now: Instant) {
        let open = |pause| State::Open { until: now + pause, pause };
        match self.state {
            State::Closed { failed } if failed + 1 < self.failures => {
                self.state = State::Closed { failed: failed + 1 };
            }
            State::Closed { .. } => self.state = open(self.pause),
            State::Trying { pause, .. } => self.state = open((pause * 2).min(self.longest)),
            // It began before the circuit was opened.
            State::Open { .. } => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_opens_tries_one_and_closes() {
        // fault F93
        let second = Duration::from_secs(1);
        let options = HttpOptions { failures: 3, longest_pause: second * 3, ..HttpOptions::default() };
        let mut breaker = Breaker::new(&options);
        let mut now = Instant::now();
        breaker.missed(now);
        breaker.missed(now);
        breaker.reached();
        for _ in 0..3 {
            assert_eq!(breaker.ask(now), Ok(()));
            breaker.missed(now);
        }
        assert_eq!(breaker.ask(now), Err(second));
        for pause in [1, 2, 3, 3] {
            breaker.missed(now); // a late one changes nothing
            assert!(breaker.ask(now + second * pause - Duration::from_millis(1)).is_err());
            now += second * pause;
            assert_eq!(breaker.ask(now), Ok(()));
            assert!(breaker.ask(now).is_err(), "only one tries");
            breaker.missed(now);
        }
        now += second * 3;
        assert_eq!(breaker.ask(now), Ok(()));
        breaker.reached();
        assert_eq!((breaker.ask(now), breaker.ask(now)), (Ok(()), Ok(())));
    }

    #[test]
    fn one_who_tries_and_never_comes_back_does_not_keep_it_open() {
        let options = HttpOptions { failures: 1, ..HttpOptions::default() };
        let mut breaker = Breaker::new(&options);
        let now = Instant::now();
        breaker.missed(now);
        let later = now + options.pause;
        assert_eq!(breaker.ask(later), Ok(()));
        assert!(breaker.ask(later).is_err());
        assert_eq!(breaker.ask(later + options.deadline), Ok(()));
    }
}
