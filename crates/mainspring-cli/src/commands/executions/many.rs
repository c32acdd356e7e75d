//! The same done to all executions of some filters: counted, asked about, done.

use mainspring::{Bulk, BulkProgress, ExecutionFilter};

use crate::{Context, Result};

/// How many were changed and how many were left as they are; `None` when nothing was to be done.
pub(super) async fn change_all(
    context: &Context,
    verb: &str,
    filters: Vec<ExecutionFilter>,
    change: impl AsyncFn(Bulk<'_>) -> mainspring::Result<BulkProgress>,
) -> Result<Option<(u64, u64)>> {
    let engine = context.engine()?;
    let mut count = 0;
    for filter in &filters {
        count += engine.bulk(filter.clone()).count().await?;
    }
    if !context.confirmed(verb, count, "executions")? {
        return Ok(None);
    }
    let (bar, mut done, mut skipped) = (context.bar(count), 0, 0);
    for filter in filters {
        let told = change(engine.bulk(filter).progress(|_| bar.inc(1))).await?;
        (done, skipped) = (done + told.done, skipped + told.skipped);
    }
    bar.finish_and_clear();
    Ok(Some((done, skipped)))
}
