//! What every crate's manifest has to say, so that it can be released; part of `cargo xtask tidy`.

use std::{fs, io, path::Path};

/// Taken from the workspace.
const INHERITED: &[&str] = &[
    "version",
    "edition",
    "rust-version",
    "license",
    "repository",
    "homepage",
    "documentation",
    "readme",
    "keywords",
    "categories",
];

/// Manifests that lack something, and what.
pub(crate) fn problems(root: &Path) -> io::Result<Vec<String>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(root.join("crates"))? {
        let folder = entry?.path();
        let name = folder.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let manifest = fs::read_to_string(folder.join("Cargo.toml"))?;
        found.extend(
            in_manifest(&manifest).into_iter().map(|problem| format!("crates/{name}/Cargo.toml: {problem}")),
        );
        for license in ["LICENSE-MIT", "LICENSE-APACHE"] {
            if !folder.join(license).exists() {
                found.push(format!("crates/{name}: `ln -s ../../{license} crates/{name}/{license}`"));
            }
        }
    }
    Ok(found)
}

fn in_manifest(manifest: &str) -> Vec<String> {
    let mut found = Vec::new();
    let package = manifest.split("\n[").next().unwrap_or_default();
    for key in INHERITED {
        if !package.lines().any(|line| line == format!("{key}.workspace = true")) {
            found.push(format!("add `{key}.workspace = true`"));
        }
    }
    if !package.lines().any(|line| line.starts_with("description = ")) {
        found.push("has no description".to_owned());
    }
    let tests = manifest.split("\n[dev-dependencies]\n").nth(1).unwrap_or_default();
    let tests = tests.lines().take_while(|line| !line.starts_with('['));
    for line in tests.filter(|line| line.starts_with("mainspring") && line.contains("workspace = true")) {
        let name = line.split(['.', ' ']).next().unwrap_or_default();
        // With a version it would have to be released before: crates and their tests would wait for each other.
        found.push(format!(
            "of the workspace's crates, tests name the path only: `{name} = {{ path = \"../{name}\" }}`"
        ));
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_manifest_that_cannot_be_released_is_found() {
        let inherited: String = INHERITED.iter().map(|key| format!("{key}.workspace = true\n")).collect();
        let good =
            format!("[package]\nname = \"a\"\ndescription = \"b\"\n{inherited}\n[dependencies]\nc = 1\n");
        assert_eq!(in_manifest(&good), [""; 0]);
        let bad = good.replace("keywords.workspace = true\n", "")
            + "\n[dev-dependencies]\nmainspring-x.workspace = true\n";
        let found = in_manifest(&bad);
        assert_eq!(found.len(), 2, "{found:?}");
        assert!(found[0].contains("keywords") && found[1].contains("../mainspring-x"));
    }
}
