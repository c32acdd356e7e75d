//! What a caller presents, and what the application lets in.
//!
//! | credential | headers | what is checked |
//! |---|---|---|
//! | the secret | `X-Workflow-Secret` | equality, before the body is read |
//! | a signature | `webhook-id`, `-timestamp`, `-signature` | age before the body is read, then the signature, then that it is new |

use std::{
    fmt,
    sync::Arc,
    time::{Duration, SystemTime},
};

use mainspring_core::{
    Error, Result, Timestamp,
    trace::{TRACEPARENT, TRACESTATE, TraceContext},
};

use crate::{
    Call, Secret,
    signature::{self, Known, Seen},
};

/// The header with the secret.
pub const SECRET_HEADER: &str = "x-workflow-secret";

type Clock = Arc<dyn Fn() -> Timestamp + Send + Sync>;

/// The clock of this machine: a signature is made and checked where there may be no database.
#[allow(clippy::disallowed_methods, reason = "the other side has another database, or none")]
fn system_clock() -> Clock {
    Arc::new(|| SystemTime::now().into())
}

/// What a caller presents.
#[derive(Clone)]
pub struct Credential {
    secret: Secret,
    signs: Option<Clock>,
}

impl Credential {
    /// Sends the secret: for TLS, or within one machine.
    pub fn secret(secret: Secret) -> Self {
        Self { secret, signs: None }
    }

    /// Signs each request, as Standard Webhooks do, and never sends the secret.
    pub fn signed(secret: Secret) -> Self {
        Self { secret, signs: Some(system_clock()) }
    }

    /// Another clock than that of the machine.
    #[must_use]
    pub fn clock(mut self, now: impl Fn() -> Timestamp + Send + Sync + 'static) -> Self {
        self.signs = self.signs.map(|_| -> Clock { Arc::new(now) });
        self
    }

    /// Whether its secret is only for this machine.
    pub fn is_insecure(&self) -> bool {
        self.secret.is_insecure()
    }

    /// Whether it sends the secret itself.
    #[cfg(feature = "client")]
    pub(crate) fn is_secret(&self) -> bool {
        self.signs.is_none()
    }

    /// The headers of a call with this body.
    pub(crate) fn headers(&self, call: &Call, body: &[u8]) -> Result<Vec<(&'static str, String)>> {
        let mut headers = match &self.signs {
            None => vec![(SECRET_HEADER, self.secret.reveal().to_owned())],
            Some(now) => signature::sign(&self.secret, &call.message.message_id, now(), body)?.into(),
        };
        headers.extend(call.trace_parent.clone().map(|parent| (TRACEPARENT, parent)));
        headers.extend(call.trace_state.clone().map(|state| (TRACESTATE, state)));
        Ok(headers)
    }
}

impl fmt::Debug for Credential {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.signs.is_some() { "Credential(signed)" } else { "Credential(secret)" })
    }
}

/// What an application lets in. There is no guard that lets everybody in.
pub struct Guard {
    secrets: Vec<Secret>,
    signed: Option<(Clock, Seen)>,
}

impl Guard {
    /// Callers that send this secret.
    pub fn secret(secret: Secret) -> Self {
        Self { secrets: vec![secret], signed: None }
    }

    /// Callers that sign with this secret, within 5 minutes of now, each signature once. What was seen is remembered by this
    /// process; another one behind the same address would let a repeated request in, and that is what the `message_id` is for.
    pub fn signed(secret: Secret) -> Self {
        Self { secrets: vec![secret], signed: Some((system_clock(), Seen::default())) }
    }

    /// A second secret that is as good as the first, while callers change from one to the other.
    ///
    /// # Errors
    /// Invalid, when there are two already.
    pub fn or(mut self, secret: Secret) -> Result<Self> {
        if self.secrets.len() >= 2 {
            return Err(Error::invalid("secret", "two at most are valid at a time"));
        }
        self.secrets.push(secret);
        Ok(self)
    }

    /// Another clock than that of the machine.
    #[must_use]
    pub fn clock(mut self, now: impl Fn() -> Timestamp + Send + Sync + 'static) -> Self {
        self.signed = self.signed.map(|(_, seen)| (Arc::new(now) as Clock, seen));
        self
    }

    /// Whether a secret is only for this machine.
    pub fn is_insecure(&self) -> bool {
        self.secrets.iter().any(Secret::is_insecure)
    }

    /// Whether the body is worth reading.
    pub(crate) fn admits(&self, presented: &Presented<'_>) -> bool {
        match (&self.signed, presented) {
            (None, Presented { secret: Some(given), .. }) => self.knows(given),
            (
                Some((now, _)),
                Presented { timestamp: Some(timestamp), id: Some(_), signature: Some(_), .. },
            ) => signature::is_fresh(timestamp, now()),
            _ => false,
        }
    }

    /// All of them are looked at, so that the time says nothing about which one it was.
    pub(crate) fn knows(&self, given: &str) -> bool {
        let known = self.secrets.iter().map(|secret| secret.is(given));
        known.fold(false, |known, this| known | bool::from(this))
    }

    /// Whether the body is what was signed, and new.
    pub(crate) fn admits_body(&self, presented: &Presented<'_>, body: &[u8]) -> Admission {
        let Some((now, seen)) = &self.signed else { return Admission::Granted };
        let Presented { id: Some(id), timestamp: Some(timestamp), signature: Some(given), .. } = presented
        else {
            return Admission::Refused;
        };
        match signature::find(&self.secrets, id, timestamp, body, given).map(|found| seen.note(found, now()))
        {
            Some(Known::New) => Admission::Granted,
            Some(Known::Full) => Admission::Full,
            Some(Known::Seen) | None => Admission::Refused,
        }
    }
}

impl fmt::Debug for Guard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = if self.signed.is_some() { "signed" } else { "secret" };
        write!(f, "Guard({kind}, {} secrets)", self.secrets.len())
    }
}

pub(crate) enum Admission {
    Granted,
    Refused,
    /// Too many signatures to remember.
    Full,
}

impl Admission {
    /// Until there is room again.
    pub(crate) const PAUSE: Duration = Duration::from_secs(60);
}

/// The headers that matter here.
#[derive(Clone, Copy, Default)]
pub(crate) struct Presented<'h> {
    secret: Option<&'h str>,
    id: Option<&'h str>,
    timestamp: Option<&'h str>,
    signature: Option<&'h str>,
    trace_parent: Option<&'h str>,
    trace_state: Option<&'h str>,
}

impl<'h> Presented<'h> {
    /// From the value of each header, if there is exactly one.
    pub(crate) fn new(header: impl Fn(&str) -> Option<&'h str>) -> Self {
        Self {
            secret: header(SECRET_HEADER),
            id: header(signature::ID),
            timestamp: header(signature::TIMESTAMP),
            signature: header(signature::SIGNATURE),
            trace_parent: header(TRACEPARENT),
            trace_state: header(TRACESTATE),
        }
    }

    /// What is no trace is none.
    pub(crate) fn context(&self) -> Option<TraceContext> {
        TraceContext::parse(self.trace_parent?, self.trace_state)
    }
}
