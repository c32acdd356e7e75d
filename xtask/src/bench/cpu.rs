//! Processor time, of this process and of the server's: what a busy machine cannot blur as it does the clock on the wall.

use std::{collections::HashMap, fs, time::Duration};

use tokio_postgres::Client;

/// Reads how much processor time was spent so far.
#[derive(Clone, Copy)]
pub struct Meter {
    /// The server's first process; `None` when it runs on another machine, or not on Linux.
    postmaster: Option<u32>,
}

/// Processor time spent up to a moment.
pub struct Reading {
    client: Duration,
    /// Of each process of the server: backends and writers alike.
    server: Option<HashMap<u32, Duration>>,
}

/// Processor time between two readings.
#[derive(Clone, Copy)]
pub struct Cpu {
    /// Of this process.
    pub client: Duration,
    /// Of the server, when it runs here.
    pub server: Option<Duration>,
}

impl Meter {
    /// A meter of the server that `client` is connected to.
    pub async fn new(client: &Client) -> Result<Self, tokio_postgres::Error> {
        let pid: i32 = client.query_one("SELECT pg_backend_pid()", &[]).await?.get(0);
        let here =
            fs::read_to_string(format!("/proc/{pid}/comm")).is_ok_and(|name| name.starts_with("postgres"));
        let postmaster = if here { stat(&pid.to_string()).map(|stat| stat.parent) } else { None };
        Ok(Self { postmaster })
    }

    /// How much was spent so far.
    pub fn read(self) -> Reading {
        let client = stat("self").map_or(Duration::ZERO, |stat| stat.spent);
        Reading { client, server: self.postmaster.map(children) }
    }
}

impl Reading {
    /// What was spent since. The time of a process that ended in between is not known and left out.
    pub fn since(&self, before: &Self) -> Cpu {
        let server = self.server.as_ref().zip(before.server.as_ref()).map(|(after, before)| {
            let spent = after.iter().map(|(process, spent)| {
                spent.saturating_sub(before.get(process).copied().unwrap_or_default())
            });
            spent.sum()
        });
        Cpu { client: self.client.saturating_sub(before.client), server }
    }
}

fn children(postmaster: u32) -> HashMap<u32, Duration> {
    let processes = fs::read_dir("/proc").into_iter().flatten().flatten();
    let numbers = processes.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    numbers
        .filter_map(|process: u32| {
            let parent = stat(&process.to_string())?.parent;
            let line = fs::read_to_string(format!("/proc/{process}/schedstat")).ok()?;
            let nanos = line.split_whitespace().next()?.parse().ok()?;
            (parent == postmaster).then(|| (process, Duration::from_nanos(nanos)))
        })
        .collect()
}

struct Stat {
    parent: u32,
    /// Of all its threads, to 10 ms.
    spent: Duration,
}

/// The fields after the name, which may hold anything: state, parent, …, user and system time in hundredths of a second.
fn stat(process: &str) -> Option<Stat> {
    let line = fs::read_to_string(format!("/proc/{process}/stat")).ok()?;
    let (_, fields) = line.rsplit_once(')')?;
    let fields: Vec<&str> = fields.split_whitespace().collect();
    let ticks = |n: usize| fields.get(n)?.parse::<u64>().ok();
    Some(Stat {
        parent: fields.get(1)?.parse().ok()?,
        spent: Duration::from_millis((ticks(11)? + ticks(12)?) * 10),
    })
}
