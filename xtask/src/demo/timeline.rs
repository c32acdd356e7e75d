//! The life of one order, event by event.

use mainspring::{Backend, EventStore, ExecutionId, PgStores, event::kind};
use mainspring_cli::timeline;
use serde_json::Value;

use super::{Result, verdict::Verdict};

/// The order with the most to tell: taken over after the kill, retried, approved. Else the first.
pub(super) async fn of_the_most_eventful(
    stores: &PgStores<'static>,
    verdict: &Verdict,
    ids: &[String],
) -> Result<Option<String>> {
    let rank = |kind: &&str| match *kind {
        kind::EXECUTION_RECOVERED | kind::JOB_SUPERSEDED => 3,
        _ => 2,
    };
    let score =
        |id: &&String| verdict.notable.get(*id).map_or(0, |kinds| kinds.iter().map(rank).sum::<u32>());
    let Some(id) = ids.iter().rev().max_by_key(score) else { return Ok(None) };
    let id = ExecutionId::new(id.as_str())?;
    let Some(execution) = stores.executions().get(&id).await? else { return Ok(None) };
    let events = stores.events.get_by_execution(&id).await?;
    let title = match execution.context.get("id") {
        Some(Value::String(order)) => format!("{order} ({id})"),
        _ => id.to_string(),
    };
    Ok(Some(format!("the life of {title}:\n{}", timeline::render(&events))))
}
