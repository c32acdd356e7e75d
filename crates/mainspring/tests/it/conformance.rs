//! Postgres and memory are held to the same suites.

use mainspring_testing::conformance;

#[tokio::test]
async fn the_stores_on_postgres_pass_every_suite() {
    conformance::all(crate::fresh).await;
}
