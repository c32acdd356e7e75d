//! Jobs in memory.

use std::collections::BTreeMap;

use mainspring_core::{
    BoxFuture, Changes, Error, ExecutionId, Failure, Job, JobFilter, JobId, JobLease, JobStatus, JobStore,
    JobWrite, Progress, Result, Timestamp, WorkerId, execution::page_size, limits,
};
use serde_json::Value;

use super::{MemoryBackend, commit};

/// Most jobs one `delete_old` deletes.
const BATCH: usize = 1_000;

/// Workers a job may cost before a stall is its end, however many attempts it has left: it may be what kills them.
const MAX_LOST: u32 = 10;

#[derive(Default)]
pub(super) struct Jobs {
    rows: BTreeMap<JobId, Job>,
    last_token: i64,
}

impl Jobs {
    pub(super) fn get(&self, id: &JobId) -> Option<&Job> {
        self.rows.get(id)
    }

    pub(super) fn holds(&self, lease: &JobLease) -> bool {
        self.get(&lease.id).is_some_and(|job| held(job, lease))
    }

    fn held_mut(&mut self, lease: &JobLease) -> Option<&mut Job> {
        self.rows.get_mut(&lease.id).filter(|job| held(job, lease))
    }

    pub(super) fn clear(&mut self, execution: &ExecutionId) {
        self.rows.retain(|_, job| job.execution_id != *execution);
    }

    /// Applies a checked write.
    pub(super) fn apply(&mut self, write: JobWrite, at: Timestamp) {
        match write {
            JobWrite::Create(job) => self.insert(*job, at),
            JobWrite::Complete(lease, result) => {
                self.change(&lease, at, |job| complete(job, result, at));
            }
            JobWrite::Fail(lease, error) => {
                self.change(&lease, at, |job| give_up(job, error, JobStatus::Failed, at));
            }
            JobWrite::Retry(lease, error) => {
                self.change(&lease, at, |job| give_up(job, error, JobStatus::Pending, at));
            }
            JobWrite::CancelAll(execution) => self.cancel_all(&execution, at),
        }
    }

    fn insert(&mut self, mut job: Job, at: Timestamp) {
        job.created_at = at;
        job.updated_at = at;
        job.finished_at = job.status.is_terminal().then_some(at);
        self.rows.insert(job.id.clone(), job);
    }

    fn cancel_all(&mut self, execution: &ExecutionId, at: Timestamp) {
        for job in
            self.rows.values_mut().filter(|job| job.execution_id == *execution && !job.status.is_terminal())
        {
            job.updated_at = at;
            leave(job, JobStatus::Cancelled, at);
        }
    }

    /// A change by the holder of `lease`; `None` when the claim was superseded.
    fn change<T>(
        &mut self,
        lease: &JobLease,
        at: Timestamp,
        change: impl FnOnce(&mut Job) -> T,
    ) -> Option<T> {
        let job = self.held_mut(lease)?;
        job.updated_at = at;
        Some(change(job))
    }

    fn claim(&mut self, id: &JobId, worker: &WorkerId, at: Timestamp) -> Option<Job> {
        let job = self.rows.get_mut(id)?;
        self.last_token += 1;
        job.status = JobStatus::Running;
        job.holder = Some(worker.clone());
        job.token = self.last_token;
        job.attempts += 1;
        job.heartbeat_at = Some(at);
        job.progress = None;
        job.updated_at = at;
        Some(job.clone())
    }

    fn reset_stalled(&mut self, id: &JobId, at: Timestamp) -> Option<JobStatus> {
        let job = self.rows.get_mut(id).filter(|job| stalled(job, at))?;
        job.updated_at = at;
        let error = Failure::new("JOB_STALLED", "no sign of life from its worker");
        let status = if job.lost < MAX_LOST { verdict(job) } else { JobStatus::Failed };
        give_up(job, error, status, at);
        Some(status)
    }

