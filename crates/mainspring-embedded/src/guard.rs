//! The server dies with its owner.
//!
//! A small shell stands beside each server and reads a pipe whose other end only we hold. When we end, also
//! by SIGKILL, the kernel closes our end, and the guard stops the server and removes a throwaway folder. No
//! destructor, no exit handler and no `unsafe` takes part, so it does not matter how we end, nor whether the
//! cluster stood in a `static`.
//!
//! The guard is told the pid, and told to forget it *before* the server is reaped, so it never signals a pid
//! that has been given to someone else.

use crate::{
    account::Account,
    error::{Doing, Result},
    process::reap,
};
use std::{
    io::Write,
    path::Path,
    process::{Child, ChildStdin, Stdio},
};

#[derive(Debug)]
pub(crate) struct Guard {
    shell: Child,
    pipe: Option<ChildStdin>,
}

impl Guard {
    /// `signal` as `kill -s` names it; the folders are removed when the owner is gone.
    pub(crate) fn new(account: &Account, signal: &str, remove: &[&Path]) -> Result<Guard> {
        let mut command = account.command("/bin/sh");
        command.args(["-c", include_str!("guard.sh"), "mainspring-guard", signal]).args(remove);
        let mut shell = command.stdin(Stdio::piped()).spawn().doing("run", "/bin/sh")?;
        let pipe = shell.stdin.take();
        Ok(Guard { shell, pipe })
    }

    /// This is the server now.
    pub(crate) fn watch(&mut self, pid: u32) -> Result<()> {
        self.tell(&format!("pid {pid}\n"))
    }

    /// There is no server now; to be said before it is reaped.
    pub(crate) fn forget(&mut self) {
        let _ = self.tell("pid\n"); // a guard that is gone will not signal anyone
    }

    fn tell(&mut self, line: &str) -> Result<()> {
        self.pipe.as_mut().map_or(Ok(()), |pipe| pipe.write_all(line.as_bytes())).doing("tell", "the guard")
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        let _ = self.tell("done\n");
        self.pipe = None;
        reap(&mut self.shell, 1);
    }
}
