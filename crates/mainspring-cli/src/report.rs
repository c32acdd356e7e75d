//! How an error reaches a person: one line, every cause, and the exit code that scripts look at.

use std::{error::Error, process::ExitCode};

use mainspring_core::ErrorKind;

/// Prints the error with its causes to standard error and picks the exit code.
pub fn fail(error: &(dyn Error + 'static)) -> ExitCode {
    print(error);
    ExitCode::from(code(error))
}

/// Prints the error with its causes to standard error.
pub fn print(error: &(dyn Error + 'static)) {
    eprintln!("error: {error}");
    let mut cause = error.source();
    while let Some(error) = cause {
        eprintln!("  caused by: {error}");
        cause = error.source();
    }
}

/// 2 invalid input, 3 a schema that does not fit, 4 not found, 5 conflict, 6 unavailable, else 1.
pub fn code(error: &(dyn Error + 'static)) -> u8 {
    match error.downcast_ref::<mainspring_core::Error>().map(mainspring_core::Error::kind) {
        Some(ErrorKind::Invalid) => 2,
        Some(ErrorKind::Schema) => 3,
        Some(ErrorKind::NotFound) => 4,
        Some(ErrorKind::Conflict) => 5,
        Some(ErrorKind::Unavailable | ErrorKind::Busy) => 6,
        _ => 1,
    }
}
