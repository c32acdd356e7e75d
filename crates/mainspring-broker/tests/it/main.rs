//! The broker, on both backends.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test may panic")]

mod broker;
mod events;
mod given_up;
mod ground;
mod memory;
mod processes;
