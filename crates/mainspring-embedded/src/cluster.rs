//! A private Postgres server and its folder.

use crate::{
    account::Account,
    error::Result,
    find::Binaries,
    folder::Folder,
    guard::Guard,
    options::Options,
    postmaster::{self, Failure, free_port},
    stale,
};
use std::{
    fmt,
    path::{Path, PathBuf},
    process::{Child, Command},
    thread,
    time::{Duration, Instant},
};

/// How often another free port is tried when somebody was faster.
const OTHER_PORTS: usize = 5;

/// How long a start waits for the backends of a killed server to leave, and a restart for its port.
const PATIENCE: Duration = Duration::from_secs(15);

/// Which port, which also says what to do when it is taken.
#[derive(Clone, Copy)]
pub(crate) enum Port {
    /// Any: try another.
    Free,
    /// The caller's choice: fail.
    Wanted(u16),
    /// The one we had before a restart: wait, as only an outgoing connection can hold it, for a moment.
    Ours(u16),
}

/// A private Postgres server. It stops when this is dropped or when the process ends, however it ends.
///
/// Every role may log in from this machine without a password; it listens only on 127.0.0.1 and
/// a unix socket.
#[derive(Debug)]
pub struct Cluster {
    pub(crate) binaries: Binaries,
    pub(crate) settings: Vec<(String, String)>,
    pub(crate) account: Account,
    pub(crate) port: u16,
    pub(crate) server: Option<Child>,
    pub(crate) paused: bool,
    /// Bytes no file may grow beyond.
    pub(crate) file_limit: Option<u64>,
    // dropped in this order: the guard is sent away before the folder it would remove is removed
    pub(crate) guard: Guard,
    pub(crate) folder: Folder,
}

impl fmt::Display for Cluster {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.binaries.fmt(f)
    }
}

impl Cluster {
    /// Finds binaries, makes the data folder if there is none, and returns when connections are accepted.
    ///
    /// The first start takes about a second, a start on existing data some 50 ms, and fetching binaries some
    /// seconds more.
    ///
    /// # Errors
    ///
    /// Those of [`Binaries::find`]; [`InUse`] when another process owns the folder; [`OtherMajor`] when the
    /// data was written by another version; [`NotStarted`] with the end of the log when Postgres gave up.
    ///
    /// [`InUse`]: crate::Error::InUse
    /// [`OtherMajor`]: crate::Error::OtherMajor
    /// [`NotStarted`]: crate::Error::NotStarted
    pub fn start(options: Options) -> Result<Cluster> {
        let binaries = Binaries::find(&options)?;
        let account = Account::pick();
        let folder = Folder::open(&options.storage, &account)?;
        let signal = if folder.throwaway { "QUIT" } else { "INT" }; // immediate, or fast and clean
        let mut guard = Guard::new(&account, signal, &folder.temporary())?;
        postmaster::create_data(&binaries, &account, &folder, &mut guard)?;
        let settings = options.settings;
        let mut cluster = Cluster::stopped(binaries, settings, account, guard, folder);
        cluster.launch_on(options.port.map_or(Port::Free, Port::Wanted))?;
        Ok(cluster)
    }

    /// A server that was never started, on data that are there.
    pub(crate) fn stopped(
        binaries: Binaries,
        settings: Vec<(String, String)>,
        account: Account,
        guard: Guard,
        folder: Folder,
    ) -> Cluster {
        let (port, server, paused, file_limit) = (0, None, false, None);
        Cluster { binaries, settings, account, port, server, paused, file_limit, guard, folder }
    }

    /// The address of one database of this server, for any Postgres client. `postgres` is always there.
    pub fn url(&self, database: &str) -> String {
        format!("postgres://postgres@127.0.0.1:{}/{database}", self.port)
    }

    /// The TCP port on 127.0.0.1; it stays the same over [`restart`](Cluster::restart).
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The process id of the postmaster, unless the server is stopped.
    pub fn pid(&self) -> Option<u32> {
        self.server.as_ref().map(Child::id)
    }

    /// The binaries this server runs.
    pub fn binaries(&self) -> &Binaries {
        &self.binaries
    }

    /// The data folder.
    pub fn data_dir(&self) -> PathBuf {
        self.folder.path.join("data")
    }

    /// The folder of the unix socket.
    pub fn socket_dir(&self) -> &Path {
        self.folder.socket_dir()
    }

    /// The server's log. It grows over restarts.
    pub fn log_path(&self) -> PathBuf {
        self.folder.path.join("postgres.log")
    }

    pub(crate) fn launch_on(&mut self, port: Port) -> Result<()> {
        let deadline = Instant::now() + PATIENCE;
        let mut other_ports = OTHER_PORTS;
        loop {
            let number = match port {
                Port::Free => free_port()?,
                Port::Wanted(number) | Port::Ours(number) => number,
            };
            let failure = match self.launch(number) {
                Ok(()) => return Ok(()),
                Err(failure) => failure,
            };
            let in_time = Instant::now() < deadline;
            match (failure, port) {
                (Failure::StillInUse(_), _) if in_time => {}
                (Failure::PortTaken(_), Port::Free) if other_ports > 0 => other_ports -= 1,
                (Failure::PortTaken(_), Port::Ours(_)) if in_time => {}
                (Failure::StillInUse(error) | Failure::PortTaken(error) | Failure::Final(error), _) => {
                    return Err(error);
                }
            }
            thread::sleep(Duration::from_millis(50));
        }
    }

    fn launch(&mut self, port: u16) -> Result<(), Failure> {
        stale::settle(&self.data_dir())?;
        let command = self.command();
        let Cluster { folder, guard, settings, .. } = self;
        self.server = Some(postmaster::launch(command, folder, guard, settings, port)?);
        self.port = port;
        Ok(())
    }

    /// The server's program, in a shell that sets the limit of its files first when there is one.
    fn command(&self) -> Command {
        let program = self.binaries.program("postgres");
        let Some(bytes) = self.file_limit else { return self.account.command(program) };
        let mut shell = self.account.command("/bin/sh");
        shell.args(["-c", "ulimit -S -f \"$0\" && exec \"$@\"", &(bytes / 512).to_string()]).arg(program);
        shell
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        self.stop_for_good();
    }
}
