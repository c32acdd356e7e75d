//! What the doctor looks at, and from when on it minds.

use std::time::Duration;

use crate::Code;

const MINUTE: Duration = Duration::from_secs(60);

/// What to look at, and from when on to mind.
#[derive(Debug, Clone)]
pub struct DoctorOptions {
    /// Checks invariants too, which reads whole tables. Defaults to false.
    pub deep: bool,
    /// The role whose grants are looked at. Defaults to the one that is connected.
    pub role: Option<String>,
    /// Connections that all processes together may open. Defaults to those that are open.
    pub connections: Option<u32>,
    /// From when on an open transaction counts as forgotten. Defaults to 5 min.
    pub transaction_age: Duration,
    /// From when on a transaction that appends holds up the log for too long. Defaults to 30 s.
    pub fence_age: Duration,
    /// From when on what is due counts as late, and what nobody drives as stuck. Defaults to 2 min.
    pub late: Duration,
    /// From when on a message that is ready has waited for too long. Defaults to 15 min.
    pub message_age: Duration,
    /// What is not reported, such as [`Code::FsyncOff`] on a server for tests. Defaults to nothing.
    pub ignore: Vec<Code>,
}

impl Default for DoctorOptions {
    fn default() -> Self {
        Self {
            deep: false,
            role: None,
            connections: None,
            transaction_age: 5 * MINUTE,
            fence_age: MINUTE / 2,
            late: 2 * MINUTE,
            message_age: 15 * MINUTE,
            ignore: Vec::new(),
        }
    }
}
