//! What every [`JobStore`](mainspring_core::JobStore) does.

use futures_util::future::join_all;
use mainspring_core::{Backend, Failure, Job, JobFilter, JobStatus, MessageId, Progress, Reply};
use serde_json::json;

use super::{
    make::{LEASE, created, hours, id, job, object, secs, worker},
    on, on_time,
};
use crate::TimeTravel;

/// All cases.
pub async fn suite<B: Backend, T: TimeTravel>(fresh: impl AsyncFn() -> (B, T)) {
    on(&fresh, every_column_survives).await;
    on(&fresh, a_taken_id_is_refused).await;
    on(&fresh, a_job_needs_its_execution).await;
    on(&fresh, sixteen_claims_have_one_winner).await;
    on(&fresh, a_claim_counts_and_its_end_is_recorded).await;
    on(&fresh, a_failure_is_tried_again_until_the_attempts_are_used_up).await;
    on(&fresh, a_superseded_claim_writes_nothing).await;
    on(&fresh, checkpoints_stand_beside_each_other).await;
    on(&fresh, a_checkpoint_survives_its_worker).await;
    on(&fresh, a_live_holder_keeps_its_job).await;
    on_time(&fresh, how_long_a_holder_lives_is_known).await;
    on(&fresh, progress_is_kept_and_checked).await;
    on_time(&fresh, a_silent_job_is_found_and_taken_back).await;
    on_time(&fresh, a_job_that_stalls_on_its_last_attempt_fails).await;
    on_time(&fresh, a_dead_holder_loses_its_job).await;
    on_time(&fresh, jobs_are_listed_oldest_first).await;
    on_time(&fresh, old_jobs_are_deleted).await;
}

async fn new(backend: &dyn Backend, change: impl FnOnce(&mut Job)) -> Job {
    if backend.executions().get(&id("e")).await.unwrap().is_none() {
        created(backend, "e").await;
    }
    let mut job = job("e");
    change(&mut job);
    backend.jobs().create(job).await.unwrap()
}

async fn claimed(backend: &dyn Backend, job: &Job, by: &str) -> Job {
    backend.jobs().claim(&job.id, &worker(by)).await.unwrap().expect("it is pending")
}

async fn now(backend: &dyn Backend, job: &Job) -> Job {
    backend.jobs().get(&job.id).await.unwrap().unwrap()
}

fn failure() -> Failure {
    Failure::new("BOOM", "it failed")
}

/// scenario F51
pub async fn every_column_survives(backend: &dyn Backend) {
    let reply = Reply { message: MessageId::generate(), to: id("e"), queue: "billing".into(), inbox: None };
    let given = |job: &mut Job| {
        job.tenant = "acme".into();
        job.stalled_after_ms = 1_234;
        job.max_attempts = 7;
        job.checkpoint = object(json!({"page": 3}));
        job.reply = Some(reply);
    };
    let stored = new(backend, given).await;
    assert_eq!(now(backend, &stored).await, stored);
    assert_eq!((stored.tenant.as_str(), stored.stalled_after_ms, stored.max_attempts), ("acme", 1_234, 7));
    assert_eq!((stored.step_id.as_str(), stored.handler.as_str()), ("charge", "charge-card"));
    assert_eq!((&stored.input, &stored.checkpoint["page"]), (&json!({"amount": 5}), &json!(3)));
    assert_eq!(stored.reply.as_ref().unwrap().queue, "billing");
    assert_eq!((stored.status, stored.attempts, stored.lost), (JobStatus::Pending, 0, 0));
    assert!(stored.created_at <= stored.updated_at && stored.finished_at.is_none());
    assert!(backend.jobs().get(&mainspring_core::JobId::generate()).await.unwrap().is_none());
}

/// The second create changes nothing.
pub async fn a_taken_id_is_refused(backend: &dyn Backend) {
    let first = new(backend, |_| {}).await;
    let second = Job { handler: "other".into(), ..first.clone() };
    assert!(backend.jobs().create(second).await.unwrap_err().is_conflict());
    assert_eq!(now(backend, &first).await, first);
}

/// No job without its execution.
pub async fn a_job_needs_its_execution(backend: &dyn Backend) {
    let orphan = job("nobody");
    assert!(backend.jobs().create(orphan.clone()).await.is_err());
    assert!(backend.jobs().get(&orphan.id).await.unwrap().is_none());
}

