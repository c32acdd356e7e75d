//! Postgres with a real Redis beside it, which is emptied, killed, frozen and filled up. The numbers are those of the fault list
//! (F62 to F68) and of the scenarios of a hybrid world (R01 to R15).

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stderr,
    reason = "a test may panic, and says what it leaves out"
)]

mod commits;
mod conformance;
mod fleet;
mod kinds;
mod lean;
mod losses;
mod outputs;
mod unreadable;
mod wake;
mod wall;
mod world;

use std::sync::Arc;

use mainspring::{PgStoreOptions, PgStores, create_pg_stores};
use mainspring_embedded::{Error, RedisServer};
use mainspring_queue_redis::{Redis, RedisOptions};
use mainspring_testing::TestDb;

/// A Redis of the test's own; `None`, and a note why, where there is none. In CI there has to be one.
fn server(settings: &[&str]) -> Option<RedisServer> {
    match RedisServer::start_with(settings) {
        Err(error @ Error::NoRedis { .. }) if std::env::var_os("CI").is_none() => {
            eprintln!("NOT TESTED: {error}");
            None
        }
        started => Some(started.unwrap()),
    }
}

/// Redis under a prefix of this database's own.
fn redis(url: &str, db: &TestDb) -> Redis {
    let options = RedisOptions::parse(url).unwrap();
    Redis::new(RedisOptions { prefix: format!("{}:", db.name()), ..options }).unwrap()
}

/// What one process has: all stores, and its own connections to Redis.
fn process(url: &str, db: &TestDb) -> (PgStores<'static>, Redis) {
    let redis = redis(url, db);
    let options = PgStoreOptions {
        table_prefix: db.names().prefix().to_owned(),
        schema: db.names().schema().to_owned(),
        carrier: Some(Arc::new(redis.clone())),
        ..PgStoreOptions::default()
    };
    (create_pg_stores(db.pool(), options).unwrap(), redis)
}

/// A command by hand.
async fn say(url: &str, command: &[&str]) -> ::redis::RedisResult<::redis::Value> {
    let mut wire = ::redis::Client::open(url)?.get_multiplexed_async_connection().await?;
    ::redis::cmd(command[0]).arg(&command[1..]).query_async(&mut wire).await
}
