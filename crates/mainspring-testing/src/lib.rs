//! The test kit of Mainspring: for tests of an application, of a backend, and of Mainspring itself.
//!
//! | to | use |
//! |---|---|
//! | run an engine without a database | [`MemoryBackend`], whose time stands still until it is moved |
//! | run it on Postgres, migrated and alone | [`TestDb`], which starts a server when there is none |
//! | test a decider, a workflow or documents by examples | [`given()`], [`given_workflow()`], [`given_documents()`] |
//! | see what is traced | [`Spans`] |
//! | hold a backend of your own to the contract | [`conformance`] |
//! | crash a workflow at every commit, in virtual time | [`crash_everywhere()`] |
//! | break something at the worst moment | [`faults`]: [`FaultyBackend`], [`Proxy`], [`ChildWorker`], [`Cluster`] |
//! | find out whether anything was lost or done twice | [`History`] |
//!
//! The memory backend is no mock: it is a second implementation, and passes the same suites as Postgres.
//!
//! ```
//! # tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap().block_on(async {
//! use std::time::Duration;
//! use mainspring_core::{Available, Backend, Changes, ClaimRequest, NewMessage, Settle, Settlement, WorkerId};
//! use mainspring_testing::{Faults, FaultyBackend, History, MemoryBackend};
//! use serde_json::json;
//!
//! let memory = MemoryBackend::new();
//! let backend = FaultyBackend::new(memory.clone(), Faults::parse("commit.after=error")?);
//!
//! // A message that is due in an hour, in a commit whose answer is lost.
//! let reminder = NewMessage::new("mail", "reminder", json!({"to": "ada"}));
//! let reminder = NewMessage { available: Available::After(Duration::from_secs(3600)), ..reminder };
//! let lost = backend.commit(Changes { messages: vec![reminder], ..Changes::default() }).await;
//! assert!(lost.unwrap_err().is_commit_unknown());
//!
//! // It has happened all the same, but nothing comes early.
//! let request = ClaimRequest::new("mail", WorkerId::generate(), Duration::from_secs(30), 10);
//! let claimed = backend.queue().claim(request.clone()).await?;
//! assert!(claimed.deliveries.is_empty() && claimed.next_due.is_some());
//! memory.advance(Duration::from_secs(3600));
//! let delivery = backend.queue().claim(request).await?.deliveries.remove(0);
//! backend.queue().settle(vec![Settle::new(delivery.lease, Settlement::Done)]).await?;
//!
//! History::new().nothing_else().drained("mail").check(&backend).await?.expect_clean();
//! # Ok::<(), mainspring_core::Error>(()) }).unwrap();
//! ```
//!
//! Unix only, as [`mainspring_embedded`] is.

pub mod memory;

pub mod conformance;
mod crash;
pub mod db;
mod dice;
pub mod given;
mod redis;
mod spans;
mod time;

pub mod faults;
pub mod history;

pub use {
    crash::{CrashEverywhere, Crashes, crash_everywhere},
    db::TestDb,
    dice::Dice,
    faults::{Action, ChildWorker, Cluster, ClusterOptions, Cut, Faults, FaultyBackend, Proxy},
    given::{given, given_documents, given_workflow},
    history::{History, Report, StepProblem, Violation},
    memory::MemoryBackend,
    redis::redis_server,
    spans::{Span, Spans},
    time::TimeTravel,
};
