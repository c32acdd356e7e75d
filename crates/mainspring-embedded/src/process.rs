//! Signals and waiting, for processes that are our children or theirs.

use crate::error::{Error, Result};
use rustix::process::{Pid, Signal, kill_process};
use std::{
    fs,
    process::{Child, Command, Output, Stdio},
    thread,
    time::{Duration, Instant},
};

/// Sends a signal; a process that is gone already does not count as a failure.
pub(crate) fn send(pid: u32, signal: Signal) {
    let pid = i32::try_from(pid).ok().and_then(Pid::from_raw);
    let _ = pid.map(|pid| kill_process(pid, signal));
}

/// The direct children of a process: for a postmaster, its backends and helpers.
pub(crate) fn children(pid: u32) -> Vec<u32> {
    if stat(pid).is_some() {
        let processes = fs::read_dir("/proc").into_iter().flatten();
        let pids = processes.flatten().filter_map(|entry| entry.file_name().to_str()?.parse().ok());
        return pids.filter(|child| stat(*child).is_some_and(|stat| stat.parent == pid)).collect();
    }
    let listed = Command::new("pgrep").args(["-P", &pid.to_string()]).stderr(Stdio::null()).output();
    let listed = listed.map(|output| output.stdout).unwrap_or_default();
    String::from_utf8_lossy(&listed).lines().filter_map(|line| line.trim().parse().ok()).collect()
}

/// Polls until `done`, at most `seconds`; says whether it came to be.
pub(crate) fn wait_until(seconds: u64, mut done: impl FnMut() -> bool) -> bool {
    let deadline = Instant::now() + Duration::from_secs(seconds);
    while !done() {
        if Instant::now() > deadline {
            return false;
        }
        thread::sleep(Duration::from_millis(5));
    }
    true
}

/// Reaps a child that was told to end; kills it when it has not after `seconds`.
pub(crate) fn reap(child: &mut Child, seconds: u64) {
    if !wait_until(seconds, || !matches!(child.try_wait(), Ok(None))) {
        let _ = child.kill();
        let _ = child.wait();
    }
}

/// Runs a program to its end; the error holds what it said.
pub(crate) fn run(command: &mut Command) -> Result<Output> {
    run_seen(command, |_pid| Ok(()))
}

/// Like [`run`], and lets `seen` have the pid while it runs.
pub(crate) fn run_seen(command: &mut Command, seen: impl FnOnce(u32) -> Result<()>) -> Result<Output> {
    let program = command.get_program().to_string_lossy().into_owned();
    let failed = |output: String| Error::Failed { program: program.clone(), output };
    let spawned = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn();
    let mut child = spawned.map_err(|error| failed(error.to_string()))?;
    seen(child.id()).inspect_err(|_| reap(&mut child, 0))?;
    let output = child.wait_with_output().map_err(|error| failed(error.to_string()))?;
    if output.status.success() {
        return Ok(output);
    }
    let said = [output.stdout.as_slice(), output.stderr.as_slice()].concat();
    Err(failed(format!("{}, {}", output.status, tail(&String::from_utf8_lossy(&said)))))
}

/// The last lines of a text: errors stand at the end.
pub(crate) fn tail(text: &str) -> String {
    let lines: Vec<&str> = text.trim().lines().collect();
    lines[lines.len().saturating_sub(12)..].join("\n")
}

pub(crate) struct Stat {
    pub(crate) name: String,
    pub(crate) state: char,
    parent: u32,
}

/// `/proc/PID/stat`: `12 (name) S 1 …`, where the name itself may hold spaces and brackets. `None` off Linux.
pub(crate) fn stat(pid: u32) -> Option<Stat> {
    let text = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let (head, rest) = text.rsplit_once(')')?;
    let mut rest = rest.split_whitespace();
    let name = head.split_once('(')?.1.to_owned();
    Some(Stat { name, state: rest.next()?.chars().next()?, parent: rest.next()?.parse().ok()? })
}
