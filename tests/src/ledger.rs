//! What handlers did to the outside world, in a file the system under test knows nothing of.

use std::{
    collections::BTreeMap,
    fs::{File, OpenOptions},
    io::Write,
    path::{Path, PathBuf},
    sync::Arc,
};

/// A file of effects, one on each line, that any number of processes append to.
#[derive(Debug, Clone)]
pub struct Ledger {
    path: PathBuf,
    file: Arc<File>,
}

/// One effect.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Effect {
    /// Whose.
    pub execution: String,
    /// The step, with the number of the item for a job.
    pub step: String,
    /// The attempt.
    pub attempt: u32,
    /// The process it was done by.
    pub process: u32,
    /// What the handler would hand to a system outside: the same for every run that is to count once.
    pub key: String,
}

impl Ledger {
    /// The file at `path`, made when it is not there.
    ///
    /// # Errors
    /// Those of the file.
    pub fn open(path: impl AsRef<Path>) -> std::io::Result<Self> {
        let file = OpenOptions::new().create(true).append(true).open(&path)?;
        Ok(Self { path: path.as_ref().into(), file: Arc::new(file) })
    }

    /// Where it is, for other processes.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Notes an effect. A short line is appended whole, whoever else writes.
    ///
    /// # Panics
    /// When the file cannot be written.
    pub fn note(&self, execution: impl AsRef<str>, step: &str, attempt: u32, key: &str) {
        let line = format!("{} {step} {attempt} {} {key}\n", execution.as_ref(), std::process::id());
        (&*self.file).write_all(line.as_bytes()).expect("the ledger is written");
    }

    /// Everything noted so far, by all processes.
    ///
    /// # Panics
    /// When the file is not a ledger.
    pub fn effects(&self) -> Vec<Effect> {
        let text = std::fs::read_to_string(&self.path).expect("the ledger is read");
        let whole = text.rfind('\n').map_or(0, |end| end + 1);
        text[..whole].lines().map(|line| parse(line).unwrap_or_else(|| panic!("`{line}`?"))).collect()
    }

    /// How many effects were noted so far.
    pub fn len(&self) -> usize {
        self.effects().len()
    }

    /// Whether nothing was noted.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// How often each effect was done, by its key.
    pub fn counts(&self) -> BTreeMap<String, usize> {
        let mut counts = BTreeMap::new();
        for effect in self.effects() {
            *counts.entry(effect.key).or_default() += 1;
        }
        counts
    }

    /// The effects that were done more than once.
    pub fn repeats(&self) -> Vec<(String, usize)> {
        self.counts().into_iter().filter(|(_, count)| *count > 1).collect()
    }

    /// The effects of one process.
    pub fn by(&self, process: u32) -> Vec<Effect> {
        self.effects().into_iter().filter(|effect| effect.process == process).collect()
    }
}

fn parse(line: &str) -> Option<Effect> {
    let words: Vec<&str> = line.split(' ').collect();
    let [execution, step, attempt, process, key] = words[..] else { return None };
    Some(Effect {
        execution: execution.to_owned(),
        step: step.to_owned(),
        attempt: attempt.parse().ok()?,
        process: process.parse().ok()?,
        key: key.to_owned(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_noted_is_counted() {
        let folder = tempfile::tempdir().unwrap();
        let ledger = Ledger::open(folder.path().join("effects")).unwrap();
        assert!(ledger.is_empty());
        for step in ["a", "b", "a"] {
            ledger.clone().note("e", step, 1, step);
        }
        assert_eq!(ledger.repeats(), [("a".to_owned(), 2)]);
        assert_eq!((ledger.len(), ledger.by(std::process::id()).len(), ledger.by(0).len()), (3, 3, 0));
    }
}
