//! Start, use, stop, and who may have a folder.

use crate::{folder_of, one, open_folder, query, runs};
use mainspring_embedded::{Cluster, Error, Options, Server};
use std::{fs, net::TcpListener};

#[test]
fn a_throwaway_cluster_serves_several_sessions_and_leaves_nothing() {
    let cluster = Cluster::start(Options::throwaway()).unwrap();
    let (pid, folder) = (cluster.pid().unwrap(), folder_of(&cluster));
    query(&cluster.url("postgres"), "create database app").unwrap();
    assert_eq!(query(&cluster.url("app"), "select current_database()").unwrap(), ["app"]);
    assert_eq!(one(&cluster, "show fsync"), "off");
    assert_eq!(one(&cluster, "show max_connections"), "200");
    assert!(cluster.log_path().is_file() && cluster.socket_dir().join(socket_name(&cluster)).exists());
    drop(cluster);
    assert!(!runs(pid) && !folder.exists());
}

#[test]
fn settings_are_passed_on_and_the_last_word_wins() {
    let options =
        Options::throwaway().shared_buffers("128MB").setting("work_mem", "1MB").setting("work_mem", "9MB");
    let cluster = Cluster::start(options.max_connections(33)).unwrap();
    assert_eq!(one(&cluster, "show shared_buffers"), "128MB");
    assert_eq!(one(&cluster, "show work_mem"), "9MB");
    assert_eq!(one(&cluster, "show max_connections"), "33");
}

#[test]
fn a_durable_cluster_keeps_its_rows_over_owners() {
    let folder = open_folder();
    let start = || Cluster::start(Options::durable(folder.path().join("pg"))).unwrap();
    let cluster = start();
    assert_eq!(one(&cluster, "show fsync"), "on");
    query(&cluster.url("postgres"), "create table kept (id int); insert into kept values (41), (42)")
        .unwrap();
    drop(cluster);
    assert_eq!(one(&start(), "select max(id) from kept"), "42");
}

#[test]
fn a_second_owner_is_refused() {
    let folder = open_folder();
    let options = Options::durable(folder.path().join("pg"));
    let _first = Cluster::start(options.clone()).unwrap();
    let error = Cluster::start(options).unwrap_err();
    assert!(matches!(error, Error::InUse { .. }));
    assert!(error.to_string().ends_with("is in use by another process"), "{error}");
}

#[test]
fn data_of_another_major_version_is_refused() {
    let folder = open_folder();
    let options = Options::durable(folder.path().join("pg"));
    let cluster = Cluster::start(options.clone()).unwrap();
    let version = cluster.data_dir().join("PG_VERSION");
    drop(cluster);
    fs::write(&version, "9\n").unwrap();
    let error = Cluster::start(options).unwrap_err();
    assert!(matches!(error, Error::OtherMajor { have: 9, .. }));
    assert!(error.to_string().contains("holds data of Postgres 9"), "{error}");
}

#[test]
fn a_folder_with_other_peoples_files_is_left_alone() {
    let folder = open_folder();
    fs::write(folder.path().join("letter.txt"), "dear").unwrap();
    let error = Cluster::start(Options::durable(folder.path())).unwrap_err();
    assert!(matches!(error, Error::NotOurs { .. }), "{error}");
    assert_eq!(folder.path().read_dir().unwrap().count(), 1);
}

#[test]
fn a_path_too_long_for_a_socket_gets_a_short_one() {
    let folder = open_folder();
    let cluster = Cluster::start(Options::durable(folder.path().join("long-".repeat(25)))).unwrap();
    let dir = cluster.socket_dir().to_owned();
    assert!(dir.join(socket_name(&cluster)).exists());
    drop(cluster);
    assert!(!dir.exists());
}

#[test]
fn a_port_that_stays_taken_is_an_error_that_quotes_the_log() {
    let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let port = listener.local_addr().unwrap().port();
    let error = Cluster::start(Options::throwaway().port(port)).unwrap_err();
    assert!(matches!(error, Error::NotStarted { .. }));
    assert!(error.to_string().contains("Address already in use"), "{error}");
}

#[test]
fn a_setting_postgres_refuses_is_an_error_that_quotes_the_log() {
    let error = Cluster::start(Options::throwaway().setting("no_such_setting", "1")).unwrap_err();
    assert!(error.to_string().contains("no_such_setting"), "{error}");
}

#[test]
fn without_the_variable_the_server_is_our_own() {
    let server = Server::from_env("MAINSPRING_TEST_NO_SUCH_VARIABLE", Options::throwaway()).unwrap();
    assert_eq!(query(&server.url(), "select 1").unwrap(), ["1"]);
    let cluster = server.cluster().unwrap();
    let binaries = cluster.binaries();
    assert_eq!(
        server.to_string(),
        format!("postgres: {} from {}", binaries.version(), binaries.dir().display())
    );
}

fn socket_name(cluster: &Cluster) -> String {
    format!(".s.PGSQL.{}", cluster.port())
}
