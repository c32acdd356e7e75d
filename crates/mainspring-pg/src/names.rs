//! Names of tables, indexes and channels: one schema, one prefix, rendered into SQL text once per statement.
//!
//! | in SQL text | becomes |
//! |---|---|
//! | `{schema}` | `"public"` |
//! | `{prefix}` | `ms_` |
//! | `{executions}` | `"public"."ms_executions"` |
//! | `{}`, `{1,2}`, `{"a": 1}` | itself |
//!
//! [`Prefix`] and [`Schema`] are validated, so no other text can reach a statement, and [`Prefix::MAX_BYTES`] leaves room for
//! the longest name of the migrations within the 63 bytes after which Postgres cuts identifiers without an error.

use std::{
    collections::HashMap,
    fmt,
    sync::{Arc, PoisonError, RwLock},
};

use mainspring_core::{Error, Result};

use crate::migrate::LONGEST_SUFFIX;

/// Most bytes of any identifier: `NAMEDATALEN - 1`.
const MAX_IDENTIFIER: usize = 63;

const _: () = assert!(
    Prefix::MAX_BYTES + LONGEST_SUFFIX <= MAX_IDENTIFIER,
    "a name in migrations/ is too long: with the longest prefix Postgres would cut it at 63 bytes"
);

/// What every table, index and channel name begins with: `[a-z_][a-z0-9_]*` or nothing, at most 24 bytes, not `pg_…`.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Prefix(String);

impl Prefix {
    /// Most bytes of a prefix.
    pub const MAX_BYTES: usize = 24;

