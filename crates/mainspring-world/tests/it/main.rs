//! The World: its storage on Postgres and in memory, what W01 to W12, W20 and W22 to W37 ask for; and the whole with its
//! workers, what W13 to W19, W38 to W45 and W47 ask for, over both ways to an application.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test may panic")]

mod app;
mod called;
mod events;
mod given_up;
mod ground;
mod hooks;
mod races;
mod recovery;
mod remote;
mod runs;
mod sdk;
mod steps;
mod traced;
mod upkeep;
mod values;
mod waits;
mod way;
mod world;
