//! That something is going on, for people at a terminal, when it takes more than a second.

use std::{
    io::{self, IsTerminal},
    time::Duration,
};

use indicatif::{ProgressBar, ProgressStyle};

use crate::Context;

/// Before anything is shown.
const PATIENCE: Duration = Duration::from_secs(1);

impl Context {
    /// Shows `what` with a turning mark while `work` takes longer than a second.
    pub(crate) async fn busy<T>(&self, what: &str, work: impl Future<Output = T>) -> T {
        if self.output.quiet || !io::stderr().is_terminal() {
            return work.await;
        }
        let mut work = std::pin::pin!(work);
        tokio::select! {
            done = &mut work => return done,
            () = tokio::time::sleep(PATIENCE) => {}
        }
        let mark = ProgressBar::new_spinner().with_message(what.to_owned());
        mark.enable_steady_tick(Duration::from_millis(120));
        let done = work.await;
        mark.finish_and_clear();
        done
    }

    /// A bar over `total` things; one that shows nothing where nobody looks.
    pub(crate) fn bar(&self, total: u64) -> ProgressBar {
        if self.output.quiet || !io::stderr().is_terminal() {
            return ProgressBar::hidden();
        }
        let style = ProgressStyle::with_template("{elapsed:>4} {bar:32} {pos}/{len} {msg}");
        ProgressBar::new(total).with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()))
    }
}
