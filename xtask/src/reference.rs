//! `cargo xtask reference`: docs/reference/commands.md, from the program `mainspring`.

use std::{fs, io, path::Path, process::ExitCode};

use crate::Outcome;

const PAGE: &str = "docs/reference/commands.md";

pub fn run() -> Outcome {
    fs::write(crate::root().join(PAGE), mainspring_cli::reference())?;
    println!("wrote {PAGE}");
    Ok(ExitCode::SUCCESS)
}

/// Whether the page is what would be written.
pub(crate) fn problems(root: &Path) -> io::Result<Vec<String>> {
    let fresh = fs::read_to_string(root.join(PAGE))? == mainspring_cli::reference();
    Ok(if fresh { Vec::new() } else { vec![format!("{PAGE}: is out of date: run `cargo xtask reference`")] })
}
