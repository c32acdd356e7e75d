//! Standard Webhooks: a signature over id, time and body instead of the secret itself, so that who listens learns nothing and
//! who repeats is noticed.

use std::{
    collections::HashSet,
    sync::{Mutex, PoisonError},
    time::Duration,
};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use hmac::{Hmac, KeyInit, Mac};
use mainspring_core::{Error, Result, Timestamp};
use sha2::Sha256;

use crate::Secret;

pub(crate) const ID: &str = "webhook-id";
pub(crate) const TIMESTAMP: &str = "webhook-timestamp";
pub(crate) const SIGNATURE: &str = "webhook-signature";

/// How far the clocks of both sides may differ, and how old a request may be.
pub(crate) const TOLERANCE: Duration = Duration::from_secs(5 * 60);
/// Most signatures remembered of one half of the window; more requests in that time are refused.
const MOST_SEEN: usize = 500_000;

/// The three headers of a request.
pub(crate) fn sign(
    secret: &Secret,
    id: &str,
    now: Timestamp,
    body: &[u8],
) -> Result<[(&'static str, String); 3]> {
    let timestamp = (now.as_micros() / 1_000_000).to_string();
    let signature = STANDARD.encode(mac(secret, id, &timestamp, body)?.finalize().into_bytes());
    Ok([(ID, id.to_owned()), (TIMESTAMP, timestamp), (SIGNATURE, format!("v1,{signature}"))])
}

/// Whether one of the signatures is by one of the secrets, in a time that says nothing about where it is wrong; which one.
pub(crate) fn find(
    secrets: &[Secret],
    id: &str,
    timestamp: &str,
    body: &[u8],
    signatures: &str,
) -> Option<Vec<u8>> {
    let given =
        signatures.split(' ').filter_map(|one| STANDARD.decode(one.strip_prefix("v1,")?).ok()).take(4);
    let given: Vec<Vec<u8>> = given.collect();
    let mut found = None;
    for secret in secrets {
        for signature in &given {
            let Ok(mac) = mac(secret, id, timestamp, body) else { continue };
            if mac.verify_slice(signature).is_ok() {
                found = Some(signature.clone());
            }
        }
    }
    found
}

fn mac(secret: &Secret, id: &str, timestamp: &str, body: &[u8]) -> Result<Hmac<Sha256>> {
    let mut mac = Hmac::<Sha256>::new_from_slice(&secret.key())
        .map_err(|e| Error::internal("a secret that cannot sign").with_source(e))?;
    for part in [id.as_bytes(), b".", timestamp.as_bytes(), b".", body] {
        mac.update(part);
    }
    Ok(mac)
}

/// Whether a request was made at about this time.
pub(crate) fn is_fresh(timestamp: &str, now: Timestamp) -> bool {
    let Ok(seconds) = timestamp.parse::<i64>() else { return false };
    let made = Timestamp::from_micros(seconds.saturating_mul(1_000_000));
    now.since(made).max(made.since(now)) <= TOLERANCE
}

/// The signatures of this and the last half of the window: what is older is refused by its age.
#[derive(Default)]
pub(crate) struct Seen(Mutex<Halves>);

#[derive(Default)]
struct Halves {
    began: Option<Timestamp>,
    now: HashSet<Vec<u8>>,
    before: HashSet<Vec<u8>>,
}

/// What is known of a signature.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Known {
    New,
    Seen,
    /// There is no room to remember it.
    Full,
}

impl Seen {
    /// Takes note of a signature.
    pub(crate) fn note(&self, signature: Vec<u8>, now: Timestamp) -> Known {
        let mut halves = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let began = *halves.began.get_or_insert(now);
        if now.since(began) > TOLERANCE * 2 {
            halves.before = std::mem::take(&mut halves.now);
            halves.began = Some(now);
        }
        if halves.now.contains(&signature) || halves.before.contains(&signature) {
            return Known::Seen;
        }
        if halves.now.len() >= MOST_SEEN {
            return Known::Full;
        }
        halves.now.insert(signature);
        Known::New
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_example_of_the_standard_is_signed_as_it_says() {
        let secret = Secret::new("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw").unwrap();
        let body = br#"{"test": 2432232314}"#;
        let now = Timestamp::from_micros(1_614_265_330_000_000);
        let [_, (_, timestamp), (_, signature)] =
            sign(&secret, "msg_p5jXN8AQM9LWM0D4loKWxJek", now, body).unwrap();
        assert_eq!(timestamp, "1614265330");
        assert_eq!(signature, "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=");
    }

    #[test]
    fn a_signature_is_refused_when_anything_differs() {
        // fault F92
        let (old, new) = (Secret::generate().unwrap(), Secret::generate().unwrap());
        let now = Timestamp::from_micros(1_800_000_000_000_000);
        let [_, (_, at), (_, signature)] = sign(&old, "m1", now, b"body").unwrap();
        let both = [new.clone(), old.clone()];
        assert!(find(&both, "m1", &at, b"body", &signature).is_some());
        assert!(find(&both, "m1", &at, b"body", &format!("v1,xx v2,zz {signature}")).is_some());
        for (id, at, body) in [("m2", &*at, "body"), ("m1", "1800000001", "body"), ("m1", &*at, "other")] {
            assert!(find(&both, id, at, body.as_bytes(), &signature).is_none());
        }
        assert!(find(&[new], "m1", &at, b"body", &signature).is_none());
        assert!(find(&both, "m1", &at, b"body", "").is_none());
    }

    #[test]
    fn what_is_old_or_of_the_future_or_seen_is_noticed() {
        // fault F92
        let second = Duration::from_secs(1);
        let now = Timestamp::from_micros(1_800_000_000_000_000);
        assert!(is_fresh("1800000000", now) && is_fresh("1800000300", now) && is_fresh("1799999700", now));
        assert!(!is_fresh("1800000301", now) && !is_fresh("1799999699", now));
        assert!(!is_fresh("", now) && !is_fresh("99999999999999999999", now));
        let seen = Seen::default();
        assert_eq!(seen.note(vec![1], now), Known::New);
        assert_eq!(seen.note(vec![1], now), Known::Seen);
        assert_eq!(seen.note(vec![2], now + TOLERANCE * 2 + second), Known::New);
        assert_eq!(
            seen.note(vec![1], now + TOLERANCE * 2 + second),
            Known::Seen,
            "its half is still remembered"
        );
        assert_eq!(
            seen.note(vec![1], now + TOLERANCE * 4 + second * 2),
            Known::New,
            "its age refuses it by now"
        );
    }
}
