//! A process that may open few files, and whose log goes nowhere (fault F96).

use mainspring_tests::{Lab, PATIENCE};

use crate::WORKER;

#[tokio::test(flavor = "multi_thread")]
async fn with_too_few_files_and_nowhere_to_log_a_worker_goes_on() {
    // fault F96: some of its connections cannot be opened, and every line of its log is refused
    let lab = Lab::new().await;
    let ids = lab.create(&lab.engine(), 10).await;
    let folder = tempfile::tempdir().unwrap();
    let log = folder.path().join("log");
    let files = |limit: u32, log: &str| lab.child(WORKER).concurrency(8).starved(limit, log).spawn();
    let mut poor = files(15, log.to_str().unwrap());
    poor.line("ready", PATIENCE).await.unwrap();
    lab.over(&ids).await;
    let told = std::fs::read_to_string(&log).unwrap();
    assert!(told.contains("os error 24"), "there were files enough: {told}");
    poor.terminate().unwrap();
    assert!(poor.exit(PATIENCE).await.unwrap().success());

    let mut mute = files(15, "/dev/full");
    let more = lab.create(&lab.engine(), 10).await;
    lab.all_completed(&[ids, more].concat()).await;
    mute.terminate().unwrap();
    assert!(mute.exit(PATIENCE).await.unwrap().success());
}
