//! The test kit, tested.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "the helpers of tests are tests too"
)]

mod children;
mod db;
mod faults;
mod given;
mod given_documents;
mod history;
mod memory;
mod proxy;
