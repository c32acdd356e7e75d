//! The program, run as users run it.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

use std::{path::Path, process::Command};

use mainspring_pg::Migrator;
use mainspring_testing::TestDb;

/// `mainspring setup` in this folder, with nothing else in its environment: its exit code, and what it said where.
fn setup(folder: &Path, arguments: &[&str], variables: &[(&str, &str)]) -> (i32, String, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_mainspring"));
    command.arg("setup").args(arguments).current_dir(folder).env_clear().envs(variables.iter().copied());
    let output = command.output().unwrap();
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
    (output.status.code().unwrap(), text(&output.stdout), text(&output.stderr))
}

/// The address with a password that nobody may see; the test server asks for none.
fn with_password(db: &TestDb) -> String {
    let (host, port) = db.address().unwrap();
    let account =
        db.url().split_once("://").unwrap().1.rsplit_once('@').map_or("postgres", |(account, _)| account);
    let user = account.split(':').next().unwrap();
    format!("postgres://{user}:canary@{host}:{port}/{}?sslmode=disable", db.name())
}

async fn is_set_up(db: &TestDb, prefix: &str) -> bool {
    let names = mainspring_pg::Names::new(Default::default(), mainspring_pg::Prefix::new(prefix).unwrap());
    Migrator::new(db.settings().clone(), names).verify().await.is_ok()
}

#[tokio::test]
async fn w46_setup_is_repeated_safely_and_shows_no_password() {
    let (db, folder) = (TestDb::new().await, tempfile::tempdir().unwrap());
    let url = with_password(&db);
    let arguments = ["--database-url", &*url, "--prefix", "cli_"];
    assert!(!is_set_up(&db, "cli_").await);
    let (code, first, said) = setup(folder.path(), &arguments, &[]);
    assert_eq!(code, 0, "{said}");
    assert!(said.contains("postgres://") && said.contains(db.name()), "{said}");
    assert!(first.lines().all(|line| line.contains("applied")) && first.starts_with("V1 "), "{first}");
    assert!(is_set_up(&db, "cli_").await);
    let (code, second, again) = setup(folder.path(), &arguments, &[]);
    assert_eq!((code, second), (0, first));
    assert!(!(said + &again).contains("canary"));
}

#[tokio::test]
async fn the_option_comes_before_the_environment_and_that_before_the_file() {
    let (db, folder) = (TestDb::new().await, tempfile::tempdir().unwrap());
    let (good, bad) = (with_password(&db), "postgres://nobody@127.0.0.1:1/none?sslmode=disable");
    let file =
        |url: &str| std::fs::write(folder.path().join(".env"), format!("DATABASE_URL={url}\n")).unwrap();
    file(&good);
    for (n, (option, variable, code)) in [
        (None, None, 0),                                           // the file
        (None, Some(("DATABASE_URL", bad)), 1),                    // not the file
        (None, Some(("WORKFLOW_POSTGRES_URL", bad)), 1),           // before DATABASE_URL, wherever that is
        (Some(&*good), Some(("MAINSPRING_DATABASE_URL", bad)), 0), // not the variable
        (Some(bad), Some(("DATABASE_URL", &*good)), 1),
    ]
    .into_iter()
    .enumerate()
    {
        let prefix = format!("p{n}_");
        let mut arguments = vec!["--prefix", &*prefix];
        arguments.extend(option.into_iter().flat_map(|url| ["--database-url", url]));
        let (ended, out, said) = setup(folder.path(), &arguments, variable.as_slice());
        assert_eq!(ended, code, "{n}: {said}");
        assert_eq!((out.is_empty(), said.contains("canary")), (code != 0, false), "{n}: {said}");
    }
}

#[test]
fn w46_what_cannot_be_set_up_ends_with_1_and_a_wrong_question_with_2() {
    let folder = tempfile::tempdir().unwrap();
    for url in ["postgress://u:canary@h/d", "postgres://u:canary@127.0.0.1:1/d?sslmode=disable", "canary"] {
        let (code, out, said) = setup(folder.path(), &["--database-url", url], &[]);
        assert_eq!((code, &*out), (1, ""), "{said}");
        assert!(said.contains("error: ") && !said.contains("canary"), "{said}");
    }
    let url = ["--database-url", "postgres://localhost/d", "--prefix", "No Prefix"];
    assert_eq!(setup(folder.path(), &url, &[]).0, 1);
    assert_eq!(setup(folder.path(), &["--no-such-option"], &[]).0, 2);
    std::fs::write(folder.path().join(".env"), "A='canary").unwrap();
    let (code, _, said) = setup(folder.path(), &[], &[]);
    assert_eq!(code, 1);
    assert!(said.contains(".env") && !said.contains("canary"), "{said}");
}
