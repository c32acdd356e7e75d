//! Test kit of Mainspring: memory backend, conformance suites, test databases, faults.

pub mod conformance;
pub mod memory;
mod time;

pub use {memory::MemoryBackend, time::TimeTravel};
