//! What metrics and spans have in common: a list in the code, a table of it for people, and sources that are held to both.

use std::{
    fs, io,
    path::{Path, PathBuf},
    process::ExitCode,
};

use crate::Outcome;

/// Writes a table.
pub fn write(page: &str, table: &str) -> Outcome {
    let path = crate::root().join(page);
    fs::write(&path, table)?;
    println!("wrote {}", path.display());
    Ok(ExitCode::SUCCESS)
}

/// What is wrong with a table, for `tidy`: that another one would be written now.
pub fn stale(root: &Path, page: &str, table: &str, command: &str) -> Option<String> {
    let written = fs::read_to_string(root.join(page)).unwrap_or_default();
    (written != table).then(|| format!("{page} is out of date: run `cargo xtask {command}`"))
}

/// The names and texts of what is compiled into the crates.
pub fn sources(root: &Path, files: &[PathBuf]) -> io::Result<Vec<(String, String)>> {
    let named =
        files.iter().map(|file| (file.strip_prefix(root).unwrap_or(file).display().to_string(), file));
    let compiled = named.filter(|(name, _)| name.starts_with("crates/") && name.contains("/src/"));
    compiled.map(|(name, file)| Ok((name, fs::read_to_string(file)?))).collect()
}
