//! What stays for how long: a value that decides nothing by itself and can be looked at.

use std::{collections::BTreeMap, fmt, str::FromStr, time::Duration};

use mainspring_core::{Error, Result, limits};

const DAY: Duration = Duration::from_secs(24 * 3_600);
/// Rows of one transaction, unless the policy says otherwise.
const BATCH: u32 = 1_000;
/// Most rows of one transaction.
const MOST: u32 = 10_000;

macro_rules! kinds {
    ($($(#[$doc:meta])+ $name:ident = $text:literal;)*) => {
        /// What can be over. The text form is stable.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[non_exhaustive]
        pub enum Kind { $($(#[$doc])+ $name,)* }

        impl Kind {
            /// All of them, in the order in which they are looked at.
            pub const ALL: &'static [Self] = &[$(Self::$name),*];

            /// The name in policies, reports and the archive.
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$name => $text,)* }
            }
        }
    };
}

kinds! {
    /// Executions that are over, with their histories, jobs, tokens, large values, output streams and what was sent to them, since
    /// they ended. One whose parent is not over stays. A [flow](RetentionPolicy::flow) may have a rule of its own.
    Executions = "executions";
    /// Jobs that are over, of executions that are over, since they ended.
    Jobs = "jobs";
    /// Resume tokens that nobody can spend any more, since they were made.
    Tokens = "tokens";
    /// Large values of executions, since those ended: a look at such an execution finds them no more.
    Contexts = "contexts";
    /// Output streams of nobody, since they were closed; those of executions go with them.
    Outputs = "outputs";
    /// Messages that are done or cancelled. How long they stay is an option of their queue, so the time of a rule is zero.
    Messages = "messages";
    /// Messages that were given up, since then; earlier where an option of their queue says so. One that holds up its key stays.
    DeadLetters = "dead_letters";
    /// What was handled once. How long they stay is said where they are written, so the time of a rule is zero.
    Receipts = "receipts";
    /// Streams of the [types](RetentionPolicy::stream) that are named, since their last event.
    Streams = "streams";
    /// [Partitions](RetentionPolicy::partition) of the log that are named, since their last event.
    Partitions = "partitions";
    /// What became of the ticks of schedules.
    Fires = "fires";
    /// How full queues were. The latest count stays, however old.
    Stats = "stats";
    /// Warnings.
    Warnings = "warnings";
    /// What was archived, since then. Archived streams are not in it: they stay until they are restored or deleted.
    Archive = "archive";
}

impl Kind {
    /// Whether what is of this kind says itself how long it stays.
    pub(crate) const fn says_itself(self) -> bool {
        matches!(self, Self::Messages | Self::Receipts)
    }

    const fn is_named(self) -> bool {
        matches!(self, Self::Streams | Self::Partitions)
    }

    const fn can_be_archived(self) -> bool {
        !matches!(self, Self::Receipts | Self::Partitions | Self::Archive)
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl FromStr for Kind {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let found = Self::ALL.iter().copied().find(|kind| kind.as_str() == text);
        found.ok_or_else(|| Error::invalid("retention", format!("`{}` is no kind", text.escape_debug())))
    }
}

/// What becomes of something that is over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rule {
    /// It stays.
    Keep,
    /// It is deleted after this time.
    Delete(Duration),
    /// It is moved into the archive after this time: the table `archive`, and for streams `events_archive`.
    Archive(Duration),
}

impl Rule {
    /// The time, unless it stays.
    pub const fn after(self) -> Option<Duration> {
        match self {
            Self::Keep => None,
            Self::Delete(after) | Self::Archive(after) => Some(after),
        }
    }

    /// What it does, for people: `keep`, `delete` or `archive`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Keep => "keep",
            Self::Delete(_) => "delete",
            Self::Archive(_) => "archive",
        }
    }
}

/// What stays for how long, by the database's clock.
///
/// By default executions, jobs, tokens, large values, streams and the archive stay for ever, ticks, counts and output streams for 7
/// days, warnings for 30, and messages, dead letters and receipts as long as their queues say.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RetentionPolicy {
    rules: BTreeMap<Kind, Rule>,
    pub(crate) flows: BTreeMap<String, Rule>,
    pub(crate) streams: BTreeMap<String, Rule>,
    pub(crate) partitions: BTreeMap<String, Duration>,
    batch: u32,
}

impl Default for RetentionPolicy {
    fn default() -> Self {
        let week = Rule::Delete(7 * DAY);
        let rules = [
            (Kind::Fires, week),
            (Kind::Stats, week),
            (Kind::Warnings, Rule::Delete(30 * DAY)),
            (Kind::Outputs, week),
            (Kind::Messages, Rule::Delete(Duration::ZERO)),
            (Kind::Receipts, Rule::Delete(Duration::ZERO)),
        ];
        let (flows, streams, partitions) = Default::default();
        Self { rules: rules.into(), flows, streams, partitions, batch: BATCH }
    }
}

impl RetentionPolicy {
    /// With this rule for all of a kind.
    #[must_use]
    pub fn with(mut self, kind: Kind, rule: Rule) -> Self {
        self.rules.insert(kind, rule);
        self
    }

    /// With this rule for executions of this flow or workflow, in the place of that for all.
    #[must_use]
    pub fn flow(mut self, flow_id: impl Into<String>, rule: Rule) -> Self {
        self.flows.insert(flow_id.into(), rule);
        self
    }

