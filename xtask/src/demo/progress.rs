//! How far it is: a bar for people at a terminal, a short line every second for everyone else. Both go to standard error.

use std::{
    collections::BTreeMap,
    fmt::Display,
    io::{self, IsTerminal},
    time::{Duration, Instant},
};

use indicatif::{ProgressBar, ProgressStyle};
use mainspring::ExecutionStatus;

use super::say;

/// How many orders have which status.
#[derive(Default, Clone, PartialEq, Eq)]
pub(super) struct Counts(pub(super) BTreeMap<ExecutionStatus, u64>);

impl Counts {
    /// Orders that are over.
    pub(super) fn ended(&self) -> u64 {
        self.0.iter().filter(|(status, _)| status.is_terminal()).map(|(_, count)| count).sum()
    }

    fn text(&self) -> String {
        let parts: Vec<String> = self.0.iter().map(|(status, count)| format!("{count} {status}")).collect();
        parts.join(", ")
    }
}

pub(super) struct Progress {
    begin: Instant,
    bar: Option<ProgressBar>,
    total: u64,
    last_line: Duration,
}

const LINE_EVERY: Duration = Duration::from_secs(1);

impl Progress {
    pub(super) fn new(total: u64) -> Self {
        let bar = io::stderr().is_terminal().then(|| {
            let style = ProgressStyle::with_template("{elapsed:>4} {bar:32} {pos}/{len} ended  {msg}");
            ProgressBar::new(total).with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()))
        });
        Self { begin: Instant::now(), bar, total, last_line: Duration::ZERO }
    }

    pub(super) fn elapsed(&self) -> Duration {
        self.begin.elapsed()
    }

    pub(super) fn show(&mut self, counts: &Counts) {
        let elapsed = self.elapsed();
        if let Some(bar) = &self.bar {
            bar.set_message(counts.text());
            bar.set_position(counts.ended());
        } else if elapsed - self.last_line >= LINE_EVERY {
            self.last_line = elapsed;
            let (ended, total) = (counts.ended(), self.total);
            eprintln!("{:5.1} s  {ended}/{total} ended  {}", elapsed.as_secs_f64(), counts.text());
        }
    }

    /// A line of the story, with its time.
    pub(super) fn say(&self, line: impl Display) {
        let line = format!("{:5.1} s  {line}", self.elapsed().as_secs_f64());
        match &self.bar {
            Some(bar) => bar.suspend(|| say(line)),
            None => say(line),
        }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}
