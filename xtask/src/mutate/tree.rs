//! The copy of the tree that is mutated. Only what differs is written, so that little is compiled again.

use std::{
    error::Error,
    fs::{self, File},
    io,
    path::{Path, PathBuf},
    process::Command,
};

use super::Mutant;

pub struct Tree {
    base: PathBuf,
}

impl Tree {
    /// A copy of all files that git knows or would know.
    pub fn copy() -> Result<Self, Box<dyn Error>> {
        let base = crate::root().join("target/mutants");
        let tree = Self { base };
        let listed = Command::new("git")
            .args(["ls-files", "-z", "--cached", "--others", "--exclude-standard"])
            .current_dir(crate::root())
            .output()?;
        if !listed.status.success() {
            return Err("git cannot say which files belong to the tree".into());
        }
        let listed = String::from_utf8(listed.stdout)?;
        let names: Vec<&str> = listed.split('\0').filter(|name| !name.is_empty()).collect();
        for name in &names {
            let from = crate::root().join(name);
            if from.is_file() || from.is_symlink() {
                bring(&from, &tree.folder().join(name))?;
            }
        }
        tree.forget_what_is_gone(&names)?;
        Ok(tree)
    }

    /// Where the copy is.
    pub fn folder(&self) -> PathBuf {
        self.base.join("tree")
    }

    /// Where its compiled files are.
    pub fn target(&self) -> PathBuf {
        self.base.join("target")
    }

    /// What the tests say.
    pub fn log(&self) -> io::Result<File> {
        File::create(self.base.join("log"))
    }

    /// What they have said.
    pub fn said(&self) -> io::Result<String> {
        Ok(String::from_utf8_lossy(&fs::read(self.base.join("log"))?).into_owned())
    }

    /// Takes the guard out; the error says why that cannot be done.
    pub fn mutate(&self, mutant: &Mutant) -> Result<(), String> {
        let path = self.folder().join(mutant.file);
        let text = fs::read_to_string(&path).map_err(|error| format!("{}: {error}", mutant.file))?;
        match text.matches(mutant.from).count() {
            1 => {
                fs::write(&path, text.replacen(mutant.from, mutant.to, 1)).map_err(|error| error.to_string())
            }
            count => Err(format!("{}: the text stands there {count} times", mutant.file)),
        }
    }

    /// Puts it back.
    pub fn restore(&self, mutant: &Mutant) -> io::Result<()> {
        bring(&crate::root().join(mutant.file), &self.folder().join(mutant.file))
    }

    fn forget_what_is_gone(&self, names: &[&str]) -> io::Result<()> {
        let list = self.base.join("files");
        let before = fs::read_to_string(&list).unwrap_or_default();
        for name in before.lines().filter(|name| !names.contains(name)) {
            drop(fs::remove_file(self.folder().join(name)));
        }
        fs::write(list, names.join("\n"))
    }
}

fn bring(from: &Path, to: &Path) -> io::Result<()> {
    if let Ok(target) = fs::read_link(from) {
        return if to.is_symlink() { Ok(()) } else { linked(&target, to) };
    }
    let bytes = fs::read(from)?;
    if fs::read(to).is_ok_and(|there| there == bytes) {
        return Ok(());
    }
    if let Some(folder) = to.parent() {
        fs::create_dir_all(folder)?;
    }
    fs::write(to, bytes)
}

fn linked(target: &Path, to: &Path) -> io::Result<()> {
    if let Some(folder) = to.parent() {
        fs::create_dir_all(folder)?;
    }
    std::os::unix::fs::symlink(target, to)
}
