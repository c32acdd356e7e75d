//! The few moves an execution's row can make, and the messages that drive it.
//!
//! Who drives an execution is written in its row: see [`execution`](crate::execution). A wait for a time keeps a driver, a
//! wait for a signal has none, and a wait for a job or a child names the message that its end will send.

use serde_json::{Map, Value};

use super::path;
use crate::{
    Available, ContextLimits, Execution, ExecutionStatus, Failure, MessageId, NewMessage, Reply, Result,
    Timestamp, limits, trace::TraceContext,
};

/// The type of the message that drives an execution.
pub const WAKE: &str = "execution.wake";
/// The type of the message that has a job run.
pub const JOB_RUN: &str = "job.run";

/// The type of the message that keeps what an execution was resumed with until its wait begins.
pub const RESUME: &str = "execution.resume";

/// The message that drives `execution` when it is available, in the trace it was created in.
///
/// It has all the attempts there are: whether a step is tried again is the flow's business, and an execution must not be
/// lost to a database that was away for a while.
pub fn wake_message(execution: &Execution, id: MessageId, available: Available) -> NewMessage {
    let mut message = NewMessage::new(execution.queue.clone(), WAKE, Value::Null);
    message.id = id;
    message.tenant.clone_from(&execution.tenant);
    message.subject = Some(execution.id.to_string());
    message.available = available;
    message.max_attempts = Some(limits::MAX_ATTEMPTS);
    if let Some(context) = TraceContext::of(&execution.metadata) {
        context.stamp(&mut message.headers);
    }
    message
}

/// The message that the end of a child or a job sends to the execution that waits for it: a wake-up under the id agreed.
/// `data` says who ended: `{"child": id}` or `{"job": id}`.
pub fn reply_message(reply: &Reply, tenant: &str, data: Value) -> NewMessage {
    let mut message = NewMessage::new(reply.queue.clone(), WAKE, data);
    message.id = reply.message.clone();
    message.tenant = tenant.to_owned();
    message.subject = Some(reply.to.to_string());
    message.max_attempts = Some(limits::MAX_ATTEMPTS);
    message
}

/// Gives it a fresh driver, which makes every older wake-up stale.
pub(super) fn drive(execution: &mut Execution, available: Available) -> NewMessage {
    let id = MessageId::generate();
    execution.driver = Some(id.clone());
    execution.holder = None;
    wake_message(execution, id, available)
}

/// Agrees on the message that the end of something will send, and waits for that alone.
pub(super) fn await_reply(execution: &mut Execution) -> Reply {
    let message = MessageId::generate();
    execution.driver = Some(message.clone());
    execution.holder = None;
    Reply { message, to: execution.id.clone(), queue: execution.queue.clone(), inbox: None }
}

/// Whether it waits for the end of a job or a child: a driver, but no time.
pub(super) fn awaits_reply(execution: &Execution) -> bool {
    execution.status == ExecutionStatus::Waiting && execution.wake_at.is_none() && execution.driver.is_some()
}

/// It goes on.
pub(super) fn run(execution: &mut Execution) {
    execution.status = ExecutionStatus::Running;
    clear_wait(execution);
}

/// It waits, for a time or for something else.
pub(super) fn wait(execution: &mut Execution, wake_at: Option<Timestamp>, reason: &str, now: Timestamp) {
    execution.status = ExecutionStatus::Waiting;
    execution.wake_at = wake_at;
    execution.wait_reason = Some(limits::clip_error(reason));
    execution.wait_started_at = Some(now);
}

/// It is over. What the execution that waits for it is told, when one does.
pub(super) fn end(execution: &mut Execution, status: ExecutionStatus) -> Option<NewMessage> {
    execution.status = status;
    clear_wait(execution);
    execution.driver = None;
    execution.holder = None;
    let data = serde_json::json!({"child": execution.id});
    execution.reply.as_ref().map(|reply| reply_message(reply, &execution.tenant, data))
}

/// It waits for nothing.
pub(super) fn clear_wait(execution: &mut Execution) {
    execution.wake_at = None;
    execution.wait_reason = None;
    execution.wait_started_at = None;
}

/// Writes all of `writes` and then `output` at its path, or nothing.
pub(super) fn write(
    limits: &ContextLimits,
    context: &mut Map<String, Value>,
    writes: Vec<(String, Option<Value>)>,
    output: Option<(&str, Value)>,
) -> Result<()> {
    if writes.is_empty() && output.is_none() {
        return Ok(());
    }
    let mut before = Vec::with_capacity(writes.len() + 1);
    let written = write_some(limits, context, writes, output, &mut before);
    if written.is_err() {
        for (key, value) in before.into_iter().rev() {
            match value {
                Some(value) => context.insert(key, value),
                None => context.remove(&key),
            };
        }
    }
    written
}

fn write_some(
    limits: &ContextLimits,
    context: &mut Map<String, Value>,
    writes: Vec<(String, Option<Value>)>,
    output: Option<(&str, Value)>,
    before: &mut Vec<(String, Option<Value>)>,
) -> Result<()> {
    for (key, value) in writes {
        before.push((key.clone(), context.get(&key).cloned()));
        match value {
            Some(value) => limits.set(context, &key, value)?,
            None => drop(context.remove(&key)),
        }
    }
    if let Some((path, value)) = output {
        let (key, value) = path::planted(context, path, value)?;
        before.push((key.to_owned(), context.get(key).cloned()));
        limits.set(context, key, value)?;
    }
    // The limits above are the caller's and look at one value; these are the row's.
    limits::check_map("context", context, limits::MAX_CONTEXT)
}

/// A handler's failure as it can be stored.
pub(super) fn storable(failure: Failure, default_code: &str) -> Failure {
    let code = if failure.code.is_empty() { default_code.to_owned() } else { failure.code };
    let code = limits::check_name("code", &code).map(|()| code).unwrap_or_else(|_| default_code.to_owned());
    let details = match limits::check_json("details", &failure.details) {
        Ok(()) => failure.details,
        Err(error) => Value::String(format!("left out: {error}")),
    };
    Failure { details, timestamp: failure.timestamp, ..Failure::new(code, failure.message) }
}
