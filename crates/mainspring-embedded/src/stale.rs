//! A `postmaster.pid` that outlived its postmaster.
//!
//! Postgres believes such a file when its pid still exists, and a pid can exist for the wrong reason: as a
//! zombie that nobody reaps, or because the number was given to another process of the same user. We know
//! better, since we hold the folder's lock: a living postmaster of this folder can only be an orphan.
//!
//! The file is not deleted. Its line about shared memory is what keeps Postgres from starting beside backends
//! that are still writing, so only the pid in it is replaced, by the one number Postgres never takes for a
//! living postmaster: that of its own parent, which is us.

use crate::{
    error::{Doing, Error, Result},
    process::{self, send, stat, wait_until},
};
use rustix::{fs::OFlags, process::Signal};
use std::{
    fs::{self, File},
    io::{self, Read, Seek, Write},
    os::unix::fs::OpenOptionsExt,
    path::Path,
    process::{Command, Stdio},
};

/// How long an orphan may take to write its data back.
const PATIENCE: u64 = 30;

/// To be called by the holder of the folder's lock, before a server is started on `data`.
pub(crate) fn settle(data: &Path) -> Result<()> {
    let file = data.join("postmaster.pid");
    let Some(pid) = pid_in(&file) else { return Ok(()) };
    if is_postmaster_of(pid, data) {
        send(pid, Signal::INT); // its owner died; the guard, if there still is one, says the same
        if !wait_until(PATIENCE, || !is_postmaster_of(pid, data)) {
            let what = format!("the shutdown of Postgres {pid} on {}", data.display());
            return Err(Error::TooSlow { what, seconds: PATIENCE });
        }
    }
    disown(&file)
}

fn pid_in(file: &Path) -> Option<u32> {
    fs::read_to_string(file).ok()?.lines().next()?.trim().parse().ok()
}

fn disown(file: &Path) -> Result<()> {
    // perhaps we are root and the folder is not: a symlink put there is not followed
    let mut options = File::options();
    options.read(true).write(true).custom_flags(OFlags::NOFOLLOW.bits() as i32);
    let mut open = match options.open(file) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        opened => opened.doing("open", file)?,
    };
    let mut text = String::new();
    open.read_to_string(&mut text).doing("read", file)?;
    let rest = text.split_once('\n').map_or("", |(_pid, rest)| rest);
    open.set_len(0).and_then(|()| open.rewind()).doing("rewrite", file)?;
    write!(open, "{}\n{rest}", std::process::id()).doing("rewrite", file)
}

fn is_postmaster_of(pid: u32, data: &Path) -> bool {
    if stat(std::process::id()).is_some() {
        let runs = stat(pid).is_some_and(|stat| stat.state != 'Z' && stat.name.starts_with("post"));
        let home = fs::read_link(format!("/proc/{pid}/cwd")); // a postmaster lives in its data folder
        return runs && home.is_ok_and(|home| data.canonicalize().is_ok_and(|data| data == home));
    }
    let mut ps = Command::new("ps");
    ps.args(["-o", "state=,comm=", "-p", &pid.to_string()]).stdin(Stdio::null());
    let output = process::run(&mut ps).map(|output| output.stdout).unwrap_or_default();
    let line = String::from_utf8_lossy(&output).trim().to_owned();
    !line.starts_with('Z') && line.contains("postgres")
}
