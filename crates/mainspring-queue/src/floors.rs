//! Where claims begin. What was claimed leaves a dead entry in the index until it is cleaned away, which it cannot be while an
//! old snapshot is open; a claim that begins at the front passes all of them, every time. So a process remembers how far it has
//! come in each priority of a queue, and begins there, a moment behind, so that pushes that are just being committed are not
//! passed by.
//!
//! ```text
//! priority 7: ────────────────►│ from here on      dead entries before it
//! priority 3: ──────►│ from here on
//! all others:  │ from the front
//! ```
//! What lies before it, of a long transaction or put back by another process, is found when the whole order is looked at: every
//! second, and whenever there is less than was asked for.

use std::{
    collections::{BTreeMap, HashMap},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use mainspring_core::MessageLease;

/// Between two looks at the whole order of a queue.
const WHOLE: Duration = Duration::from_secs(1);
/// How far behind its claims a process begins: longer than a push takes to be committed.
const BEHIND: Duration = Duration::from_millis(100);
/// More priorities than this are not remembered.
const PRIORITIES: usize = 8;

/// How far this process has come in each queue.
#[derive(Clone, Default)]
pub(crate) struct Floors(Arc<Mutex<HashMap<String, Floor>>>);

/// Stretches of the order, the best first: best priority, worst priority, number to begin with.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct Stretches {
    pub(crate) best: Vec<i16>,
    pub(crate) worst: Vec<i16>,
    pub(crate) first: Vec<i64>,
}

struct Floor {
    looked: Instant,
    reached: BTreeMap<i16, Reached>,
}

/// The last number claimed, a moment ago and now.
struct Reached {
    floor: Option<i64>,
    next: (Instant, i64),
}

impl Floors {
    /// Where to begin in this queue; `None` at the front.
    pub(crate) fn of(&self, queue: &str, now: Instant) -> Option<Stretches> {
        let floors = self.lock();
        let floor = floors.get(queue).filter(|floor| now.duration_since(floor.looked) < WHOLE)?;
        floor.reached.values().any(|reached| reached.floor.is_some()).then(|| floor.stretches())
    }

    /// A claim brought all that was asked for. `whole` when it began at the front.
    pub(crate) fn reached<'l>(
        &self,
        queue: &str,
        leases: impl IntoIterator<Item = &'l MessageLease>,
        whole: bool,
        now: Instant,
    ) {
        let mut floors = self.lock();
        let floor = match floors.get_mut(queue) {
            Some(floor) => floor,
            None if whole => {
                floors.entry(queue.to_owned()).or_insert(Floor { looked: now, reached: BTreeMap::new() })
            }
            None => return,
        };
        if whole {
            floor.looked = now;
        }
        for lease in leases {
            let reached = floor
                .reached
                .entry(lease.priority)
                .or_insert(Reached { floor: None, next: (now, lease.seq) });
            reached.come_to(lease.seq, now);
        }
        if floor.reached.len() > PRIORITIES {
            floors.remove(queue);
        }
    }

    /// Something lies before where this process has come: the next claim begins at the front.
    pub(crate) fn forget(&self, queue: &str) {
        self.lock().remove(queue);
    }

    /// The same for all queues.
    pub(crate) fn forget_all(&self) {
        self.lock().clear();
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<String, Floor>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Reached {
    fn come_to(&mut self, seq: i64, now: Instant) {
        let (at, number) = self.next;
        if now.duration_since(at) >= BEHIND {
            self.floor = Some(self.floor.map_or(number, |floor| floor.max(number)));
            self.next = (now, seq.max(number));
        }
    }
}

impl Floor {
    fn stretches(&self) -> Stretches {
        let (mut stretches, mut best) = (Stretches::default(), Some(i16::MAX));
        for (priority, reached) in self.reached.iter().rev() {
            let Some(above) = best else { break };
            if above > *priority {
                stretches.add(above, priority + 1, i64::MIN);
            }
            stretches.add(*priority, *priority, reached.floor.unwrap_or(i64::MIN));
            best = priority.checked_sub(1);
        }
        if let Some(rest) = best {
            stretches.add(rest, i16::MIN, i64::MIN);
        }
        stretches
    }
}

impl Stretches {
    fn add(&mut self, best: i16, worst: i16, first: i64) {
        self.best.push(best);
        self.worst.push(worst);
        self.first.push(first);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lease(priority: i16, seq: i64) -> MessageLease {
        MessageLease { queue: "q".into(), priority, seq, token: 1, managed: false }
    }

    #[test]
    fn a_claim_begins_a_moment_behind_and_misses_no_priority() {
        let (floors, begin) = (Floors::default(), Instant::now());
        let at = |ms| begin + Duration::from_millis(ms);
        floors.reached("q", [&lease(0, 10)], false, at(0));
        assert_eq!(floors.of("q", at(1)), None, "the whole order was never looked at");
        floors.reached("q", [&lease(0, 10)], true, at(0));
        floors.reached("q", [&lease(0, 20), &lease(7, 21)], false, at(50));
        assert_eq!(floors.of("q", at(60)), None, "too soon");
        floors.reached("q", [&lease(0, 30)], false, at(110));
        let stretches = floors.of("q", at(120)).unwrap();
        assert_eq!(stretches.best, [i16::MAX, 7, 6, 0, -1]);
        assert_eq!(stretches.worst, [8, 7, 1, 0, i16::MIN]);
        assert_eq!(stretches.first, [i64::MIN, i64::MIN, i64::MIN, 10, i64::MIN]);
        assert_eq!(floors.of("q", at(1_001)), None, "once a second from the front");
        assert_eq!(floors.of("other", at(120)), None);
        floors.forget("q");
        assert_eq!(floors.of("q", at(120)), None);
    }

    #[test]
    fn the_ends_of_the_priorities_are_stretches_of_their_own() {
        let (floors, begin) = (Floors::default(), Instant::now());
        for ms in [0, 100] {
            let ends = [lease(i16::MAX, 5 + ms), lease(i16::MIN, 6 + ms)];
            floors.reached("q", &ends, true, begin + Duration::from_millis(ms as u64));
        }
        let stretches = floors.of("q", begin + Duration::from_millis(100)).unwrap();
        assert_eq!(stretches.best, [i16::MAX, i16::MAX - 1, i16::MIN]);
        assert_eq!(stretches.worst, [i16::MAX, i16::MIN + 1, i16::MIN]);
        assert_eq!(stretches.first, [5, i64::MIN, 6]);
        for priority in 0..9 {
            floors.reached("q", [&lease(priority, 9)], false, begin + Duration::from_millis(100));
        }
        assert_eq!(floors.of("q", begin + Duration::from_millis(101)), None, "too many");
    }
}