/// scenario F51
pub async fn sixteen_claims_have_one_winner(backend: &dyn Backend) {
    let job = new(backend, |_| {}).await;
    let workers: Vec<_> = (0..16).map(|n| worker(&format!("w{n}"))).collect();
    let claims = join_all(workers.iter().map(|w| backend.jobs().claim(&job.id, w))).await;
    assert_eq!(claims.iter().filter(|claim| claim.as_ref().unwrap().is_some()).count(), 1);
    assert_eq!(now(backend, &job).await.attempts, 1);
}

/// scenario F51
pub async fn a_claim_counts_and_its_end_is_recorded(backend: &dyn Backend) {
    let job = new(backend, |_| {}).await;
    let held = claimed(backend, &job, "w").await;
    assert_eq!((held.status, held.attempts, held.lost), (JobStatus::Running, 1, 0));
    assert_eq!((held.holder.clone(), held.heartbeat_at.is_some()), (Some(worker("w")), true));
    assert!(backend.jobs().claim(&job.id, &worker("other")).await.unwrap().is_none());
    assert!(backend.jobs().heartbeat(&held.lease()).await.unwrap());
    assert!(backend.jobs().complete(&held.lease(), json!({"ok": true})).await.unwrap());
    let ended = now(backend, &job).await;
    assert_eq!((ended.status, ended.result), (JobStatus::Completed, Some(json!({"ok": true}))));
    assert_eq!((ended.holder, ended.heartbeat_at), (None, None));
    assert!(ended.finished_at.is_some());
    assert!(backend.jobs().claim(&job.id, &worker("w")).await.unwrap().is_none());
    assert!(!backend.jobs().complete(&held.lease(), json!(2)).await.unwrap());
    assert!(backend.jobs().fail(&held.lease(), failure()).await.unwrap().is_none());
}

/// scenario F51; `max_attempts` counts the first run.
pub async fn a_failure_is_tried_again_until_the_attempts_are_used_up(backend: &dyn Backend) {
    let job = new(backend, |job| job.max_attempts = 2).await;
    let first = claimed(backend, &job, "w").await;
    assert_eq!(backend.jobs().fail(&first.lease(), failure()).await.unwrap(), Some(JobStatus::Pending));
    let waiting = now(backend, &job).await;
    assert_eq!((waiting.status, waiting.holder, waiting.finished_at), (JobStatus::Pending, None, None));
    assert_eq!(waiting.error, Some(failure()));
    let second = claimed(backend, &job, "w").await;
    assert!(second.token > first.token && second.attempts == 2);
    assert_eq!(backend.jobs().fail(&second.lease(), failure()).await.unwrap(), Some(JobStatus::Failed));
    assert!(now(backend, &job).await.finished_at.is_some());
    assert!(backend.jobs().claim(&job.id, &worker("w")).await.unwrap().is_none());
}

/// scenario F53: the same worker with an older claim is nobody.
pub async fn a_superseded_claim_writes_nothing(backend: &dyn Backend) {
    let job = new(backend, |_| {}).await;
    let old = claimed(backend, &job, "w").await;
    backend.jobs().fail(&old.lease(), failure()).await.unwrap();
    claimed(backend, &job, "w").await;
    let before = now(backend, &job).await;
    let (jobs, lease) = (backend.jobs(), old.lease());
    assert!(!jobs.heartbeat(&lease).await.unwrap());
    assert!(!jobs.complete(&lease, json!(1)).await.unwrap());
    assert!(jobs.fail(&lease, failure()).await.unwrap().is_none());
    assert!(!jobs.save_checkpoint(&lease, "k", json!(1)).await.unwrap());
    assert!(!jobs.clear_checkpoint(&lease, None).await.unwrap());
    assert!(!jobs.update_progress(&lease, Progress { percent: 1, message: String::new() }).await.unwrap());
    assert_eq!(now(backend, &job).await, before);
}

/// Saving one leaves the others, and so does clearing one.
pub async fn checkpoints_stand_beside_each_other(backend: &dyn Backend) {
    let job = new(backend, |_| {}).await;
    let lease = claimed(backend, &job, "w").await.lease();
    for (key, value) in [("a", json!(1)), ("b", json!({"n": [2]})), ("a", json!(3))] {
        assert!(backend.jobs().save_checkpoint(&lease, key, value).await.unwrap());
    }
    assert_eq!(now(backend, &job).await.checkpoint, object(json!({"a": 3, "b": {"n": [2]}})));
    assert!(backend.jobs().clear_checkpoint(&lease, Some("a")).await.unwrap());
    assert!(backend.jobs().clear_checkpoint(&lease, Some("nothing")).await.unwrap());
    assert_eq!(now(backend, &job).await.checkpoint, object(json!({"b": {"n": [2]}})));
    assert!(backend.jobs().clear_checkpoint(&lease, None).await.unwrap());
    assert!(now(backend, &job).await.checkpoint.is_empty());
}

