//! `cargo xtask five-minutes`: plays what the README and the first page of the book print, in a clean clone and a clean home.
//!
//! Every line of their blocks marked `sh` is run as it stands, and has to end with 0. Where it says `postgres://…`, the address of
//! a private server is put in. Rust itself and the registry of crates are those of this machine, since `CARGO_HOME` and
//! `RUSTUP_HOME` are kept; everything that names a database is taken out of the environment.

use std::{
    env, fs,
    path::{Path, PathBuf},
    process::{Command, ExitCode},
    time::Instant,
};

use mainspring_embedded::{Cluster, Options};

use crate::Outcome;

/// Whose commands are run, in this order.
const PAGES: &[&str] = &["README.md", "docs/start.md"];
/// What stands for the reader's own database.
const THEIRS: &str = "postgres://…";
/// Variables that would give a hand.
const HELPERS: &[&str] =
    &["DATABASE_URL", "TEST_DATABASE_URL", "TEST_REDIS_URL", "MAINSPRING_DATABASE_URL", "PG_BIN_DIR"];

#[derive(clap::Args)]
pub struct Args {
    /// Leave out commands with this in them, such as `xtask test`.
    #[arg(long)]
    skip: Vec<String>,
    /// Build into this folder instead of one in the clone: quicker, and no measure of a first build.
    #[arg(long, value_name = "FOLDER")]
    target: Option<PathBuf>,
    /// Only print what would be run.
    #[arg(long)]
    list: bool,
}

pub fn run(args: &Args) -> Outcome {
    let mut commands = Vec::new();
    for page in PAGES {
        let text = fs::read_to_string(crate::root().join(page))?;
        commands.extend(printed(&text).map(|command| (*page, command.to_owned())));
    }
    commands.retain(|(_, command)| !args.skip.iter().any(|part| command.contains(part)));
    if args.list {
        commands.iter().for_each(|(page, command)| println!("{page}: {command}"));
        return Ok(ExitCode::SUCCESS);
    }
    let folder = new_folder()?;
    let done = play(&folder, &commands, args.target.as_deref());
    fs::remove_dir_all(&folder)?;
    done
}

/// A new folder for the clone and the home.
fn new_folder() -> std::io::Result<PathBuf> {
    let folder = env::temp_dir().join(format!("mainspring-five-minutes-{}", std::process::id()));
    fs::create_dir_all(folder.join("home"))?;
    Ok(folder)
}

fn play(folder: &Path, commands: &[(&str, String)], target: Option<&Path>) -> Outcome {
    let clone = folder.join("mainspring");
    let mut git = Command::new("git");
    step("git clone", git.args(["clone", "--quiet"]).arg(crate::root()).arg(&clone))?;
    let mut server = None;
    for (page, command) in commands {
        let mut run = command.clone();
        if run.contains(THEIRS) {
            if server.is_none() {
                server = Some(Cluster::start(Options::throwaway())?);
            }
            let url = server.as_ref().map(|cluster| cluster.url("postgres")).unwrap_or_default();
            run = run.replace(THEIRS, &url);
        }
        let mut shell = Command::new("sh");
        shell.args(["-ec", &run]).current_dir(&clone);
        clean(&mut shell, &folder.join("home"), target);
        step(&format!("{page}: {command}"), &mut shell)?;
    }
    Ok(ExitCode::SUCCESS)
}

/// Runs it, prints how long it took, and fails when it fails.
fn step(name: &str, command: &mut Command) -> Result<(), String> {
    println!("== {name}");
    let begun = Instant::now();
    let status = command.status().map_err(|error| format!("{name}: {error}"))?;
    println!("== {name}: {:.1} s", begun.elapsed().as_secs_f64());
    if status.success() { Ok(()) } else { Err(format!("`{name}` ended with {status}")) }
}

/// The environment of somebody who has just installed Rust.
fn clean(command: &mut Command, home: &Path, target: Option<&Path>) {
    let theirs = env::var_os("HOME").map(PathBuf::from).unwrap_or_default();
    for (name, folder) in [("CARGO_HOME", ".cargo"), ("RUSTUP_HOME", ".rustup")] {
        command.env(name, env::var_os(name).unwrap_or_else(|| theirs.join(folder).into()));
    }
    command.env("HOME", home).env_remove("XDG_CACHE_HOME").env_remove("XDG_DATA_HOME");
    let named = env::vars_os().filter_map(|(name, _)| name.into_string().ok());
    for name in named.filter(|name| name.starts_with("PG") || HELPERS.contains(&name.as_str())) {
        command.env_remove(name);
    }
    // Set by the cargo that runs this command; theirs is another one.
    command.env_remove("CARGO_TARGET_DIR").env_remove("CARGO_MANIFEST_DIR");
    if let Some(target) = target {
        command.env("CARGO_TARGET_DIR", target);
    }
}

/// The commands of all blocks marked `sh`, without their comments.
fn printed(text: &str) -> impl Iterator<Item = &str> {
    let mut inside = false;
    text.lines().filter_map(move |line| {
        if line.starts_with("```") {
            inside = line.trim_end() == "```sh";
            return None;
        }
        let command = line.split("  #").next().unwrap_or_default().trim();
        (inside && !command.is_empty() && !command.starts_with('#')).then_some(command)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_are_the_lines_of_shell_blocks() {
        let text =
            "```sh\ncargo a --url postgres://… # b\ncargo c    # d\n# e\n```\ncargo f\n```toml\ng = 1\n```\n";
        assert_eq!(printed(text).collect::<Vec<_>>(), ["cargo a --url postgres://… # b", "cargo c"]);
        let readme = fs::read_to_string(crate::root().join("README.md")).unwrap();
        assert!(printed(&readme).count() > 1, "the README prints commands");
    }
}
