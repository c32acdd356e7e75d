//! The commands.

mod explain;
mod setup;

use clap::Subcommand;

use crate::{Context, Outcome};

#[derive(Subcommand)]
pub(crate) enum Command {
    /// Create or update the tables; safe to repeat. Ends with 0, or with 1 whatever went wrong.
    ///
    /// Example: mainspring setup --database-url postgres://me@localhost/app
    Setup,
    /// Say what an error code means and what to do about it; ends with 4 for a code that does not exist.
    ///
    /// Example: mainspring explain commit_unknown
    Explain(explain::Args),
}

impl Command {
    pub(crate) async fn run(self, context: &Context) -> Outcome {
        match self {
            Self::Setup => setup::run(context).await,
            Self::Explain(args) => explain::run(&args),
        }
    }
}
