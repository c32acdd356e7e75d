//! Where a value comes from: one order for all of them.
//!
//! ```text
//! option > MAINSPRING_X > file named by MAINSPRING_X_FILE > profile in ./mainspring.toml > ~/.config/mainspring/config.toml
//!        > names of others (WORKFLOW_…) > DATABASE_URL > libpq's variables > default
//! ```
//! A file `.env` stands in for variables that the environment does not have.

mod file;
mod keys;

use std::{
    collections::BTreeMap,
    error::Error,
    path::{Path, PathBuf},
};

use mainspring_core::Error as Invalid;
use mainspring_pg::Settings;

use crate::environment::Environment;

use file::File;
pub(crate) use keys::{KEYS, Key, Secrecy};

/// The file of a project, in the current folder.
const PROJECT: &str = "mainspring.toml";

/// A value and where it was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Setting {
    pub(crate) value: String,
    /// For people: `--prefix`, `MAINSPRING_PREFIX`, `mainspring.toml [profile.prod]`, `default`.
    pub(crate) origin: String,
}

/// What everything is set to.
#[derive(Default)]
pub(crate) struct Config {
    settings: BTreeMap<&'static str, Setting>,
}

/// Everything that is asked, in this order.
pub(crate) struct Sources<'a> {
    /// What the command line says, by key.
    pub(crate) options: Vec<(&'static str, Option<String>)>,
    pub(crate) environment: &'a Environment,
    /// Nearest first.
    pub(crate) files: Vec<File>,
    pub(crate) profile: Option<String>,
}

impl<'a> Sources<'a> {
    /// Reads the files: `named` or `mainspring.toml`, and the user's.
    ///
    /// # Errors
    /// A file that cannot be read or has what nobody knows; a named one that is not there; a profile that no file has.
    pub(crate) fn read(
        options: Vec<(&'static str, Option<String>)>,
        environment: &'a Environment,
        named: Option<&Path>,
        profile: Option<String>,
    ) -> Result<Self, Box<dyn Error>> {
        let named = named_file(environment, named);
        let project = File::read(named.as_deref().unwrap_or(Path::new(PROJECT)))?;
        if let (Some(named), None) = (&named, &project) {
            return Err(Invalid::invalid("config", format!("there is no file {}", named.display())).into());
        }
        let user = user_file(environment).map(|path| File::read(&path)).transpose()?.flatten();
        let files: Vec<File> = project.into_iter().chain(user).collect();
        let profile = profile.or_else(|| environment.get("MAINSPRING_PROFILE"));
        if let Some(profile) =
            profile.as_deref().filter(|profile| !files.iter().any(|file| file.has(profile)))
        {
            return Err(
                Invalid::invalid("profile", format!("no file has `{}`", profile.escape_debug())).into()
            );
        }
        Ok(Self { options, environment, files, profile })
    }

    fn find(&self, key: &Key) -> Result<Option<Setting>, Box<dyn Error>> {
        let setting = |value: String, origin: String| Ok(Some(Setting { value, origin }));
        let option =
            self.options.iter().find(|(name, _)| *name == key.name).and_then(|(_, value)| value.clone());
        if let Some(value) = option {
            return setting(value, format!("--{}", key.name.replace('_', "-")));
        }
        let variable = key.variable();
        if let Some(value) = self.environment.get(&variable) {
            return setting(value, variable);
        }
        let in_file = format!("{variable}_FILE");
        if let Some(path) = self.environment.get(&in_file) {
            let text =
                std::fs::read_to_string(&path).map_err(|error| format!("{in_file}: {path}: {error}"))?;
            return setting(text.trim_end_matches(['\r', '\n']).to_owned(), in_file);
        }
        let profile = self.profile.as_deref();
        if let Some((value, origin)) = self.files.iter().find_map(|file| file.get(profile, key.name)) {
            return setting(value, origin);
        }
        for name in key.others {
            if let Some(value) = self.environment.get(name) {
                return setting(value, (*name).to_owned());
            }
        }
        Ok(key.default.map(|value| Setting { value: value.to_owned(), origin: "default".to_owned() }))
    }
}

impl Config {
    /// Asks for everything.
    ///
    /// # Errors
    /// When a file that a variable names cannot be read.
    pub(crate) fn resolve(sources: &Sources<'_>) -> Result<Self, Box<dyn Error>> {
        let mut settings = BTreeMap::new();
        for key in KEYS {
            if let Some(setting) = sources.find(key)? {
                settings.insert(key.name, setting);
            }
        }
        Ok(Self { settings })
    }

