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
    last_counts: Counts,
}

/// Between two lines when something has moved, and when nothing has.
const LINE_EVERY: [Duration; 2] = [Duration::from_secs(1), Duration::from_secs(10)];

impl Progress {
    pub(super) fn new(total: u64) -> Self {
        let bar = io::stderr().is_terminal().then(|| {
            let style = ProgressStyle::with_template("{elapsed:>4} {bar:32} {pos}/{len} ended  {msg}");
            ProgressBar::new(total).with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()))
        });
        Self { begin: Instant::now(), bar, total, last_line: Duration::ZERO, last_counts: Counts::default() }
    }

    pub(super) fn elapsed(&self) -> Duration {
        self.begin.elapsed()
    }

    pub(super) fn show(&mut self, counts: &Counts) {
        let elapsed = self.elapsed();
        if let Some(bar) = &self.bar {
            bar.set_message(counts.text());
            bar.set_position(counts.ended());
        } else if elapsed - self.last_line >= LINE_EVERY[usize::from(*counts == self.last_counts)] {
            (self.last_line, self.last_counts) = (elapsed, counts.clone());
            let (ended, total) = (counts.ended(), self.total);
            eprintln!("{:5.1} s  {ended}/{total} ended  {}", elapsed.as_secs_f64(), counts.text());
        }
    }

    /// What lets others write to standard error beside the bar.
    pub(super) fn beside(&self) -> Beside {
        Beside(self.bar.clone())
    }

    /// A line of the story, with its time.
    pub(super) fn say(&self, line: impl Display) {
        self.tell(format_args!("{:5.1} s  {line}", self.elapsed().as_secs_f64()));
    }

    /// A line of the story.
    pub(super) fn tell(&self, line: impl Display) {
        match &self.bar {
            Some(bar) => bar.suspend(|| say(line)),
            None => say(line),
        }
    }
}

/// See [`Progress::beside`].
pub(super) struct Beside(Option<ProgressBar>);

impl Beside {
    pub(super) fn note(&self, line: impl Display) {
        match &self.0 {
            Some(bar) => bar.suspend(|| eprintln!("{line}")),
            None => eprintln!("{line}"),
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
