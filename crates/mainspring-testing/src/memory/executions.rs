//! Executions in memory.

use std::collections::{BTreeMap, HashMap};

use mainspring_core::{
    BoxFuture, Error, Execution, ExecutionFilter, ExecutionId, ExecutionStatus, ExecutionStore,
    ExecutionWrite, Expect, Result, StreamId, Timestamp, event::EXECUTIONS, execution::page_size,
};

use super::{MemoryBackend, State, commit};

/// Tenant, flow and key.
pub(super) type Key = (String, String, String);

#[derive(Default)]
pub(super) struct Executions {
    rows: BTreeMap<ExecutionId, Row>,
    keys: HashMap<Key, ExecutionId>,
}

struct Row {
    execution: Execution,
    wait_deadline: Option<Timestamp>,
}

impl Row {
    fn deadline(&self) -> Timestamp {
        self.execution.created_at + millis(self.execution.timeouts.execution_timeout_ms)
    }
}

fn millis(ms: u64) -> std::time::Duration {
    std::time::Duration::from_millis(ms)
}

pub(super) fn key_of(execution: &Execution) -> Option<Key> {
    let key = execution.idempotency_key.clone()?;
    Some((execution.tenant.clone(), execution.flow_id.clone(), key))
}

impl Executions {
    pub(super) fn get(&self, id: &ExecutionId) -> Option<&Execution> {
        self.rows.get(id).map(|row| &row.execution)
    }

    fn by_key(&self, key: &Key, at: Timestamp) -> Option<&Execution> {
        let found = self.get(self.keys.get(key)?)?;
        found.idempotency_expires_at.is_some_and(|end| end > at).then_some(found)
    }

    /// Whether `write` can be applied.
    pub(super) fn check(&self, write: &ExecutionWrite, at: Timestamp) -> Result<()> {
        let execution = &write.execution;
        if execution.wake_at.is_some() && execution.status != ExecutionStatus::Waiting {
            return Err(Error::internal(format!(
                "execution `{}` has wake_at but is not waiting",
                execution.id
            )));
        }
        if execution.idempotency_key.is_some() != execution.idempotency_expires_at.is_some() {
            return Err(Error::internal(format!("execution `{}` has a key without a window", execution.id)));
        }
        // Where its events go is taken, or leaves a gap.
        let follows = |old: &Execution| write.events.is_empty() || execution.position == old.position;
        let free = match (write.expect, self.get(&execution.id)) {
            (Expect::New, None) => key_of(execution).is_none_or(|key| self.by_key(&key, at).is_none()),
            (Expect::Revision(revision), Some(old)) => {
                old.revision == revision && !old.status.is_terminal() && follows(old)
            }
            (Expect::New, Some(_)) | (Expect::Revision(_), None) => false,
        };
        if free { Ok(()) } else { Err(write.conflict()) }
    }

    /// Applies a checked write. Who it is, what it runs and what was agreed at its creation never change.
    pub(super) fn apply(&mut self, write: ExecutionWrite, at: Timestamp) -> Execution {
        let mut write = write;
        match self.rows.get(&write.execution.id) {
            Some(old) => keep_what_is_fixed(&mut write.execution, &old.execution),
            None => {
                if let Some(key) = key_of(&write.execution) {
                    self.take_key(key, &write.execution.id);
                }
            }
        }
        let mut execution = write.applied(at);
        execution.finished_at = execution.status.is_terminal().then_some(at);
        let parked = execution.status == ExecutionStatus::Waiting && execution.wake_at.is_none();
        let wait_deadline = parked
            .then(|| execution.wait_started_at.unwrap_or(at) + millis(execution.timeouts.wait_timeout_ms));
        self.rows.insert(execution.id.clone(), Row { execution: execution.clone(), wait_deadline });
        execution
    }

    /// The new owner of a key; an old one whose window is over loses it.
    fn take_key(&mut self, key: Key, id: &ExecutionId) {
        let old = self.keys.insert(key, id.clone());
        if let Some(row) = old.and_then(|old| self.rows.get_mut(&old)) {
            row.execution.idempotency_key = None;
            row.execution.idempotency_expires_at = None;
        }
    }

    fn remove(&mut self, id: &ExecutionId) -> bool {
        let Some(row) = self.rows.remove(id) else { return false };
        if let Some(key) = key_of(&row.execution) {
            self.keys.remove(&key);
        }
        true
    }

