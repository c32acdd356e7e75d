//! Test kit of Mainspring: memory backend, conformance suites, test databases, faults.

pub mod memory;

pub use memory::MemoryBackend;
