//! `mainspring setup`: the tables, for whoever deploys.

use std::{error::Error, process::ExitCode};

use mainspring_pg::Migrator;

use crate::{Context, Outcome, migrations, report};

/// Scripts of the Workflow DevKit know 0 and 1 only.
pub(crate) async fn run(context: &Context) -> Outcome {
    if let Err(error) = migrate(context).await {
        report::print(&*error);
        return Ok(ExitCode::FAILURE);
    }
    Ok(ExitCode::SUCCESS)
}

async fn migrate(context: &Context) -> Result<(), Box<dyn Error>> {
    let settings = context.database.settings(&context.environment)?;
    eprintln!("database: {settings}");
    let migrator = Migrator::new(settings, context.database.names()?);
    let status = migrator.up().await?;
    migrator.verify().await?;
    println!("{}", migrations::describe(&status));
    eprintln!("tables are as this version expects");
    Ok(())
}
