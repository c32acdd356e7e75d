//! A process of a trace: see `mainspring_tests::traced`.

use std::error::Error;

#[tokio::main(flavor = "multi_thread", worker_threads = 2)]
async fn main() -> Result<(), Box<dyn Error>> {
    mainspring_tests::traced::traced().await
}
