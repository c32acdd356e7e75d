//! The program, run as users run it: against a real database, in a folder of its own, with nothing else in its environment.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test may panic")]

mod background;
mod ground;

mod config;
mod doctor;
mod executions;
mod flows;
mod help;
mod migrate;
mod setup;
mod start;
mod tokens;
