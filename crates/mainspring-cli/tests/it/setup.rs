//! `mainspring setup`.

use mainspring_pg::Migrator;
use mainspring_testing::TestDb;
use tempfile::TempDir;

use crate::ground::{Said, run_in, with_password};

fn setup(folder: &TempDir, arguments: &[&str], variables: &[(&str, &str)]) -> Said {
    run_in(folder, &[&["setup"], arguments].concat(), variables)
}

async fn is_set_up(db: &TestDb, prefix: &str) -> bool {
    let names = mainspring_pg::Names::new(Default::default(), mainspring_pg::Prefix::new(prefix).unwrap());
    Migrator::new(db.settings().clone(), names).verify().await.is_ok()
}

#[tokio::test]
async fn w46_setup_is_repeated_safely_and_shows_no_password() {
    let (db, folder) = (TestDb::new().await, tempfile::tempdir().unwrap());
    let url = with_password(&db);
    let arguments = ["--database-url", &*url, "--prefix", "cli_", "-o", "jsonl"];
    assert!(!is_set_up(&db, "cli_").await);
    let first = setup(&folder, &arguments, &[]).ok();
    assert!(first.err.contains("postgres://") && first.err.contains(db.name()), "{first:?}");
    assert!(
        first.out.lines().count() > 9 && first.out.lines().all(|line| line.contains("applied")),
        "{first:?}"
    );
    assert!(is_set_up(&db, "cli_").await);
    let second = setup(&folder, &arguments, &[]).ok();
    assert_eq!(second.out, first.out);
    assert!(!(first.err + &second.err).contains("canary"));
}

#[tokio::test]
async fn the_option_comes_before_the_environment_and_that_before_the_file() {
    let (db, folder) = (TestDb::new().await, tempfile::tempdir().unwrap());
    let (good, bad) = (with_password(&db), "postgres://nobody@127.0.0.1:1/none?sslmode=disable");
    std::fs::write(folder.path().join(".env"), format!("DATABASE_URL={good}\n")).unwrap();
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
        let said = setup(&folder, &arguments, variable.as_slice());
        assert_eq!(said.code, code, "{n}: {said:?}");
        assert_eq!((said.out.is_empty(), said.err.contains("canary")), (code != 0, false), "{n}: {said:?}");
    }
}

#[test]
fn w46_what_cannot_be_set_up_ends_with_1_and_a_wrong_question_with_2() {
    let folder = tempfile::tempdir().unwrap();
    for url in ["postgress://u:canary@h/d", "postgres://u:canary@127.0.0.1:1/d?sslmode=disable", "canary"] {
        let said = setup(&folder, &["--database-url", url], &[]).refused(1);
        assert!(!said.contains("canary"), "{said}");
    }
    let url = ["--database-url", "postgres://localhost/d", "--prefix", "No Prefix"];
    assert_eq!(setup(&folder, &url, &[]).code, 1);
    assert_eq!(setup(&folder, &["--no-such-option"], &[]).code, 2);
    std::fs::write(folder.path().join(".env"), "A='canary").unwrap();
    let said = setup(&folder, &[], &[]).refused(1);
    assert!(said.contains(".env") && !said.contains("canary"), "{said}");
}
