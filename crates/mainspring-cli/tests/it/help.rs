//! What the program says about itself.

use std::{
    io::{BufRead, BufReader},
    process::{Command, Stdio},
};

use crate::ground::{Ground, run_in};

/// The subcommands that the help of `path` lists.
fn commands(help: &str) -> Vec<String> {
    let listed = help.lines().skip_while(|line| *line != "Commands:").skip(1);
    let listed = listed.take_while(|line| line.starts_with("  "));
    listed
        .filter(|line| !line.starts_with("   "))
        .filter_map(|line| line.split_whitespace().next())
        .map(str::to_owned)
        .collect()
}

/// Whether one of its own options says that only some are listed, or of what.
fn filters(help: &str) -> bool {
    let own = help.lines().take_while(|line| *line != "Options of every command:");
    let texts = own.filter_map(|line| line.split_once("  ")).map(|(_, text)| text.trim());
    let page = "Only those after this: what the page before said";
    texts.filter(|text| !text.ends_with(page)).any(|text| text.contains("Only "))
}

#[test]
fn every_command_says_how_it_is_used_with_an_example() {
    let folder = tempfile::tempdir().unwrap();
    let mut paths = vec![Vec::<String>::new()];
    let mut leaves = 0;
    while let Some(path) = paths.pop() {
        let mut arguments: Vec<&str> = path.iter().map(String::as_str).collect();
        arguments.push("--help");
        let help = run_in(&folder, &arguments, &[]).ok().out;
        let below = commands(&help);
        if below.is_empty() {
            leaves += 1;
            assert!(help.contains("Example:\n  "), "{path:?}:\n{help}");
            assert!(help.contains(&format!("mainspring {}", path.join(" "))), "{path:?}:\n{help}");
            let pages = ["--limit <N>", "--after <CURSOR>"].iter().all(|option| help.contains(option));
            let lists = path.last().is_some_and(|name| ["list", "history", "parked"].contains(&&**name));
            assert!(pages || !lists, "{path:?} has no pages:\n{help}");
            assert!(filters(&help) || !lists, "{path:?} has no filters:\n{help}");
        }
        paths.extend(below.into_iter().map(|name| [&*path, &[name]].concat()));
    }
    assert!(leaves > 8, "{leaves}");
}

#[test]
fn completions_and_manual_are_written() {
    let folder = tempfile::tempdir().unwrap();
    for shell in ["bash", "zsh", "fish", "powershell", "elvish"] {
        let script = run_in(&folder, &["completions", shell], &[]).ok().out;
        assert!(script.contains("mainspring") && script.contains("migrate"), "{shell}");
    }
    assert_eq!(run_in(&folder, &["completions", "tcsh"], &[]).code, 2);
    assert!(run_in(&folder, &["man"], &[]).ok().out.contains(".TH mainspring"));
    run_in(&folder, &["man", "--folder", "pages"], &[]).ok();
    assert!(folder.path().join("pages/mainspring-migrate-up.1").is_file());
    run_in(&folder, &["man", "--folder", "/proc/none"], &[]).refused(1);
}

#[test]
fn the_version_is_told() {
    let folder = tempfile::tempdir().unwrap();
    let told = run_in(&folder, &["version", "-o", "json"], &[]).json();
    assert_eq!(told["version"], env!("CARGO_PKG_VERSION"));
    assert!(run_in(&folder, &["--version"], &[]).ok().out.contains(env!("CARGO_PKG_VERSION")));
}

#[test]
fn a_code_is_explained_and_an_unknown_one_is_not_found() {
    let folder = tempfile::tempdir().unwrap();
    let explained = run_in(&folder, &["explain", "commit_unknown"], &[]).ok().out;
    assert!(explained.starts_with("# commit_unknown\n") && explained.contains("## Fix"), "{explained}");
    let said = run_in(&folder, &["explain", "comit_unknown"], &[]).refused(4);
    assert!(said.contains("did you mean commit_unknown?"), "{said}");
    assert!(run_in(&folder, &["explain"], &[]).ok().out.lines().count() > 10);
}

#[tokio::test]
async fn nobody_reading_on_is_no_error() {
    let ground = Ground::new().await;
    let mut command = Command::new(env!("CARGO_BIN_EXE_mainspring"));
    command.args(["migrate", "print"]).env_clear().current_dir(ground.folder.path());
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut first = String::new();
    BufReader::with_capacity(16, child.stdout.take().unwrap()).read_line(&mut first).unwrap(); // and closed
    let ended = child.wait_with_output().unwrap();
    assert!(ended.status.success() && ended.stderr.is_empty(), "{ended:?}");
}
