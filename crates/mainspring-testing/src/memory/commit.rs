//! The one write: everything is checked first, in the order [`Changes`] promises, and then applied.

use std::collections::{HashMap, HashSet};

use mainspring_core::{
    Append, Changes, Committed, Error, Execution, ExecutionId, ExecutionWrite, Expect, JobWrite, Result,
    Timestamp, TokenWrite, event::EXECUTIONS,
};

use super::{State, executions::key_of};

pub(super) fn commit(state: &mut State, changes: Changes, at: Timestamp) -> Result<Committed> {
    changes.check()?;
    check_leases(state, &changes)?;
    check_executions(state, &changes.executions, at)?;
    check_appends(state, &changes.appends)?;
    check_jobs(state, &changes)?;
    check_tokens(state, &changes, at)?;
    apply(state, changes, at);
    Ok(Committed { at })
}

pub(super) fn write_execution(state: &mut State, write: ExecutionWrite, at: Timestamp) -> Result<Execution> {
    let changes = Changes { executions: vec![write.clone()], ..Changes::default() };
    changes.check()?;
    check_executions(state, &changes.executions, at)?;
    Ok(state.executions.apply(write, at))
}

fn check_leases(state: &State, changes: &Changes) -> Result<()> {
    if let Some(settle) = &changes.settle {
        state.queue.check(settle)?;
    }
    let mut spent = HashSet::new();
    for lease in changes.jobs.iter().filter_map(JobWrite::lease) {
        if !state.jobs.holds(lease) || !spent.insert(lease) {
            return Err(lease.fenced());
        }
    }
    Ok(())
}

fn check_executions(state: &State, writes: &[ExecutionWrite], at: Timestamp) -> Result<()> {
    let (mut ids, mut keys) = (HashSet::new(), HashSet::new());
    for write in writes {
        state.executions.check(write, at)?;
        let new_key = if write.expect == Expect::New { key_of(&write.execution) } else { None };
        if !ids.insert(&write.execution.id) || new_key.is_some_and(|key| !keys.insert(key)) {
            return Err(write.conflict());
        }
        // The history of a deleted execution stays, and its positions are taken.
        if write.expect == Expect::New && !write.events.is_empty() {
            let head = state.log.head(EXECUTIONS, &write.execution.tenant, &write.execution.stream());
            if head > 0 {
                return Err(write.conflict());
            }
        }
    }
    Ok(())
}

pub(super) fn check_appends(state: &State, appends: &[Append]) -> Result<()> {
    let mut heads: HashMap<(&str, &str), i64> = HashMap::new();
    for append in appends {
        let head = heads.entry((&append.tenant, &append.stream)).or_insert_with(|| state.log.head_of(append));
        if !append.expected.holds(*head) {
            return Err(append.conflict(*head));
        }
        *head += i64::try_from(append.events.len()).unwrap_or(i64::MAX);
    }
    Ok(())
}

fn check_jobs(state: &State, changes: &Changes) -> Result<()> {
    let mut new = HashSet::new();
    for job in &changes.jobs {
        if let JobWrite::Create(job) = job {
            if state.jobs.get(&job.id).is_some() || !new.insert(&job.id) {
                return Err(Error::conflict(format!("job `{}` exists", job.id)));
            }
            require(state, changes, &job.execution_id)?;
        }
    }
    Ok(())
}

fn check_tokens(state: &State, changes: &Changes, at: Timestamp) -> Result<()> {
    let mut seen = HashSet::new();
    for token in &changes.tokens {
        match token {
            TokenWrite::Create(token) => {
                if state.tokens.get(&token.hash).is_some() || !seen.insert(token.hash) {
                    return Err(Error::conflict(format!("token `{}` exists", token.id)));
                }
                require(state, changes, &token.execution_id)?;
            }
            TokenWrite::Consume(hash) => {
                if !state.tokens.works(hash, at) || !seen.insert(*hash) {
                    return Err(Error::conflict("resume token is used, revoked, expired or unknown"));
                }
            }
            TokenWrite::RevokeAll(_) => {}
        }
    }
    Ok(())
}

/// The execution exists, or these changes create it.
fn require(state: &State, changes: &Changes, id: &ExecutionId) -> Result<()> {
    if changes.executions.iter().any(|write| write.execution.id == *id) {
        return Ok(());
    }
    state.require(id)
}

fn apply(state: &mut State, changes: Changes, at: Timestamp) {
    for write in changes.executions {
        let events = write.events.clone();
        let execution = state.executions.apply(write, at);
        let before = execution.position - i64::try_from(events.len()).unwrap_or(0);
        state.log.push((EXECUTIONS, &execution.tenant, &execution.stream()), before, events, at);
    }
    for append in changes.appends {
        state.log.append(append, at);
    }
    for job in changes.jobs {
        state.jobs.apply(job, at);
    }
    for token in changes.tokens {
        state.tokens.apply(token, at);
    }
    state.queue.push(changes.messages, at);
    if let Some(settle) = changes.settle {
        state.queue.settle(settle, at);
    }
}
