//! The promises of `mainspring-pg` against a real server: the one `TEST_DATABASE_URL` names, or a private one.
//!
//! Tests are named after the trap (T1, T2, …) or fault (fault F73, …) they guard against.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)] // helpers are not `#[test]` themselves

mod ground;
mod proxy;

mod connecting;
mod flights;
mod hints;
mod history;
mod looks;
mod migrations;
mod parsing;
mod statements;
mod tls;
mod transactions;
