//! What the environment says, and a file `.env` where it says nothing.

use std::{collections::HashMap, error::Error, path::Path};

/// The variables of the process, then those of the file.
#[derive(Default)]
pub(crate) struct Environment {
    process: HashMap<String, String>,
    file: HashMap<String, String>,
}

impl Environment {
    /// With the file of the current folder, if there is one.
    ///
    /// # Errors
    /// When it cannot be read.
    pub(crate) fn here() -> Result<Self, Box<dyn Error>> {
        let text = |text: std::ffi::OsString| text.to_string_lossy().into_owned();
        let process = std::env::vars_os().map(|(name, value)| (text(name), text(value))).collect();
        Ok(Self { process, ..Self::with(Path::new(".env"))? })
    }

    /// These variables and no others.
    #[cfg(test)]
    pub(crate) fn of(variables: &[(&str, &str)]) -> Self {
        let owned = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
        Self { process: variables.iter().map(owned).collect(), file: HashMap::new() }
    }

    fn with(path: &Path) -> Result<Self, Box<dyn Error>> {
        let entries = match dotenvy::from_path_iter(path) {
            Ok(entries) => entries,
            Err(error) if error.not_found() => return Ok(Self::default()),
            Err(error) => return Err(format!("{}: {}", path.display(), without_text(&error)).into()),
        };
        let mut file = HashMap::new();
        for entry in entries {
            let (name, value) =
                entry.map_err(|error| format!("{}: {}", path.display(), without_text(&error)))?;
            file.entry(name).or_insert(value);
        }
        Ok(Self { process: HashMap::new(), file })
    }

    /// The value of a variable. One that is set counts even when it is empty.
    pub(crate) fn get(&self, name: &str) -> Option<String> {
        self.process.get(name).or_else(|| self.file.get(name)).filter(|value| !value.is_empty()).cloned()
    }

    /// The names of all variables.
    pub(crate) fn names(&self) -> impl Iterator<Item = String> {
        self.process.keys().chain(self.file.keys()).cloned()
    }
}

/// What is wrong with the file, without its text, which may be a secret.
fn without_text(error: &dotenvy::Error) -> String {
    match error {
        dotenvy::Error::LineParse(line, at) => {
            format!("a line of {} characters cannot be read at character {}", line.chars().count(), at + 1)
        }
        error => error.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_that_cannot_be_read_is_not_repeated() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(".env");
        std::fs::write(&path, "A=1\nB='canary\n").unwrap();
        let error = Environment::with(&path).err().unwrap().to_string();
        assert!(error.contains("cannot be read") && !error.contains("canary"), "{error}");
        std::fs::write(&path, "MAINSPRING_TEST_A=1\n# none\nMAINSPRING_TEST_B=\"x y\"\n").unwrap();
        let read = Environment::with(&path).unwrap();
        assert_eq!(read.get("MAINSPRING_TEST_B").as_deref(), Some("x y"));
        assert_eq!(Environment::with(&folder.path().join("none")).unwrap().get("MAINSPRING_TEST_B"), None);
    }
}
