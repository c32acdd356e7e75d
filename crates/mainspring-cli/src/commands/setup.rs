//! `mainspring setup`: the tables, for whoever deploys.

use std::process::ExitCode;

use super::migrate;
use crate::{Context, Outcome, Result, report};

/// Scripts of the Workflow DevKit know 0 and 1 only.
pub(crate) async fn run(context: &Context) -> Outcome {
    if let Err(error) = set_up(context).await {
        report::print(&*error);
        return Ok(ExitCode::FAILURE);
    }
    context.output.note("tables are as this version expects");
    Ok(ExitCode::SUCCESS)
}

async fn set_up(context: &Context) -> Result<()> {
    let migrator = context.migrator()?;
    migrate::up(context, &migrator).await
}
