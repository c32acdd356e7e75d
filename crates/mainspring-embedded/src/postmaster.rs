//! One run of the `postgres` program: how it is called, and when it is ready.

use crate::{
    account::Account,
    error::{Doing, Error, Result},
    find::Binaries,
    folder::{Folder, append_to},
    guard::Guard,
    process::{reap, run_seen, tail},
};
use std::{
    fs::{self, File},
    io::{Read, Seek, SeekFrom},
    net::TcpListener,
    path::Path,
    process::{Child, Command},
    thread,
    time::{Duration, Instant},
};

/// How long recovery after a crash may take before we give up.
const PATIENCE: Duration = Duration::from_secs(60);

/// What a server without value for its data can do without.
const THROWAWAY: [(&str, &str); 5] = [
    ("fsync", "off"),
    ("synchronous_commit", "off"),
    ("full_page_writes", "off"),
    ("wal_level", "minimal"),
    ("max_wal_senders", "0"),
];

/// Why a server ended before it was ready.
pub(crate) enum Failure {
    /// Somebody else took the port between our looking and its binding.
    PortTaken(Error),
    /// Backends of a killed server are still leaving.
    StillInUse(Error),
    Final(Error),
}

impl From<Error> for Failure {
    fn from(error: Error) -> Failure {
        Failure::Final(error)
    }
}

/// Makes `data/` unless it is there. A half-made one is never taken for a whole one.
pub(crate) fn create_data(
    binaries: &Binaries,
    account: &Account,
    folder: &Folder,
    guard: &mut Guard,
) -> Result<()> {
    let data = folder.path.join("data");
    if data.join("PG_VERSION").is_file() {
        return check_major(&data, binaries.major());
    }
    let half_made = folder.path.join("data.new");
    let _ = fs::remove_dir_all(&half_made);
    let mut initdb = account.command(binaries.program("initdb"));
    initdb
        .args(["--username=postgres", "--auth=trust", "--encoding=UTF8", "--locale=C", "--pgdata"])
        .arg(&half_made);
    if folder.throwaway {
        initdb.arg("--no-sync");
    }
    if folder.throwaway && binaries.major() >= 18 {
        initdb.arg("--no-data-checksums");
    }
    let made = run_seen(&mut initdb, |pid| guard.watch(pid));
    guard.forget();
    made?;
    fs::rename(&half_made, &data).doing("rename", &half_made)
}

fn check_major(data: &Path, want: u32) -> Result<()> {
    let file = data.join("PG_VERSION");
    let have = fs::read_to_string(&file).doing("read", &file)?.trim().parse().unwrap_or(0);
    if have == want { Ok(()) } else { Err(Error::OtherMajor { data: data.into(), have, want }) }
}

/// Starts the server, whose program `command` runs, and returns when it accepts connections.
pub(crate) fn launch(
    mut command: Command,
    folder: &Folder,
    guard: &mut Guard,
    settings: &[(String, String)],
    port: u16,
) -> Result<Child, Failure> {
    let log_path = folder.path.join("postgres.log");
    let log = append_to(&log_path)?;
    let log_start = log.metadata().doing("read", &log_path)?.len();

    command.arg("-D").arg(folder.path.join("data")).args(["-p", &port.to_string(), "-h", "127.0.0.1"]);
    command.arg("-k").arg(folder.socket_dir());
    command.args(["-c", "logging_collector=off", "-c", "timezone=UTC"]);
    let throwaway = THROWAWAY.iter().filter(|_| folder.throwaway).copied();
    let chosen = settings.iter().map(|(name, value)| (name.as_str(), value.as_str()));
    for (name, value) in throwaway.chain(chosen) {
        command.arg("-c").arg(format!("{name}={value}"));
    }
    command.stdout(log.try_clone().doing("share", &log_path)?).stderr(log);

    let mut server = command.spawn().doing("run", command.get_program())?;
    guard.watch(server.id()).inspect_err(|_| reap(&mut server, 0))?;
    wait_until_ready(&mut server, &folder.path.join("data")).map_err(|why| {
        guard.forget();
        reap(&mut server, 0);
        let log = log_since(&log_path, log_start);
        match why {
            NotReady::Slow => Failure::Final(Error::TooSlow {
                what: format!("the start of Postgres (see {})", log_path.display()),
                seconds: PATIENCE.as_secs(),
            }),
            NotReady::Ended => failure(&log),
        }
    })?;
    Ok(server)
}

enum NotReady {
    Ended,
    Slow,
}

/// Needs no client: Postgres writes its state into line 8 of `postmaster.pid`. Line 1 has to be our child,
/// because a file that a killed server left behind also says `ready`.
fn wait_until_ready(server: &mut Child, data: &Path) -> Result<(), NotReady> {
    let pid = server.id().to_string();
    let deadline = Instant::now() + PATIENCE;
    loop {
        let text = fs::read_to_string(data.join("postmaster.pid")).unwrap_or_default();
        let mut lines = text.lines().map(str::trim);
        if lines.next() == Some(&pid) && lines.nth(6) == Some("ready") {
            return Ok(());
        }
        if !matches!(server.try_wait(), Ok(None)) {
            return Err(NotReady::Ended);
        }
        if Instant::now() > deadline {
            return Err(NotReady::Slow);
        }
        thread::sleep(Duration::from_millis(5));
    }
}

/// The server speaks English, since it runs with `LC_ALL=C`.
fn failure(log: &str) -> Failure {
    let error = Error::NotStarted { program: "postgres".into(), log: tail(log) };
    match () {
        () if log.contains("could not create any TCP/IP sockets") => Failure::PortTaken(error),
        () if log.contains("shared memory block") && log.contains("still in use") => {
            Failure::StillInUse(error)
        }
        () => Failure::Final(error),
    }
}

fn log_since(path: &Path, start: u64) -> String {
    let mut text = String::new();
    let _ = File::open(path).and_then(|mut log| {
        log.seek(SeekFrom::Start(start))?;
        log.read_to_string(&mut text)
    });
    text
}

/// A port nobody listens on at this moment. Another process can still be faster, so the start is tried again
/// then.
pub(crate) fn free_port() -> Result<u16> {
    let listener = TcpListener::bind(("127.0.0.1", 0)).and_then(|listener| listener.local_addr());
    Ok(listener.doing("listen on", "127.0.0.1")?.port())
}
