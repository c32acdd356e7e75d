//! The World: its storage on Postgres and in memory, what W01 to W12, W20 and W22 to W37 ask for; and the whole with its
//! workers, what W13 to W19 and W41 to W45 ask for.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test may panic")]

mod events;
mod ground;
mod hooks;
mod races;
mod runs;
mod steps;
mod values;
mod waits;
mod world;
