//! What every test stands on.

use std::process::Command;

use mainspring::{PgStoreOptions, PgStores};
use mainspring_testing::TestDb;
use serde_json::Value;
use tempfile::TempDir;

/// What a run of the program came to.
#[derive(Debug)]
pub(crate) struct Said {
    pub(crate) code: i32,
    pub(crate) out: String,
    pub(crate) err: String,
}

impl Said {
    /// It ended with 0.
    #[track_caller]
    pub(crate) fn ok(self) -> Self {
        assert_eq!(self.code, 0, "{self:?}");
        self
    }

    /// It ended with `code`, said why and answered nothing.
    #[track_caller]
    pub(crate) fn refused(self, code: i32) -> String {
        assert_eq!((self.code, &*self.out), (code, ""), "{self:?}");
        assert!(self.err.contains("error: "), "{self:?}");
        self.err
    }

    /// Its answer, with the version every answer has.
    #[track_caller]
    pub(crate) fn json(self) -> Value {
        let said = self.ok();
        let value: Value =
            serde_json::from_str(&said.out).unwrap_or_else(|error| panic!("{error}: {said:?}"));
        assert_eq!(value["schema_version"], 1, "{said:?}");
        value
    }

    /// The items of its answer.
    #[track_caller]
    pub(crate) fn items(self) -> Vec<Value> {
        self.json()["items"].as_array().unwrap().clone()
    }
}

/// The program in this folder with these variables: see [`Said`].
pub(crate) fn run_in(folder: &TempDir, arguments: &[&str], variables: &[(&str, &str)]) -> Said {
    let mut command = Command::new(env!("CARGO_BIN_EXE_mainspring"));
    command.args(arguments).current_dir(folder.path()).env_clear().envs(variables.iter().copied());
    let output = command.output().unwrap();
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
    Said { code: output.status.code().unwrap(), out: text(&output.stdout), err: text(&output.stderr) }
}

/// A database with the tables, and a folder.
pub(crate) struct Ground {
    pub(crate) db: TestDb,
    pub(crate) folder: TempDir,
}

impl Ground {
    pub(crate) async fn new() -> Self {
        Self { db: TestDb::new().await, folder: tempfile::tempdir().unwrap() }
    }

    /// The program with this database.
    pub(crate) fn run(&self, arguments: &[&str]) -> Said {
        run_in(&self.folder, arguments, &[("DATABASE_URL", self.db.url())])
    }

    /// The same, answering JSON.
    pub(crate) fn json(&self, arguments: &[&str]) -> Said {
        self.run(&[arguments, &["-o", "json"]].concat())
    }

    /// The stores of this database.
    pub(crate) fn stores(&self) -> PgStores<'static> {
        PgStores::connect(self.db.url(), PgStoreOptions::default()).unwrap()
    }
}

/// The address with a password that nobody may see; the test server asks for none.
pub(crate) fn with_password(db: &TestDb) -> String {
    let (host, port) = db.address().unwrap();
    let account =
        db.url().split_once("://").unwrap().1.rsplit_once('@').map_or("postgres", |(account, _)| account);
    let user = account.split(':').next().unwrap();
    format!("postgres://{user}:canary@{host}:{port}/{}?sslmode=disable", db.name())
}
