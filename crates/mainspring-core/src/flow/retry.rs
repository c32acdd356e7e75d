//! Retrying a failed step: how often, how long to wait, and for which failures.
//!
//! Our `max_attempts` counts every run, the first included. FlowMonkey's JSON field `maxAttempts` counts only the retries.
//! The two meet in [`RetryJson`] and nowhere else.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::definition::millis;
use crate::{Error, Result, limits};

/// Most retries a policy may ask for; with the first run, [`RetryPolicy::max_attempts`] is at most one more.
const MAX_RETRIES: u32 = limits::MAX_ATTEMPTS;
/// Most codes in [`RetryPolicy::retry_on`].
const MAX_CODES: usize = 100;

/// Whether and how a failed step is tried again.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(from = "RetryJson", into = "RetryJson")]
pub struct RetryPolicy {
    /// Runs in all, the first included; 1 to 1,001. Defaults to 3.
    pub max_attempts: u32,
    /// Wait before the first retry. Defaults to 0: at once.
    pub backoff: Duration,
    /// What each further wait is multiplied with; at least 1. Defaults to 2.
    pub multiplier: f64,
    /// Longest wait. Defaults to 1 minute.
    pub max_backoff: Duration,
    /// Only failures with these codes are tried again. Defaults to `None`: all.
    pub retry_on: Option<Vec<String>>,
}

impl Default for RetryPolicy {
    fn default() -> Self {
        Self {
            max_attempts: 3,
            backoff: Duration::ZERO,
            multiplier: 2.0,
            max_backoff: Duration::from_millis(60_000),
            retry_on: None,
        }
    }
}

impl RetryPolicy {
    /// Whether a failure with `code` is tried again after `retries` retries.
    pub fn allows(&self, code: &str, retries: u32) -> bool {
        let wanted = self.retry_on.as_ref().is_none_or(|codes| codes.iter().any(|c| c == code));
        wanted && retries < self.max_retries()
    }

    /// Runs after the first.
    pub const fn max_retries(&self) -> u32 {
        self.max_attempts.saturating_sub(1)
    }

    /// How long to wait after a failure when there were `retries` retries before: whole milliseconds, at most
    /// [`max_backoff`](Self::max_backoff), whatever the numbers.
    pub fn delay(&self, retries: u32) -> Duration {
        if self.backoff.is_zero() {
            return Duration::ZERO;
        }
        // In floating point an overflow is infinity, and the smaller of infinity and the cap is the cap.
        let growth = self.multiplier.powf(f64::from(retries));
        let wanted = millis(self.backoff) as f64 * growth;
        Duration::from_millis(wanted.min(millis(self.max_backoff) as f64) as u64)
    }

    /// Checks the ranges; `field` is where the policy stands.
    ///
    /// # Errors
    /// Invalid, naming the field and the limit.
    pub fn check(&self, field: &str) -> Result<()> {
        if !(1..=MAX_RETRIES + 1).contains(&self.max_attempts) {
            let retries = i64::from(self.max_attempts) - 1;
            let problem = format!("{retries} retries are not within 0 to {MAX_RETRIES}");
            return Err(Error::invalid(&format!("{field}.maxAttempts"), problem));
        }
        check_millis(&format!("{field}.backoffMs"), self.backoff)?;
        check_millis(&format!("{field}.maxBackoffMs"), self.max_backoff)?;
        if !self.multiplier.is_finite() || self.multiplier < 1.0 {
            let problem = format!("{} is not a number of at least 1", self.multiplier);
            return Err(Error::invalid(&format!("{field}.backoffMultiplier"), problem));
        }
        let codes = self.retry_on.as_deref().unwrap_or_default();
        let field = format!("{field}.retryOn");
        if codes.len() > MAX_CODES {
            return Err(Error::invalid(
                &field,
                format!("{} codes, at most {MAX_CODES} are allowed", codes.len()),
            ));
        }
        codes.iter().try_for_each(|code| limits::check_name(&field, code))
    }
}

/// Checks a duration that JSON carries as milliseconds: a part of one would be lost there.
pub(super) fn check_millis(field: &str, duration: Duration) -> Result<()> {
    limits::check_duration(field, duration)?;
    if !duration.subsec_nanos().is_multiple_of(1_000_000) {
        return Err(Error::invalid(field, format!("{duration:?} is not a whole number of milliseconds")));
    }
    Ok(())
}

