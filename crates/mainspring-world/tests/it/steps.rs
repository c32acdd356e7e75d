//! Steps.

use std::time::Duration;

use mainspring_core::{ErrorKind, NewMessage, Timestamp};
use mainspring_world::{EventType::*, Fact, Fault, Order, Paging, Resolve, RunEvent, Step, StepStatus};
use serde_json::json;

use crate::ground::{Ground, cancel, claim_step, complete, complete_step, create_step, on_both, start_step};

on_both! {
    a_step_is_created_and_found
    a_step_lives_and_is_counted
    steps_are_listed_in_pages
    a_step_waits_for_its_time
    the_first_to_begin_a_step_has_it
    nothing_new_begins_when_a_run_is_over
    a_step_and_its_message_are_one_commit
}

fn retry(step: &str, after: Option<mainspring_core::Timestamp>) -> RunEvent {
    RunEvent::about(step, Fact::StepRetrying { error: Fault::new("later"), retry_after: after })
}

async fn a_step_is_created_and_found(ground: Ground) {
    // W06
    let run = ground.running().await;
    let step = ground.does(&run, create_step("step_1")).await.step.unwrap();
    assert_eq!((step.status, step.attempt, step.step_name.as_str()), (StepStatus::Pending, 0, "plus"));
    let steps = ground.storage.steps();
    assert_eq!(
        steps.get(Some(&run), "step_1", Resolve::All).await.map(timeless).unwrap(),
        timeless(step.clone())
    );
    assert_eq!(steps.get(None, "step_1", Resolve::All).await.map(timeless).unwrap(), timeless(step));
    assert!(steps.get(Some(&run), "step_2", Resolve::All).await.unwrap_err().is_not_found());
    assert!(steps.get(None, "step_2", Resolve::All).await.unwrap_err().is_not_found());
    assert!(ground.refuses(&run, create_step("step_1")).await.is_conflict());
    assert!(ground.elsewhere().refuses(&run, create_step("step_1")).await.is_conflict());
}

async fn a_step_lives_and_is_counted(ground: Ground) {
    // W07, W27
    let run = ground.running().await;
    ground.does(&run, create_step("s")).await;
    let begun = ground.does(&run, start_step("s")).await.step.unwrap();
    assert_eq!((begun.status, begun.attempt, &begun.input), (StepStatus::Running, 1, &Some(json!([1, 2]))));
    let failed = ground.does(&run, retry("s", None)).await.step.unwrap();
    assert_eq!((failed.status, failed.error), (StepStatus::Pending, Some(Fault::new("later"))));
    let elsewhere = ground.elsewhere();
    let first = elsewhere.storage.steps().get(Some(&run), "s", Resolve::All).await.unwrap().started_at;
    let again = elsewhere.does(&run, start_step("s")).await.step.unwrap();
    assert_eq!((again.attempt, again.started_at), (2, first));
    ground.does(&run, complete_step("s", json!(3))).await;
    let stored = ground.storage.steps().get(Some(&run), "s", Resolve::All).await.unwrap();
    assert_eq!((stored.status, stored.output, stored.attempt), (StepStatus::Completed, Some(json!(3)), 2));
    assert!(stored.completed_at >= stored.started_at);
    for event in [start_step("s"), complete_step("s", json!(4)), retry("s", None)] {
        assert!(ground.refuses(&run, event.clone()).await.is_conflict());
        assert!(elsewhere.refuses(&run, event).await.is_conflict());
    }
    ground.does(&run, claim_step("bad")).await;
    ground.does(&run, RunEvent::about("bad", Fact::StepFailed { error: Fault::new("never") })).await;
    let bad = ground.storage.steps().get(Some(&run), "bad", Resolve::All).await.unwrap();
    assert_eq!((bad.status, bad.error), (StepStatus::Failed, Some(Fault::new("never"))));
}

async fn steps_are_listed_in_pages(ground: Ground) {
    // W08, W35
    let run = ground.running().await;
    for n in 0..5 {
        ground.does(&run, create_step(&format!("s{n}"))).await;
    }
    let steps = ground.storage.steps();
    let names = |page: mainspring_world::Page<mainspring_world::Step>| {
        page.data.into_iter().map(|step| step.step_id).collect::<Vec<_>>()
    };
    let first = steps.list(&run, &Paging::limit(2), Resolve::All).await.unwrap();
    let cursor = first.cursor.clone();
    assert_eq!((first.has_more, names(first)), (true, vec!["s4".to_owned(), "s3".into()]));
    let second = steps.list(&run, &Paging::limit(2).after(cursor), Resolve::All).await.unwrap();
    assert_eq!(names(second), ["s2", "s1"]);
    let oldest = Paging::limit(1).order(Order::Ascending);
    assert_eq!(names(steps.list(&run, &oldest, Resolve::None).await.unwrap()), ["s0"]);
    let bare = steps.list(&run, &Paging::default(), Resolve::None).await.unwrap();
    assert!(bare.data.iter().all(|step| step.input.is_none()));
}