    /// Those that match, by `order`, at most `limit`.
    fn pick<K: Ord>(
        &self,
        limit: u32,
        matches: impl Fn(&Row) -> bool,
        order: impl Fn(&Row) -> K,
    ) -> Result<Vec<Execution>> {
        let limit = usize::try_from(page_size(limit)?).unwrap_or(usize::MAX);
        let mut found: Vec<&Row> = self.rows.values().filter(|row| matches(row)).collect();
        found.sort_by_key(|row| (order(row), row.execution.id.clone()));
        Ok(found.into_iter().take(limit).map(|row| row.execution.clone()).collect())
    }

    fn list(&self, filter: &ExecutionFilter) -> Result<Vec<Execution>> {
        let limit = usize::try_from(filter.page_size()?).unwrap_or(usize::MAX);
        filter.check()?;
        let matches = |e: &&Execution| {
            is_wanted(filter, e)
                && filter.after.as_ref().is_none_or(|(at, id)| (e.created_at, &e.id) < (*at, id))
        };
        let mut found: Vec<&Execution> =
            self.rows.values().map(|row| &row.execution).filter(matches).collect();
        found.sort_by(|a, b| (b.created_at, &b.id).cmp(&(a.created_at, &a.id)));
        Ok(found.into_iter().take(limit).cloned().collect())
    }
}

/// Whether an execution matches, wherever the page begins.
fn is_wanted(filter: &ExecutionFilter, e: &Execution) -> bool {
    filter.tenant.as_ref().is_none_or(|tenant| e.tenant == *tenant)
        && filter.flow_id.as_ref().is_none_or(|flow| e.flow_id == *flow)
        && filter.flow_version.as_ref().is_none_or(|version| e.flow_version == *version)
        && filter.status.is_none_or(|status| e.status == status)
        && filter.since.is_none_or(|since| e.created_at >= since)
        && filter.until.is_none_or(|until| e.created_at < until)
        && filter.attributes.iter().all(|(name, value)| e.attributes.get(name) == Some(value))
        && filter.bounds.iter().all(|bound| bound.holds(&e.attributes))
}

fn keep_what_is_fixed(new: &mut Execution, old: &Execution) {
    new.tenant.clone_from(&old.tenant);
    new.flow_id.clone_from(&old.flow_id);
    new.flow_version.clone_from(&old.flow_version);
    new.queue.clone_from(&old.queue);
    new.idempotency_key.clone_from(&old.idempotency_key);
    new.idempotency_expires_at = old.idempotency_expires_at;
    new.parent.clone_from(&old.parent);
    new.root.clone_from(&old.root);
    new.reply.clone_from(&old.reply);
    new.timeouts = old.timeouts;
    new.revision = old.revision;
    new.position = old.position;
    new.created_at = old.created_at;
}

impl State {
    fn delete(&mut self, id: &ExecutionId) -> bool {
        self.jobs.clear(id);
        self.tokens.clear(id);
        self.values.clear(id);
        self.outputs.clear(id);
        self.executions.remove(id)
    }

    /// With its history.
    fn forget(&mut self, id: &ExecutionId) -> bool {
        let Some(execution) = self.executions.get(id) else { return false };
        let tenant = execution.tenant.clone();
        let history = StreamId::new(execution.stream()).in_partition(EXECUTIONS).of_tenant(tenant);
        self.log.delete(&history);
        self.delete(id)
    }

    pub(super) fn require(&self, id: &ExecutionId) -> Result<()> {
        self.executions.get(id).map(drop).ok_or_else(|| Error::not_found("execution", id))
    }
}