/// scenario F53
pub async fn a_checkpoint_survives_its_worker(backend: &dyn Backend) {
    let job = new(backend, |_| {}).await;
    let first = claimed(backend, &job, "dead").await;
    backend.jobs().save_checkpoint(&first.lease(), "page", json!(7)).await.unwrap();
    let second =
        backend.jobs().take_over(&job.id, &worker("next")).await.unwrap().expect("its holder is not alive");
    assert_eq!((second.checkpoint["page"].clone(), second.attempts, second.lost), (json!(7), 2, 1));
    assert!(second.token > first.token);
    assert!(!backend.jobs().save_checkpoint(&first.lease(), "page", json!(8)).await.unwrap());
    assert!(backend.jobs().save_checkpoint(&second.lease(), "page", json!(9)).await.unwrap());
    assert_eq!(now(backend, &job).await.checkpoint["page"], json!(9));
}

/// Only the dead are inherited from.
pub async fn a_live_holder_keeps_its_job(backend: &dyn Backend) {
    backend.queue().register(&worker("alive"), LEASE).await.unwrap();
    let job = new(backend, |_| {}).await;
    let held = claimed(backend, &job, "alive").await;
    assert!(backend.jobs().take_over(&job.id, &worker("next")).await.unwrap().is_none());
    assert_eq!(now(backend, &job).await, held);
    let pending = new(backend, |_| {}).await;
    let taken = backend.jobs().take_over(&pending.id, &worker("next")).await.unwrap().expect("it is pending");
    assert_eq!((taken.attempts, taken.lost), (1, 0));
}

/// As long as it says, and not at all without a liveness row.
pub async fn how_long_a_holder_lives_is_known(backend: &dyn Backend, time: &dyn TimeTravel) {
    let (job, other) = (new(backend, |_| {}).await, new(backend, |_| {}).await);
    let until = async |job: &Job| backend.jobs().held_until(&job.id).await.unwrap();
    backend.queue().register(&worker("alive"), LEASE).await.unwrap();
    assert_eq!(until(&job).await, None, "it is pending");
    claimed(backend, &job, "alive").await;
    claimed(backend, &other, "nobody").await;
    assert_eq!(until(&other).await, None);
    let first = until(&job).await.expect("its holder is alive");
    time.advance(LEASE / 2).await;
    assert_eq!(until(&job).await, Some(first));
    backend.queue().extend(&worker("alive"), LEASE).await.unwrap();
    assert!(until(&job).await.expect("it is alive") >= first + LEASE / 2);
    time.advance(LEASE + secs(1)).await;
    assert_eq!(until(&job).await, None);
}

/// 0 to 100, with words.
pub async fn progress_is_kept_and_checked(backend: &dyn Backend) {
    let job = new(backend, |_| {}).await;
    let lease = claimed(backend, &job, "w").await.lease();
    let half = Progress { percent: 50, message: "half".into() };
    assert!(backend.jobs().update_progress(&lease, half.clone()).await.unwrap());
    let wrong = Progress { percent: 101, message: String::new() };
    assert!(backend.jobs().update_progress(&lease, wrong).await.unwrap_err().is_invalid());
    assert_eq!(now(backend, &job).await.progress, Some(half));
}

/// scenario F51
pub async fn a_silent_job_is_found_and_taken_back(backend: &dyn Backend, time: &dyn TimeTravel) {
    let (first, second) = (new(backend, |_| {}).await, new(backend, |_| {}).await);
    let silent = claimed(backend, &first, "w").await;
    let beating = claimed(backend, &second, "w").await;
    time.advance(secs(80)).await;
    assert!(backend.jobs().find_stalled(10).await.unwrap().is_empty());
    assert!(backend.jobs().reset_stalled(&first.id).await.unwrap().is_none());
    assert!(backend.jobs().heartbeat(&beating.lease()).await.unwrap());
    time.advance(secs(20)).await;
    let stalled = backend.jobs().find_stalled(10).await.unwrap();
    assert_eq!(stalled.iter().map(|job| &job.id).collect::<Vec<_>>(), [&first.id]);
    assert_eq!(backend.jobs().reset_stalled(&first.id).await.unwrap(), Some(JobStatus::Pending));
    assert!(backend.jobs().reset_stalled(&first.id).await.unwrap().is_none());
    assert!(!backend.jobs().complete(&silent.lease(), json!(1)).await.unwrap());
    time.advance(hours(1)).await;
    claimed(backend, &first, "w").await;
    time.advance(hours(1)).await;
    let stalled = backend.jobs().find_stalled(10).await.unwrap();
    assert_eq!(stalled.iter().map(|job| &job.id).collect::<Vec<_>>(), [&second.id, &first.id]);
}

