//! The Rust on the pages of the book, compiled and run as doc tests. `cargo xtask tidy` finds a page that is missing here.

#[doc = include_str!("../../docs/start.md")]
mod start {}
