//! What the doctor may find.

use std::{fmt, str::FromStr};

use mainspring_core::Error;
use serde::{Serialize, Serializer};

/// How bad it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Severity {
    /// Worth knowing; nothing is wrong.
    Notice,
    /// Something will go wrong, or goes slower than it should.
    Warning,
    /// Something is wrong: work may be lost, refused or stand still.
    Error,
}

macro_rules! codes {
    ($($(#[$doc:meta])+ $name:ident = $text:literal, $severity:ident;)*) => {
        /// What may be found; its text form is stable.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[non_exhaustive]
        pub enum Code { $($(#[$doc])+ $name,)* }

        impl Code {
            /// All of them.
            pub const ALL: &'static [Self] = &[$(Self::$name),*];

            /// The name in reports.
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$name => $text,)* }
            }

            /// How bad it is.
            pub const fn severity(self) -> Severity {
                match self { $(Self::$name => Severity::$severity,)* }
            }
        }
    };
}

codes! {
    /// Migrations are pending: the binary needs a newer schema.
    SchemaOld = "schema_old", Error;
    /// The database is ahead of this binary, which is fine during a deployment.
    SchemaNewer = "schema_newer", Notice;
    /// The history of the migrations was changed by hand, or is another project's.
    HistoryBroken = "history_broken", Error;
    /// A table, sequence or view is missing.
    RelationMissing = "relation_missing", Error;
    /// A column is missing.
    ColumnMissing = "column_missing", Error;
    /// A column has another type, default or collation, or may be NULL where it must not.
    ColumnChanged = "column_changed", Error;
    /// A constraint or trigger is missing, so that the database no longer refuses what is wrong.
    ConstraintMissing = "constraint_missing", Error;
    /// A constraint or trigger says something else.
    ConstraintChanged = "constraint_changed", Error;
    /// An index is missing: something became slow, or is no longer unique.
    IndexMissing = "index_missing", Error;
    /// An index has other columns or another condition.
    IndexChanged = "index_changed", Error;
    /// An index was never finished, and is not used.
    IndexInvalid = "index_invalid", Error;
    /// A function is missing.
    FunctionMissing = "function_missing", Error;
    /// A function has another body.
    FunctionChanged = "function_changed", Error;
    /// The server is older than this library supports.
    ServerOld = "server_old", Error;
    /// The server is a standby or read-only, so that nothing can be written.
    ServerReadOnly = "server_read_only", Error;
    /// The database does not keep text as UTF-8.
    EncodingNotUtf8 = "encoding_not_utf8", Error;
    /// `fsync` is off: a crash of the host loses committed work and may break the database.
    FsyncOff = "fsync_off", Error;
    /// `full_page_writes` is off: a crash of the host may break pages.
    FullPageWritesOff = "full_page_writes_off", Error;
    /// `synchronous_commit` is off: a crash loses the work that was acknowledged last.
    SynchronousCommitOff = "synchronous_commit_off", Error;
    /// `autovacuum` is off: tables grow without end, and transaction ids run out.
    AutovacuumOff = "autovacuum_off", Error;
    /// Transaction ids are used up faster than they are freed.
    WraparoundNear = "wraparound_near", Error;
    /// The pools may ask for more connections than the server has.
    ConnectionsShort = "connections_short", Warning;
    /// Sessions may stay idle in a transaction for ever.
    IdleTransactionsUnlimited = "idle_transactions_unlimited", Warning;
    /// `wal_level` is minimal: no standby and no recovery to a point in time.
    WalMinimal = "wal_minimal", Notice;
    /// The role the application uses may not do what the library does.
    GrantMissing = "grant_missing", Error;
    /// There is no such role.
    RoleMissing = "role_missing", Error;
    /// A transaction has been open for long: rows that nobody needs stay, and every claim reads them.
    TransactionOld = "transaction_old", Warning;
    /// A replication slot keeps rows or WAL that nobody has asked for.
    SlotPins = "slot_pins", Warning;
    /// A prepared transaction was forgotten.
    PreparedOld = "prepared_old", Warning;
    /// A transaction that appends holds up every reader of the log.
    FenceLag = "fence_lag", Warning;
    /// Executions that nothing will ever drive: the message that should is gone.
    ExecutionStranded = "execution_stranded", Error;
    /// Executions whose holder is dead, and that nobody has taken over.
    ExecutionOrphaned = "execution_orphaned", Error;
    /// Executions that are due, and that nobody drives.
    ExecutionLate = "execution_late", Warning;
    /// Messages whose holder is dead, and that nobody has taken back.
    MessageOrphaned = "message_orphaned", Error;
    /// Messages have been ready for long, and nobody claims them.
    MessageOld = "message_old", Warning;
    /// Nobody does the upkeep: schedules do not fire, and nothing is counted or forgotten.
    UpkeepMissing = "upkeep_missing", Warning;
    /// Redis may throw away messages when it is full.
    RedisEvicts = "redis_evicts", Error;
    /// Redis keeps nothing on disk.
    RedisForgets = "redis_forgets", Warning;
    /// An invariant does not hold.
    InvariantBroken = "invariant_broken", Error;
    /// Something could not be looked at.
    CheckFailed = "check_failed", Warning;
}

impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl FromStr for Code {
    type Err = Error;
    fn from_str(text: &str) -> Result<Self, Error> {
        Self::ALL
            .iter()
            .copied()
            .find(|code| code.as_str() == text)
            .ok_or_else(|| Error::invalid("finding", format!("`{text}` is nothing the doctor finds")))
    }
}

impl Serialize for Code {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

/// One thing that is wrong.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Finding {
    /// What kind.
    pub code: Code,
    /// How bad.
    pub severity: Severity,
    /// Where: `index ms_jobs_by_status`, `session 4711`.
    pub subject: String,
    /// What is wrong with it.
    pub problem: String,
    /// SQL or a command that mends it, where there is one. Read it before you run it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mend: Option<String>,
}

impl Finding {
    pub(crate) fn new(code: Code, subject: impl Into<String>, problem: impl Into<String>) -> Self {
        let (subject, problem) = (subject.into(), problem.into());
        Self { code, severity: code.severity(), subject, problem, mend: None }
    }

    pub(crate) fn mended_by(mut self, mend: impl Into<String>) -> Self {
        self.mend = Some(mend.into());
        self
    }
}

/// `error index_missing: index ms_jobs_by_status: is missing`
impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let severity = match self.severity {
            Severity::Notice => "notice",
            Severity::Warning => "warning",
            Severity::Error => "error",
        };
        write!(f, "{severity} {}: {}: {}", self.code, self.subject, self.problem)
    }
}

/// Everything that was found, the worst first.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Report {
    /// The findings.
    pub findings: Vec<Finding>,
    /// Version of the schema; 0 when there is none.
    pub schema_version: i32,
    /// Version of the schema this binary needs.
    pub needed_version: i32,
}

impl Report {
    /// Nothing is wrong. Notices do not count.
    pub fn is_healthy(&self) -> bool {
        self.findings.iter().all(|finding| finding.severity == Severity::Notice)
    }

    /// The schema does not fit this binary.
    pub fn is_mismatch(&self) -> bool {
        self.findings.iter().any(|f| matches!(f.code, Code::SchemaOld | Code::HistoryBroken))
    }

    /// Findings of one kind.
    pub fn of(&self, code: Code) -> impl Iterator<Item = &Finding> {
        self.findings.iter().filter(move |finding| finding.code == code)
    }
}
