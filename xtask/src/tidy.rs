//! `cargo xtask tidy`: what the compiler does not check. It also runs as a test of this crate.

use std::{
    collections::BTreeMap,
    fs, io,
    path::{Path, PathBuf},
    process::ExitCode,
};

use crate::Outcome;

/// Which workspace crates a crate may name in `[dependencies]`. Arrows point down only.
const MAY_DEPEND: &[(&str, &[&str])] = &[
    ("mainspring-core", &[]),
    ("mainspring-embedded", &[]),
    ("mainspring-pg", &["mainspring-core"]),
    ("mainspring-executions", &["mainspring-core", "mainspring-pg"]),
    ("mainspring-flows", &["mainspring-core", "mainspring-pg"]),
    ("mainspring-jobs", &["mainspring-core", "mainspring-pg"]),
    ("mainspring-events", &["mainspring-core", "mainspring-pg"]),
    ("mainspring-tokens", &["mainspring-core", "mainspring-pg"]),
    ("mainspring-context", &["mainspring-core", "mainspring-pg"]),
    ("mainspring-output", &["mainspring-core", "mainspring-pg"]),
    ("mainspring-leases", &["mainspring-core", "mainspring-pg"]),
    (
        "mainspring-retention",
        &["mainspring-core", "mainspring-pg", "mainspring-executions", "mainspring-events"],
    ),
    ("mainspring-queue", &["mainspring-core", "mainspring-pg", "mainspring-retention"]),
    ("mainspring-queue-redis", &["mainspring-core", "mainspring-pg"]),
    ("mainspring-worker", &["mainspring-core"]),
    ("mainspring-http", &["mainspring-core"]),
    ("mainspring-engine", &["mainspring-core", "mainspring-worker"]),
    ("mainspring-consumer", &["mainspring-core", "mainspring-pg", "mainspring-events"]),
    ("mainspring-testing", &["mainspring-core", "mainspring-pg", "mainspring-embedded", "mainspring-engine"]),
    ("mainspring-world", &["mainspring-core", "mainspring-worker", "mainspring-engine", "mainspring-http"]),
    ("mainspring-broker", &["mainspring-core", "mainspring-worker"]),
    (
        "mainspring-doctor",
        &[
            "mainspring-core",
            "mainspring-pg",
            "mainspring-executions",
            "mainspring-flows",
            "mainspring-jobs",
            "mainspring-events",
            "mainspring-tokens",
            "mainspring-queue",
        ],
    ),
    (
        "mainspring-cli",
        &["mainspring", "mainspring-core", "mainspring-pg", "mainspring-embedded", "mainspring-doctor"],
    ),
    (
        "mainspring",
        &[
            "mainspring-core",
            "mainspring-pg",
            "mainspring-executions",
            "mainspring-flows",
            "mainspring-jobs",
            "mainspring-events",
            "mainspring-tokens",
            "mainspring-context",
            "mainspring-output",
            "mainspring-leases",
            "mainspring-retention",
            "mainspring-queue",
            "mainspring-queue-redis",
            "mainspring-worker",
            "mainspring-engine",
            "mainspring-consumer",
            "mainspring-world",
            "mainspring-broker",
            "mainspring-embedded",
        ],
    ),
];

/// Most lines of a source file, and of a test file.
const MAX_LINES: (usize, usize) = (500, 600);

/// Words that only `mainspring-pg` may say (rule 4 of the crates).
const ONLY_PG: &[&str] = &["deadpool_postgres", "tokio_postgres", "SqlState"];

