//! The only Mainspring crate that knows pools, prefixes, SQLSTATE, LISTEN and migrations.
//!
//! ```text
//! Settings ──pool()──► Pool ─┐
//!                            ├─► Db ── run / all / opt / one / exec      one statement
//! Names (schema, prefix) ────┘    ├── with_tx(async |tx| ..)             a closure in one transaction
//!                                 ├── begin(first) ──► Flight ── commit  two round trips, pipelined
//!                                 ├── attempt(query)                     one statement that is its own transaction
//!                                 ├── look(queries)                      reads in one round trip, each with its own snapshot
//!                                 └── on(&tx)                            the caller's own transaction
//! Migrator                        creates and checks the tables          Hints   wakes whoever waits for a queue
//! ```
//!
//! The rules every function here keeps:
//!
//! 1. Every wait has a deadline, and a connection whose answer did not come is thrown away, never reused.
//! 2. A connection with an open transaction never goes back to the pool.
//! 3. COMMIT is never raced against anything. When its answer is lost, the transaction's id is looked up on another
//!    connection; only when that fails too the caller hears [`CommitUnknown`](mainspring_core::ErrorKind::CommitUnknown).
//!    An `attempt` has no id: whoever makes one finds out from the rows.
//! 4. No error, no `Debug` and no log line carries a password or the value of a parameter.

mod attempt;
mod board;
mod carrier;
mod clock;
mod column;
mod connect;
mod copy;
mod db;
mod error;
mod flight;
mod grants;
mod held;
mod hints;
mod history;
mod idle;
mod incarnation;
mod jitter;
mod listener;
mod look;
mod migrate;
mod names;
mod outbox;
mod passfile;
mod query;
pub mod row;
mod settings;
mod share;
mod sqlstate;
mod startup;
mod statements;
mod tls;
mod together;
mod tx;
mod url;
mod verify;

pub use attempt::Attempt;
pub use board::{Call, Subscription};
pub use carrier::{Carrier, Heard, Hint};
pub use clock::Clock;
pub use column::Column;
pub use connect::{Session, pool, pool_with};
pub use copy::{CopyRow, CopyType};
pub use db::{Db, Deadlines, TxRef};
pub use error::{Driver, constraint, is_transient};
pub use flight::Flight;
pub use hints::{AfterCommit, Hints, hint_name};
pub use history::{Applied, MigrationState, Status};
pub use idle::IdleCloser;
pub use jitter::{backoff, pause_about};
pub use migrate::{Migrator, Mode, Planned, schema_version, up_with};
pub use names::{Names, Prefix, Schema};
pub use query::Query;
pub use settings::Settings;
pub use share::{Batch, Share};
pub use sqlstate::{Class, classify};
pub use statements::Statements;
pub use tls::SslMode;
pub use tx::AsyncFunc;

pub use deadpool_postgres::Pool;
pub use tokio_postgres::{
    Row,
    types::{FromSql, ToSql},
};
