//! Given, when, then: deciders, workflows and documents tested by examples, without a database.
//!
//! | given | when | then |
//! |---|---|---|
//! | [`given()`] events of a stream | a command | events, or a refusal |
//! | [`given_workflow()`] inputs and outputs of an instance | an input | outputs, or an error |
//! | [`given_documents()`] events of streams | more of them | documents |
//!
//! ```
//! # use mainspring_core::{Decider, DomainEvent};
//! # use serde::{Deserialize, Serialize};
//! use mainspring_testing::given;
//!
//! # #[derive(Debug, PartialEq, Clone, Serialize, Deserialize)]
//! # enum Door { Opened, Closed }
//! # impl DomainEvent for Door {}
//! # #[derive(Debug)]
//! # enum Ask { Open, Close }
//! # struct DoorRules;
//! # impl Decider for DoorRules {
//! #     type Command = Ask; type Event = Door; type State = bool; type Error = &'static str;
//! #     fn initial(&self) -> bool { false }
//! #     fn decide(&self, ask: &Ask, open: &bool) -> Result<Vec<Door>, &'static str> {
//! #         match (ask, open) {
//! #             (Ask::Open, true) => Ok(vec![]),
//! #             (Ask::Open, false) => Ok(vec![Door::Opened]),
//! #             (Ask::Close, true) => Ok(vec![Door::Closed]),
//! #             (Ask::Close, false) => Err("it is closed"),
//! #         }
//! #     }
//! #     fn evolve(&self, _: bool, event: &Door) -> bool { *event == Door::Opened }
//! # }
//! given(&DoorRules, []).when(&Ask::Open).then([Door::Opened]).then_state(|open| *open);
//! given(&DoorRules, [Door::Opened]).when(&Ask::Open).then_nothing();
//! given(&DoorRules, [Door::Opened, Door::Closed]).when(&Ask::Close).then_refused("it is closed");
//! ```

#![allow(clippy::panic, reason = "an example that does not hold is a failed test")]

mod decider;
mod documents;
mod when;
mod workflow;

pub use {
    decider::{Given, given},
    documents::{GivenDocuments, given_documents},
    when::When,
    workflow::{GivenWorkflow, given_workflow},
};
