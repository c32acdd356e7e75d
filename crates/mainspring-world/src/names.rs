//! What happens to a run, by the World's names and by the names in the log.

use std::{fmt, str::FromStr};

use mainspring_core::{Error, Result, event::kind};
use serde::{Deserialize, Serialize};

/// Names in the log of what the engine has no word for.
pub(crate) mod log {
    pub(crate) const STEP_CREATED: &str = "step.created";
    pub(crate) const HOOK_CREATED: &str = "hook.created";
    pub(crate) const HOOK_DISPOSED: &str = "hook.disposed";
    pub(crate) const HOOK_CONFLICT: &str = "hook.conflict";
    pub(crate) const WAIT_CREATED: &str = "wait.created";
    pub(crate) const WAIT_COMPLETED: &str = "wait.completed";
    pub(crate) const ATTR_SET: &str = "attr.set";
}

macro_rules! events {
    ($($(#[$doc:meta])* $name:ident = $world:literal, $log:expr;)*) => {
        /// What happens to a run. Its text form is the World's name, such as `step_completed`.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
        #[serde(rename_all = "snake_case")]
        pub enum EventType { $($(#[$doc])* $name,)* }

        impl EventType {
            /// All of them.
            pub const ALL: &'static [Self] = &[$(Self::$name),*];

            /// The World's name.
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$name => $world,)* }
            }

            /// The name in the log.
            pub const fn log_name(self) -> &'static str {
                match self { $(Self::$name => $log,)* }
            }
        }
    };
}

events! {
    /// A run was created.
    RunCreated = "run_created", kind::EXECUTION_CREATED;
    /// It began.
    RunStarted = "run_started", kind::EXECUTION_STARTED;
    /// It was paused.
    RunPaused = "run_paused", kind::EXECUTION_WAITING;
    /// It goes on after a pause.
    RunResumed = "run_resumed", kind::EXECUTION_RESUMED;
    /// It ended well.
    RunCompleted = "run_completed", kind::EXECUTION_COMPLETED;
    /// It ended with an error.
    RunFailed = "run_failed", kind::EXECUTION_FAILED;
    /// It was cancelled.
    RunCancelled = "run_cancelled", kind::EXECUTION_CANCELLED;
    /// Attributes of it were set.
    AttrSet = "attr_set", log::ATTR_SET;
    /// A step was created.
    StepCreated = "step_created", log::STEP_CREATED;
    /// A step was begun, once more or for the first time.
    StepStarted = "step_started", kind::STEP_STARTED;
    /// A step ended well.
    StepCompleted = "step_completed", kind::STEP_COMPLETED;
    /// A step failed for good.
    StepFailed = "step_failed", kind::STEP_FAILED;
    /// A step failed and will be tried again.
    StepRetrying = "step_retrying", kind::STEP_RETRY;
    /// A hook was created.
    HookCreated = "hook_created", log::HOOK_CREATED;
    /// A payload came in for a hook.
    HookReceived = "hook_received", kind::HOOK_RECEIVED;
    /// A hook was disposed of.
    HookDisposed = "hook_disposed", log::HOOK_DISPOSED;
    /// A hook was to have a token that another one has.
    HookConflict = "hook_conflict", log::HOOK_CONFLICT;
    /// A wait began.
    WaitCreated = "wait_created", log::WAIT_CREATED;
    /// A wait is over.
    WaitCompleted = "wait_completed", log::WAIT_COMPLETED;
}

impl EventType {
    /// Whether the code of a run waits for such events.
    pub(crate) const fn wakes(self) -> bool {
        matches!(
            self,
            Self::StepCompleted
                | Self::StepFailed
                | Self::HookReceived
                | Self::WaitCompleted
                | Self::RunResumed
        )
    }

    /// The one of this name in the log; `None` for what the World does not show.
    pub(crate) fn of_log(name: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|event| event.log_name() == name)
    }
}

impl fmt::Display for EventType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl FromStr for EventType {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let known = Self::ALL.iter().copied().find(|event| event.as_str() == text);
        known.ok_or_else(|| Error::invalid("eventType", format!("`{}` is none", text.escape_debug())))
    }
}
