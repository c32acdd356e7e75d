//! A process to kill.

use std::{
    fmt,
    io::{BufRead, BufReader},
    process::{Child, Command, ExitStatus, Stdio},
    time::Duration,
};

use mainspring_core::{Error, ErrorKind, Result};
use rustix::process::{Pid, Signal, kill_process};
use tokio::{
    sync::mpsc::{UnboundedReceiver, unbounded_channel},
    time::{sleep, timeout},
};

/// Between two looks whether a process has ended.
const PAUSE: Duration = Duration::from_millis(5);

/// A process of ours that a test kills, stops and lets continue. It tells by its lines on stdout how far it is. Dropping this
/// kills it.
pub struct ChildWorker {
    child: Child,
    coming: UnboundedReceiver<String>,
    lines: Vec<String>,
}

impl ChildWorker {
    /// Starts it; its stdout is read, its stderr is ours.
    ///
    /// # Errors
    /// Unavailable, when the program cannot be run.
    pub fn spawn(command: &mut Command) -> Result<Self> {
        let mut child = command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .map_err(|error| unavailable(format!("cannot run {command:?}")).with_source(error))?;
        let (tell, coming) = unbounded_channel();
        if let Some(stdout) = child.stdout.take() {
            // Ends with the process: that is when its stdout does.
            std::thread::spawn(move || {
                BufReader::new(stdout).lines().map_while(Result::ok).all(|line| tell.send(line).is_ok())
            });
        }
        Ok(Self { child, coming, lines: Vec::new() })
    }

    /// The first line with this text, among those that came already or come within `patience`.
    ///
    /// # Errors
    /// Busy when it did not come in time, unavailable when the process ended without it; with what it said instead.
    pub async fn line(&mut self, text: &str, patience: Duration) -> Result<String> {
        if let Some(line) = self.lines.iter().find(|line| line.contains(text)) {
            return Ok(line.clone());
        }
        self.next_line(text, patience).await
    }

    /// The next line with this text that was not looked at yet.
    ///
    /// # Errors
    /// As [`line`](Self::line).
    pub async fn next_line(&mut self, text: &str, patience: Duration) -> Result<String> {
        let (coming, lines) = (&mut self.coming, &mut self.lines);
        let look = async {
            while let Some(line) = coming.recv().await {
                lines.push(line.clone());
                if line.contains(text) {
                    return Some(line);
                }
            }
            None
        };
        match timeout(patience, look).await {
            Ok(Some(line)) => Ok(line),
            Ok(None) => Err(unavailable(format!("{self:?} ended without `{text}`"))),
            Err(_) => {
                Err(Error::new(ErrorKind::Busy, format!("{self:?} did not say `{text}` within {patience:?}")))
            }
        }
    }

    /// The lines that were looked at.
    pub fn lines(&self) -> &[String] {
        &self.lines
    }

    /// The process id.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Kills it as the kernel would for want of memory, and waits until it is gone.
    ///
    /// # Errors
    /// Internal, when the operating system refuses.
    pub fn kill9(&mut self) -> Result<()> {
        let killed = self.child.kill().and_then(|()| self.child.wait());
        killed.map(drop).map_err(|error| Error::internal("cannot kill the process").with_source(error))
    }

    /// Stops it where it is, as if its machine hung.
    ///
    /// # Errors
    /// Unavailable, when it has ended.
    pub fn stop(&self) -> Result<()> {
        self.send(Signal::STOP)
    }

    /// Lets a stopped process continue.
    ///
    /// # Errors
    /// Unavailable, when it has ended.
    pub fn cont(&self) -> Result<()> {
        self.send(Signal::CONT)
    }

    /// Asks it to end in good order, as a service manager does.
    ///
    /// # Errors
    /// Unavailable, when it has ended.
    pub fn terminate(&self) -> Result<()> {
        self.send(Signal::TERM)
    }

    /// How it ended.
    ///
    /// # Errors
    /// Busy, when it did not end within `patience`.
    pub async fn exit(&mut self, patience: Duration) -> Result<ExitStatus> {
        let ended = async {
            loop {
                match self.child.try_wait() {
                    Ok(None) => sleep(PAUSE).await,
                    Ok(Some(status)) => return Ok(status),
                    Err(error) => {
                        return Err(Error::internal("cannot wait for the process").with_source(error));
                    }
                }
            }
        };
        let late = |_| Error::new(ErrorKind::Busy, format!("the process did not end within {patience:?}"));
        timeout(patience, ended).await.map_err(late)?
    }

    /// Until it is waited for its id is nobody else's.
    fn send(&self, signal: Signal) -> Result<()> {
        let pid = i32::try_from(self.id()).ok().and_then(Pid::from_raw);
        let pid = pid.ok_or_else(|| Error::internal("no process id"))?;
        kill_process(pid, signal).map_err(|error| unavailable("the process has ended").with_source(error))
    }
}

fn unavailable(message: impl Into<String>) -> Error {
    Error::new(ErrorKind::Unavailable, message)
}

impl Drop for ChildWorker {
    fn drop(&mut self) {
        let _ = self.kill9(); // it may have ended long ago
    }
}

impl fmt::Debug for ChildWorker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ChildWorker({}, said {:?})", self.id(), self.lines)
    }
}
