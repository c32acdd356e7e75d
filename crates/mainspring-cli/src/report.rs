//! How an error reaches a person: one line, every cause, and the exit code that scripts look at.

use std::{error::Error, fmt, io, process::ExitCode};

use mainspring_core::ErrorKind;

use crate::spans::At;

/// What a command ends with: code and meaning.
pub const CODES: &[(u8, &str)] = &[
    (0, "done"),
    (1, "failed: an execution, a defect, what was compared differs"),
    (2, "asked in a wrong way"),
    (3, "the tables do not fit this version"),
    (4, "not found"),
    (5, "conflict: there already, changed meanwhile, over"),
    (6, "unavailable: no database, no time left, a limit reached"),
    (7, "refused: not confirmed, or not secure"),
    (130, "interrupted"),
];

/// Not done, because nobody confirmed it.
#[derive(Debug)]
pub(crate) struct Refused(pub(crate) String);

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Error for Refused {}

/// What ended a command from outside.
#[derive(Debug)]
pub(crate) enum Ended {
    /// Ctrl-C.
    Interrupted,
    /// `--timeout`.
    TimedOut,
}

impl fmt::Display for Ended {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Interrupted => "interrupted",
            Self::TimedOut => "the time that --timeout allows is over; what was begun may still be done",
        })
    }
}

impl Error for Ended {}

/// Prints the error with its causes to standard error and picks the exit code. That nobody reads on is no error.
pub fn fail(error: &(dyn Error + 'static)) -> ExitCode {
    if error.downcast_ref::<io::Error>().is_some_and(|error| error.kind() == io::ErrorKind::BrokenPipe) {
        return ExitCode::SUCCESS;
    }
    print(error);
    ExitCode::from(code(error))
}

/// Prints the error with its causes to standard error, and where its code is explained.
pub fn print(error: &(dyn Error + 'static)) {
    eprint!("{}", rendered(error));
}

/// The report of an error, as it is printed.
pub(crate) fn rendered(error: &(dyn Error + 'static)) -> String {
    let mut text = format!("error: {error}\n");
    let mut cause = error.source();
    while let Some(error) = cause {
        text += &format!("  caused by: {error}\n");
        cause = error.source();
    }
    if let Some(error) = ours(error) {
        text += &format!("  help: mainspring explain {}\n", error.code());
    }
    text
}

/// The error of the library in it, if it is one.
fn ours<'e>(error: &'e (dyn Error + 'static)) -> Option<&'e mainspring_core::Error> {
    error.downcast_ref().map(At::error).or_else(|| error.downcast_ref())
}

/// The exit code, one of [`CODES`].
pub fn code(error: &(dyn Error + 'static)) -> u8 {
    if error.is::<Refused>() {
        return 7;
    }
    match error.downcast_ref() {
        Some(Ended::Interrupted) => return 130,
        Some(Ended::TimedOut) => return 6,
        None => {}
    }
    let Some(error) = ours(error) else { return 1 };
    match error.kind() {
        ErrorKind::Invalid if error.to_string().starts_with("sslmode: `prefer`") => 7,
        ErrorKind::Invalid => 2,
        ErrorKind::Schema => 3,
        ErrorKind::NotFound => 4,
        ErrorKind::Conflict | ErrorKind::Expired | ErrorKind::TooEarly | ErrorKind::Fenced => 5,
        ErrorKind::Unavailable | ErrorKind::Busy | ErrorKind::CommitUnknown => 6,
        _ => 1,
    }
}