    /// The setting of a key.
    pub(crate) fn setting(&self, key: &str) -> Option<&Setting> {
        self.settings.get(key)
    }

    /// The value of a key.
    pub(crate) fn get(&self, key: &str) -> Option<&str> {
        self.setting(key).map(|setting| &*setting.value)
    }

    /// A value as what it means.
    ///
    /// # Errors
    /// Invalid, naming where it was found; the value is not repeated.
    pub(crate) fn parsed<T: std::str::FromStr>(&self, key: &str) -> Result<Option<T>, Invalid> {
        let Some(setting) = self.setting(key) else { return Ok(None) };
        let bad = |_| Invalid::invalid(key, format!("cannot be read, from {}", setting.origin));
        setting.value.trim().parse().map(Some).map_err(bad)
    }
}

/// Variables that are most likely meant to be one of ours, and which.
pub(crate) fn mistyped(names: impl Iterator<Item = String>) -> Vec<(String, String)> {
    let mut known: Vec<String> =
        ["MAINSPRING_PROFILE", "MAINSPRING_CONFIG", "MAINSPRING_CACHE_DIR"].map(str::to_owned).into();
    for key in KEYS {
        known.extend([key.variable(), format!("{}_FILE", key.variable())]);
    }
    let ours = names.filter(|name| name.starts_with("MAINSPRING_") && !known.contains(name));
    let near = |name: String| {
        let near = known.iter().find(|known| strsim::damerau_levenshtein(&name, known) <= 2)?.clone();
        Some((name, near))
    };
    ours.filter_map(near).collect()
}

/// A value as it may be shown.
pub(crate) fn shown(key: &Key, value: &str) -> String {
    match key.secrecy {
        Secrecy::Open => value.to_owned(),
        Secrecy::Secret => "***".to_owned(),
        Secrecy::Address if value.starts_with("postgres") || value.contains('=') => {
            Settings::parse(value).map_or_else(|_| "***".to_owned(), |settings| settings.to_string())
        }
        Secrecy::Address => without_account(value),
    }
}

/// Scheme, host and what follows of an address; nothing that may be an account or a password.
fn without_account(address: &str) -> String {
    match address.split_once("://") {
        Some((scheme, rest)) => {
            let place = rest.rsplit('@').next().unwrap_or_default();
            let place = place.split(['?', '#']).next().unwrap_or_default();
            format!("{scheme}://{}{place}", if rest.contains('@') { "***@" } else { "" })
        }
        None => "***".to_owned(),
    }
}

/// The files that are read, nearest first, there or not.
pub(crate) fn files(environment: &Environment, named: Option<&Path>) -> Vec<PathBuf> {
    let project = named_file(environment, named).unwrap_or_else(|| PathBuf::from(PROJECT));
    [project].into_iter().chain(user_file(environment)).collect()
}

fn named_file(environment: &Environment, named: Option<&Path>) -> Option<PathBuf> {
    named.map(Path::to_owned).or_else(|| environment.get("MAINSPRING_CONFIG").map(PathBuf::from))
}

fn user_file(environment: &Environment) -> Option<PathBuf> {
    let folder = environment
        .get("XDG_CONFIG_HOME")
        .map(PathBuf::from)
        .or_else(|| Some(PathBuf::from(environment.get("HOME")?).join(".config")))?;
    Some(folder.join("mainspring/config.toml"))
}

#[cfg(test)]
mod tests;
