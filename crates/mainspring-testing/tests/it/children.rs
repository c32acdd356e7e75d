//! Processes that die at a point, stop and continue. The process is this test binary, run again for one ignored test.

use std::{process::Command, time::Duration};

use mainspring_core::{Backend, Changes};
use mainspring_testing::{ChildWorker, Faults, FaultyBackend, MemoryBackend, faults::VARIABLE};

const PATIENCE: Duration = Duration::from_secs(30);

fn start(faults: &str) -> ChildWorker {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--ignored", "--exact", "children::commit_for_ever", "--nocapture"]);
    ChildWorker::spawn(command.env(VARIABLE, faults).env("COMMIT_FOR_EVER", "yes")).unwrap()
}

#[tokio::test]
#[ignore = "run by the other tests of this file, as a process of its own"]
#[allow(clippy::print_stdout, reason = "this is how it tells its parent")]
async fn commit_for_ever() {
    if std::env::var_os("COMMIT_FOR_EVER").is_none() {
        return;
    }
    let backend = FaultyBackend::new(MemoryBackend::new(), Faults::from_env().unwrap());
    for n in 1.. {
        let result = backend.commit(Changes::default()).await;
        println!("commit {n} ok={}", result.is_ok());
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}

#[tokio::test]
async fn a_process_aborts_at_its_point() {
    let mut child = start("commit.after=abort@3");
    child.line("hit commit.after", PATIENCE).await.unwrap();
    assert!(!child.exit(PATIENCE).await.unwrap().success());
    assert!(child.next_line("never", PATIENCE).await.unwrap_err().is_retryable());
    let committed = child.lines().iter().filter(|line| line.starts_with("commit ")).count();
    assert_eq!(committed, 2, "{child:?}");
}

#[tokio::test]
async fn a_process_stops_itself_and_is_let_continue() {
    let mut child = start("commit.before=stop@2");
    child.line("hit commit.before", PATIENCE).await.unwrap();
    let more = child.next_line("commit 2", Duration::from_millis(200)).await;
    assert!(more.is_err(), "it is stopped");
    child.cont().unwrap();
    child.next_line("commit 2 ok=true", PATIENCE).await.unwrap();
}

#[tokio::test]
async fn a_process_is_stopped_continued_and_killed() {
    let mut child = start("");
    child.line("commit 1 ", PATIENCE).await.unwrap();
    child.stop().unwrap();
    while child.next_line("commit", Duration::from_millis(200)).await.is_ok() {}
    child.cont().unwrap();
    child.next_line("commit", PATIENCE).await.unwrap();
    child.kill9().unwrap();
    assert!(!child.exit(PATIENCE).await.unwrap().success());
    assert!(child.stop().is_err());
}

#[tokio::test]
async fn a_process_that_cannot_be_run_is_told() {
    let error = ChildWorker::spawn(&mut Command::new("/nowhere/to/be/found")).unwrap_err();
    assert!(error.to_string().contains("/nowhere"), "{error}");
}