    fn sorted<K: Ord>(&self, matches: impl Fn(&Job) -> bool, order: impl Fn(&Job) -> K) -> Vec<Job> {
        let mut found: Vec<Job> = self.rows.values().filter(|job| matches(job)).cloned().collect();
        found.sort_by_key(|job| (order(job), job.id.clone()));
        found
    }

    fn delete_old(&mut self, before: Timestamp) -> u64 {
        let old = self.rows.values().filter(|job| job.finished_at.is_some_and(|end| end < before));
        let old: Vec<JobId> = old.map(|job| job.id.clone()).take(BATCH).collect();
        for id in &old {
            self.rows.remove(id);
        }
        old.len() as u64
    }
}

fn held(job: &Job, lease: &JobLease) -> bool {
    job.status == JobStatus::Running && job.token == lease.token
}

fn stalled(job: &Job, at: Timestamp) -> bool {
    let silence = std::time::Duration::from_millis(u64::try_from(job.stalled_after_ms).unwrap_or(0));
    job.status == JobStatus::Running && job.heartbeat_at.is_some_and(|beat| beat + silence <= at)
}

/// Nobody holds it any more.
fn leave(job: &mut Job, status: JobStatus, at: Timestamp) {
    job.status = status;
    job.holder = None;
    job.heartbeat_at = None;
    job.finished_at = status.is_terminal().then_some(at);
}

fn complete(job: &mut Job, result: Value, at: Timestamp) {
    job.result = Some(result);
    leave(job, JobStatus::Completed, at);
}

fn give_up(job: &mut Job, error: Failure, status: JobStatus, at: Timestamp) {
    job.error = Some(error);
    leave(job, status, at);
}

fn verdict(job: &Job) -> JobStatus {
    if job.may_retry() { JobStatus::Pending } else { JobStatus::Failed }
}

