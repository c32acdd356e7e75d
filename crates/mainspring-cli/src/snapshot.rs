//! Every code with what people read of it, and the reports of the program, as they are recorded in `tests/reports.txt`: whoever changes
//! one sees all of it. `MAINSPRING_SNAPSHOT=write cargo test -p mainspring-cli snapshot` records them anew.

use std::{error::Error, fmt::Write};

use mainspring_core::{Error as Ours, ErrorKind};

use crate::{
    commands::{explain::summary, flows},
    config::{Config, Sources},
    environment::Environment,
    pages::PAGES,
    report::{self, Ended, Refused},
    spans::At,
};

const FILE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/reports.txt");

/// The first thing to do, without its mark.
fn hint(page: &str) -> String {
    let fix = page.split_once("\n## Fix\n").map_or("", |(_, fix)| fix).trim_start();
    let first = fix.trim_start_matches("- ").split("\n- ").next().unwrap_or_default();
    first.split("\n\n").next().unwrap_or_default().split_whitespace().collect::<Vec<_>>().join(" ")
}

fn codes(text: &mut String) {
    for (code, page) in PAGES {
        let folder = if code.starts_with(char::is_lowercase) { "errors" } else { "failures" };
        let (title, hint) = (summary(page), hint(page));
        assert!(!hint.is_empty(), "{code} says nothing to do");
        let _ = write!(text, "{code}\n  {title}\n  hint: {hint}\n  page: docs/{folder}/{code}.md\n\n");
    }
}

/// What is wrong with a flow in a file of this text.
fn flow(text: &str) -> Box<dyn Error> {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("flow.json");
    std::fs::write(&file, text).unwrap();
    flows::read(&file.display().to_string()).unwrap_err()
}

fn config(file: &str) -> Box<dyn Error> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("mainspring.toml");
    std::fs::write(&path, file).unwrap();
    let environment = Environment::default();
    let read = Sources::read(Vec::new(), &environment, Some(&path), None);
    read.and_then(|sources| Config::resolve(&sources)).err().unwrap()
}

fn reports() -> Vec<(&'static str, Box<dyn Error>)> {
    let kinds = [
        ErrorKind::NotFound,
        ErrorKind::Conflict,
        ErrorKind::Expired,
        ErrorKind::TooEarly,
        ErrorKind::Fenced,
        ErrorKind::Busy,
        ErrorKind::CommitUnknown,
        ErrorKind::Unavailable,
        ErrorKind::Invalid,
        ErrorKind::Schema,
        ErrorKind::Internal,
    ];
    let mut all: Vec<(&str, Box<dyn Error>)> = Vec::new();
    for kind in kinds {
        let cause = std::io::Error::other("what was below");
        all.push(("error of a kind", Ours::new(kind, "what went wrong").with_source(cause).into()));
    }
    all.push(("a thing that is not there", Ours::not_found("execution", "exec_7").into()));
    all.push(("an option", Ours::invalid("after", "is not what a list said").into()));
    all.push(("nobody confirmed", Box::new(Refused("would cancel 3 executions".to_owned()))));
    all.push(("interrupted", Box::new(Ended::Interrupted)));
    all.push(("too late", Box::new(Ended::TimedOut)));
    all.push(("a flow that is no JSON", flow("{\n  \"id\": \"a\",\n  oops\n}")));
    let step = r#"{"id": "a", "version": "1.0.0", "initialStepId": "s", "steps": {
  "s": {"id": "s", "type": "", "input": {"type": "full"}}}}"#;
    all.push(("a flow with a step without a type", flow(step)));
    let cron = Ours::invalid("schedule.cron", "is no pattern");
    all.push(("a cron pattern", At::in_pattern(cron, "30 2 * 13 *", mainspring::schedule::is_pattern)));
    all.push(("a key that nobody knows", config("prefx = 'a'")));
    all.push(("a file that is no TOML", config("prefix = \n")));
    all
}

/// Without the folder, which is another every time.
fn stable(text: &str) -> String {
    let mut out = String::new();
    for line in text.lines() {
        let words =
            line.split(' ').map(|word| match word.find("/flow.json").or(word.find("/mainspring.toml")) {
                Some(at) => &word[at + 1..],
                None => word,
            });
        out += words.collect::<Vec<_>>().join(" ").trim_end();
        out.push('\n');
    }
    out
}

#[test]
fn every_code_and_report_reads_as_it_is_recorded() {
    let mut text = String::from("# Codes\n\n");
    codes(&mut text);
    text += "# Reports of the program, and what it ends with\n\n";
    for (what, error) in reports() {
        let _ = write!(text, "{what}, {}:\n{}\n", report::code(&*error), report::rendered(&*error));
    }
    let text = stable(&text);
    if std::env::var_os("MAINSPRING_SNAPSHOT").is_some_and(|how| how == "write") {
        std::fs::write(FILE, &text).unwrap();
    }
    let recorded = std::fs::read_to_string(FILE).unwrap_or_default();
    for (n, (now, before)) in text.lines().zip(recorded.lines()).enumerate() {
        assert_eq!(now, before, "line {} of tests/reports.txt", n + 1);
    }
    assert_eq!(text.lines().count(), recorded.lines().count(), "tests/reports.txt");
}
