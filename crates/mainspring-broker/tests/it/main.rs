//! The broker, on both backends.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod events;