/// scenario F51: a job that hangs its worker each time runs out, too.
pub async fn a_job_that_stalls_on_its_last_attempt_fails(backend: &dyn Backend, time: &dyn TimeTravel) {
    let job = new(backend, |job| job.max_attempts = 2).await;
    for expected in [JobStatus::Pending, JobStatus::Failed] {
        claimed(backend, &job, "w").await;
        time.advance(hours(1)).await;
        assert_eq!(backend.jobs().reset_stalled(&job.id).await.unwrap(), Some(expected));
        let ended = now(backend, &job).await;
        assert_eq!((ended.status, ended.holder, ended.heartbeat_at), (expected, None, None));
        assert_eq!(ended.finished_at.is_some(), expected == JobStatus::Failed);
    }
    assert!(now(backend, &job).await.error.is_some());
}

/// scenario F53: lost runs use up no attempt.
pub async fn a_dead_holder_loses_its_job(backend: &dyn Backend, time: &dyn TimeTravel) {
    backend.queue().register(&worker("w0"), LEASE).await.unwrap();
    let job = new(backend, |job| job.max_attempts = 1).await;
    claimed(backend, &job, "w0").await;
    for n in 1..=3 {
        time.advance(LEASE + secs(1)).await;
        let next = worker(&format!("w{n}"));
        backend.queue().register(&next, LEASE).await.unwrap();
        let taken = backend.jobs().take_over(&job.id, &next).await.unwrap().expect("its holder is dead");
        assert_eq!((taken.attempts, taken.lost, taken.holder), (n + 1, n, Some(next)));
    }
    let last = now(backend, &job).await;
    assert!(!last.may_retry(), "the present run is the first that counts, and the last");
    assert_eq!(backend.jobs().fail(&last.lease(), failure()).await.unwrap(), Some(JobStatus::Failed));
}

/// By status and by execution.
pub async fn jobs_are_listed_oldest_first(backend: &dyn Backend, time: &dyn TimeTravel) {
    let mut all = Vec::new();
    for _ in 0..3 {
        all.push(new(backend, |_| {}).await.id);
        time.advance(secs(1)).await;
    }
    created(backend, "other").await;
    backend.jobs().create(job("other")).await.unwrap();
    let pending = backend.jobs().list_by_status(JobStatus::Pending, 2).await.unwrap();
    assert_eq!(pending.iter().map(|job| &job.id).collect::<Vec<_>>(), [&all[0], &all[1]]);
    let of_execution = backend.jobs().get_by_execution(&id("e")).await.unwrap();
    assert_eq!(of_execution.into_iter().map(|job| job.id).collect::<Vec<_>>(), all);
    let last = pending.last().map(|job| (job.created_at, job.id.clone()));
    let next = JobFilter { status: Some(JobStatus::Pending), after: last, ..JobFilter::default() };
    assert_eq!(backend.jobs().list(next.clone()).await.unwrap().first().map(|job| &job.id), Some(&all[2]));
    let next = JobFilter { execution: Some(id("e")), ..next };
    assert_eq!(
        backend.jobs().list(next).await.unwrap().iter().map(|job| &job.id).collect::<Vec<_>>(),
        [&all[2]]
    );
    assert!(backend.jobs().list_by_status(JobStatus::Running, 2).await.unwrap().is_empty());
    assert!(backend.jobs().get_by_execution(&id("nobody")).await.unwrap().is_empty());
}

/// scenario F51: only what has ended, and ended long ago.
pub async fn old_jobs_are_deleted(backend: &dyn Backend, time: &dyn TimeTravel) {
    let (old, young, pending) =
        (new(backend, |_| {}).await, new(backend, |_| {}).await, new(backend, |_| {}).await);
    let lease = claimed(backend, &old, "w").await.lease();
    backend.jobs().complete(&lease, json!(1)).await.unwrap();
    time.advance(hours(2)).await;
    let lease = claimed(backend, &young, "w").await.lease();
    backend.jobs().complete(&lease, json!(1)).await.unwrap();
    let cut = now(backend, &young).await.finished_at.unwrap() - hours(1);
    assert_eq!(backend.jobs().delete_old(cut).await.unwrap(), 1);
    assert_eq!(backend.jobs().delete_old(cut).await.unwrap(), 0);
    assert!(backend.jobs().get(&old.id).await.unwrap().is_none());
    now(backend, &young).await;
    now(backend, &pending).await;
}
