//! The program, run as users run it: against a real database, in a folder of its own, with nothing else in its environment.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test may panic")]

mod ground;

mod config;
mod doctor;
mod executions;
mod help;
mod migrate;
mod setup;
