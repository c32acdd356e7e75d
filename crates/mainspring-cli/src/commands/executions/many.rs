//! The same done to many executions: which are meant, and all of some filters counted, asked about and done.

use mainspring::{Bulk, BulkProgress, Error, ExecutionFilter};

use super::filter::FilterArgs;
use crate::{Context, Result};

/// Ids, or a filter, or all.
#[derive(clap::Args)]
pub(super) struct Which {
    /// Those with these ids.
    #[arg(value_name = "ID")]
    pub(super) ids: Vec<String>,
    #[command(flatten)]
    pub(super) filter: FilterArgs,
    /// All for which it can be done, when nothing else is said.
    #[arg(long)]
    all: bool,
}

impl Which {
    /// Nobody means all of them by saying nothing.
    ///
    /// # Errors
    /// Invalid, naming the command.
    pub(super) fn check(&self, verb: &'static str) -> Result<()> {
        if self.ids.is_empty() && self.filter.is_empty() && !self.all {
            return Err(Error::invalid(verb, "which? say ids, a filter or --all").into());
        }
        Ok(())
    }
}

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
