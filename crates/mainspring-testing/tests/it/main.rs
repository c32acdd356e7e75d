//! The test kit, tested.

mod memory;
