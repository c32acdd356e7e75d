//! The stores together, on a real Postgres: the conformance suites, the one commit, the caller's own transaction.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod alike;
mod append_calls;
mod budget;
mod calls;
mod commit;
mod conformance;
mod emits;
mod event_workflows;
mod examples;
mod from_env;
mod machine_memory;
mod operating;
mod reactions;
mod retention;
mod scale;
mod sessions;
mod telemetry;
mod transactions;
mod tx_faults;
mod upkeep;
mod views;
mod workflows;

use mainspring::{PgStoreOptions, PgStores, create_pg_stores};
use mainspring_testing::TestDb;

/// All stores on a database of their own.
async fn fresh() -> (PgStores<'static>, TestDb) {
    on(TestDb::new().await)
}

fn on(db: TestDb) -> (PgStores<'static>, TestDb) {
    let names = db.names();
    let options = PgStoreOptions {
        table_prefix: names.prefix().to_owned(),
        schema: names.schema().to_owned(),
        ..PgStoreOptions::default()
    };
    (create_pg_stores(db.pool(), options).unwrap(), db)
}
