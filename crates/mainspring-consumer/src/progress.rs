//! How far each processor is, for those who wait for it in this process.

use tokio::sync::watch;

/// What a processor is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Activity {
    /// It has not got its lease yet.
    Starting,
    /// Another instance has the lease.
    StandingBy,
    /// It handles events.
    Running,
    /// It stopped, as it was told to or because there was nothing left.
    Stopped,
    /// It stopped with an error.
    Failed,
}

impl Activity {
    pub(crate) fn is_over(self) -> bool {
        matches!(self, Self::Stopped | Self::Failed)
    }
}

/// How far a processor is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ProcessorProgress {
    /// What it is doing.
    pub activity: Activity,
    /// Everything up to this global position is handled and committed.
    pub position: i64,
    /// It has been running since the consumer was started.
    pub has_run: bool,
}

/// Where a processor tells its progress.
#[derive(Debug)]
pub(crate) struct Teller(watch::Sender<ProcessorProgress>);

impl Teller {
    pub(crate) fn new() -> (Self, watch::Receiver<ProcessorProgress>) {
        let (sender, receiver) =
            watch::channel(ProcessorProgress { activity: Activity::Starting, position: 0, has_run: false });
        (Self(sender), receiver)
    }

    pub(crate) fn activity(&self, activity: Activity) {
        self.0.send_modify(|progress| {
            progress.activity = activity;
            progress.has_run |= activity == Activity::Running;
        });
    }

    pub(crate) fn position(&self, position: i64) {
        self.0.send_modify(|progress| progress.position = position);
    }
}
