//! Names of steps: scope, name, and which of that name in its scope.
//!
//! `charge`, then `charge#2`; `ship[3]/pack` inside the fourth item of a map. The name is taken when the step is made, not
//! when it is awaited.

use std::{
    collections::HashMap,
    sync::{Mutex, PoisonError},
};

use mainspring_core::{Error, Result, limits};

/// A part of a workflow in which names are counted.
#[derive(Debug, Default)]
pub(crate) struct Scope {
    path: String,
    used: Mutex<HashMap<String, u32>>,
}

impl Scope {
    /// The scope inside the key `key`.
    pub(crate) fn within(key: &str) -> Self {
        Self { path: format!("{key}/"), used: Mutex::default() }
    }

    /// The key of the next step of this name.
    ///
    /// # Errors
    /// Invalid: an empty name, one with `/`, `#`, `[` or `]`, or a key of more than 128 bytes.
    pub(crate) fn key(&self, name: &str) -> Result<String> {
        if name.contains(['/', '#', '[', ']']) {
            return Err(Error::invalid("step.name", format!("`{name}` has one of / # [ ]")));
        }
        let ordinal = {
            let mut used = self.used.lock().unwrap_or_else(PoisonError::into_inner);
            match used.get_mut(name) {
                Some(ordinal) => {
                    *ordinal += 1;
                    *ordinal
                }
                None => {
                    used.insert(name.to_owned(), 1);
                    1
                }
            }
        };
        let path = &self.path;
        let key = if ordinal == 1 { format!("{path}{name}") } else { format!("{path}{name}#{ordinal}") };
        limits::check_name("step.key", &key)?;
        limits::check_name("step.name", name)?;
        Ok(key)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_counted_within_its_scope() {
        let scope = Scope::default();
        assert_eq!(scope.key("charge").unwrap(), "charge");
        assert_eq!(scope.key("charge").unwrap(), "charge#2");
        let inner = Scope::within("ship[3]");
        assert_eq!(inner.key("charge").unwrap(), "ship[3]/charge");
        assert_eq!(scope.key("charge").unwrap(), "charge#3");
    }

    #[test]
    fn names_that_could_be_mistaken_are_refused() {
        for name in ["", "a/b", "a#2", "a[1]", "a\n", &"x".repeat(129)] {
            assert!(Scope::default().key(name).unwrap_err().is_invalid(), "{name}");
        }
    }
}
