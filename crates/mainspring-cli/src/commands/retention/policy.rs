//! A policy as people write it.
//!
//! ```text
//! executions=archive:90d flow.heartbeat=1d flow.audit=keep stream.cart=archive:365d partition.log-2025*=400d messages=archive batch=500
//! ```

use std::time::Duration;

use mainspring::{
    Error, RetentionPolicy,
    retention::{Kind, Rule},
};

use crate::{Result, words::Span};

/// Reads entries with spaces, commas or lines between them, on top of the default.
///
/// # Errors
/// Invalid, naming the entry.
pub(super) fn read(text: &str) -> Result<RetentionPolicy> {
    let mut policy = RetentionPolicy::default();
    let entries = text.split(|c: char| c.is_whitespace() || c == ',').filter(|entry| !entry.is_empty());
    for entry in entries {
        let bad =
            |problem: &str| Error::invalid("retention", format!("`{}` {problem}", entry.escape_debug()));
        let (what, value) = entry.split_once('=').ok_or_else(|| bad("is not like executions=90d"))?;
        let rule = || rule(value).ok_or_else(|| bad("says neither keep, 90d nor archive:90d"));
        policy = match what.split_once('.') {
            Some(("flow", name)) => policy.flow(name, rule()?),
            Some(("stream", name)) => policy.stream(name, rule()?),
            Some(("partition", name)) => match rule()? {
                Rule::Delete(after) => policy.partition(name, after),
                _ => return Err(bad("a partition goes whole: say its time").into()),
            },
            None if what == "batch" => policy.batch(value.parse().map_err(|_| bad("is no number"))?),
            _ => policy.with(what.parse::<Kind>().map_err(|_| bad("is of no kind"))?, rule()?),
        };
    }
    policy.check()?;
    Ok(policy)
}

/// `keep` or `0`, a time, `archive:` and a time, and `archive` or `delete` alone for what says its time itself.
fn rule(text: &str) -> Option<Rule> {
    let time = |text: &str| text.parse::<Span>().ok().map(|Span(time)| time);
    match text {
        "keep" | "0" => Some(Rule::Keep),
        "archive" => Some(Rule::Archive(Duration::ZERO)),
        "delete" => Some(Rule::Delete(Duration::ZERO)),
        text => match text.split_once(':') {
            Some(("archive", after)) => Some(Rule::Archive(time(after)?)),
            Some(("delete", after)) => Some(Rule::Delete(time(after)?)),
            Some(_) => None,
            None => Some(Rule::Delete(time(text)?)),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_policy_is_read_as_it_is_written() {
        let day = Duration::from_secs(86_400);
        let text = "executions=archive:90d, flow.heartbeat=1d\nflow.audit=keep stream.cart=archive:365d \
            partition.log-2025*=400d messages=archive outputs=0 batch=500";
        let expected = RetentionPolicy::default()
            .with(Kind::Executions, Rule::Archive(90 * day))
            .flow("heartbeat", Rule::Delete(day))
            .flow("audit", Rule::Keep)
            .stream("cart", Rule::Archive(365 * day))
            .partition("log-2025*", 400 * day)
            .with(Kind::Messages, Rule::Archive(Duration::ZERO))
            .with(Kind::Outputs, Rule::Keep)
            .batch(500);
        assert_eq!(read(text).unwrap(), expected);
        for bad in
            ["executions", "executions=soon", "letters=1d", "batch=many", "jobs=archive", "partition.p=keep"]
        {
            let error = read(bad).unwrap_err().to_string();
            assert!(error.starts_with("retention"), "{error}");
        }
    }
}
