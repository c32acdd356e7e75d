//! A process that may open few files, and whose log goes nowhere (fault F96).

use mainspring_tests::{Lab, PATIENCE, until};

use crate::WORKER;

#[tokio::test(flavor = "multi_thread")]
async fn with_too_few_files_and_nowhere_to_log_a_worker_goes_on() {
    // fault F96: some of its connections cannot be opened, and every line of its log is refused
    let lab = Lab::new().await;
    let engine = lab.engine();
    let mut ids = lab.create(&engine, 10).await;
    let folder = tempfile::tempdir().unwrap();
    let log = folder.path().join("log");
    let files = |log: &str| lab.child(WORKER).concurrency(8).starved(2, log).spawn();
    let mut poor = files(log.to_str().unwrap());
    poor.line("ready", PATIENCE).await.unwrap();
    until("a file it cannot open", async || {
        ids.extend(lab.create(&engine, 10).await);
        std::fs::read_to_string(&log).unwrap().contains("os error 24")
    })
    .await;
    lab.over(&ids).await;
    poor.terminate().unwrap();
    assert!(poor.exit(PATIENCE).await.unwrap().success());

    let mut mute = files("/dev/full");
    ids.extend(lab.create(&engine, 10).await);
    lab.all_completed(&ids).await;
    mute.terminate().unwrap();
    assert!(mute.exit(PATIENCE).await.unwrap().success());
}