/// A policy as FlowMonkey writes it: `max_attempts` counts retries.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct RetryJson {
    max_attempts: u32,
    #[serde(default)]
    backoff_ms: u64,
    #[serde(default = "default_multiplier")]
    backoff_multiplier: f64,
    #[serde(default = "default_max_backoff_ms")]
    max_backoff_ms: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    retry_on: Option<Vec<String>>,
}

fn default_multiplier() -> f64 {
    RetryPolicy::default().multiplier
}

fn default_max_backoff_ms() -> u64 {
    millis(RetryPolicy::default().max_backoff)
}

impl From<RetryJson> for RetryPolicy {
    fn from(json: RetryJson) -> Self {
        Self {
            max_attempts: json.max_attempts.saturating_add(1),
            backoff: Duration::from_millis(json.backoff_ms),
            multiplier: json.backoff_multiplier,
            max_backoff: Duration::from_millis(json.max_backoff_ms),
            retry_on: json.retry_on,
        }
    }
}

impl From<RetryPolicy> for RetryJson {
    fn from(policy: RetryPolicy) -> Self {
        Self {
            max_attempts: policy.max_retries(),
            backoff_ms: millis(policy.backoff),
            backoff_multiplier: policy.multiplier,
            max_backoff_ms: millis(policy.max_backoff),
            retry_on: policy.retry_on,
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_json_counts_retries_and_the_type_counts_runs() {
        // scenario F39
        let policy: RetryPolicy = serde_json::from_value(json!({"maxAttempts": 2})).unwrap();
        assert_eq!(policy.max_attempts, 3);
        assert_eq!(policy, RetryPolicy::default());
        assert!(policy.allows("ANY", 0) && policy.allows("ANY", 1) && !policy.allows("ANY", 2));
        let json = serde_json::to_value(&policy).unwrap();
        assert_eq!(
            json,
            json!({"maxAttempts": 2, "backoffMs": 0, "backoffMultiplier": 2.0, "maxBackoffMs": 60_000})
        );
    }

    #[test]
    fn delays_grow_to_the_cap_and_never_overflow() {
        // scenario F40
        let ms = Duration::from_millis;
        let policy = RetryPolicy { backoff: ms(100), max_backoff: ms(500), ..RetryPolicy::default() };
        let delays: Vec<_> = [0, 1, 2, 3, 1_000, u32::MAX].map(|n| policy.delay(n).as_millis()).into();
        assert_eq!(delays, [100, 200, 400, 500, 500, 500]);
        let huge = RetryPolicy {
            backoff: Duration::MAX,
            multiplier: f64::MAX,
            max_backoff: Duration::MAX,
            ..policy
        };
        assert_eq!(huge.delay(1_000), ms(u64::MAX));
        assert_eq!(RetryPolicy { multiplier: f64::NAN, max_backoff: ms(7), ..huge }.delay(3), ms(7));
        assert_eq!(RetryPolicy::default().delay(1_000), Duration::ZERO);
    }

    #[test]
    fn only_the_codes_asked_for_are_tried_again() {
        // scenario F40
        let policy = RetryPolicy { retry_on: Some(vec!["BUSY".to_owned()]), ..RetryPolicy::default() };
        assert!(policy.allows("BUSY", 0) && !policy.allows("BROKEN", 0));
    }

    #[test]
    fn ranges_are_checked() {
        let good = RetryPolicy::default;
        for (policy, field) in [
            (RetryPolicy { max_attempts: 0, ..good() }, "r.maxAttempts: -1 retries"),
            (RetryPolicy { max_attempts: 1_002, ..good() }, "r.maxAttempts: 1001 retries"),
            (RetryPolicy { backoff: Duration::MAX, ..good() }, "r.backoffMs: longer than 100 years"),
            (RetryPolicy { max_backoff: Duration::MAX, ..good() }, "r.maxBackoffMs"),
            (RetryPolicy { backoff: Duration::from_micros(1), ..good() }, "r.backoffMs: 1µs is not a whole"),
            (RetryPolicy { multiplier: 0.5, ..good() }, "r.backoffMultiplier: 0.5"),
            (RetryPolicy { multiplier: f64::INFINITY, ..good() }, "r.backoffMultiplier: inf"),
            (RetryPolicy { multiplier: f64::NAN, ..good() }, "r.backoffMultiplier: NaN"),
            (RetryPolicy { retry_on: Some(vec![String::new()]), ..good() }, "r.retryOn: must not be empty"),
        ] {
            let error = policy.check("r").unwrap_err();
            assert!(error.is_invalid() && error.to_string().starts_with(field), "{error}");
        }
        RetryPolicy { max_attempts: 1_001, ..good() }.check("r").unwrap();
    }
}
