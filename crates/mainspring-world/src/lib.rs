//! The World of Mainspring.
#![allow(dead_code)]

mod decide;
mod entity;
mod event;
mod ids;
mod names;
mod state;

pub use entity::{Event, Fault, Hook, Run, RunStatus, Step, StepStatus, Wait, WaitStatus};
pub use event::{Fact, MAX_ATTRIBUTES, NewRun, NewStep, RunEvent};
pub use ids::{SPEC_VERSION, new_run_id};
pub use names::EventType;
