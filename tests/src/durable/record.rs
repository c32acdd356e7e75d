//! What is left of an execution when it is over, to be compared with what is left of its twin.

use std::collections::BTreeSet;

use mainspring::{
    Backend, Execution, ExecutionId, PgStores,
    event::{EXECUTIONS, kind},
};
use serde_json::{Value, json};

/// What ends a step, or begins a wait: recorded once, whoever drives.
const ONCE: [&str; 5] =
    [kind::STEP_COMPLETED, kind::STEP_FAILED, kind::STEP_WAITING, kind::CHILD_STARTED, kind::CHILD_FINISHED];

/// How an execution ended, how each of its steps did, and the same of its children: alike for twins.
#[derive(Debug, PartialEq)]
pub struct Record {
    outcome: Value,
    /// `type key result`, in no particular order: branches take turns as they like.
    steps: BTreeSet<String>,
    children: Vec<Self>,
}

/// What is left of an execution, if nothing in its history is wrong.
///
/// # Errors
/// A fact that is recorded twice, or a gap.
///
/// # Panics
/// When the history cannot be read.
async fn record(stores: &PgStores<'static>, execution: &Execution) -> Result<Record, String> {
    let id = &execution.id;
    let (mut steps, mut once) = (BTreeSet::new(), BTreeSet::new());
    let events = stores.events().get_by_execution(id).await.expect("the history is read");
    for (event, position) in events.into_iter().filter(|event| event.partition == EXECUTIONS).zip(1..) {
        if event.position != position {
            return Err(format!("the history of `{id}` has a gap before {}", event.position));
        }
        let event = event.event;
        let Some(step) = event.subject.filter(|_| ONCE.contains(&&*event.event_type)) else { continue };
        let fact = format!("{} {step}", event.event_type);
        let result = ["result", "error", "failure"].map(|field| event.data.get(field));
        // What is recorded of a wait is its time, and of a child its id.
        let result = if event.event_type == kind::CHILD_STARTED { json!(null) } else { json!(result) };
        if !once.insert(fact.clone()) {
            return Err(format!("`{fact}` is recorded twice in `{id}`"));
        }
        steps.insert(format!("{fact} {result}"));
    }
    let mut children = Vec::new();
    let mut born = stores.executions().find_children(id).await.expect("the children are read");
    born.sort_by_cached_key(|child| child.context.get("output").map(ToString::to_string));
    for child in &born {
        children.push(Box::pin(record(stores, child)).await?);
    }
    Ok(Record { outcome: outcome(execution), steps, children })
}

fn outcome(execution: &Execution) -> Value {
    let error = execution.error.as_ref().map(|error| json!([error.code, error.message, error.details]));
    json!([execution.status.as_str(), execution.context.get("output"), error])
}

/// The records of these, in their order; what is wrong with them instead, when anything is.
///
/// # Panics
/// When one is lost.
pub async fn records(stores: &PgStores<'static>, ids: &[ExecutionId]) -> Result<Vec<Record>, String> {
    let mut all = Vec::with_capacity(ids.len());
    for id in ids {
        let execution = stores.executions().get(id).await.expect("read");
        all.push(record(stores, &execution.unwrap_or_else(|| panic!("{id} is lost"))).await?);
    }
    Ok(all)
}
