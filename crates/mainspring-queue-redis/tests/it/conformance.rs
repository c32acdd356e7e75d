//! The queue beside Redis is held to the suites of the queue on Postgres (R03 to R08, R11).

use mainspring_embedded::RedisServer;
use mainspring_testing::{TestDb, conformance};

use crate::{process, server};

async fn with_redis(suite: impl AsyncFnOnce(&RedisServer)) {
    if let Some(server) = server(&[]) {
        suite(&server).await;
    }
}

macro_rules! suites {
    ($($name:ident: $suite:path;)*) => {$(
        #[tokio::test]
        async fn $name() {
            with_redis(async |server| {
                $suite(async || {
                    let db = TestDb::new().await;
                    (process(server.url(), &db).0, db)
                }).await;
            }).await;
        }
    )*};
}

suites! {
    claims_leases_and_settlements: conformance::queue::suite;
    policies: conformance::queue::policies::suite;
    keys: conformance::queue::keys::suite;
    messages_that_wait_for_others: conformance::queue::parents::suite;
    heartbeats: conformance::queue::beats::suite;
    ends: conformance::queue::ends::suite;
    queues_as_rows: conformance::queue::admin::suite;
    dead_holders: conformance::queue::deaths::suite;
    commits: conformance::commit::suite;
    outputs: conformance::outputs::suite;
}
