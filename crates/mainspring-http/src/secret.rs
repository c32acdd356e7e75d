//! Secrets that both sides know.

use std::fmt;

use base64::{Engine as _, engine::general_purpose::STANDARD};
use mainspring_core::{Error, Result};
use sha2::{Digest, Sha256};
use subtle::{Choice, ConstantTimeEq};

/// Fewest characters of a secret.
const LEAST: usize = 16;
/// Most characters of a secret.
const MOST: usize = 512;
/// What Standard Webhooks put in front of a secret in base64.
const BASE64: &str = "whsec_";
/// Words that secrets in examples, and so in attacks, are made of.
const WELL_KNOWN: &[&str] = &[
    "secret",
    "password",
    "passwort",
    "changeme",
    "change",
    "me",
    "please",
    "default",
    "example",
    "test",
    "token",
    "workflow",
    "mainspring",
    "world",
    "admin",
    "dev",
    "development",
    "local",
    "localhost",
    "my",
    "super",
    "your",
    "here",
    "key",
    "the",
    "this",
    "is",
    "a",
    "qwerty",
    "abc",
    "abcdef",
    "whsec",
];

/// A secret of 16 to 512 printable characters. Nothing shows it: not `Debug`, no error, no log.
#[derive(Clone)]
pub struct Secret {
    text: String,
    insecure: bool,
}

impl Secret {
    /// Takes a secret that is fit for a network.
    ///
    /// # Errors
    /// Invalid: shorter than 16 characters, longer than 512, not printable ASCII, of fewer than 6 different characters, or
    /// made of well-known words only. The error does not repeat it.
    pub fn new(text: impl Into<String>) -> Result<Self> {
        let text = text.into();
        check_printable(&text)?;
        if text.len() < LEAST {
            return Err(Error::invalid(
                "secret",
                format!("{} characters, at least {LEAST} are needed", text.len()),
            ));
        }
        if different(&text) < 6 || is_well_known(&text) {
            return Err(Error::invalid("secret", "is one that everybody would try"));
        }
        Ok(Self { text, insecure: false })
    }

    /// Takes any secret, for development on one machine: only addresses of this machine take it.
    ///
    /// # Errors
    /// Invalid: empty, longer than 512 characters or not printable ASCII.
    pub fn insecure(text: impl Into<String>) -> Result<Self> {
        let text = text.into();
        check_printable(&text)?;
        Ok(Self { text, insecure: true })
    }

    /// A new one of 256 random bits: `whsec_` and base64.
    ///
    /// # Errors
    /// Internal, when the system has no random numbers.
    pub fn generate() -> Result<Self> {
        let mut bytes = [0; 32];
        getrandom::fill(&mut bytes)
            .map_err(|e| Error::internal("no random numbers from the system").with_source(e))?;
        Ok(Self { text: format!("{BASE64}{}", STANDARD.encode(bytes)), insecure: false })
    }

    /// Whether only this machine may use it.
    pub fn is_insecure(&self) -> bool {
        self.insecure
    }

    /// The text. It is the secret: do not log it.
    pub fn reveal(&self) -> &str {
        &self.text
    }

    /// Whether `text` is it, in a time that says nothing about where they differ.
    pub(crate) fn is(&self, text: &str) -> Choice {
        Sha256::digest(&self.text).ct_eq(&Sha256::digest(text))
    }

    /// The bytes that sign.
    pub(crate) fn key(&self) -> Vec<u8> {
        let decoded = self.text.strip_prefix(BASE64).and_then(|body| STANDARD.decode(body).ok());
        decoded.unwrap_or_else(|| self.text.clone().into_bytes())
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(***)")
    }
}

fn check_printable(text: &str) -> Result<()> {
    if text.is_empty() {
        return Err(Error::invalid("secret", "must not be empty: there is no default"));
    }
    if text.len() > MOST {
        return Err(Error::invalid("secret", format!("more than {MOST} characters")));
    }
    if !text.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Err(Error::invalid("secret", "has a space or a character that is not printable ASCII"));
    }
    Ok(())
}

fn different(text: &str) -> usize {
    let mut bytes = text.as_bytes().to_vec();
    bytes.sort_unstable();
    bytes.dedup();
    bytes.len()
}

/// Whether nothing is left of it but well-known words, digits in order and signs.
fn is_well_known(text: &str) -> bool {
    let lower = text.to_ascii_lowercase();
    let mut rest = lower.as_str();
    'letters: while let Some(first) = rest.chars().next() {
        if !first.is_ascii_alphabetic() {
            rest = &rest[1..];
            continue;
        }
        let mut longest: Vec<&&str> = WELL_KNOWN.iter().filter(|word| rest.starts_with(**word)).collect();
        longest.sort_by_key(|word| std::cmp::Reverse(word.len()));
        if let Some(word) = longest.first() {
            rest = &rest[word.len()..];
            continue 'letters;
        }
        return false;
    }
    lower.bytes().filter(u8::is_ascii_digit).count() < LEAST || "01234567890123456789".contains(&lower)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn weak_secrets_are_refused_and_never_shown() {
        // fault F92, weakness 10.
        for weak in [
            "",
            "secret",
            "short-but-rand0",
            "secretsecretsecret",
            "my-super-secret-key",
            "please-change-me!!",
            "aaaaaaaaaaaaaaaaaaaaaaaa",
            "0123456789012345",
            "Your_Secret_Token_Here",
            "with a space inside it",
            "line\nbreak-0123456789",
            &"x1Y2z3".repeat(100),
        ] {
            let error = Secret::new(weak).unwrap_err();
            assert!(
                error.is_invalid() && (weak.len() < 8 || !error.to_string().contains(weak)),
                "{weak}: {error}"
            );
        }
        let secret = Secret::new("kD83-sk20-Qpz9-11xX").unwrap();
        assert_eq!(format!("{secret:?}"), "Secret(***)");
        assert!(!secret.is_insecure() && Secret::insecure("secret").unwrap().is_insecure());
        Secret::new("9f86d081884c7d659a2feaa0c55ad015").unwrap();
        Secret::new("8401937502847361").unwrap();
    }

    #[test]
    fn a_secret_knows_itself_only() {
        let secret = Secret::generate().unwrap();
        Secret::new(secret.reveal()).unwrap();
        assert!(bool::from(secret.is(secret.reveal())));
        assert_eq!(secret.key().len(), 32);
        for other in ["", &secret.reveal()[1..], &format!("{}x", secret.reveal())] {
            assert!(!bool::from(secret.is(other)));
        }
    }
}
