//! Resume tokens: the secret that wakes a waiting execution, once.
//!
//! ```text
//! pending ──consume──► used        pending ──revoke──► revoked        pending ──time──► expired
//! ```
//!
//! A [`TokenSecret`] is 256 random bits in text form. Only its SHA-256 is stored, so a copy of the database resumes nothing.

use std::{
    fmt,
    hash::{Hash, Hasher},
    str::FromStr,
    time::Duration,
};

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

use crate::{Error, ExecutionId, Result, Timestamp, TokenId, limits};

const PREFIX: &str = "rt_";
const SECRET_BYTES: usize = 32;
const CHECKSUM_BYTES: usize = 4;

/// The secret itself: `rt_`, 43 characters, `_`, and a checksum of 6 that lets scanners recognise it and typing errors be
/// refused without a look-up. `Debug` does not show it.
#[derive(Clone)]
pub struct TokenSecret([u8; SECRET_BYTES]);

impl TokenSecret {
    /// A fresh secret from the system's random source.
    ///
    /// # Errors
    /// Internal, when the system has no random numbers.
    pub fn generate() -> Result<Self> {
        let mut bytes = [0; SECRET_BYTES];
        getrandom::fill(&mut bytes)
            .map_err(|e| Error::internal("no random numbers from the system").with_source(e))?;
        Ok(Self(bytes))
    }

    /// What is stored in its place.
    pub fn hash(&self) -> TokenHash {
        TokenHash(Sha256::digest(self.0).into())
    }

    /// The text to hand out. It is the secret: do not log it.
    pub fn reveal(&self) -> String {
        let body = URL_SAFE_NO_PAD.encode(self.0);
        let sum = checksum(&self.0);
        format!("{PREFIX}{body}_{sum}")
    }
}

fn checksum(secret: &[u8]) -> String {
    let mut hasher = Sha256::new();
    hasher.update(b"mainspring token checksum");
    hasher.update(secret);
    URL_SAFE_NO_PAD.encode(&hasher.finalize()[..CHECKSUM_BYTES])
}

impl FromStr for TokenSecret {
    type Err = Error;

    /// Reads the text form. The error never repeats the text.
    fn from_str(text: &str) -> Result<Self> {
        let refuse =
            || Error::invalid("token", "is not a resume token (`rt_`, 43 characters, `_`, 6 characters)");
        let rest = text
            .strip_prefix(PREFIX)
            .filter(|rest| rest.len() == 50 && rest.is_ascii())
            .ok_or_else(refuse)?;
        let (body, sum) = (&rest[..43], &rest[43..]);
        let bytes = URL_SAFE_NO_PAD.decode(body).map_err(|_| refuse())?;
        let secret = Self(bytes.try_into().map_err(|_| refuse())?);
        let matches = sum.strip_prefix('_') == Some(checksum(&secret.0).as_str());
        if matches { Ok(secret) } else { Err(refuse()) }
    }
}

impl fmt::Debug for TokenSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("TokenSecret(***)")
    }
}

/// SHA-256 of a secret. Compared in constant time.
#[derive(Debug, Clone, Copy, Eq)]
pub struct TokenHash([u8; 32]);

impl TokenHash {
    /// From the bytes of a row.
    ///
    /// # Errors
    /// Internal, when they are not 32.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self> {
        Ok(Self(bytes.try_into().map_err(|_| Error::internal("token hash is not 32 bytes"))?))
    }

    /// The bytes.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

impl PartialEq for TokenHash {
    fn eq(&self, other: &Self) -> bool {
        self.0.ct_eq(&other.0).into()
    }
}

impl Hash for TokenHash {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.0.hash(state);
    }
}

/// One token, as its row holds it: everything but the secret.
#[derive(Debug, Clone, PartialEq)]
pub struct ResumeToken {
    /// Names it without being it.
    pub id: TokenId,
    /// The execution it wakes.
    pub execution_id: ExecutionId,
    /// The step that waits.
    pub step_id: String,
    /// Where it stands. An expired token shows as [`Expired`](TokenStatus::Expired) from the moment it expires.
    pub status: TokenStatus,
    /// The caller's own labels.
    pub metadata: Map<String, Value>,
    /// When it was made.
    pub created_at: Timestamp,
    /// When it stops working; `None` is never.
    pub expires_at: Option<Timestamp>,
    /// When it was spent.
    pub used_at: Option<Timestamp>,
}

