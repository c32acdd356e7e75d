//! Postgres and memory are held to the same suites.

use mainspring_testing::conformance;

#[tokio::test]
async fn the_stores_on_postgres_pass_every_suite_but_those_of_the_queue() {
    conformance::all_but_queue(crate::fresh).await;
}

#[tokio::test]
async fn the_queue_on_postgres_passes_its_suite() {
    conformance::queue::suite(crate::fresh).await;
}

#[tokio::test]
async fn the_policies_of_queues_on_postgres_pass_their_suite() {
    conformance::queue::policies::suite(crate::fresh).await;
}

#[tokio::test]
async fn the_keys_of_messages_on_postgres_pass_their_suite() {
    conformance::queue::keys::suite(crate::fresh).await;
}

#[tokio::test]
async fn the_messages_that_wait_for_others_on_postgres_pass_their_suite() {
    conformance::queue::parents::suite(crate::fresh).await;
}

#[tokio::test]
async fn the_heartbeats_of_messages_on_postgres_pass_their_suite() {
    conformance::queue::beats::suite(crate::fresh).await;
}

#[tokio::test]
async fn the_ends_of_messages_on_postgres_pass_their_suite() {
    conformance::queue::ends::suite(crate::fresh).await;
}

#[tokio::test]
async fn the_queues_as_rows_on_postgres_pass_their_suite() {
    conformance::queue::admin::suite(crate::fresh).await;
}

#[tokio::test]
async fn random_histories_of_queues_on_postgres_keep_to_the_model() {
    conformance::queue::random::suite(crate::fresh, 3).await;
}

#[tokio::test]
async fn dead_holders_on_postgres_keep_nobody_back() {
    conformance::queue::deaths::suite(crate::fresh).await;
}
