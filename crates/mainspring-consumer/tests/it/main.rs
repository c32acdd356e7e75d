//! Consumers on Postgres: E12 to E16, E18, E20 to E45, E49, fault F56, X8, X9.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test may panic")]

mod ground;

mod documents;
mod empty;
mod errors;
mod leases;
mod parked;
mod projections;
mod reactors;
mod shards;
mod spans;
mod starts;
mod stops;
mod workflows;