    /// With this rule for streams whose names begin with this type and `-`, in every partition. A stream stays that has a parked
    /// event, or one that a processor has not come to.
    #[must_use]
    pub fn stream(mut self, stream_type: impl Into<String>, rule: Rule) -> Self {
        self.streams.insert(stream_type.into(), rule);
        self
    }

    /// With partitions of the log that go whole, as tables, this long after their last event: that of this name, or with `*` at its
    /// end all whose names begin so. One stays that a processor has not read to its end. Dropping takes the right to, and waits
    /// for whoever reads or writes the log; an append to it is then refused until it is made again.
    #[must_use]
    pub fn partition(mut self, name: impl Into<String>, after: Duration) -> Self {
        self.partitions.insert(name.into(), after);
        self
    }

    /// With so many rows in one transaction, 1 to 10,000, and a tenth of it where a row brings others along. Defaults to 1,000.
    #[must_use]
    pub const fn batch(mut self, rows: u32) -> Self {
        self.batch = rows;
        self
    }

    /// The rule for all of a kind.
    pub fn rule(&self, kind: Kind) -> Rule {
        self.rules.get(&kind).copied().unwrap_or(Rule::Keep)
    }

    /// The rule for executions of this flow.
    pub fn rule_of_flow(&self, flow_id: &str) -> Rule {
        self.flows.get(flow_id).copied().unwrap_or_else(|| self.rule(Kind::Executions))
    }

    pub(crate) fn rows(&self) -> i64 {
        self.batch.into()
    }

    /// Rows of one transaction where each brings others along.
    pub(crate) fn families(&self) -> i64 {
        self.batch.div_ceil(10).into()
    }

    /// Checks all of it.
    ///
    /// # Errors
    /// Invalid, naming the kind and what is wrong with its rule.
    pub fn check(&self) -> Result<()> {
        if !(1..=MOST).contains(&self.batch) {
            return Err(Error::invalid(
                "retention.batch",
                format!("{} is not within 1 to {MOST}", self.batch),
            ));
        }
        for (kind, rule) in &self.rules {
            let field = format!("retention.{kind}");
            let bad = |problem: &str| Err(Error::invalid(&field, problem));
            match rule {
                Rule::Archive(_) if !kind.can_be_archived() => return bad("cannot be archived"),
                Rule::Keep if kind.says_itself() => return bad("how long they stay is said elsewhere"),
                _ if kind.is_named() && *rule != Rule::Keep => return bad("must be named one by one"),
                _ => {}
            }
            match rule.after() {
                Some(after) if kind.says_itself() && !after.is_zero() => {
                    return bad("how long they stay is said elsewhere");
                }
                after if !kind.says_itself() => check_time(&field, after)?,
                _ => {}
            }
        }
        for (name, rule) in &self.flows {
            limits::check_name("retention.flow", name)?;
            check_time("retention.flow", rule.after())?;
        }
        for (name, rule) in &self.streams {
            limits::check_name("retention.stream", name)?;
            if name.contains('-') {
                return Err(Error::invalid("retention.stream", "a type ends before the first `-`"));
            }
            check_time("retention.stream", rule.after())?;
        }
        for (name, after) in &self.partitions {
            limits::check_name("retention.partition", name)?;
            check_time("retention.partition", Some(*after))?;
        }
        Ok(())
    }
}

fn check_time(field: &str, after: Option<Duration>) -> Result<()> {
    match after {
        Some(after) if after.is_zero() => Err(Error::invalid(field, "is zero: to keep is a rule of its own")),
        Some(after) => limits::check_duration(field, after),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_cannot_be_done_is_refused_with_its_name() {
        let policy = RetentionPolicy::default;
        policy().check().unwrap();
        policy().with(Kind::Messages, Rule::Archive(Duration::ZERO)).check().unwrap();
        policy().with(Kind::Outputs, Rule::Keep).check().unwrap();
        for (field, bad) in [
            ("retention.batch", policy().batch(0)),
            ("retention.batch", policy().batch(10_001)),
            ("retention.messages", policy().with(Kind::Messages, Rule::Archive(DAY))),
            ("retention.messages", policy().with(Kind::Messages, Rule::Keep)),
            ("retention.receipts", policy().with(Kind::Receipts, Rule::Archive(Duration::ZERO))),
            ("retention.streams", policy().with(Kind::Streams, Rule::Delete(DAY))),
            ("retention.archive", policy().with(Kind::Archive, Rule::Archive(DAY))),
            ("retention.jobs", policy().with(Kind::Jobs, Rule::Delete(Duration::ZERO))),
            ("retention.jobs", policy().with(Kind::Jobs, Rule::Delete(Duration::MAX))),
            ("retention.flow", policy().flow("", Rule::Delete(DAY))),
            ("retention.stream", policy().stream("a-b", Rule::Delete(DAY))),
            ("retention.partition", policy().partition("p", Duration::ZERO)),
        ] {
            let error = bad.check().unwrap_err();
            assert!(error.is_invalid() && error.to_string().starts_with(field), "{field}: {error}");
        }
    }

    #[test]
    fn a_flow_goes_by_its_own_rule() {
        let policy =
            RetentionPolicy::default().with(Kind::Executions, Rule::Delete(DAY)).flow("a", Rule::Keep);
        assert_eq!((policy.rule_of_flow("a"), policy.rule_of_flow("b")), (Rule::Keep, Rule::Delete(DAY)));
        assert_eq!("dead_letters".parse::<Kind>().unwrap(), Kind::DeadLetters);
        assert!("letters".parse::<Kind>().is_err());
    }
}
