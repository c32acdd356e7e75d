//! Waits.

use std::time::Duration;

use mainspring_world::{EventType::*, Fact, Paging, RunEvent, WaitStatus};

use crate::ground::{Ground, cancel, on_both};

on_both! {
    a_wait_is_over_once
    a_wait_may_be_over_after_its_run
}

async fn a_wait_is_over_once(ground: Ground) {
    // W34
    let run = ground.running().await;
    let at = ground.backend.now() + Duration::from_secs(60);
    let create = || RunEvent::about("wait_1", Fact::WaitCreated { resume_at: at });
    let done = || RunEvent::about("wait_1", Fact::WaitCompleted {});
    let wait = ground.does(&run, create()).await.wait.unwrap();
    assert_eq!((wait.status, wait.resume_at), (WaitStatus::Waiting, at));
    assert!(ground.refuses(&run, create()).await.is_conflict());
    let other = ground.elsewhere();
    let (one, two) = tokio::join!(ground.attempt(&run, done()), other.attempt(&run, done()));
    let refused: Vec<_> = [one, two].into_iter().filter_map(Result::err).collect();
    assert_eq!(refused.len(), 1);
    assert!(refused[0].is_conflict());
    let stored = other.storage.waits().get(&run, "wait_1").await.unwrap();
    assert_eq!(stored.status, WaitStatus::Completed);
    assert_eq!(other.storage.waits().list(&run, &Paging::default()).await.unwrap().data, [stored]);
    assert!(ground.storage.waits().get(&run, "wait_2").await.unwrap_err().is_not_found());
    assert_eq!(ground.log(&run).await[2..], [WaitCreated, WaitCompleted]);
}

async fn a_wait_may_be_over_after_its_run(ground: Ground) {
    // W26, W34
    let run = ground.running().await;
    let at = ground.backend.now();
    ground.does(&run, RunEvent::about("w", Fact::WaitCreated { resume_at: at })).await;
    ground.does(&run, cancel()).await;
    let done = || RunEvent::about("w", Fact::WaitCompleted {});
    ground.elsewhere().does(&run, done()).await;
    assert!(ground.refuses(&run, done()).await.is_conflict());
    assert!(
        ground.refuses(&run, RunEvent::about("x", Fact::WaitCreated { resume_at: at })).await.is_conflict()
    );
}
