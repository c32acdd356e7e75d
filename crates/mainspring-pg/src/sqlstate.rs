//! What an error of Postgres means: one table, one function.
//!
//! Nothing outside this crate names an SQLSTATE. An exact code wins over its class of two letters.

use std::{error::Error as _, io};

use mainspring_core::ErrorKind;
use tokio_postgres::{Error, error::Severity};

/// What to do about an error of the driver or the server.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Class {
    /// The connection is gone or the server is going: connect again. A COMMIT under way may have happened.
    Lost,
    /// Serialization failure or deadlock: run the whole transaction again.
    Retry,
    /// A timeout of the server: nothing was changed, try again later or with less.
    Timeout,
    /// Out of connections, disk or memory: back off globally.
    Pressure,
    /// This node cannot write: connect to another one.
    WrongNode,
    /// An earlier statement of this transaction failed and the failure was ignored.
    Aborted,
    /// A prepared statement does not fit the tables any more: forget it and try once more.
    Stale,
    /// A unique or exclusion constraint: someone else was first.
    Duplicate,
    /// The caller's value can never be stored.
    Input,
    /// A table, column, function, schema or database is missing.
    Missing,
    /// A GRANT is missing.
    Forbidden,
    /// The credentials were refused.
    Refused,
    /// Anything else: a defect.
    Bug,
}

impl Class {
    /// What the caller hears.
    pub const fn kind(self) -> ErrorKind {
        match self {
            Self::Lost | Self::WrongNode | Self::Refused => ErrorKind::Unavailable,
            Self::Retry | Self::Timeout | Self::Pressure | Self::Stale => ErrorKind::Busy,
            Self::Duplicate => ErrorKind::Conflict,
            Self::Input => ErrorKind::Invalid,
            Self::Missing | Self::Forbidden => ErrorKind::Schema,
            Self::Aborted | Self::Bug => ErrorKind::Internal,
        }
    }

    /// The connection can serve the next caller after this error, once rolled back.
    pub(crate) const fn keeps_connection(self) -> bool {
        !matches!(self, Self::Lost | Self::WrongNode | Self::Aborted | Self::Stale)
    }

    /// What to do, where that is not plain from the message.
    pub(crate) const fn hint(self) -> &'static str {
        match self {
            Self::Missing => "; run `mainspring migrate up`",
            Self::Forbidden => "; a GRANT is missing for this role",
            Self::WrongNode => "; this node is read-only",
            Self::Aborted => "; an earlier failure in this transaction was ignored",
            _ => "",
        }
    }
}

const TABLE: &[(&str, Class)] = &[
    ("08", Class::Lost),
    ("57P", Class::Lost),
    ("40001", Class::Retry),
    ("40P01", Class::Retry),
    ("55P03", Class::Timeout),
    ("57014", Class::Timeout),
    ("25P03", Class::Timeout),
    ("25P04", Class::Timeout),
    ("53", Class::Pressure),
    ("25006", Class::WrongNode),
    ("25P02", Class::Aborted),
    ("26000", Class::Stale),
    ("42P05", Class::Stale),
    ("23505", Class::Duplicate),
    ("23P01", Class::Duplicate),
    ("22", Class::Input),
    ("54", Class::Input),
    ("42P01", Class::Missing),
    ("42703", Class::Missing),
    ("42704", Class::Missing),
    ("42883", Class::Missing),
    ("3F000", Class::Missing),
    ("3D000", Class::Missing),
    ("42501", Class::Forbidden),
    ("28", Class::Refused),
];

/// How the driver says that none of the hosts can be written to.
const NO_WRITES: &str = "database does not allow writes";

/// What this error of the driver means.
pub fn classify(error: &Error) -> Class {
    if let Some(answer) = error.as_db_error() {
        // The whole server goes, whatever the reason, and a COMMIT under way may be found done when it is back.
        if answer.parsed_severity() == Some(Severity::Panic) {
            return Class::Lost;
        }
        return of_code(answer.code().code(), answer.constraint(), answer.routine());
    }
    if error.is_closed() {
        return Class::Lost;
    }
    match error.source().and_then(|cause| cause.downcast_ref::<io::Error>()) {
        Some(cause) if cause.kind() == io::ErrorKind::InvalidInput => Class::Input, // too long, or NUL in a string
        Some(cause) if cause.to_string() == NO_WRITES => Class::WrongNode,
        Some(_) => Class::Lost,
        // The driver keeps its kinds to itself; these two texts are their only trace.
        None => match error.to_string().as_str() {
            "timeout waiting for server" => Class::Lost,
            "error performing TLS handshake" | "authentication error" => Class::Refused,
            "invalid connection string" | "invalid configuration" => Class::Input,
            _ => Class::Bug,
        },
    }
}

fn of_code(code: &str, constraint: Option<&str>, routine: Option<&str>) -> Class {
    // 0A000 is also any unsupported feature. The routine tells them apart in every language of the server.
    if code == "0A000" && routine == Some("RevalidateCachedQuery") {
        return Class::Stale;
    }
    // Two sessions creating one catalog entry (T13): the same call succeeds a moment later.
    if code == "23505" && constraint.is_some_and(|name| name.starts_with("pg_")) {
        return Class::Timeout;
    }
    TABLE
        .iter()
        .filter(|(prefix, _)| code.starts_with(prefix))
        .max_by_key(|(prefix, _)| prefix.len())
        .map_or(Class::Bug, |(_, class)| *class)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_row_of_the_policy_has_its_class() {
        let policy: &[(Class, ErrorKind, &[&str])] = &[
            (
                Class::Lost,
                ErrorKind::Unavailable,
                &["08000", "08006", "08P01", "57P01", "57P02", "57P03", "57P05"],
            ),
            (Class::Retry, ErrorKind::Busy, &["40001", "40P01"]),
            (Class::Timeout, ErrorKind::Busy, &["55P03", "57014", "25P03", "25P04"]),
            (Class::Pressure, ErrorKind::Busy, &["53300", "53100", "53200", "53400"]),
            (Class::WrongNode, ErrorKind::Unavailable, &["25006"]),
            (Class::Aborted, ErrorKind::Internal, &["25P02"]),
            (Class::Stale, ErrorKind::Busy, &["26000", "42P05"]),
            (Class::Duplicate, ErrorKind::Conflict, &["23505", "23P01"]),
            (
                Class::Input,
                ErrorKind::Invalid,
                &["22P05", "22021", "22P02", "22003", "22008", "22015", "22023", "54000", "54001", "22001"],
            ),
            (Class::Missing, ErrorKind::Schema, &["42P01", "42703", "42883", "3F000", "3D000"]),
            (Class::Forbidden, ErrorKind::Schema, &["42501"]),
            (Class::Refused, ErrorKind::Unavailable, &["28000", "28P01"]),
            (
                Class::Bug,
                ErrorKind::Internal,
                &["0A000", "23503", "23514", "42601", "P0001", "XX000", "", "é"],
            ),
        ];
        for (class, kind, codes) in policy {
            for code in *codes {
                assert_eq!(of_code(code, Some("ms_things_key"), None), *class, "{code}");
                assert_eq!(class.kind(), *kind, "{code}");
            }
        }
    }

    #[test]
    fn codes_that_mean_two_things_are_told_apart() {
        assert_eq!(of_code("0A000", None, Some("RevalidateCachedQuery")), Class::Stale);
        assert_eq!(of_code("23505", Some("pg_namespace_nspname_index"), None), Class::Timeout);
        assert_eq!(of_code("23505", None, None), Class::Duplicate);
    }
}
