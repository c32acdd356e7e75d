//! What a fault test does to a server: stop it, kill it, freeze it, start it again.

use crate::{
    cluster::{Cluster, Port},
    error::{Error, Result},
    process::{children, reap, send},
};
use rustix::process::Signal;

/// How long a server may take to write its data back before it is killed.
const PATIENCE: u64 = 30;

impl Cluster {
    /// A clean shutdown that ends open sessions. The data stays until the cluster is dropped. Does nothing to
    /// a server that is stopped.
    pub fn stop_fast(&mut self) {
        self.end(Signal::INT);
    }

    /// Stops the server if it runs and starts it again on the same port and data.
    ///
    /// # Errors
    ///
    /// Those of [`Cluster::start`]. The server is stopped then; `restart` may be called again.
    pub fn restart(&mut self) -> Result<()> {
        self.stop_fast();
        self.launch_on(Port::Ours(self.port()))
    }

    /// Kills the whole server as a power cut would, except that the disk keeps what the kernel already had.
    /// The next [`restart`](Cluster::restart) goes through crash recovery. A throwaway cluster does not wait for its log, so commits it
    /// has acknowledged may be lost; a test that minds sets `synchronous_commit` to `on`.
    ///
    /// # Errors
    ///
    /// [`Error::NotRunning`].
    pub fn kill9(&mut self) -> Result<()> {
        let pid = self.pid().ok_or(Error::NotRunning)?;
        let backends = children(pid);
        self.end(Signal::KILL);
        for backend in backends {
            send(backend, Signal::KILL);
        }
        Ok(())
    }

    /// Freezes the whole server: connections stay open and nothing answers, as when a machine hangs or a
    /// network swallows packets.
    ///
    /// # Errors
    ///
    /// [`Error::NotRunning`].
    pub fn pause(&mut self) -> Result<()> {
        self.signal_all(Signal::STOP)?; // the postmaster first, so that it starts no more backends
        self.paused = true;
        Ok(())
    }

    /// Lets a paused server go on where it was.
    ///
    /// # Errors
    ///
    /// [`Error::NotRunning`].
    pub fn resume(&mut self) -> Result<()> {
        self.signal_all(Signal::CONT)?;
        self.paused = false;
        Ok(())
    }

    /// Lets no file of the server grow beyond so many bytes (in steps of 512) from its next start on, as a full disk does; `None`
    /// lifts the limit. A page is written in part at a limit that is no multiple of 8 kB, which Postgres takes for a full disk. Below 16 MiB, the size of a file of the log, it is the log that has no room, and the server
    /// ends.
    pub fn limit_files(&mut self, bytes: Option<u64>) {
        self.file_limit = bytes;
    }

    fn signal_all(&self, signal: Signal) -> Result<()> {
        let pid = self.pid().ok_or(Error::NotRunning)?;
        send(pid, signal);
        for backend in children(pid) {
            send(backend, signal);
        }
        Ok(())
    }

    pub(crate) fn stop_for_good(&mut self) {
        // nobody will read a throwaway cluster again, so there is nothing to write back
        self.end(if self.folder.throwaway { Signal::QUIT } else { Signal::INT });
    }

    fn end(&mut self, signal: Signal) {
        if self.paused {
            let _ = self.resume();
        }
        let Some(mut server) = self.server.take() else { return };
        send(server.id(), signal);
        self.guard.forget();
        reap(&mut server, PATIENCE);
    }
}
