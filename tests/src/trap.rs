//! A fault in the middle of a handler, where no decorator of a backend reaches.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
};

use rustix::process::{Signal, getpid, kill_process};

/// Stops or ends this process at the nth time a handler passes a place, and says so on stdout first.
#[derive(Debug, Clone, Default)]
pub struct Trap(Arc<Inner>);

#[derive(Debug, Default)]
struct Inner {
    set: Option<Set>,
    passed: Mutex<HashMap<String, u64>>,
}

#[derive(Debug)]
struct Set {
    place: String,
    /// 0 is every time.
    nth: u64,
    action: Action,
}

#[derive(Debug, Clone, Copy)]
enum Action {
    Abort,
    Stop,
}

impl Trap {
    /// Reads `place@n=abort` or `place@n=stop`; `*` for n is every time, and an empty text is no trap.
    ///
    /// # Panics
    /// When the text is none of these.
    pub fn parse(text: &str) -> Self {
        if text.is_empty() {
            return Self::default();
        }
        let set = read(text).unwrap_or_else(|| panic!("`{text}` is not place@n=action"));
        Self(Arc::new(Inner { set: Some(set), passed: Mutex::default() }))
    }

    /// A handler passes `place`.
    #[allow(clippy::print_stdout, reason = "a parent process waits for this line")]
    pub fn pass(&self, place: &str) {
        let Some(set) = &self.0.set else { return };
        let mut passed = self.0.passed.lock().unwrap_or_else(PoisonError::into_inner);
        let times = passed.entry(place.to_owned()).or_default();
        *times += 1;
        if set.place != place || (set.nth != 0 && set.nth != *times) {
            return;
        }
        println!("hit handler.{place}");
        match set.action {
            Action::Abort => std::process::abort(),
            // Returns when someone lets us continue.
            Action::Stop => kill_process(getpid(), Signal::STOP).expect("a process may stop itself"),
        }
    }
}

fn read(text: &str) -> Option<Set> {
    let (place, action) = text.split_once('=')?;
    let (place, nth) = place.split_once('@')?;
    let nth = if nth == "*" { 0 } else { nth.parse().ok().filter(|nth| *nth > 0)? };
    let action = match action {
        "abort" => Action::Abort,
        "stop" => Action::Stop,
        _ => return None,
    };
    Some(Set { place: place.to_owned(), nth, action })
}
