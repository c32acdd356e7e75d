//! The server dies with its owner, also on SIGKILL. The owner is this test binary, run again for one ignored
//! test.

use crate::{open_folder, query, runs, within};
use mainspring_embedded::{Cluster, Options};
use std::{
    env, fs,
    io::{BufRead, BufReader},
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::OnceLock,
};

/// A process that owns a cluster in a `static`, as test harnesses do, and waits for its end.
struct Owner {
    process: Child,
    server: u32,
    data: PathBuf,
    url: String,
}

impl Owner {
    fn start(folder: Option<&Path>, deed: &str) -> Owner {
        let mut command = owner_command(folder.unwrap_or(Path::new("")), deed);
        let mut process = command.stdout(Stdio::piped()).spawn().unwrap();
        let lines = BufReader::new(process.stdout.take().unwrap()).lines();
        let mut told =
            lines.map_while(Result::ok).filter_map(|line| Some(line.split_once("owner: ")?.1.to_owned()));
        let mut next = || told.next().expect("the owner did not start its cluster");
        let (server, data, url) = (next().parse().unwrap(), next().into(), next());
        Owner { process, server, data, url }
    }

    fn kill(mut self) -> (u32, PathBuf) {
        self.process.kill().unwrap(); // SIGKILL
        self.process.wait().unwrap();
        (self.server, self.data)
    }
}

fn owner_command(folder: &Path, deed: &str) -> Command {
    let mut command = Command::new(env::current_exe().unwrap());
    command.args(["--ignored", "--exact", "owner::own_a_cluster", "--nocapture"]);
    command.env("OWNER_FOLDER", folder).env("OWNER_DEED", deed).stdin(Stdio::piped());
    command
}

#[test]
#[ignore = "run by the other tests of this file, as a process of its own"]
fn own_a_cluster() {
    static CLUSTER: OnceLock<Cluster> = OnceLock::new(); // never dropped
    let Ok(deed) = env::var("OWNER_DEED") else { return };
    let folder = env::var_os("OWNER_FOLDER").unwrap_or_default();
    let options = if folder.is_empty() { Options::throwaway() } else { Options::durable(folder) };
    let mut cluster = Cluster::start(options).unwrap();
    if deed == "pause" {
        cluster.pause().unwrap();
    }
    let (pid, data, url) = (cluster.pid().unwrap(), cluster.data_dir(), cluster.url("postgres"));
    CLUSTER.set(cluster).unwrap();
    println!("\nowner: {pid}\nowner: {}\nowner: {url}", data.display());
    if deed == "exit" {
        std::process::exit(0);
    }
    std::io::stdin().read_line(&mut String::new()).unwrap(); // the test that started us holds the other end
}

#[test]
fn a_killed_owner_takes_a_throwaway_server_and_its_folder_along() {
    let owner = Owner::start(None, "");
    assert_eq!(query(&owner.url, "select 1").unwrap(), ["1"]);
    let (server, data) = owner.kill();
    within(5, "the server ends", || !runs(server));
    within(5, "the folder is removed", || !data.parent().unwrap().exists());
}

#[test]
fn an_owner_killed_during_the_start_leaves_nothing() {
    let temporary = open_folder();
    fs::set_permissions(temporary.path(), fs::Permissions::from_mode(0o777)).unwrap();
    let mut command = owner_command(Path::new(""), "");
    let mut owner = command.env("TMPDIR", temporary.path()).stdout(Stdio::null()).spawn().unwrap();
    let folders = || temporary.path().read_dir().unwrap().map(|entry| entry.unwrap().path());
    within(5, "initdb begins", || folders().any(|folder| folder.join("data.new").exists()));
    owner.kill().unwrap();
    owner.wait().unwrap();
    within(10, "the folder is removed", || folders().count() == 0);
}

#[test]
fn an_owner_that_ends_without_dropping_takes_them_along_too() {
    let mut owner = Owner::start(None, "exit");
    assert!(owner.process.wait().unwrap().success());
    within(5, "the server ends", || !runs(owner.server));
    within(5, "the folder is removed", || !owner.data.parent().unwrap().exists());
}

#[test]
fn a_paused_server_does_not_outlive_its_owner() {
    let (server, data) = Owner::start(None, "pause").kill();
    within(5, "the server ends", || !runs(server));
    within(5, "the folder is removed", || !data.parent().unwrap().exists());
}

#[test]
fn after_a_killed_owner_the_next_one_finds_the_rows() {
    let folder = open_folder();
    let folder = folder.path().join("pg");
    let owner = Owner::start(Some(&folder), "");
    query(&owner.url, "create table kept (id int); insert into kept values (42)").unwrap();
    owner.kill();
    let cluster = Cluster::start(Options::durable(&folder)).unwrap(); // at once, while the old one shuts down
    assert_eq!(query(&cluster.url("postgres"), "select id from kept").unwrap(), ["42"]);
}
