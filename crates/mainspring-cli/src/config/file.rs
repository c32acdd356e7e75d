//! A configuration file: keys at its top for everybody, and for profiles what differs.
//!
//! ```toml
//! prefix = "fm_"
//! [profile.prod]
//! database_url = "postgres://app@db.internal/app"
//! ```

use std::{
    collections::BTreeMap,
    error::Error,
    path::{Path, PathBuf},
};

use mainspring_core::Error as Invalid;
use toml::{Table, Value};

use super::keys::{self, KEYS};

/// The table of the profiles.
const PROFILES: &str = "profile";

/// A file as it was read.
pub(crate) struct File {
    path: PathBuf,
    common: BTreeMap<String, String>,
    profiles: BTreeMap<String, BTreeMap<String, String>>,
}

impl File {
    /// Reads a file, if it is there.
    ///
    /// # Errors
    /// Invalid, naming the place; the text itself, which may be a secret, is not repeated.
    pub(crate) fn read(path: &Path) -> Result<Option<Self>, Box<dyn Error>> {
        let text = match std::fs::read_to_string(path) {
            Ok(text) => text,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(format!("{}: {error}", path.display()).into()),
        };
        Ok(Some(Self::parse(path, &text)?))
    }

    pub(crate) fn parse(path: &Path, text: &str) -> Result<Self, Invalid> {
        let problem = |problem: String| Invalid::invalid(&path.display().to_string(), problem);
        let mut table: Table = toml::from_str(text).map_err(|error| {
            let line = error
                .span()
                .map_or(1, |span| text.get(..span.start).unwrap_or(text).matches('\n').count() + 1);
            problem(format!("line {line} cannot be read as TOML"))
        })?;
        let mut profiles = BTreeMap::new();
        match table.remove(PROFILES) {
            None => {}
            Some(Value::Table(named)) => {
                for (name, entries) in named {
                    let Value::Table(entries) = entries else {
                        return Err(problem(format!("{PROFILES}.{name} is no table")));
                    };
                    profiles.insert(name, settings(entries).map_err(problem)?);
                }
            }
            Some(_) => return Err(problem(format!("{PROFILES} is no table of profiles"))),
        }
        Ok(Self { path: path.to_owned(), common: settings(table).map_err(problem)?, profiles })
    }

    /// Whether it knows this profile.
    pub(crate) fn has(&self, profile: &str) -> bool {
        self.profiles.contains_key(profile)
    }

    /// The value of a key in this profile, and where it stands.
    pub(crate) fn get(&self, profile: Option<&str>, key: &str) -> Option<(String, String)> {
        let path = self.path.display();
        let special = profile.and_then(|profile| {
            let value = self.profiles.get(profile)?.get(key)?;
            Some((value.clone(), format!("{path} [{PROFILES}.{profile}]")))
        });
        special.or_else(|| Some((self.common.get(key)?.clone(), path.to_string())))
    }
}

/// The entries of a table as text; only keys that exist.
fn settings(table: Table) -> Result<BTreeMap<String, String>, String> {
    let text = |(name, value): (String, Value)| {
        if keys::find(&name).is_none() {
            let near = keys::nearest(&name, KEYS.iter().map(|key| key.name));
            let hint = near.map_or_else(String::new, |near| format!("; did you mean `{near}`?"));
            return Err(format!("unknown key `{}`{hint}", name.escape_debug()));
        }
        let value = match value {
            Value::String(text) => text,
            Value::Integer(number) => number.to_string(),
            Value::Boolean(yes) => yes.to_string(),
            _ => return Err(format!("{name} is neither text nor a number")),
        };
        Ok((name, value))
    };
    table.into_iter().map(text).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(text: &str) -> String {
        File::parse(Path::new("m.toml"), text).err().unwrap().to_string()
    }

    #[test]
    fn what_is_wrong_is_said_with_its_place_and_without_the_text() {
        assert_eq!(refused("prefix = 'a'\npassword = canary\n"), "m.toml: line 2 cannot be read as TOML");
        assert_eq!(refused("prefx = 'canary'"), "m.toml: unknown key `prefx`; did you mean `prefix`?");
        assert_eq!(
            refused("[profile.a]\nschem = 'x'"),
            "m.toml: unknown key `schem`; did you mean `schema`?"
        );
        assert_eq!(refused("sky = 'blue'"), "m.toml: unknown key `sky`");
        assert_eq!(refused("prefix = ['canary']"), "m.toml: prefix is neither text nor a number");
        assert_eq!(refused("profile = 1"), "m.toml: profile is no table of profiles");
    }

    #[test]
    fn a_profile_says_what_differs() {
        let file = "prefix = 'a_'\nconcurrency = 3\n[profile.p]\nprefix = 'b_'";
        let file = File::parse(Path::new("m.toml"), file).unwrap();
        let said = |profile, key| file.get(profile, key).map(|(value, origin)| format!("{value} {origin}"));
        assert_eq!(said(None, "prefix").as_deref(), Some("a_ m.toml"));
        assert_eq!(said(Some("p"), "prefix").as_deref(), Some("b_ m.toml [profile.p]"));
        assert_eq!(said(Some("p"), "concurrency").as_deref(), Some("3 m.toml"));
        assert_eq!(said(None, "schema"), None);
    }
}
