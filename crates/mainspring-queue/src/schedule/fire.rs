//! The message of one fire: the schedule's message with an id and a header that are always the same for the same tick.

use std::time::Duration;

use mainspring_core::{Available, MessageId, NewMessage, Timestamp, trace};
use serde_json::json;
use tracing::info_span;

use super::definition::{HEADER, Schedule};

/// What a schedule pushes for `tick`.
pub(super) fn message(schedule: &Schedule, tick: Timestamp, missed: u32) -> NewMessage {
    let mut message = schedule.message.clone();
    message.id = id(schedule, tick);
    let about = json!({"key": schedule.key, "tick": tick, "missed": missed});
    message.headers.insert(HEADER.to_owned(), about);
    message.available = match spread(schedule, tick) {
        Duration::ZERO => Available::Now,
        later => Available::At(tick + later),
    };
    message
}

/// The same in a trace of its own, which its handling goes on with.
pub(super) fn traced(schedule: &Schedule, tick: Timestamp, missed: u32) -> NewMessage {
    let mut message = message(schedule, tick, missed);
    let span = info_span!(
        parent: None,
        "mainspring.fire",
        queue = message.queue,
        schedule = schedule.key,
        tick = %tick,
        message = message.id.as_str(),
    );
    let untraced = message.headers.clone();
    span.in_scope(|| trace::stamp([&mut message.headers]));
    // A trace never makes a message too large.
    if message.check().is_err() {
        message.headers = untraced;
    }
    message
}

/// At most 250 bytes, by the limits of queue and key.
fn id(schedule: &Schedule, tick: Timestamp) -> MessageId {
    MessageId::from_stored(format!("fire_{}/{}@{tick}", schedule.message.queue, schedule.key))
}

/// The same part of the jitter for the same tick, whoever fires it.
fn spread(schedule: &Schedule, tick: Timestamp) -> Duration {
    let most = u64::try_from(schedule.jitter.as_micros()).unwrap_or(u64::MAX);
    if most == 0 {
        return Duration::ZERO;
    }
    // FNV-1a: short, and the same in every release and process
    let id = id(schedule, tick);
    let hash = id.as_str().bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    });
    Duration::from_micros((hash ^ (hash >> 32)) % (most + 1))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::schedule::Timing;

    #[test]
    fn a_fire_is_the_same_whoever_makes_it_and_jitter_stays_in_its_bounds() {
        let jitter = Duration::from_secs(60);
        let message = NewMessage::new("q", "t", json!(1));
        let schedule = Schedule { jitter, ..Schedule::new("k", Timing::cron("* * * * *"), message) };
        let mut later = Vec::new();
        for minute in 0..100 {
            let tick = Timestamp::from_micros(minute * 60_000_000);
            let fire = super::message(&schedule, tick, 2);
            assert_eq!(fire, super::message(&schedule, tick, 2));
            fire.check().unwrap();
            let Available::At(at) = fire.available else { panic!("{fire:?}") };
            assert!((tick..=tick + jitter).contains(&at), "{at}");
            later.push(at.since(tick).as_secs() / 20);
        }
        assert!([0, 1, 2].iter().all(|third| later.contains(third)), "not spread: {later:?}");
    }
}
