//! The Rust on the pages of the book, compiled and run as doc tests. `cargo xtask tidy` finds a page that is missing here.

#[doc = include_str!("../../docs/start.md")]
mod start {}

#[doc = include_str!("../../docs/guides/flows.md")]
mod flows {}

#[doc = include_str!("../../docs/guides/functions.md")]
mod functions {}

#[doc = include_str!("../../docs/guides/queues.md")]
mod queues {}

#[doc = include_str!("../../docs/guides/events.md")]
mod events {}

#[doc = include_str!("../../docs/guides/testing.md")]
mod testing {}
