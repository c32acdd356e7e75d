//! What became of a call, and how that is said in HTTP.
//!
//! | reply | status | body, header |
//! |---|---|---|
//! | ok | 200 | `{"ok": true}`, and `output` if there is one |
//! | again | 503 | `{"timeoutSeconds": n}` |
//! | unauthorized | 401 | `{"error": …}` |
//! | bad request | 400 | `{"error": …}` |
//! | failed | 500 | `{"error": …}`, and `"fatal": true` if it is; `Retry-After` |
//! | unavailable | 503 | `{"error": …}`; `Retry-After` |

use std::time::Duration;

use mainspring_core::limits;
use serde_json::{Value, json};

const UNAUTHORIZED: &str = "Unauthorized: Invalid or missing secret key";

/// What became of a call.
#[derive(Debug, Clone, PartialEq)]
pub enum Reply {
    /// It is done. What it answered, or null.
    Ok(Value),
    /// Deliver it again after so long, a second at least. That is a delay and no failure: it uses up no attempt.
    Again(Duration),
    /// The secret or the signature was refused. Every other message would be, too.
    Unauthorized,
    /// This message can never be accepted.
    BadRequest(String),
    /// The application ran it, and it failed. That uses up an attempt.
    Failed {
        /// Why, for people; at most 8 KiB.
        error: String,
        /// No attempt will ever succeed.
        fatal: bool,
        /// How long to wait before the next attempt, if it says.
        retry_after: Option<Duration>,
    },
    /// The application could not be reached, or not take the call. That is no failure of the message.
    Unavailable {
        /// Why, for people; at most 8 KiB.
        error: String,
        /// How long to wait before the next delivery, if it is known.
        retry_after: Option<Duration>,
    },
}

impl Reply {
    /// Done, with nothing to say.
    pub fn ok() -> Self {
        Self::Ok(Value::Null)
    }

    /// Failed; the next attempt may succeed.
    pub fn failed(error: impl Into<String>) -> Self {
        Self::Failed { error: error.into(), fatal: false, retry_after: None }
    }

    /// Failed, and no attempt will succeed.
    pub fn fatal(error: impl Into<String>) -> Self {
        Self::Failed { error: error.into(), fatal: true, retry_after: None }
    }

    /// Could not be reached, for no known time.
    pub(crate) fn unavailable(error: impl Into<String>) -> Self {
        Self::Unavailable { error: error.into(), retry_after: None }
    }
}

/// A reply as HTTP says it.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    /// `Retry-After`, in seconds.
    pub(crate) retry_after: Option<u64>,
    pub(crate) body: Value,
}

impl Answer {
    pub(crate) fn of(reply: Reply) -> Self {
        let said = |status, error: &str, retry_after: Option<Duration>| Self {
            status,
            retry_after: retry_after.map(seconds),
            body: json!({"error": limits::clip_error(error)}),
        };
        match reply {
            Reply::Ok(Value::Null) => Self { status: 200, retry_after: None, body: json!({"ok": true}) },
            Reply::Ok(output) => {
                Self { status: 200, retry_after: None, body: json!({"ok": true, "output": output}) }
            }
            Reply::Again(after) => {
                let body = json!({"timeoutSeconds": seconds(after).max(1)});
                Self { status: 503, retry_after: None, body }
            }
            Reply::Unauthorized => said(401, UNAUTHORIZED, None),
            Reply::BadRequest(error) => said(400, &error, None),
            Reply::Failed { error, fatal, retry_after } => {
                let mut answer = said(500, &error, retry_after);
                if fatal {
                    answer.body["fatal"] = json!(true);
                }
                answer
            }
            Reply::Unavailable { error, retry_after } => said(503, &error, retry_after),
        }
    }