pub fn run() -> Outcome {
    let problems = problems(&crate::root())?;
    for problem in &problems {
        eprintln!("tidy: {problem}");
    }
    println!("tidy: {} problems", problems.len());
    Ok(if problems.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn problems(root: &Path) -> io::Result<Vec<String>> {
    let mut found = layers(root)?;
    let sources = sources(root)?;
    for file in &sources {
        let text = fs::read_to_string(file)?;
        let name = file.strip_prefix(root).unwrap_or(file).display().to_string();
        found.extend(source_problems(&name, &text));
        found.extend(crate::citations::problems(&name, &text));
        found.extend(public_problems(root, &name, &text));
    }
    found.extend(crate::metrics::problems(root, &sources)?);
    found.extend(crate::spans::problems(root, &sources)?);
    found.extend(checksums(root)?);
    found.extend(crate::manifests::problems(root)?);
    found.extend(crate::reference::problems(root)?);
    found.extend(crate::book::problems(root)?);
    Ok(found)
}

fn source_problems(name: &str, text: &str) -> Vec<String> {
    let mut found = Vec::new();
    let lines = text.lines().count();
    let is_test = name.contains("/tests/") || name.ends_with("tests.rs") || name.starts_with("tests/");
    let limit = if is_test { MAX_LINES.1 } else { MAX_LINES.0 };
    if lines > limit {
        found.push(format!("{name}: {lines} lines, at most {limit}"));
    }
    if !text.trim_start().starts_with("//!") {
        found.push(format!("{name}: does not begin with `//!` and what it is for"));
    }
    if text.lines().any(|line| line.ends_with(' ') || line.contains('\t')) {
        found.push(format!("{name}: trailing space or tab"));
    }
    let is_store = name.starts_with("crates/") && name.contains("/src/");
    if is_store
        && !name.starts_with("crates/mainspring-pg/")
        && !name.starts_with("crates/mainspring-testing/")
    {
        for word in ONLY_PG.iter().filter(|word| code(text).any(|line| line.contains(**word))) {
            found.push(format!("{name}: names `{word}`, which only mainspring-pg may"));
        }
    }
    found
}

/// `mainspring-pg` is the driver's own layer, and tests may hold a client.
fn public_problems(root: &Path, name: &str, text: &str) -> Vec<String> {
    let Some((folder, _)) = name.split_once("/src/").filter(|_| name.starts_with("crates/")) else {
        return Vec::new();
    };
    if ["crates/mainspring-pg", "crates/mainspring-testing"].contains(&folder) {
        return Vec::new();
    }
    crate::api::problems(
        name,
        text,
        &fs::read_to_string(root.join(folder).join("src/lib.rs")).unwrap_or_default(),
    )
}

/// The lines that are not comments.
fn code(text: &str) -> impl Iterator<Item = &str> {
    text.lines().filter(|line| !line.trim_start().starts_with("//"))
}

fn layers(root: &Path) -> io::Result<Vec<String>> {
    let allowed: BTreeMap<&str, &[&str]> = MAY_DEPEND.iter().copied().collect();
    let mut found = Vec::new();
    for entry in fs::read_dir(root.join("crates"))? {
        let folder = entry?.path();
        let name = folder.file_name().and_then(|name| name.to_str()).unwrap_or_default().to_owned();
        let Some(may) = allowed.get(name.as_str()) else {
            found.push(format!("crates/{name}: has no place in the layers of xtask/src/tidy.rs"));
            continue;
        };
        let manifest = fs::read_to_string(folder.join("Cargo.toml"))?;
        for dependency in dependencies(&manifest) {
            if dependency.starts_with("mainspring") && !may.contains(&dependency.as_str()) {
                found.push(format!("crates/{name}: must not depend on {dependency}"));
            }
        }
    }
    Ok(found)
}

/// The names in `[dependencies]`; development dependencies may point anywhere.
fn dependencies(manifest: &str) -> Vec<String> {
    let mut inside = false;
    let mut names = Vec::new();
    for line in manifest.lines() {
        if line.starts_with('[') {
            inside = line.trim() == "[dependencies]";
        } else if inside && let Some((name, _)) = line.split_once(['.', '=']) {
            names.push(name.trim().to_owned());
        }
    }
    names
}

fn sources(root: &Path) -> io::Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    let mut folders = vec![root.join("crates"), root.join("xtask"), root.join("tests")];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder)? {
            let path = entry?.path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|ending| ending == "rs") {
                files.push(path);
            }
        }
    }
    files.sort();
    Ok(files)
}

/// `migrations/CHECKSUMS` has a line for every migration that was released; none of them may change.
fn checksums(root: &Path) -> io::Result<Vec<String>> {
    let folder = root.join("migrations");
    let known = fs::read_to_string(folder.join("CHECKSUMS"))?;
    let known: BTreeMap<&str, &str> =
        known.lines().filter_map(|line| line.split_once("  ")).map(|(sum, name)| (name, sum)).collect();
    let mut found = Vec::new();
    for entry in fs::read_dir(&folder)? {
        let path = entry?.path();
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default().to_owned();
        if !name.ends_with(".sql") {
            continue;
        }
        let sum = checksum(&fs::read(&path)?);
        match known.get(name.as_str()) {
            None => found.push(format!("migrations/{name}: add `{sum}  {name}` to migrations/CHECKSUMS")),
            Some(before) if *before != sum => {
                found.push(format!("migrations/{name}: was changed after it was recorded"))
            }
            Some(_) => {}
        }
    }
    Ok(found)
}

/// FNV-1a, 64 bits: enough to notice a change.
fn checksum(bytes: &[u8]) -> String {
    let hash = bytes.iter().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3)
    });
    format!("{hash:016x}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_workspace_is_tidy() {
        let problems = problems(&crate::root()).unwrap();
        assert!(problems.is_empty(), "{}", problems.join("\n"));
    }

    #[test]
    fn what_is_not_tidy_is_found() {
        let long = "//! x\n".repeat(501);
        assert!(source_problems("crates/mainspring-core/src/a.rs", &long)[0].contains("501 lines"));
        assert!(
            source_problems("crates/mainspring-jobs/src/a.rs", "use tokio_postgres;")
                .iter()
                .any(|p| p.contains("only mainspring-pg"))
        );
        assert!(source_problems("xtask/src/a.rs", "fn a() {}")[0].contains("does not begin"));
        assert_eq!(dependencies("[dependencies]\na.workspace = true\n[dev-dependencies]\nb = 1\n"), ["a"]);
    }
}
