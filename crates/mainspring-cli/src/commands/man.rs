//! `mainspring man`: the manual, a page a command.

use std::{io::Write, path::PathBuf, process::ExitCode};

use clap::CommandFactory;

use crate::{Cli, Context, Outcome};

#[derive(clap::Args)]
pub(crate) struct Man {
    /// Write a page for each command into this folder, instead of the first to standard output.
    #[arg(long, value_name = "FOLDER")]
    folder: Option<PathBuf>,
}

impl Man {
    pub(crate) fn run(self, context: &Context) -> Outcome {
        let Some(folder) = self.folder else {
            let mut page = Vec::new();
            clap_mangen::Man::new(Cli::command()).render(&mut page)?;
            std::io::stdout().write_all(&page)?;
            return Ok(ExitCode::SUCCESS);
        };
        std::fs::create_dir_all(&folder)?;
        clap_mangen::generate_to(Cli::command(), &folder)?;
        context.output.note(format_args!("the pages are in {}", folder.display()));
        Ok(ExitCode::SUCCESS)
    }
}
