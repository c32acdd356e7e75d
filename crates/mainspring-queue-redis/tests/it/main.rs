//! Postgres with a real Redis beside it, which is emptied, killed, frozen and filled up. The numbers are those of the fault list
//! (faults F62 to F68) and of the scenarios of a hybrid world.
//!
//! | scenario | here, unless another place is named |
//! |---|---|
//! | R01, R02 | `hybrid` and `on_hybrid` in every module of `mainspring-world`'s tests; `world` over two processes |
//! | R03, R04, R05 | `conformance::claims_leases_and_settlements`, which is that of the queue on Postgres |
//! | R06 | `given_up` of `mainspring-world`, `on_hybrid` too; `world::what_fails_for_good_ends_in_the_dead_letters_or_fails_its_run` |
//! | R07 | `world::a_run_that_cannot_be_marked_failed_keeps_its_message_until_it_can`, `given_up` of `mainspring-world` |
//! | R08 | `conformance::policies`, `conformance::keys` |
//! | R09 | `unreadable` |
//! | R10 | but for the count of lost workers (decision 016): `world::replies_keep_failures_delays_and_absence_apart`, `wake::a_message_that_is_due_later_is_announced_and_waits` |
//! | R11 | `world::messages_have_ids_keys_and_delays`, `conformance::keys` |
//! | R12 | `world::settings_come_from_options_then_the_environment_then_the_defaults` |
//! | R13 | `losses`, `commits`, `world::a_world_that_is_created_twice_and_set_up_twice_is_one_world_and_says_how_it_is` |
//! | R14 | the same |
//! | R15 | `losses`, and with processes that are killed `redis` in `tests/tests/it` |

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test may panic")]

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
use mainspring_queue_redis::{Redis, RedisOptions};
use mainspring_testing::{TestDb, redis_server as server};

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
