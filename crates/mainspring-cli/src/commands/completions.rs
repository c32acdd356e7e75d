//! `mainspring completions`: what a shell has to know to complete the commands.

use std::{io::Write, process::ExitCode};

use clap::CommandFactory;
use clap_complete::{Shell, generate};

use crate::{Cli, Outcome};

#[derive(clap::Args)]
pub(crate) struct Completions {
    /// The shell.
    shell: Shell,
}

impl Completions {
    pub(crate) fn run(self) -> Outcome {
        let mut script = Vec::new();
        generate(self.shell, &mut Cli::command(), "mainspring", &mut script);
        std::io::stdout().write_all(&script)?;
        Ok(ExitCode::SUCCESS)
    }
}
