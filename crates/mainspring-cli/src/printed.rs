//! The commands that the README and the book print are commands of the program, with options that it has.

use std::{
    fs,
    path::{Path, PathBuf},
};

use clap::{CommandFactory, error::ErrorKind};

use crate::Cli;

/// The README and the pages of the book but the one that is written from the program.
fn pages() -> Vec<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let (mut pages, mut folders) = (vec![root.join("README.md")], vec![root.join("docs")]);
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|ending| ending == "md") && !path.ends_with("commands.md")
            {
                pages.push(path);
            }
        }
    }
    pages
}

/// Lines of blocks, and what stands between backquotes; but not the line of a `Cargo.toml`.
fn commands(text: &str) -> impl Iterator<Item = &str> {
    let lines = text.lines().flat_map(|line| {
        let spans = line.split('`').skip(1).step_by(2).filter(|_| !line.starts_with("```"));
        spans.chain([line.split("  #").next().unwrap_or_default()])
    });
    lines.filter(|line| line.starts_with("mainspring ") && !line.starts_with("mainspring = ")).map(str::trim)
}

/// As a shell would take it apart, which knows single quotes only.
fn words(command: &str) -> Vec<String> {
    let mut words = Vec::new();
    for (index, part) in command.split('\'').enumerate() {
        if index % 2 == 1 {
            words.push(part.to_owned());
        } else {
            words.extend(part.split_whitespace().map(ToOwned::to_owned));
        }
    }
    words
}

/// What is wrong with it. A command may be named without what it needs.
fn problem(command: &str) -> Option<String> {
    let error = Cli::command().try_get_matches_from(words(command)).err()?;
    let is_name = matches!(
        error.kind(),
        ErrorKind::MissingRequiredArgument
            | ErrorKind::MissingSubcommand
            | ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand
    );
    (!is_name).then(|| format!("{command}: {error}"))
}

#[test]
fn what_is_printed_is_a_command_of_the_program() {
    let mut seen = 0;
    let mut problems = Vec::new();
    for page in pages() {
        let text = fs::read_to_string(&page).unwrap();
        for command in commands(&text) {
            seen += 1;
            problems.extend(problem(command).map(|problem| format!("{}: {problem}", page.display())));
        }
    }
    assert!(problems.is_empty(), "{}", problems.join("\n"));
    assert!(seen > 20, "only {seen} commands were found");
}

#[test]
fn what_the_program_does_not_know_is_found() {
    assert!(problem("mainspring doctor --deep").is_none() && problem("mainspring explain").is_none());
    assert!(problem("mainspring doctor --deepest").is_some() && problem("mainspring undo").is_some());
    assert_eq!(words("mainspring start order --input '{\"a\": 1}' --wait")[4], "{\"a\": 1}");
    let text = "`mainspring dev` and\n```text\nmainspring a   # b\n```\n`mainspring` alone";
    assert_eq!(commands(text).collect::<Vec<_>>(), ["mainspring dev", "mainspring a"]);
}
