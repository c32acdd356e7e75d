//! What must not be.

use std::fmt;

use mainspring_core::{ExecutionId, ExecutionStatus, QueueStats};

/// One thing that must not be.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Violation {
    /// It was acknowledged and is not there.
    Lost(ExecutionId),
    /// It is there and nobody asked for it.
    Unexpected(ExecutionId),
    /// It has not ended.
    Unfinished(ExecutionId, ExecutionStatus),
    /// Its history has a gap, or a position twice.
    Gap {
        /// Whose.
        id: ExecutionId,
        /// The position that comes next.
        expected: i64,
        /// The position that stands there.
        found: i64,
    },
    /// The log has its history in another order than its stream.
    Disorder(ExecutionId),
    /// Its row and its history have not ended at the same position.
    Head {
        /// Whose.
        id: ExecutionId,
        /// The position of the row.
        row: i64,
        /// The events there are.
        log: i64,
    },
    /// Its history tells another end than its row, or none, or more than one, or goes on after it.
    End {
        /// Whose.
        id: ExecutionId,
        /// The status of the row.
        row: ExecutionStatus,
        /// The ends that are told.
        told: Vec<ExecutionStatus>,
    },
    /// A step is recorded where it cannot be.
    Step {
        /// Whose.
        id: ExecutionId,
        /// The step.
        step: String,
        /// Where in the history.
        position: i64,
        /// What is wrong with it.
        problem: StepProblem,
    },
    /// A queue is not empty.
    NotDrained {
        /// Which.
        queue: String,
        /// What is in it.
        stats: QueueStats,
    },
}

/// What is wrong with a recorded step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum StepProblem {
    /// It began again before it had ended.
    BegunTwice,
    /// It ended without having begun, or ended twice.
    NotBegun,
    /// Its attempt is not the one after the last.
    WrongAttempt,
    /// The execution completed while it was under way.
    LeftOpen,
}

impl fmt::Display for StepProblem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::BegunTwice => "began again before it had ended",
            Self::NotBegun => "ended without having begun",
            Self::WrongAttempt => "has an attempt that is not the one after the last",
            Self::LeftOpen => "was under way when the execution completed",
        })
    }
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Lost(id) => write!(f, "{id}: was acknowledged and is not there"),
            Self::Unexpected(id) => write!(f, "{id}: is there and nobody asked for it"),
            Self::Unfinished(id, status) => write!(f, "{id}: is still {status}"),
            Self::Gap { id, expected, found } => {
                write!(f, "{id}: position {found} stands where {expected} should")
            }
            Self::Disorder(id) => write!(f, "{id}: the log has another order than its stream"),
            Self::Head { id, row, log } => {
                write!(f, "{id}: the row is at position {row}, its history at {log}")
            }
            Self::End { id, row, told } => write!(f, "{id}: is {row}, its history tells {told:?}"),
            Self::Step { id, step, position, problem } => {
                write!(f, "{id}: step `{step}` {problem}, at {position}")
            }
            Self::NotDrained { queue, stats } => write!(f, "queue `{queue}` is not empty: {stats:?}"),
        }
    }
}
