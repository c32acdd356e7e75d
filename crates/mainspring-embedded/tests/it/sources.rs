//! Each place binaries can come from, alone.

use crate::{one, open_folder};
use mainspring_embedded::{Binaries, Cluster, Error, Options, Server, Source};
use std::{fs, os::unix::fs::PermissionsExt, path::Path, process::Command};

fn from(sources: &[Source]) -> Options {
    Options::throwaway().sources(sources)
}

#[test]
fn a_named_folder_is_used() {
    let found = Binaries::find(&Options::throwaway()).unwrap(); // where none is installed, one that was fetched
    let named = Binaries::find(&from(&[Source::BinDir]).bin_dir(found.dir())).unwrap();
    assert_eq!((named.dir(), named.version()), (found.dir(), found.version()));
    assert!(named.major() >= 13);
}

#[test]
fn a_named_folder_that_does_not_work_is_an_error_even_if_others_do() {
    let folder = open_folder();
    let options = Options::throwaway().bin_dir(folder.path());
    let error = Binaries::find(&options).unwrap_err().to_string();
    assert!(error.contains("PG_BIN_DIR") && error.contains("no postgres in"), "{error}");

    for name in ["postgres", "initdb", "pg_ctl"] {
        program(&folder.path().join(name), "echo version GLIBC_2.99 not found >&2; exit 1");
    }
    let error = Binaries::find(&options).unwrap_err().to_string();
    assert!(error.contains("GLIBC_2.99 not found"), "{error}");
}

#[test]
fn without_any_source_the_error_names_the_three_ways_out() {
    let empty = open_folder();
    let error = Binaries::find(&from(&[Source::Cache]).cache_dir(empty.path())).unwrap_err();
    assert!(matches!(error, Error::NoPostgres { .. }));
    let text = error.to_string();
    for part in ["cache: nothing in", "DATABASE_URL", "PG_BIN_DIR", "install", "npm", "pip"] {
        assert!(text.contains(part), "`{part}` is missing in: {text}");
    }
}

#[test]
fn apt_is_not_used_unasked() {
    if std::env::var("CI").is_ok_and(|ci| ci == "true") {
        return; // there it is allowed
    }
    let error = Binaries::find(&from(&[Source::Apt])).unwrap_err().to_string();
    assert!(error.contains("apt: apt failed: not allowed"), "{error}");
}

#[test]
fn npm_is_fetched_once_and_then_cached() {
    if has("npm", &["--version"]) {
        fetches(Source::Npm);
    }
}

#[test]
fn pip_is_fetched_once_and_then_cached() {
    if has("python3", &["-m", "pip", "--version"]) {
        fetches(Source::Pip);
    }
}

fn fetches(source: Source) {
    let cache = open_folder();
    let options = from(&[source]).cache_dir(cache.path());
    let cluster = match Cluster::start(options.clone()) {
        Err(error @ Error::NoPostgres { .. }) if std::env::var_os("CI").is_none() => {
            eprintln!("skipped, since the registry could not be reached: {error}");
            return;
        }
        started => started.unwrap(),
    };
    assert!(cluster.binaries().dir().starts_with(cache.path()));
    assert_eq!(one(&cluster, "show server_version"), "18.4");
    drop(cluster);
    assert_eq!(entries(&cache.path().join("pg")).len(), 1, "downloads are left behind");

    let cached = Binaries::find(&from(&[Source::Cache]).cache_dir(cache.path())).unwrap();
    assert_eq!(cached.version(), "18.4");
}

/// What the environment says is read in a process of its own, since a variable cannot be set safely in this
/// one.
fn in_environment(variables: &[(&str, &str)]) -> String {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--ignored", "--exact", "sources::start_and_say", "--nocapture"]);
    for variable in ["PG_BIN_DIR", "DATABASE_URL", "MAINSPRING_CACHE_DIR", "CI"] {
        command.env_remove(variable);
    }
    let output = command.envs(variables.iter().copied()).output().unwrap();
    String::from_utf8(output.stdout).unwrap()
}

#[test]
#[ignore = "run by the other tests of this file, as a process of its own"]
fn start_and_say() {
    let sources = match std::env::var("ONLY").as_deref() {
        Ok("npm") => vec![Source::Npm, Source::Pip],
        Ok("fetched") => vec![Source::Cache, Source::Npm, Source::Pip],
        _ => Source::ALL.into(),
    };
    match Server::from_env("DATABASE_URL", from(&sources)) {
        Ok(server) => println!("\nsays: {server}\nsays: {}", server.url()),
        Err(error) => println!("\nsays: {error}"),
    }
}

#[test]
fn database_url_is_used_as_it_is() {
    let said = in_environment(&[("DATABASE_URL", "postgres://me:s3cret@db.example/app")]);
    assert!(said.contains("says: postgres: external server at db.example/app\n"), "{said}");
    assert!(said.contains("says: postgres://me:s3cret@db.example/app\n"), "{said}");
}

#[test]
fn pg_bin_dir_is_read_and_an_empty_one_is_not() {
    let said = in_environment(&[("PG_BIN_DIR", "/nonexistent")]);
    assert!(said.contains("says: PG_BIN_DIR /nonexistent cannot be used"), "{said}");
    let said = in_environment(&[("PG_BIN_DIR", ""), ("DATABASE_URL", "")]);
    assert!(said.contains("says: postgres://postgres@127.0.0.1:"), "{said}");
}

#[test]
fn without_npm_and_pip_the_error_says_so() {
    let (cache, bin) = (open_folder(), open_folder());
    let (cache, bin) = (cache.path().to_str().unwrap(), bin.path().to_str().unwrap());
    let said = in_environment(&[("ONLY", "fetched"), ("MAINSPRING_CACHE_DIR", cache), ("PATH", bin)]);
    for part in
        [&format!("cache: nothing in {cache}"), "npm: npm failed", "no Python with pip", "Three ways out"]
    {
        assert!(said.contains(part), "`{part}` is missing in: {said}");
    }
}

/// A registry, a mirror or something between that serves another file is not a reason to ask the next source.
#[test]
fn a_download_with_another_hash_is_refused_and_ends_the_search() {
    let (cache, bin) = (open_folder(), open_folder());
    program(&bin.path().join("npm"), "echo tampered > embedded-postgres.tgz");
    let path = format!("{}:/usr/bin:/bin", bin.path().display());
    let variables =
        [("ONLY", "npm"), ("MAINSPRING_CACHE_DIR", cache.path().to_str().unwrap()), ("PATH", &path)];
    let said = in_environment(&variables);
    assert!(said.contains("says: embedded-postgres.tgz has sha256"), "{said}");
    assert!(said.contains("it was not used"), "{said}");
    assert_eq!(entries(&cache.path().join("pg")), [""; 0]);
}

fn program(path: &Path, script: &str) {
    fs::write(path, format!("#!/bin/sh\n{script}\n")).unwrap();
    fs::set_permissions(path, fs::Permissions::from_mode(0o755)).unwrap();
}

fn entries(folder: &Path) -> Vec<String> {
    folder.read_dir().unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
}

fn has(program: &str, arguments: &[&str]) -> bool {
    let found = Command::new(program).args(arguments).output().is_ok_and(|output| output.status.success());
    if !found {
        eprintln!("skipped, since there is no {program}");
    }
    found
}