    /// Checks a prefix such as `fm_`.
    ///
    /// # Errors
    /// [`Invalid`](mainspring_core::ErrorKind::Invalid), with the rule.
    pub fn new(text: impl Into<String>) -> Result<Self> {
        let text = text.into();
        if !text.is_empty() {
            check("table prefix", &text, Self::MAX_BYTES)?;
        }
        Ok(Self(text))
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// `ms_`
impl Default for Prefix {
    fn default() -> Self {
        Self("ms_".into())
    }
}

/// The schema all tables live in: `[a-z_][a-z0-9_]*`, 1 to 40 bytes, not `pg_…`.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Schema(String);

impl Schema {
    /// Most bytes of a schema name.
    pub const MAX_BYTES: usize = 40;

    /// Checks a schema name such as `public`.
    ///
    /// # Errors
    /// [`Invalid`](mainspring_core::ErrorKind::Invalid), with the rule.
    pub fn new(text: impl Into<String>) -> Result<Self> {
        let text = text.into();
        check("schema", &text, Self::MAX_BYTES)?;
        Ok(Self(text))
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// `public`
impl Default for Schema {
    fn default() -> Self {
        Self("public".into())
    }
}

fn check(field: &str, text: &str, max: usize) -> Result<()> {
    let legal = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_';
    let starts = text.bytes().next().is_some_and(|byte| legal(byte) && !byte.is_ascii_digit());
    if starts && text.len() <= max && text.bytes().all(legal) && !text.starts_with("pg_") {
        return Ok(());
    }
    let shown: String = text.chars().take(40).collect();
    let shown = shown.escape_debug();
    Err(Error::invalid(
        field,
        format!("`{shown}` is not 1 to {max} bytes of a-z, 0-9 and _, not starting with a digit or pg_"),
    ))
}

/// Where our tables are, and the statements already rendered for them. A clone shares both.
#[derive(Clone)]
pub struct Names(Arc<Inner>);

struct Inner {
    schema: Schema,
    prefix: Prefix,
    /// By address and length of the template, which is `'static`: nothing is hashed but two numbers.
    rendered: RwLock<HashMap<(usize, usize), Arc<str>>>,
}

impl Names {
    /// Tables called `prefix…` in `schema`.
    pub fn new(schema: Schema, prefix: Prefix) -> Self {
        Self(Arc::new(Inner { schema, prefix, rendered: RwLock::default() }))
    }

    /// The statement with our names in place of its `{placeholders}`; rendered at the first call, shared afterwards.
    pub fn render(&self, sql: &'static str) -> Arc<str> {
        let key = (sql.as_ptr() as usize, sql.len());
        if let Some(text) = self.0.rendered.read().unwrap_or_else(PoisonError::into_inner).get(&key) {
            return text.clone();
        }
        let text: Arc<str> = self.expand(sql).into();
        self.0.rendered.write().unwrap_or_else(PoisonError::into_inner).insert(key, text.clone());
        text
    }

    /// [`render`](Self::render) without remembering, for texts that run once.
    pub(crate) fn expand(&self, sql: &str) -> String {
        let mut out = String::with_capacity(sql.len() + 128);
        let mut rest = sql;
        while let Some((before, after)) = rest.split_once('{') {
            out.push_str(before);
            let word = after.split_once('}').map_or("", |(word, _)| word);
            if word.is_empty() || !word.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_') {
                out.push('{');
                rest = after;
                continue;
            }
            match word {
                "schema" => out.push_str(&quoted(self.schema())),
                "prefix" => out.push_str(self.prefix()),
                table => out.push_str(&self.table(table)),
            }
            rest = &after[word.len() + 1..];
        }
        out.push_str(rest);
        out
    }

    /// The qualified and quoted name of one table: `"public"."ms_executions"`.
    pub fn table(&self, word: &str) -> String {
        format!("{}.{}", quoted(self.schema()), quoted(&format!("{}{word}", self.prefix())))
    }

    /// The NOTIFY channel of these tables; at most 63 bytes, and never that of another schema or prefix.
    pub fn channel(&self) -> String {
        let channel = format!("{}.{}wake", self.schema(), self.prefix());
        if channel.len() <= MAX_IDENTIFIER {
            return channel;
        }
        format!("{:016x}.{}wake", fnv(&channel), self.prefix())
    }

    /// What the advisory lock of the migrations is named after.
    pub fn lock_key(&self) -> String {
        format!("mainspring:{}.{}", self.schema(), self.prefix())
    }

    /// The schema, not quoted.
    pub fn schema(&self) -> &str {
        self.0.schema.as_str()
    }

    /// The prefix, possibly empty.
    pub fn prefix(&self) -> &str {
        self.0.prefix.as_str()
    }
}

/// `public` and `ms_`
impl Default for Names {
    fn default() -> Self {
        Self::new(Schema::default(), Prefix::default())
    }
}

impl fmt::Debug for Names {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Names({}.{}*)", self.schema(), self.prefix())
    }
}

/// An identifier as SQL text.
pub(crate) fn quoted(identifier: &str) -> String {
    format!("\"{}\"", identifier.replace('"', "\"\""))
}

/// FNV-1a: short, stable across releases, and nobody gains by a collision.
pub(crate) fn fnv(text: &str) -> u64 {
    text.bytes()
        .fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(schema: &str, prefix: &str) -> Names {
        Names::new(Schema::new(schema).unwrap(), Prefix::new(prefix).unwrap())
    }

    #[test]
    fn the_identifier_corpus_is_refused() {
        let long = "a".repeat(64);
        let corpus = [
            "a\"; DROP TABLE x;--",
            "a'",
            "a.b",
            "a b",
            "A",
            "1a",
            "$1",
            "%s",
            "é",
            "a-b",
            "pg_x",
            "a\0",
            &long,
        ];
        for text in corpus {
            for error in [Prefix::new(text).unwrap_err(), Schema::new(text).unwrap_err()] {
                assert!(error.is_invalid() && error.to_string().len() < 200, "{error}");
            }
        }
        assert!(Schema::new("").is_err());
        assert!(Prefix::new("a".repeat(25)).is_err());
        assert!(Schema::new("a".repeat(41)).is_err());
        for word in ["", "user", "order", "_", "fm_", &"a".repeat(24)] {
            Prefix::new(word).unwrap();
        }
        for word in ["user", "order", "_", &"a".repeat(40)] {
            Schema::new(word).unwrap();
        }
    }

    #[test]
    fn placeholders_are_rendered_and_other_braces_are_left_alone() {
        let names = names("app", "fm_");
        let sql = "SELECT '{}', '{1,2}', '{\"a\": {}}', {} FROM {executions} e, {schema}.{prefix}x {unclosed";
        let want = "SELECT '{}', '{1,2}', '{\"a\": {}}', {} FROM \"app\".\"fm_executions\" e, \"app\".fm_x {unclosed";
        assert_eq!(&*names.render(sql), want);
        assert!(Arc::ptr_eq(&names.render(sql), &names.clone().render(sql)));
    }

    #[test]
    fn channels_fit_and_differ() {
        let longest = names(&"s".repeat(40), &"p".repeat(24));
        let other = names(&"s".repeat(39), &"p".repeat(24));
        assert!(longest.channel().len() <= 63 && other.channel().len() <= 63);
        assert_ne!(longest.channel(), other.channel());
        assert_ne!(names("a", "b_c_").channel(), names("a_b", "c_").channel());
        assert_ne!(names("a", "b_c_").lock_key(), names("a_b", "c_").lock_key());
        assert_eq!(Names::default().channel(), "public.ms_wake");
    }
}
