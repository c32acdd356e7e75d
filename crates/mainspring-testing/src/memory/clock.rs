//! The clock of a memory backend.

use std::{
    sync::atomic::{AtomicI64, Ordering},
    time::{Duration, Instant},
};

use mainspring_core::Timestamp;

/// 2026-01-01T00:00:00Z.
const START_MICROS: i64 = 1_767_225_600_000_000;

pub(super) struct Clock {
    moved_micros: AtomicI64,
    started: Option<Instant>,
}

impl Clock {
    pub(super) fn manual() -> Self {
        Self { moved_micros: AtomicI64::new(0), started: None }
    }

    pub(super) fn realtime() -> Self {
        Self { moved_micros: AtomicI64::new(0), started: Some(Instant::now()) }
    }

    pub(super) fn advance(&self, by: Duration) {
        let micros = i64::try_from(by.as_micros()).unwrap_or(i64::MAX);
        let moved = |old: i64| Some(old.saturating_add(micros));
        let _ = self.moved_micros.fetch_update(Ordering::Relaxed, Ordering::Relaxed, moved);
    }

    pub(super) fn now(&self) -> Timestamp {
        let moved = self.moved_micros.load(Ordering::Relaxed);
        let passed = self.started.map_or(Duration::ZERO, |started| started.elapsed());
        Timestamp::from_micros(START_MICROS.saturating_add(moved)) + passed
    }
}
