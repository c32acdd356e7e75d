//! Resume tokens on Postgres: 256-bit secrets, hashed at rest, spent once.
//!
//! Useful alone: it needs a [`Db`](mainspring_pg::Db), the migrations, and the row of the execution a token wakes.
//!
//! ```text
//! pending ──mark_used──► used      pending ──revoke──► revoked      pending ──its time is over──► expired
//! ```
//!
//! Spending is one conditional update, so of any number of callers exactly one is told `true`; a check beforehand tells
//! nothing. The database's clock decides expiry: a token past its time shows as expired everywhere at that moment, and
//! `cleanup_expired` only writes down what is true already.
//!
//! ```
//! use std::time::Duration;
//! use mainspring_core::{Execution, ExecutionId, ExecutionStore, TokenOptions, TokenSecret, TokenStore};
//! use mainspring_executions::PgExecutionStore;
//! use mainspring_tokens::PgTokenStore;
//!
//! # #[tokio::main(flavor = "current_thread")] async fn main() -> mainspring_core::Result<()> {
//! # let test = mainspring_testing::TestDb::new().await; let db = test.db();
//! let order = ExecutionId::new("order-42")?;
//! PgExecutionStore::new(&db).create(Execution::new(order.clone(), "order", "1.0.0", "approve")).await?;
//!
//! let tokens = PgTokenStore::new(&db);
//! let options = TokenOptions { expires_in: Some(Duration::from_secs(3600)), ..TokenOptions::default() };
//! let (secret, token) = tokens.generate(&order, "approve", options).await?;
//! assert_eq!(token.step_id, "approve");
//!
//! // The text goes into a link; whoever opens it hands it back.
//! let secret: TokenSecret = secret.reveal().parse()?;
//! assert!(tokens.mark_used(&secret).await?);
//! assert!(!tokens.mark_used(&secret).await?);
//! assert_eq!(tokens.validate(&secret).await?, Some("token already used"));
//! # Ok(()) }
//! ```
//!
//! [`create_query`], [`consume_query`] and [`revoke_all_query`] are the same writes as values, for many tokens in one
//! statement.

mod row;
mod store;
mod write;

pub use store::PgTokenStore;

// The statements of these tables, for the one transaction in which the crate `mainspring` commits: nobody's API.
#[doc(hidden)]
pub use write::{consume_query, create_query, decode_consumed, revoke_all_query};
