//! `cargo xtask features`: every crate compiles with none of its features, and with each one alone.

use std::{
    env, fs,
    process::{Command, ExitCode},
};

use crate::Outcome;

pub fn run() -> Outcome {
    let mut failed = Vec::new();
    let mut crates: Vec<_> = fs::read_dir(crate::root().join("crates"))?.collect::<Result<_, _>>()?;
    crates.sort_by_key(fs::DirEntry::file_name);
    for folder in crates {
        let manifest = fs::read_to_string(folder.path().join("Cargo.toml"))?;
        let name = folder.file_name().to_string_lossy().into_owned();
        let features = features(&manifest);
        if features.is_empty() {
            continue; // it is compiled as it is by everything else
        }
        for feature in std::iter::once("").chain(features) {
            let shown = if feature.is_empty() { "no feature" } else { feature };
            let cargo = env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
            let status = Command::new(cargo)
                .args([
                    "check",
                    "--quiet",
                    "--lib",
                    "--no-default-features",
                    "-p",
                    &name,
                    "--features",
                    feature,
                ])
                .current_dir(crate::root())
                .status()?;
            println!("{name}, {shown}: {status}");
            if !status.success() {
                failed.push(format!("{name} with {shown}"));
            }
        }
    }
    if failed.is_empty() {
        return Ok(ExitCode::SUCCESS);
    }
    Err(format!("does not compile: {}", failed.join(", ")).into())
}

/// The names in `[features]` but for `default`.
fn features(manifest: &str) -> Vec<&str> {
    let section = manifest.split("\n[features]\n").nth(1).unwrap_or_default();
    let lines = section.lines().take_while(|line| !line.starts_with('['));
    let names = lines.filter_map(|line| line.split_once('=')).map(|(name, _)| name.trim());
    names.filter(|name| *name != "default" && !name.starts_with('#')).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn features_are_read_from_their_section() {
        let manifest = "[package]\nname = \"a\"\n\n[features]\ndefault = [\"http\"]\n# calls\nhttp = []\n\n[dependencies]\nb = 1\n";
        assert_eq!(features(manifest), ["http"]);
        assert!(features("[dependencies]\nb = 1\n").is_empty());
    }
}
