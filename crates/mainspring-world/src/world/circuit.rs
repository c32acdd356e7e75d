//! The circuit of steps that are done elsewhere: opened by a refused secret, closed by the first answer that is none.
//!
//! ```text
//! closed ──the secret is refused──► open: nobody calls, and after a pause one tries ──another answer──► closed
//!                                     ▲            └──refused again──┐
//!                                     └──────────────────────────────┘
//! ```
//! The steps that wait keep their places in this process, so it soon begins no more of them, and others do.

use std::time::Duration;

use tokio::{
    sync::watch,
    time::{Instant, sleep_until},
};

/// Between two tries.
const PAUSE: Duration = Duration::from_secs(30);

/// When somebody may try next; `None` while it is closed.
#[derive(Debug)]
pub(super) struct Circuit(watch::Sender<Option<Instant>>);

impl Circuit {
    pub(super) fn new() -> Self {
        Self(watch::Sender::new(None))
    }

    /// Waits until one may call.
    pub(super) async fn enter(&self) {
        let mut changes = self.0.subscribe();
        loop {
            let seen = *changes.borrow_and_update();
            let Some(next) = seen else { return };
            let now = Instant::now();
            // Of those that wait for this moment one tries.
            if next <= now
                && self.0.send_if_modified(|until| {
                    let first = *until == seen;
                    if first {
                        *until = Some(now + PAUSE);
                    }
                    first
                })
            {
                return;
            }
            tokio::select! {
                () = sleep_until(next.max(now)) => {}
                _ = changes.changed() => {}
            }
        }
    }

    /// The secret was refused; whether that is news.
    pub(super) fn refused(&self) -> bool {
        self.0.send_replace(Some(Instant::now() + PAUSE)).is_none()
    }

    /// The secret was taken; whether that is news.
    pub(super) fn taken(&self) -> bool {
        self.0.send_if_modified(|until| until.take().is_some())
    }

    pub(super) fn is_open(&self) -> bool {
        self.0.borrow().is_some()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn it_opens_once_lets_one_try_and_closes_for_all() {
        let circuit = Arc::new(Circuit::new());
        circuit.enter().await;
        assert!(circuit.refused());
        assert!(!circuit.refused(), "it is told once");
        let begin = Instant::now();
        let enters = || {
            let circuit = Arc::clone(&circuit);
            tokio::spawn(async move {
                circuit.enter().await;
                Instant::now()
            })
        };
        let waiting = [enters(), enters(), enters()];
        // Nobody closes it: each of them is let in, one after another.
        let mut after = Vec::new();
        for entered in waiting {
            after.push(entered.await.unwrap() - begin);
        }
        after.sort();
        assert!(
            after.iter().zip(1..).all(|(after, n)| *after >= PAUSE * n && *after < PAUSE * n + PAUSE / 2)
        );
        let (begin, waits) = (Instant::now(), enters());
        tokio::task::yield_now().await;
        assert!(circuit.taken());
        assert!(!circuit.taken() && !circuit.is_open());
        assert_eq!(waits.await.unwrap(), begin);
    }
}
