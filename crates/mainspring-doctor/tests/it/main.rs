//! A healthy database, and one for each thing that can be wrong with it.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod drift;
mod standstill;

use std::time::Duration;

use mainspring_doctor::{Code, Doctor, DoctorOptions, Finding, Report};
use mainspring_testing::TestDb;

/// A server for tests keeps nothing safe, and is shared by many.
fn options() -> DoctorOptions {
    let ignore = [
        Code::FsyncOff,
        Code::FullPageWritesOff,
        Code::SynchronousCommitOff,
        Code::ConnectionsShort,
        Code::SlotPins,
        Code::WalMinimal,
        Code::AutovacuumOff,
    ];
    DoctorOptions { ignore: ignore.to_vec(), deep: true, ..DoctorOptions::default() }
}

async fn examine(db: &TestDb, options: DoctorOptions) -> Report {
    Doctor::new(db.settings().clone(), db.names().clone()).with(options).run().await.unwrap()
}

/// The one thing that is wrong.
async fn the_one(db: &TestDb, options: DoctorOptions) -> Finding {
    let mut report = examine(db, options).await;
    assert_eq!(report.findings.len(), 1, "{:#?}", report.findings);
    report.findings.remove(0)
}

const NOW: Duration = Duration::ZERO;
