//! Starts real servers: what holds when all is well, when owners and servers are killed, and where binaries
//! come from.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::print_stderr,
    reason = "the helpers of tests are tests too"
)]

mod faults;
mod lifecycle;
mod owner;
mod redis;
mod sources;

use mainspring_embedded::Cluster;
use std::{
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

/// Runs statements and returns the first column of all rows.
fn query(url: &str, sql: &str) -> Result<Vec<String>, tokio_postgres::Error> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let (client, connection) = tokio_postgres::connect(url, tokio_postgres::NoTls).await?;
        let _driver = tokio::spawn(connection);
        let messages = client.simple_query(sql).await?;
        let rows = messages.iter().filter_map(|message| match message {
            tokio_postgres::SimpleQueryMessage::Row(row) => Some(row.get(0)?.to_owned()),
            _ => None,
        });
        Ok(rows.collect())
    })
}

fn one(cluster: &Cluster, sql: &str) -> String {
    query(&cluster.url("postgres"), sql).unwrap().remove(0)
}

/// A temporary folder the server's user can enter, also when root makes it.
fn open_folder() -> tempfile::TempDir {
    use std::os::unix::fs::PermissionsExt;
    let folder = tempfile::tempdir().unwrap();
    std::fs::set_permissions(folder.path(), std::fs::Permissions::from_mode(0o755)).unwrap();
    folder
}

fn within(seconds: u64, what: &str, mut done: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(seconds);
    while !done() {
        assert!(Instant::now() < deadline, "{what}: not within {seconds} s");
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// Whether a process exists and is not a zombie.
fn runs(pid: u32) -> bool {
    if Path::new("/proc/self/stat").exists() {
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat"));
        return stat.is_ok_and(|stat| !stat.contains(") Z "));
    }
    let ps =
        std::process::Command::new("ps").args(["-o", "state=", "-p", &pid.to_string()]).output().unwrap();
    let state = String::from_utf8_lossy(&ps.stdout).trim().to_owned();
    !state.is_empty() && !state.starts_with('Z')
}

fn folder_of(cluster: &Cluster) -> PathBuf {
    cluster.data_dir().parent().map(Path::to_path_buf).unwrap()
}
