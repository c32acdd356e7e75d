//! The program, run as users run it: against a real database, in a folder of its own, with nothing else in its environment.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test may panic")]

mod background;
mod ground;

mod config;
mod doctor;
mod events;
mod executions;
mod flows;
mod help;
mod jobs;
mod migrate;
mod queues;
mod retention;
mod schedules;
mod secrets;
mod setup;
mod start;
mod tokens;
mod world;
