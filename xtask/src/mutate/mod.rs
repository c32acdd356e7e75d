//! `cargo xtask mutate`: takes a guard out of the code, and demands that the test that stands for it fails.
//!
//! A guard that nothing tests is a guard that the next change may lose. Each mutation is made in a copy of the tree under
//! `target/mutants`, with a target folder of its own that is kept between runs, one after the other. A mutant that survives
//! its tests is a defect of the tests, and so is a mutation whose text is no longer there.

mod list;
mod tree;

use std::{
    process::{Command, ExitCode, Stdio},
    time::{Duration, Instant},
};

use comfy_table::Table;
use mainspring_embedded::{Options, Server};

use self::tree::Tree;
use crate::Outcome;

#[derive(clap::Args)]
pub struct Args {
    /// Only mutations with this in their name or file.
    filter: Option<String>,
    /// Only list them.
    #[arg(long)]
    list: bool,
}

/// A guard that is taken out, and the tests that must notice.
pub struct Mutant {
    /// What is no longer so.
    name: &'static str,
    file: &'static str,
    /// Stands there once.
    from: &'static str,
    to: &'static str,
    package: &'static str,
    /// Names of tests, or parts of them.
    tests: &'static [&'static str],
}

/// What the tests said.
#[derive(Debug, PartialEq, Eq)]
enum Verdict {
    /// They failed, as they should.
    Killed,
    /// They passed all the same.
    Survived,
    /// It does not compile, or no test was run.
    Nothing(String),
}

/// Longest run of the tests of one mutant: one that makes them wait for ever is noticed too.
const PATIENCE: Duration = Duration::from_secs(300);

pub fn run(args: &Args) -> Outcome {
    let wanted = |mutant: &&'static Mutant| {
        args.filter.as_ref().is_none_or(|part| mutant.name.contains(&**part) || mutant.file.contains(&**part))
    };
    let mutants: Vec<&Mutant> = list::all().filter(wanted).collect();
    if args.list {
        mutants.iter().for_each(|mutant| println!("{}: {}", mutant.file, mutant.name));
        return Ok(ExitCode::SUCCESS);
    }
    let server = Server::from_env("TEST_DATABASE_URL", Options::throwaway().max_connections(400))?;
    eprintln!("{server}");
    let tree = Tree::copy()?;
    let mut table = Table::new();
    table.set_header(["mutation", "tests", "verdict", "seconds"]);
    let mut bad = Vec::new();
    for mutant in mutants {
        let begin = Instant::now();
        // The tests have to pass without the mutation; that they do is the business of `cargo xtask test`.
        let verdict = match tree.mutate(mutant) {
            Ok(()) => test(&tree, mutant, &server)?,
            Err(problem) => Verdict::Nothing(problem),
        };
        tree.restore(mutant)?;
        let seconds = begin.elapsed().as_secs().to_string();
        eprintln!("{}: {verdict:?} ({seconds} s)", mutant.name);
        let said = match &verdict {
            Verdict::Killed => "killed".to_owned(),
            Verdict::Survived => "SURVIVED".to_owned(),
            Verdict::Nothing(why) => format!("NOT TESTED: {why}"),
        };
        table.add_row([mutant.name.to_owned(), mutant.tests.join("\n"), said, seconds]);
        if verdict != Verdict::Killed {
            bad.push(mutant.name);
        }
    }
    println!("{table}");
    if bad.is_empty() {
        return Ok(ExitCode::SUCCESS);
    }
    eprintln!("error: not noticed by the tests: {}", bad.join("; "));
    Ok(ExitCode::FAILURE)
}

fn test(tree: &Tree, mutant: &Mutant, server: &Server) -> Result<Verdict, Box<dyn std::error::Error>> {
    let cargo = |arguments: &[&str]| {
        let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
        command.args(["test", "--locked", "-p", mutant.package, "--tests"]).args(arguments);
        command.current_dir(tree.folder()).env("CARGO_TARGET_DIR", tree.target());
        command.env("TEST_DATABASE_URL", server.url()).env("RUST_BACKTRACE", "0").stdin(Stdio::null());
        command
    };
    let built = cargo(&["--no-run"]).output()?;
    if !built.status.success() {
        let said = String::from_utf8_lossy(&built.stderr);
        let first =
            said.lines().find(|line| line.starts_with("error")).unwrap_or("does not compile").to_owned();
        return Ok(Verdict::Nothing(first));
    }
    let log = tree.log()?;
    let mut child = cargo(&["--"]).args(mutant.tests).stdout(log.try_clone()?).stderr(log).spawn()?;
    let begin = Instant::now();
    let status = loop {
        match child.try_wait()? {
            Some(status) => break status,
            None if begin.elapsed() > PATIENCE => {
                child.kill()?;
                break child.wait()?;
            }
            None => std::thread::sleep(Duration::from_millis(100)),
        }
    };
    let said = tree.said()?;
    let ran = said.lines().any(|line| line.starts_with("running ") && !line.starts_with("running 0 "));
    Ok(match (status.success(), ran) {
        (_, false) => Verdict::Nothing("no test has these names".to_owned()),
        (true, true) => Verdict::Survived,
        (false, true) => Verdict::Killed,
    })
}
