//! `mainspring migrate`: the tables, for any schema and prefix.

use std::process::ExitCode;

use mainspring_pg::Migrator;
use serde_json::json;

use crate::{
    Context, Outcome, Result, migrations,
    output::{Column, Page, col, text},
};

#[derive(clap::Subcommand)]
pub(crate) enum Migrate {
    /// Create or update the tables, then check them; safe to repeat, and to run in many places at once.
    #[command(
        after_help = "Example:\n  mainspring migrate up --database-url postgres://owner@localhost/app --prefix fm_"
    )]
    Up,
    /// Say which migrations were applied, and when.
    #[command(after_help = "Example:\n  mainspring migrate status -o json")]
    Status,
    /// Say what `up` would apply.
    #[command(after_help = "Example:\n  mainspring migrate plan")]
    Plan,
    /// Print the SQL of everything, for psql; needs no database.
    #[command(after_help = "Example:\n  mainspring migrate print --prefix fm_ | psql -1 app")]
    Print,
    /// Check the tables; ends with 3 when they are not as this version expects.
    #[command(after_help = "Example:\n  mainspring migrate verify")]
    Verify,
    /// Print the SQL that lets another role use the tables, and nothing more; needs no database.
    #[command(after_help = "Example:\n  mainspring migrate grants app | psql app")]
    Grants {
        /// The role of the application.
        role: String,
    },
}

impl Migrate {
    pub(crate) async fn run(self, context: &Context) -> Outcome {
        let output = &context.output;
        match self {
            Self::Plan => plan(context).await?,
            Self::Up if context.global.dry_run => plan(context).await?,
            Self::Up => {
                let migrator = context.migrator()?;
                up(context, &migrator).await?;
                output.note("tables are as this version expects");
            }
            Self::Status => {
                let status = context.migrator()?.status().await?;
                migrations::show(output, &status)?;
            }
            Self::Print => output.line(&offline(context)?.print()?)?,
            Self::Verify => {
                context.migrator()?.verify().await?;
                output.done("tables are as this version expects", json!({"verified": true}))?;
            }
            Self::Grants { role } => output.line(&offline(context)?.grants(&role)?)?,
        }
        Ok(ExitCode::SUCCESS)
    }
}

/// Applies what is missing, checks all of it and says what there is.
pub(crate) async fn up(context: &Context, migrator: &Migrator) -> Result<()> {
    let status = context.busy("migrating", migrator.up()).await?;
    migrator.verify().await?;
    migrations::show(&context.output, &status)?;
    Ok(())
}

const PLANNED: [Column<String>; 1] = [col("migration", |name| text(name))];

async fn plan(context: &Context) -> Result<()> {
    let planned = context.migrator()?.plan().await?;
    let names = planned.into_iter().map(|planned| planned.name).collect();
    Ok(context.output.list(&PLANNED, &Page::all(names), false)?)
}

/// For what needs no database.
fn offline(context: &Context) -> Result<Migrator> {
    Ok(Migrator::new(Default::default(), context.names()?))
}