    /// What an answer means. `body` is `None` when there was one that is no JSON.
    pub(crate) fn read(status: u16, retry_after: Option<Duration>, body: Option<&Value>) -> Reply {
        let said = || {
            let error = body.and_then(|body| body.get("error")).and_then(Value::as_str);
            error.map_or_else(|| format!("was answered {status}"), limits::clip_error)
        };
        match status {
            200..=299 => match body {
                Some(body) => Reply::Ok(body.get("output").cloned().unwrap_or_default()),
                // Someone in between has answered: a page to log in, a parked domain.
                None => Reply::unavailable(format!("was answered {status} with something that is no JSON")),
            },
            503 => match body.and_then(|body| body.get("timeoutSeconds")).and_then(timeout) {
                Some(after) => Reply::Again(after),
                None => Reply::Unavailable { error: said(), retry_after },
            },
            401 | 403 => Reply::Unauthorized,
            // Not deployed yet, too slow, too much, or a gateway: nothing the message can help.
            300..=399 | 404 | 408 | 429 | 502 | 504 => Reply::Unavailable { error: said(), retry_after },
            400..=499 => Reply::BadRequest(said()),
            _ => {
                let fatal = body.and_then(|body| body.get("fatal")) == Some(&Value::Bool(true));
                Reply::Failed { error: said(), fatal, retry_after }
            }
        }
    }
}

/// Up to the next whole second, so that nothing comes early.
fn seconds(duration: Duration) -> u64 {
    let whole = duration.min(limits::MAX_DURATION);
    whole.as_secs() + u64::from(whole.subsec_nanos() > 0)
}

fn timeout(value: &Value) -> Option<Duration> {
    let seconds = value.as_f64().filter(|seconds| *seconds >= 0.0)?;
    let most = limits::MAX_DURATION;
    Some(Duration::try_from_secs_f64(seconds).map_or(most, |after| after.min(most)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn there_and_back(reply: &Reply) -> Reply {
        let answer = Answer::of(reply.clone());
        Answer::read(answer.status, answer.retry_after.map(Duration::from_secs), Some(&answer.body))
    }

    #[test]
    fn a_reply_is_what_it_was_after_the_wire() {
        // W42
        let after = Some(Duration::from_secs(7));
        for reply in [
            Reply::ok(),
            Reply::Ok(json!({"n": [1, null]})),
            Reply::Again(Duration::from_secs(3600)),
            Reply::Unauthorized,
            Reply::BadRequest("queueName: wrong".into()),
            Reply::failed("no"),
            Reply::fatal("never"),
            Reply::Failed { error: "later".into(), fatal: false, retry_after: after },
            Reply::Unavailable { error: "starting".into(), retry_after: after },
        ] {
            assert_eq!(there_and_back(&reply), reply);
        }
    }

    #[test]
    fn delays_are_whole_seconds_and_never_shorter() {
        assert_eq!(there_and_back(&Reply::Again(Duration::ZERO)), Reply::Again(Duration::from_secs(1)));
        assert_eq!(
            there_and_back(&Reply::Again(Duration::from_millis(1_001))),
            Reply::Again(Duration::from_secs(2))
        );
        assert_eq!(there_and_back(&Reply::Again(Duration::MAX)), Reply::Again(limits::MAX_DURATION));
    }

    #[test]
    fn what_others_answer_is_understood() {
        // fault F90
        let read = |status, body: Value| Answer::read(status, None, Some(&body));
        assert_eq!(read(503, json!({"timeoutSeconds": 1.5})), Reply::Again(Duration::from_millis(1_500)));
        assert_eq!(read(503, json!({"timeoutSeconds": 1e300})), Reply::Again(limits::MAX_DURATION));
        assert_eq!(read(204, json!(null)), Reply::ok());
        for (status, body) in [
            (503, json!({"timeoutSeconds": -1})),
            (503, json!(3)),
            (302, json!(null)),
            (502, json!(null)),
            (404, json!({})),
            (429, json!({})),
        ] {
            assert!(matches!(read(status, body), Reply::Unavailable { .. }), "{status}");
        }
        assert!(matches!(Answer::read(200, None, None), Reply::Unavailable { .. }));
        assert_eq!(read(413, json!({"error": "large"})), Reply::BadRequest("large".into()));
        assert_eq!(read(500, json!({"error": "a"})), Reply::failed("a"));
        assert_eq!(Answer::read(500, None, None), Reply::failed("was answered 500"));
    }
}