impl ExecutionStore for MemoryBackend {
    fn create(&self, execution: Execution) -> BoxFuture<'_, Result<Execution>> {
        self.run(move |state, at| {
            commit::write_execution(state, ExecutionWrite::create(execution, Vec::new()), at)
        })
    }

    fn get<'a>(&'a self, id: &'a ExecutionId) -> BoxFuture<'a, Result<Option<Execution>>> {
        self.run(move |state, _| Ok(state.executions.get(id).cloned()))
    }

    fn get_many<'a>(&'a self, ids: &'a [ExecutionId]) -> BoxFuture<'a, Result<Vec<Execution>>> {
        self.run(move |state, _| {
            let wanted: std::collections::BTreeSet<&ExecutionId> = ids.iter().collect();
            Ok(wanted.into_iter().filter_map(|id| state.executions.get(id)).cloned().collect())
        })
    }

    fn update(&self, execution: Execution, expect: Expect) -> BoxFuture<'_, Result<Execution>> {
        let write = ExecutionWrite { expect, execution, events: Vec::new() };
        self.run(move |state, at| match expect {
            Expect::New => Err(write.conflict()),
            Expect::Revision(_) => commit::write_execution(state, write, at),
        })
    }

    fn delete<'a>(&'a self, id: &'a ExecutionId) -> BoxFuture<'a, Result<bool>> {
        self.run(move |state, _| Ok(state.delete(id)))
    }

    fn list(&self, filter: ExecutionFilter) -> BoxFuture<'_, Result<Vec<Execution>>> {
        self.run(move |state, _| state.executions.list(&filter))
    }

    fn count(&self, filter: ExecutionFilter) -> BoxFuture<'_, Result<u64>> {
        self.run(move |state, _| {
            filter.check()?;
            let all = state.executions.rows.values();
            Ok(all.filter(|row| is_wanted(&filter, &row.execution)).count() as u64)
        })
    }

    fn find_finished<'a>(
        &'a self,
        flow_id: &'a str,
        before: Timestamp,
        limit: u32,
    ) -> BoxFuture<'a, Result<Vec<Execution>>> {
        self.run(move |state, _| {
            let matches = |row: &Row| {
                row.execution.flow_id == flow_id && row.execution.finished_at.is_some_and(|at| at < before)
            };
            state.executions.pick(limit, matches, |row| row.execution.finished_at)
        })
    }

    fn delete_finished<'a>(&'a self, ids: &'a [ExecutionId]) -> BoxFuture<'a, Result<u64>> {
        self.run(move |state, _| {
            let mut deleted = 0;
            for id in ids {
                let over = state.executions.get(id).is_some_and(|execution| execution.status.is_terminal());
                deleted += u64::from(over && state.forget(id));
            }
            Ok(deleted)
        })
    }

    fn forget<'a>(&'a self, id: &'a ExecutionId, lease: &'a str) -> BoxFuture<'a, Result<bool>> {
        self.run(move |state, _| {
            state.leases.forget(lease);
            Ok(state.forget(id))
        })
    }

    fn find_waiting(&self, limit: u32) -> BoxFuture<'_, Result<Vec<Execution>>> {
        self.run(move |state, at| {
            let due = |row: &Row| row.execution.wake_at.is_some_and(|wake_at| wake_at <= at);
            state.executions.pick(limit, due, |row| row.execution.wake_at)
        })
    }

    fn find_by_idempotency_key<'a>(
        &'a self,
        tenant: &'a str,
        flow_id: &'a str,
        key: &'a str,
    ) -> BoxFuture<'a, Result<Option<Execution>>> {
        let key = (tenant.to_owned(), flow_id.to_owned(), key.to_owned());
        self.run(move |state, at| Ok(state.executions.by_key(&key, at).cloned()))
    }

    fn find_children<'a>(&'a self, parent: &'a ExecutionId) -> BoxFuture<'a, Result<Vec<Execution>>> {
        self.run(move |state, _| {
            let rows = state.executions.rows.values();
            let mut found: Vec<Execution> = rows
                .map(|row| &row.execution)
                .filter(|e| e.parent.as_ref() == Some(parent))
                .cloned()
                .collect();
            found.sort_by(|a, b| (a.created_at, &a.id).cmp(&(b.created_at, &b.id)));
            Ok(found)
        })
    }

    fn find_timed_out_executions(&self, limit: u32) -> BoxFuture<'_, Result<Vec<Execution>>> {
        self.run(move |state, at| {
            let over = |row: &Row| !row.execution.status.is_terminal() && row.deadline() <= at;
            state.executions.pick(limit, over, Row::deadline)
        })
    }

    fn find_timed_out_waits(&self, limit: u32) -> BoxFuture<'_, Result<Vec<Execution>>> {
        self.run(move |state, at| {
            let over = |row: &Row| row.wait_deadline.is_some_and(|deadline| deadline <= at);
            state.executions.pick(limit, over, |row| row.wait_deadline)
        })
    }

    fn find_orphans(&self, limit: u32) -> BoxFuture<'_, Result<Vec<Execution>>> {
        self.run(move |state, at| {
            let queue = &state.queue;
            let orphaned =
                |row: &Row| row.execution.holder.as_ref().is_some_and(|holder| !queue.is_alive(holder, at));
            state.executions.pick(limit, orphaned, |row| row.execution.id.clone())
        })
    }

    fn count_by_status(&self) -> BoxFuture<'_, Result<Vec<(ExecutionStatus, u64)>>> {
        self.run(move |state, _| {
            let mut counts = BTreeMap::new();
            for row in state.executions.rows.values() {
                *counts.entry(row.execution.status).or_insert(0) += 1;
            }
            Ok(counts.into_iter().collect())
        })
    }
}