/// A token to store.
#[derive(Debug, Clone, PartialEq)]
pub struct NewToken {
    /// Its public id.
    pub id: TokenId,
    /// Hash of its secret.
    pub hash: TokenHash,
    /// The execution it wakes.
    pub execution_id: ExecutionId,
    /// The step that waits.
    pub step_id: String,
    /// How long it works, from the commit on; `None` is for ever.
    pub expires_in: Option<Duration>,
    /// The caller's own labels.
    pub metadata: Map<String, Value>,
}

impl NewToken {
    /// A fresh secret and the token to store for it.
    ///
    /// # Errors
    /// Internal, when the system has no random numbers.
    pub fn generate(
        execution_id: ExecutionId,
        step_id: impl Into<String>,
        options: TokenOptions,
    ) -> Result<(TokenSecret, Self)> {
        let secret = TokenSecret::generate()?;
        let token = Self {
            id: TokenId::generate(),
            hash: secret.hash(),
            execution_id,
            step_id: step_id.into(),
            expires_in: options.expires_in,
            metadata: options.metadata,
        };
        Ok((secret, token))
    }

    /// Checks everything a caller could have put in.
    ///
    /// # Errors
    /// Invalid, naming the field and the limit.
    pub fn check(&self) -> Result<()> {
        limits::check_id("token.execution_id", self.execution_id.as_str())?;
        limits::check_name("token.step_id", &self.step_id)?;
        if let Some(expires_in) = self.expires_in {
            if expires_in.is_zero() {
                return Err(Error::invalid("token.expires_in", "must be longer than 0"));
            }
            limits::check_duration("token.expires_in", expires_in)?;
        }
        limits::check_map("token.metadata", &self.metadata, limits::MAX_METADATA)
    }
}

/// Options of a new token.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct TokenOptions {
    /// How long it works. Defaults to `None`, for ever.
    pub expires_in: Option<Duration>,
    /// The caller's own labels. Defaults to none.
    pub metadata: Map<String, Value>,
}

/// Where a [`ResumeToken`] stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TokenStatus {
    /// Works.
    Pending,
    /// Was spent.
    Used,
    /// Was taken back.
    Revoked,
    /// Its time is over.
    Expired,
}

impl TokenStatus {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Pending, Self::Used, Self::Revoked, Self::Expired];

    /// Its name in rows and JSON.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Used => "used",
            Self::Revoked => "revoked",
            Self::Expired => "expired",
        }
    }

    /// Why a token with this status does not work; `None` when it does.
    pub const fn refusal(self) -> Option<&'static str> {
        match self {
            Self::Pending => None,
            Self::Used => Some("token already used"),
            Self::Revoked => Some("token revoked"),
            Self::Expired => Some("token expired"),
        }
    }
}

impl TokenStatus {
    /// The error of a token with this status that is presented: expired, or conflict when it was used or revoked; `None`
    /// when it works.
    pub fn refused(self) -> Option<Error> {
        let refuse = if self == Self::Expired { Error::expired } else { Error::conflict };
        self.refusal().map(refuse)
    }
}

impl fmt::Display for TokenStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl FromStr for TokenStatus {
    type Err = Error;
    fn from_str(text: &str) -> Result<Self> {
        Self::ALL
            .into_iter()
            .find(|s| s.as_str() == text)
            .ok_or_else(|| Error::invalid("status", format!("`{text}` is no token status")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_reads_back_and_is_not_shown() {
        let secret = TokenSecret::generate().unwrap();
        let text = secret.reveal();
        assert_eq!(text.parse::<TokenSecret>().unwrap().hash(), secret.hash());
        assert!(!format!("{secret:?}").contains(&text[3..20]));
    }

    #[test]
    fn a_wrong_text_is_refused_without_repeating_it() {
        let text = TokenSecret::generate().unwrap().reveal();
        for wrong in
            ["", "rt_", &text[1..], &format!("{text}x"), &text.replace("rt_", "xx_"), &"é".repeat(26)]
        {
            let error = wrong.parse::<TokenSecret>().unwrap_err();
            assert!(error.is_invalid());
            assert!(wrong.len() < 4 || !error.to_string().contains(wrong));
        }
        let mut flipped = text.into_bytes();
        flipped[10] = if flipped[10] == b'A' { b'B' } else { b'A' };
        assert!(String::from_utf8(flipped).unwrap().parse::<TokenSecret>().is_err());
    }
}
