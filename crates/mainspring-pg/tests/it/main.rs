//! The promises of `mainspring-pg` against a real server: the one `TEST_DATABASE_URL` names, or a private one.
//!
//! Tests are named after the trap they guard against: T1, T2, … in docs/RELIABILITY.md.

mod ground;
mod proxy;

mod connecting;
mod flights;
mod hints;
mod history;
mod migrations;
mod statements;
mod transactions;
