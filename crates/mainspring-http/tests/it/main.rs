//! One suite, two invokers; what only HTTP can do wrong; what only the router does.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test ends in a panic when it fails")]

mod client;
mod ground;
mod outputs;
mod server;
mod suite;
