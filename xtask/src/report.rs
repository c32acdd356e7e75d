//! How an error reaches a person: one line, every cause, and the exit code that scripts look at.

use std::{error::Error, process::ExitCode};

use mainspring_core::ErrorKind;

/// Prints the error with its causes and picks the exit code.
pub fn fail(error: &(dyn Error + 'static)) -> ExitCode {
    eprintln!("error: {error}");
    let mut cause = error.source();
    while let Some(error) = cause {
        eprintln!("  caused by: {error}");
        cause = error.source();
    }
    let kind = error.downcast_ref::<mainspring_core::Error>().map(mainspring_core::Error::kind);
    ExitCode::from(match kind {
        Some(ErrorKind::Invalid) => 2,
        Some(ErrorKind::Schema) => 3,
        Some(ErrorKind::NotFound) => 4,
        Some(ErrorKind::Conflict) => 5,
        Some(ErrorKind::Unavailable | ErrorKind::Busy) => 6,
        _ => 1,
    })
}