impl JobStore for MemoryBackend {
    fn create(&self, job: Job) -> BoxFuture<'_, Result<Job>> {
        self.run(move |state, at| {
            let id = job.id.clone();
            let changes = Changes { jobs: vec![JobWrite::Create(Box::new(job))], ..Changes::default() };
            commit::commit(state, changes, at)?;
            state.jobs.get(&id).cloned().ok_or_else(|| Error::not_found("job", &id))
        })
    }

    fn get<'a>(&'a self, id: &'a JobId) -> BoxFuture<'a, Result<Option<Job>>> {
        self.run(move |state, _| Ok(state.jobs.get(id).cloned()))
    }

    fn claim<'a>(&'a self, id: &'a JobId, worker: &'a WorkerId) -> BoxFuture<'a, Result<Option<Job>>> {
        self.run(move |state, at| {
            let pending = state.jobs.get(id).is_some_and(|job| job.status == JobStatus::Pending);
            Ok(if pending { state.jobs.claim(id, worker, at) } else { None })
        })
    }

    fn take_over<'a>(&'a self, id: &'a JobId, worker: &'a WorkerId) -> BoxFuture<'a, Result<Option<Job>>> {
        self.run(move |state, at| {
            let Some(job) = state.jobs.rows.get_mut(id) else { return Ok(None) };
            match (&job.status, &job.holder) {
                (JobStatus::Pending, _) => {}
                // A holder that asks again has forgotten its earlier claim: its process began anew.
                (JobStatus::Running, Some(holder))
                    if holder == worker || !state.queue.is_alive(holder, at) =>
                {
                    job.lost += 1;
                }
                _ => return Ok(None),
            }
            Ok(state.jobs.claim(id, worker, at))
        })
    }

    fn held_until<'a>(&'a self, id: &'a JobId) -> BoxFuture<'a, Result<Option<Timestamp>>> {
        self.run(move |state, at| {
            let job = state.jobs.get(id).filter(|job| job.status == JobStatus::Running);
            let until = job.and_then(|job| state.queue.workers.get(job.holder.as_ref()?));
            Ok(until.copied().filter(|until| *until > at))
        })
    }

    fn heartbeat<'a>(&'a self, lease: &'a JobLease) -> BoxFuture<'a, Result<bool>> {
        self.run(move |state, at| {
            Ok(state.jobs.change(lease, at, |job| job.heartbeat_at = Some(at)).is_some())
        })
    }

    fn complete<'a>(&'a self, lease: &'a JobLease, result: Value) -> BoxFuture<'a, Result<bool>> {
        self.run(move |state, at| {
            limits::check_json("job.result", &result)?;
            Ok(state.jobs.change(lease, at, |job| complete(job, result, at)).is_some())
        })
    }

    fn fail<'a>(&'a self, lease: &'a JobLease, error: Failure) -> BoxFuture<'a, Result<Option<JobStatus>>> {
        self.run(move |state, at| {
            let failed = |job: &mut Job| {
                let status = verdict(job);
                give_up(job, error, status, at);
                status
            };
            Ok(state.jobs.change(lease, at, failed))
        })
    }

    fn save_checkpoint<'a>(
        &'a self,
        lease: &'a JobLease,
        key: &'a str,
        value: Value,
    ) -> BoxFuture<'a, Result<bool>> {
        self.run(move |state, at| {
            limits::check_id("checkpoint key", key)?;
            limits::check_json("job.checkpoint", &value)?;
            let saved = state.jobs.change(lease, at, |job| {
                job.heartbeat_at = Some(at);
                job.checkpoint.insert(key.to_owned(), value);
            });
            Ok(saved.is_some())
        })
    }

    fn clear_checkpoint<'a>(
        &'a self,
        lease: &'a JobLease,
        key: Option<&'a str>,
    ) -> BoxFuture<'a, Result<bool>> {
        self.run(move |state, at| {
            let cleared = state.jobs.change(lease, at, |job| {
                job.heartbeat_at = Some(at);
                match key {
                    Some(key) => drop(job.checkpoint.remove(key)),
                    None => job.checkpoint.clear(),
                }
            });
            Ok(cleared.is_some())
        })
    }

    fn update_progress<'a>(&'a self, lease: &'a JobLease, progress: Progress) -> BoxFuture<'a, Result<bool>> {
        self.run(move |state, at| {
            progress.check()?;
            let updated = state.jobs.change(lease, at, |job| {
                job.heartbeat_at = Some(at);
                job.progress = Some(progress);
            });
            Ok(updated.is_some())
        })
    }

    fn list(&self, filter: JobFilter) -> BoxFuture<'_, Result<Vec<Job>>> {
        self.run(move |state, _| {
            let limit = usize::try_from(page_size(filter.limit)?).unwrap_or(usize::MAX);
            let matches = |job: &Job| {
                filter.status.is_none_or(|status| job.status == status)
                    && filter.execution.as_ref().is_none_or(|id| job.execution_id == *id)
                    && filter.after.as_ref().is_none_or(|(at, id)| (job.created_at, &job.id) > (*at, id))
            };
            let mut found = state.jobs.sorted(matches, |job| job.created_at);
            found.truncate(limit);
            Ok(found)
        })
    }

    fn find_stalled(&self, limit: u32) -> BoxFuture<'_, Result<Vec<Job>>> {
        self.run(move |state, at| {
            let limit = usize::try_from(page_size(limit)?).unwrap_or(usize::MAX);
            let mut found = state.jobs.sorted(|job| stalled(job, at), |job| job.heartbeat_at);
            found.truncate(limit);
            Ok(found)
        })
    }

    fn reset_stalled<'a>(&'a self, id: &'a JobId) -> BoxFuture<'a, Result<Option<JobStatus>>> {
        self.run(move |state, at| Ok(state.jobs.reset_stalled(id, at)))
    }

    fn get_by_execution<'a>(&'a self, execution: &'a ExecutionId) -> BoxFuture<'a, Result<Vec<Job>>> {
        self.run(move |state, _| {
            Ok(state.jobs.sorted(|job| job.execution_id == *execution, |job| job.created_at))
        })
    }

    fn delete_old(&self, before: Timestamp) -> BoxFuture<'_, Result<u64>> {
        self.run(move |state, _| Ok(state.jobs.delete_old(before)))
    }
}
