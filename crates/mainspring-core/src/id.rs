//! Ids are types with a prefix a person can read.
//!
//! A generated id is its prefix and a ULID. Ids a caller chooses are 1 to 255 bytes of text without control characters.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::{Error, Result, limits};

macro_rules! id {
    ($(#[$doc:meta])* $name:ident, $prefix:literal) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(String);

        impl $name {
            /// A fresh id: the prefix and a ULID. Never used for ordering across processes.
            pub fn generate() -> Self {
                Self(format!("{}{}", $prefix, ulid::Ulid::generate()))
            }

            /// An id the caller chose.
            ///
            /// # Errors
            /// [`Invalid`](crate::ErrorKind::Invalid) when empty, longer than 255 bytes or with control characters.
            pub fn new(text: impl Into<String>) -> Result<Self> {
                let text = text.into();
                limits::check_id(stringify!($name), &text)?;
                Ok(Self(text))
            }

            /// An id read back from storage, which checked it when it was written.
            pub fn from_stored(text: String) -> Self {
                Self(text)
            }

            /// The text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl AsRef<str> for $name {
            fn as_ref(&self) -> &str {
                &self.0
            }
        }

        impl TryFrom<&str> for $name {
            type Error = Error;
            fn try_from(text: &str) -> Result<Self> {
                Self::new(text)
            }
        }
    };
}

id!(
    /// Names one running instance of a flow or workflow.
    ExecutionId, "exec_"
);
id!(
    /// Names one job: work of one step done out of line.
    JobId, "job_"
);
id!(
    /// Names one message.
    MessageId, "msg_"
);
id!(
    /// Names one event within its stream, so that appending it again changes nothing.
    EventId, "evt_"
);
id!(
    /// Names one resume token without being it: safe to show, log and list.
    TokenId, "tok_"
);
id!(
    /// Names one holder of leases: a worker of a process, for as long as it is alive.
    WorkerId, "wrk_"
);
