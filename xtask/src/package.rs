//! `cargo xtask package`: every crate compiles from what would be released of it.
//!
//! All are packed, unpacked beside each other and compiled there as one workspace, with all their features: a file that is outside
//! of its crate's folder and did not get into the package, such as a migration, is missed here and not by whoever uses it.

use std::{
    env,
    error::Error,
    fmt::Write,
    fs, io,
    process::{Command, ExitCode},
};

use crate::Outcome;

pub fn run() -> Outcome {
    let target = crate::root().join("target");
    let names = names()?;
    let mut pack = cargo();
    // Not verified by cargo: that compiles each of them with everything below it once more.
    pack.args(["package", "--quiet", "--no-verify", "--allow-dirty", "--target-dir"]);
    pack.arg(target.join("packages"))
        .args(names.iter().flat_map(|name| ["-p", name]))
        .current_dir(crate::root());
    succeed(&mut pack)?;

    let workspace = fs::read_to_string(crate::root().join("Cargo.toml"))?;
    let version = version(&workspace).ok_or("the workspace has no version")?;
    let unpacked = target.join("packages/unpacked");
    if unpacked.exists() {
        fs::remove_dir_all(&unpacked)?;
    }
    fs::create_dir_all(&unpacked)?;
    for name in &names {
        let package = target.join(format!("packages/package/{name}-{version}.crate"));
        succeed(Command::new("tar").arg("-xzf").arg(package).arg("-C").arg(&unpacked))?;
    }
    fs::write(unpacked.join("Cargo.toml"), manifest(&names, version, &workspace))?;
    fs::copy(crate::root().join("Cargo.lock"), unpacked.join("Cargo.lock"))?;
    // Their dependencies are those of the workspace, so what was compiled for it serves here too.
    let mut check = cargo();
    check.args(["check", "--quiet", "--workspace", "--lib", "--bins", "--all-features", "--target-dir"]);
    succeed(check.arg(&target).current_dir(&unpacked))?;
    println!("package: {} crates compile from their packages", names.len());
    Ok(ExitCode::SUCCESS)
}

fn cargo() -> Command {
    Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()))
}

fn succeed(command: &mut Command) -> Result<(), Box<dyn Error>> {
    let status = command.status()?;
    if status.success() { Ok(()) } else { Err(format!("{command:?} ended with {status}").into()) }
}

/// The crates that are released, by their folders.
fn names() -> io::Result<Vec<String>> {
    let folders = fs::read_dir(crate::root().join("crates"))?;
    let name = |entry: io::Result<fs::DirEntry>| Ok(entry?.file_name().to_string_lossy().into_owned());
    let mut names = folders.map(name).collect::<io::Result<Vec<_>>>()?;
    names.sort();
    Ok(names)
}

fn version(workspace: &str) -> Option<&str> {
    workspace.lines().find_map(|line| line.strip_prefix("version = \"")?.strip_suffix('"'))
}

/// A workspace of the unpacked crates, in which each finds the others there and not in the registry.
fn manifest(names: &[String], version: &str, workspace: &str) -> String {
    let mut text = String::from("[workspace]\nresolver = \"3\"\nmembers = [\"*\"]\n\n[patch.crates-io]\n");
    for name in names {
        let _ = writeln!(text, "{name} = {{ path = \"{name}-{version}\" }}"); // a String takes everything
    }
    // With other profiles every dependency would be compiled again.
    let profiles = workspace.find("[profile.").map_or("", |begin| &workspace[begin..]);
    text + "\n" + profiles
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_unpacked_crates_find_each_other_and_not_the_registry() {
        let workspace = fs::read_to_string(crate::root().join("Cargo.toml")).unwrap();
        let version = version(&workspace).unwrap();
        let text = manifest(&["mainspring-pg".to_owned()], version, &workspace);
        assert!(
            text.contains(&format!("mainspring-pg = {{ path = \"mainspring-pg-{version}\" }}\n")),
            "{text}"
        );
        assert!(text.contains("[profile.dev]") && !text.contains("[workspace.dependencies]"));
        assert!(names().unwrap().contains(&"mainspring-pg".to_owned()));
    }
}
