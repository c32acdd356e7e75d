//! A PgBouncer of our own in front of the test server, in transaction mode.

use std::{
    env, fs,
    os::unix::fs::{MetadataExt, PermissionsExt},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
};

use mainspring::Settings;
use mainspring_pg::Statements;
use tempfile::TempDir;

use crate::{Lab, until};

/// Connections to the server: fewer than the clients, so that they have to be shared.
const SERVERS: usize = 2;

/// A running PgBouncer; it ends when dropped.
#[derive(Debug)]
pub struct Bouncer {
    folder: TempDir,
    child: Child,
    settings: Settings,
    version: (u32, u32),
}

impl Bouncer {
    /// One in front of the lab's server; `None`, and a note why, where none is installed. In CI one has to be.
    ///
    /// # Panics
    /// When it does not start, and in CI when there is none.
    pub async fn start(lab: &Lab) -> Option<Self> {
        let Some(program) = find() else {
            assert!(env::var_os("CI").is_none(), "no `pgbouncer` on PATH; CI has to have one");
            #[allow(clippy::print_stderr, reason = "a test that tests nothing says so")]
            {
                eprintln!("NOT TESTED: there is no `pgbouncer` on PATH");
            }
            return None;
        };
        let version = version(&program);
        let folder = tempfile::tempdir().expect("a folder");
        let config = folder.path().join("pgbouncer.ini");
        fs::write(&config, configuration(lab, folder.path(), version)).expect("the configuration is written");
        let mut command = Command::new(program);
        // It refuses to run as root.
        if folder.path().metadata().expect("the folder is there").uid() == 0 {
            fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o777))
                .expect("the folder is ours");
            command.args(["-u", "nobody"]);
        }
        let log = fs::File::create(folder.path().join("log")).expect("a log");
        command.arg(&config).stdin(Stdio::null()).stdout(Stdio::null()).stderr(log);
        let child = command.spawn().expect("pgbouncer runs");
        let place = folder.path().display();
        let settings =
            Settings::parse(&format!("host={place} port=6432 user=anyone dbname=behind sslmode=disable"));
        let mut bouncer = Self { settings: settings.expect("an address"), folder, child, version };
        let way = bouncer.way(Statements::Unnamed);
        until("pgbouncer answers", async || {
            assert!(matches!(bouncer.child.try_wait(), Ok(None)), "pgbouncer ended");
            way.connect().await.is_ok()
        })
        .await;
        Some(bouncer)
    }

    /// The way through it.
    pub fn way(&self, statements: Statements) -> Settings {
        self.settings.clone().through_pooler(statements)
    }

    /// Whether it keeps track of the names of statements.
    pub fn knows_names(&self) -> bool {
        self.version >= (1, 21)
    }
}

impl Drop for Bouncer {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let log = fs::read_to_string(self.folder.path().join("log")).unwrap_or_default();
            #[allow(clippy::print_stderr, reason = "the test has failed")]
            {
                eprintln!("{log}");
            }
        }
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

fn find() -> Option<PathBuf> {
    let path = env::var_os("PATH").unwrap_or_default();
    let folders = env::split_paths(&path).chain([PathBuf::from("/usr/sbin")]);
    folders.map(|folder| folder.join("pgbouncer")).find(|program| program.is_file())
}

/// `PgBouncer 1.18.0`
fn version(program: &Path) -> (u32, u32) {
    let said = Command::new(program).arg("--version").output().expect("pgbouncer says its version").stdout;
    let said = String::from_utf8_lossy(&said);
    let numbers = said.lines().next().and_then(|line| line.split(' ').next_back()).unwrap_or_default();
    let mut numbers = numbers.split('.').map(|number| number.parse().unwrap_or(0));
    (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0))
}

fn configuration(lab: &Lab, folder: &Path, version: (u32, u32)) -> String {
    let db = lab.db();
    let (host, port) = db.address().expect("a server with an address");
    let account =
        db.url().split_once("://").and_then(|(_, rest)| rest.rsplit_once('@')).map(|(account, _)| account);
    let (user, password) =
        account.and_then(|a| a.split_once(':')).unwrap_or((account.unwrap_or("postgres"), ""));
    let password = if password.is_empty() { String::new() } else { format!(" password='{password}'") };
    let names = if version >= (1, 21) { "max_prepared_statements = 200" } else { "" };
    format!(
        "[databases]
behind = host={host} port={port} dbname={} user={user}{password}
[pgbouncer]
pool_mode = transaction
default_pool_size = {SERVERS}
max_client_conn = 200
auth_type = any
listen_addr =
listen_port = 6432
unix_socket_dir = {}
server_tls_sslmode = disable
{names}
",
        db.name(),
        folder.display()
    )
}
