//! A worker process of the demo: as the one who runs it sees it, and as the one who spawns and kills it.
//!
//! It works until its standard input is closed, which the kernel does when its parent is gone, however it went.

use std::{
    io::{self, Read},
    process::{ExitCode, ExitStatus, Stdio},
    time::Duration,
};

use mainspring::PgStores;
use tokio::{
    io::{AsyncBufReadExt, BufReader},
    process::{Child, ChildStdin, Command},
    sync::oneshot,
    task::JoinHandle,
    time::timeout,
};

use super::{Result, engine, options, progress::Beside, trace};
use crate::Outcome;

/// How long a worker counts as alive after a sign of life. Short, so that nobody has to wait for the other one to take over.
pub(super) const LEASE: Duration = Duration::from_secs(2);
/// Deliveries in one process at the same time.
pub(super) const CONCURRENCY: usize = 16;

#[derive(clap::Args)]
pub struct WorkerArgs {
    /// The database. Defaults to DATABASE_URL.
    #[arg(long)]
    url: Option<String>,
    /// In front of every table's name.
    #[arg(long)]
    prefix: String,
}

/// Works. The first line of output is the name under which it claims.
pub fn run_worker(args: WorkerArgs) -> Outcome {
    trace();
    let url = args.url.or_else(|| std::env::var(URL).ok()).ok_or("neither --url nor DATABASE_URL is set")?;
    crate::block_on(async {
        let stores = PgStores::connect(&url, options(&args.prefix))?;
        let worker = engine(&stores, Vec::new())?
            .worker()
            .concurrency(CONCURRENCY)
            .lease(LEASE)
            .maintenance_interval(LEASE / 8)
            .grace(Duration::from_secs(1))
            .start()?;
        println!("{}", worker.id());
        end_of_input().await;
        worker.stop().await?;
        Ok(ExitCode::SUCCESS)
    })?
}

async fn end_of_input() {
    let (ended, end) = oneshot::channel();
    std::thread::spawn(move || {
        let mut rest = Vec::new();
        let _ = io::stdin().read_to_end(&mut rest);
        let _ = ended.send(());
    });
    let _ = end.await;
}

/// Where a child finds its database: an argument could be read by everyone on the machine.
const URL: &str = "DATABASE_URL";

/// A worker process as its parent knows it. It is killed when this is dropped.
pub(super) struct Process {
    /// 1, 2 …
    pub(super) number: usize,
    /// The name under which it claims.
    pub(super) holder: String,
    /// Of the operating system.
    pub(super) pid: u32,
    child: Child,
    input: Option<ChildStdin>,
    /// Passes on what it complains about.
    complaints: Option<JoinHandle<()>>,
}

impl Process {
    /// Starts one and waits until it works.
    pub(super) async fn spawn(number: usize, url: &str, prefix: &str, beside: Beside) -> Result<Self> {
        let mut child = Command::new(std::env::current_exe()?)
            .args(["demo-worker", "--prefix", prefix])
            .env(URL, url)
            .process_group(0) // a Ctrl-C is for us alone
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()?;
        let input = child.stdin.take();
        let complaints = child.stderr.take().map(|errors| {
            tokio::spawn(async move {
                let mut lines = BufReader::new(errors).lines();
                while let Ok(Some(line)) = lines.next_line().await {
                    beside.note(format_args!("worker {number}: {line}"));
                }
            })
        });
        let mut holder = String::new();
        if let Some(output) = child.stdout.take() {
            BufReader::new(output).read_line(&mut holder).await?;
        }
        let (holder, pid) = (holder.trim().to_owned(), child.id().unwrap_or_default());
        if holder.is_empty() {
            return Err(format!("worker {number} ended before it began: {}", child.wait().await?).into());
        }
        Ok(Self { number, holder, pid, child, input, complaints })
    }

    /// SIGKILL: it has no chance to give anything back.
    pub(super) async fn kill(&mut self) -> io::Result<()> {
        self.child.kill().await
    }

    /// How it ended, when it has.
    pub(super) fn ended(&mut self) -> io::Result<Option<ExitStatus>> {
        self.child.try_wait()
    }

    /// Lets it stop by itself, for a while.
    pub(super) async fn stop(mut self) {
        drop(self.input.take());
        let ended = async {
            let _ = self.child.wait().await;
            if let Some(complaints) = self.complaints.take() {
                let _ = complaints.await;
            }
        };
        let _ = timeout(Duration::from_secs(5), ended).await;
    }
}