async fn a_step_waits_for_its_time(ground: Ground) {
    // W28
    let run = ground.running().await;
    ground.does(&run, claim_step("s")).await;
    let now = ground.backend.now();
    ground.does(&run, retry("s", Some(now + Duration::from_secs(3600)))).await;
    let error = ground.refuses(&run, start_step("s")).await;
    assert_eq!(error.kind(), ErrorKind::TooEarly);
    let wait = error.retry_after().unwrap();
    assert!(wait > Duration::from_secs(3500) && wait <= Duration::from_secs(3601), "{wait:?}");
    ground.does(&run, claim_step("t")).await;
    ground.does(&run, retry("t", Some(now))).await;
    assert_eq!(ground.does(&run, start_step("t")).await.step.unwrap().attempt, 2);
}

async fn the_first_to_begin_a_step_has_it(ground: Ground) {
    // W29
    let run = ground.running().await;
    let other = ground.elsewhere();
    let (here, there) =
        tokio::join!(ground.attempt(&run, claim_step("s")), other.attempt(&run, claim_step("s")));
    let won: Vec<_> = [here, there].into_iter().filter_map(Result::ok).collect();
    assert_eq!(won.len(), 1);
    assert_eq!(won[0].step.as_ref().unwrap().attempt, 1);
    assert!(ground.refuses(&run, claim_step("s")).await.is_conflict());
    assert_eq!(ground.log(&run).await, [RunCreated, RunStarted, StepCreated, StepStarted]);
}

async fn nothing_new_begins_when_a_run_is_over(ground: Ground) {
    // W26, W27
    let run = ground.running().await;
    ground.does(&run, claim_step("running")).await;
    ground.does(&run, create_step("pending")).await;
    ground.does(&run, complete(json!(1))).await;
    let other = ground.elsewhere();
    assert!(other.refuses(&run, create_step("new")).await.is_conflict());
    assert!(other.refuses(&run, start_step("pending")).await.is_expired());
    assert!(other.refuses(&run, claim_step("new")).await.is_expired());
    let ended = other.does(&run, complete_step("running", json!(9))).await;
    assert_eq!(ended.step.unwrap().status, StepStatus::Completed);
    // By a process that has not heard of it.
    assert!(ground.refuses(&run, complete_step("running", json!(9))).await.is_conflict());
    let stored = ground.storage.steps().get(Some(&run), "running", Resolve::All).await.unwrap();
    assert_eq!(stored.output, Some(json!(9)));
    assert_eq!(ground.log(&run).await.last(), Some(&StepCompleted));
    let cancelled = ground.running().await;
    ground.does(&cancelled, cancel()).await;
    assert!(ground.refuses(&cancelled, create_step("s")).await.is_conflict());
}

async fn a_step_and_its_message_are_one_commit(ground: Ground) {
    // W45
    let run = ground.running().await;
    let message = || vec![NewMessage::new("steps", "step", json!({"stepId": "s"}))];
    let events = ground.storage.events();
    events.create_with(Some(&run), create_step("s"), message()).await.unwrap();
    assert_eq!(ground.backend.queue().stats("steps").await.unwrap().ready, 1);
    assert!(events.create_with(Some(&run), create_step("s"), message()).await.is_err());
    assert_eq!(ground.backend.queue().stats("steps").await.unwrap().ready, 1);
    // One that cannot be pushed takes its event with it, and nobody else's.
    let mut bad = message();
    bad[0].key = Some("needs a queue that was created".to_owned());
    let (bad, good) = tokio::join!(
        events.create_with(Some(&run), create_step("bad"), bad),
        events.create_with(Some(&run), create_step("good"), message()),
    );
    assert!(bad.unwrap_err().is_invalid());
    good.unwrap();
    assert!(ground.storage.steps().get(Some(&run), "bad", Resolve::All).await.is_err());
    assert_eq!(ground.backend.queue().stats("steps").await.unwrap().ready, 2);
}

/// What was answered and what is stored may differ by the microseconds within a commit.
fn timeless(step: Step) -> Step {
    Step { created_at: Timestamp::MIN, updated_at: Timestamp::MIN, ..step }
}
