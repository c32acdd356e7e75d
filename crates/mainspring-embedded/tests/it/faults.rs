//! What a fault test may do to a server, and what comes back.

use crate::{folder_of, one, open_folder, query, runs, within};
use mainspring_embedded::{Cluster, Error, Options};
use std::{
    fs,
    os::unix::{fs::MetadataExt, process::CommandExt},
    path::Path,
    process::{Child, Command},
    sync::mpsc,
    thread,
    time::Duration,
};

fn durable() -> (tempfile::TempDir, Cluster) {
    let folder = open_folder();
    let cluster = Cluster::start(Options::durable(folder.path().join("pg"))).unwrap();
    query(&cluster.url("postgres"), "create table kept (id int); insert into kept values (42)").unwrap();
    (folder, cluster)
}

#[test]
fn restart_keeps_port_and_rows() {
    let (_folder, mut cluster) = durable();
    let (pid, url) = (cluster.pid().unwrap(), cluster.url("postgres"));
    cluster.restart().unwrap();
    assert_ne!(cluster.pid(), Some(pid));
    assert_eq!(query(&url, "select id from kept").unwrap(), ["42"]);
}

#[test]
fn a_stopped_server_refuses_connections_and_can_be_started_again() {
    let (_folder, mut cluster) = durable();
    cluster.stop_fast();
    assert_eq!(cluster.pid(), None);
    assert!(query(&cluster.url("postgres"), "select 1").is_err());
    assert!(matches!(cluster.kill9(), Err(Error::NotRunning)));
    assert!(matches!(cluster.pause(), Err(Error::NotRunning)));
    cluster.restart().unwrap();
    assert_eq!(one(&cluster, "select id from kept"), "42");
}

#[test]
fn after_kill9_the_next_start_recovers_what_was_committed() {
    let (_folder, mut cluster) = durable();
    let url = cluster.url("postgres");
    let session = thread::spawn(move || query(&url, "select pg_sleep(60)"));
    within(5, "the session sleeps", || one(&cluster, SLEEPERS) == "1");
    cluster.kill9().unwrap();
    assert!(session.join().unwrap().is_err());
    assert!(cluster.data_dir().join("postmaster.pid").exists());
    cluster.restart().unwrap();
    assert_eq!(one(&cluster, "select id from kept"), "42");
}

const SLEEPERS: &str = "select count(*) from pg_stat_activity where query like 'select pg_sleep%'";

#[test]
fn a_paused_server_answers_nobody_until_it_is_resumed() {
    let (_folder, mut cluster) = durable();
    cluster.pause().unwrap();
    let (answer, answered) = mpsc::channel();
    let url = cluster.url("postgres");
    thread::spawn(move || answer.send(query(&url, "select id from kept").unwrap()));
    assert_eq!(answered.recv_timeout(Duration::from_millis(300)), Err(mpsc::RecvTimeoutError::Timeout));
    cluster.resume().unwrap();
    assert_eq!(answered.recv_timeout(Duration::from_secs(10)).unwrap(), ["42"]);
}

#[test]
fn pause_also_freezes_sessions_that_are_open() {
    let mut cluster = Cluster::start(Options::throwaway()).unwrap();
    let url = cluster.url("postgres");
    let (answer, answered) = mpsc::channel();
    thread::spawn(move || answer.send(query(&url, "select pg_sleep(0.2)").is_ok()));
    within(5, "the session sleeps", || one(&cluster, SLEEPERS) == "1");
    cluster.pause().unwrap();
    assert!(answered.recv_timeout(Duration::from_millis(600)).is_err());
    cluster.resume().unwrap();
    assert_eq!(answered.recv_timeout(Duration::from_secs(10)), Ok(true));
}

#[test]
fn a_paused_server_can_be_dropped() {
    let mut cluster = Cluster::start(Options::throwaway()).unwrap();
    let (pid, folder) = (cluster.pid().unwrap(), folder_of(&cluster));
    cluster.pause().unwrap();
    drop(cluster);
    assert!(!runs(pid) && !folder.exists());
}

/// The pid in a stale file may belong to a living process of the same user by now; Postgres would then refuse
/// to start.
#[test]
fn a_stale_pid_file_does_not_stop_the_next_start() {
    let (_folder, mut cluster) = durable();
    let file = cluster.data_dir().join("postmaster.pid");
    cluster.kill9().unwrap();
    let left_behind = fs::read_to_string(&file).unwrap();
    let rest = left_behind.split_once('\n').unwrap().1;
    for stranger in [Stranger::living(&file), Stranger::zombie(&file)] {
        fs::write(&file, format!("{}\n{rest}", stranger.0.id())).unwrap();
        cluster.restart().unwrap();
        assert_eq!(one(&cluster, "select id from kept"), "42");
        cluster.kill9().unwrap();
    }
}

/// Some other process of the server's user that has the pid now.
struct Stranger(Child);

impl Stranger {
    fn living(owner: &Path) -> Stranger {
        Stranger(as_owner_of(owner, "sleep").arg("600").spawn().unwrap())
    }

    fn zombie(owner: &Path) -> Stranger {
        let ended = Stranger(as_owner_of(owner, "true").spawn().unwrap());
        within(5, "the process ends", || !runs(ended.0.id()));
        ended // not waited for
    }
}

fn as_owner_of(file: &Path, program: &str) -> Command {
    let meta = file.metadata().unwrap();
    let mut command = Command::new(program);
    command.uid(meta.uid()).gid(meta.gid());
    command
}

impl Drop for Stranger {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// With what a standby asks for, and commits that are with the kernel when they are acknowledged.
fn followed() -> Options {
    let settings = [("wal_level", "replica"), ("max_wal_senders", "4"), ("synchronous_commit", "on")];
    settings.into_iter().fold(Options::throwaway(), |options, (name, value)| options.setting(name, value))
}

fn upstream(of: &Cluster) -> String {
    format!("host=127.0.0.1 port={} user=postgres", of.port())
}

#[test]
fn a_standby_follows_takes_over_and_is_followed() {
    let mut first = Cluster::start(followed()).unwrap();
    one(&first, "create table kept (id int); insert into kept values (1); select 1");
    let from = upstream(&first);
    let mut second = first.standby(&from).unwrap();
    one(&first, "insert into kept values (2); select 1");
    within(10, "the standby has it", || one(&second, "select count(*) from kept") == "2");
    assert!(query(&second.url("postgres"), "insert into kept values (3)").is_err());

    first.stop_fast(); // sends the standby everything it has
    second.promote().unwrap();
    one(&second, "insert into kept values (3); select 1");
    first.follow(&upstream(&second)).unwrap();
    within(10, "the first follows the second", || one(&first, "select count(*) from kept") == "3");
    assert!(query(&first.url("postgres"), "insert into kept values (4)").is_err());
}

#[test]
fn files_that_may_not_grow_are_a_full_disk() {
    const FILL: &str = "insert into kept select repeat('x', 1900) from generate_series(1, 12000)";
    let mut cluster = Cluster::start(Options::throwaway()).unwrap();
    one(&cluster, "create table kept (text text); select 1");
    cluster.limit_files(Some((20 << 20) + 4096));
    cluster.restart().unwrap();
    assert!(query(&cluster.url("postgres"), FILL).is_err());
    assert!(fs::read_to_string(cluster.log_path()).unwrap().contains("could not extend file"));
    cluster.limit_files(None);
    cluster.restart().unwrap();
    query(&cluster.url("postgres"), FILL).unwrap();
}
