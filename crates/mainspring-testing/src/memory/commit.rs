//! The one write: everything is checked first, in the order [`Changes`] promises, and then applied.

use std::collections::HashSet;

use mainspring_core::{
    Changes, Committed, Error, Execution, ExecutionId, ExecutionWrite, Expect, JobWrite, Result, Timestamp,
    TokenWrite,
    event::{EXECUTIONS, check_streams_once},
};

use super::{State, executions::key_of};

pub(super) fn commit(state: &mut State, changes: Changes, at: Timestamp) -> Result<Committed> {
    changes.check()?;
    let changes = changes.traced();
    check_once(&changes)?;
    check_streams_once(&changes.appends)?;
    check_leases(state, &changes)?;
    check_executions(state, &changes.executions, at)?;
    let planned = state.log.plan(&changes.appends)?;
    check_jobs(state, &changes)?;
    check_tokens(state, &changes, at)?;
    let owners = changes.outputs.iter().filter_map(|output| output.stream.execution.as_ref());
    owners.into_iter().try_for_each(|owner| require(state, &changes, owner))?;
    state.queue.check_receipts(&changes.receipts, at)?;
    changes.messages.iter().try_for_each(|message| state.queue.check_push(message))?;
    state.queue.check_parents(&changes.messages)?;
    let appended = state.log.append_all(&changes.appends, planned, at);
    apply(state, changes, at);
    Ok(Committed { at, appended })
}

pub(super) fn write_execution(state: &mut State, write: ExecutionWrite, at: Timestamp) -> Result<Execution> {
    let changes = Changes { executions: vec![write.clone()], ..Changes::default() };
    changes.check()?;
    check_executions(state, &changes.executions, at)?;
    Ok(state.executions.apply(write, at))
}

/// Nothing is touched twice: one of the two writes would be lost without a word.
fn check_once(changes: &Changes) -> Result<()> {
    let (mut seen, mut twice) = (HashSet::new(), None);
    let mut touch = |what: &str, which: String| {
        if !seen.insert(format!("{what} {which}")) {
            twice = Some(format!("touches {what} `{which}` twice"));
        }
    };
    for write in &changes.executions {
        touch("execution", write.execution.id.to_string());
        if let (Expect::New, Some(key)) = (write.expect, key_of(&write.execution)) {
            touch("key", format!("{key:?}"));
        }
    }
    for job in &changes.jobs {
        match (job, job.lease()) {
            (JobWrite::Create(job), _) => touch("job", job.id.to_string()),
            (_, Some(lease)) => touch("job", lease.id.to_string()),
            (_, None) => {}
        }
    }
    for token in &changes.tokens {
        if let TokenWrite::Consume(hash) = token {
            touch("token", format!("{hash:?}"));
        }
    }
    for receipt in &changes.receipts {
        touch("receipt", format!("{}/{}", receipt.queue, receipt.key));
    }
    twice.map_or(Ok(()), |problem| Err(Error::invalid("changes", problem)))
}

fn check_leases(state: &State, changes: &Changes) -> Result<()> {
    if let Some(settle) = &changes.settle {
        state.queue.check(settle)?;
    }
    let lost = changes.jobs.iter().filter_map(JobWrite::lease).find(|lease| !state.jobs.holds(lease));
    lost.map_or(Ok(()), |lease| Err(lease.fenced()))
}

fn check_executions(state: &State, writes: &[ExecutionWrite], at: Timestamp) -> Result<()> {
    for write in writes {
        state.executions.check(write, at)?;
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

fn check_jobs(state: &State, changes: &Changes) -> Result<()> {
    for job in &changes.jobs {
        if let JobWrite::Create(job) = job {
            if state.jobs.get(&job.id).is_some() {
                return Err(Error::conflict(format!("job `{}` exists", job.id)));
            }
            require(state, changes, &job.execution_id)?;
        }
    }
    Ok(())
}

fn check_tokens(state: &State, changes: &Changes, at: Timestamp) -> Result<()> {
    for token in &changes.tokens {
        match token {
            TokenWrite::Create(token) => {
                if state.tokens.get(&token.hash).is_some() {
                    return Err(Error::conflict(format!("token `{}` exists", token.id)));
                }
                require(state, changes, &token.execution_id)?;
            }
            TokenWrite::Consume(hash) if !state.tokens.works(hash, at) => {
                return Err(Error::conflict("resume token is used, revoked, expired or unknown"));
            }
            TokenWrite::Consume(_) | TokenWrite::RevokeAll(_) => {}
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
    for job in changes.jobs {
        state.jobs.apply(job, at);
    }
    for token in changes.tokens {
        state.tokens.apply(token, at);
    }
    state.queue.write_receipts(changes.receipts, at);
    // Checked above, so that it cannot fail half-way.
    changes.outputs.into_iter().for_each(|output| drop(state.write_output(output, at)));
    let _ = state.queue.push(changes.messages, at);
    if let Some(settle) = changes.settle {
        state.queue.settle(settle, at);
    }
}
