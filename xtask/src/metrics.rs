//! `cargo xtask metrics`: the table of metrics for people. `cargo xtask tidy` asks here whether the code, that table, the dashboard
//! and the alerts agree with the catalogue.

use std::{
    collections::BTreeSet,
    fmt::Write as _,
    fs, io,
    path::{Path, PathBuf},
};

use mainspring_core::metric::{ALL, CONSTANTS, MetricKind, find};

use crate::{Outcome, catalogue};

const TABLE: &str = "docs/operations/metrics.md";
/// What is read beside the code.
const USERS: [&str; 2] = ["docs/operations/grafana.json", "docs/operations/alerts.yml"];
const CATALOGUE: &str = "crates/mainspring-core/src/metric.rs";

pub fn run() -> Outcome {
    catalogue::write(TABLE, &table())
}

/// What is wrong, for `tidy`.
pub fn problems(root: &Path, files: &[PathBuf]) -> io::Result<Vec<String>> {
    let (mut found, mut used) = (Vec::new(), BTreeSet::new());
    for (name, text) in catalogue::sources(root, files)?.iter().filter(|(name, _)| name != CATALOGUE) {
        used.extend(constants(text).into_iter().map(str::to_owned));
        found.extend(unlisted(text).into_iter().map(|problem| format!("{name}: {problem}")));
    }
    for (constant, metric) in CONSTANTS.iter().filter(|(constant, _)| !used.contains(*constant)) {
        found.push(format!("{CATALOGUE}: {constant} ({metric}) is emitted nowhere"));
    }
    found.extend(catalogue::stale(root, TABLE, &table(), "metrics"));
    for user in USERS {
        let text = fs::read_to_string(root.join(user)).unwrap_or_default();
        let unknown = names(&text).filter(|name| !is_known(name));
        found.extend(unknown.map(|name| format!("{user}: no metric is called {name}")));
    }
    Ok(found)
}

/// The constants of the catalogue that a source names.
fn constants(text: &str) -> BTreeSet<&str> {
    let after = text.split("metric::").skip(1);
    after
        .map(|rest| &rest[..rest.find(|c: char| !c.is_ascii_uppercase() && c != '_').unwrap_or(rest.len())])
        .collect()
}

/// Metrics that are emitted under a name of their own.
fn unlisted(text: &str) -> Vec<String> {
    let mut found = Vec::new();
    for (macro_name, kind) in [
        ("counter!(", MetricKind::Counter),
        ("gauge!(", MetricKind::Gauge),
        ("histogram!(", MetricKind::Histogram),
    ] {
        for (at, _) in text.match_indices(macro_name) {
            let name = text[at + macro_name.len()..].split([',', ')']).next().unwrap_or_default().trim();
            let described = text[..at].ends_with("describe_");
            match name.strip_prefix("metric::") {
                _ if described => {}
                None => found.push(format!("`{macro_name}{name}` is not of the catalogue")),
                Some(constant) => {
                    let listed =
                        CONSTANTS.iter().find(|(name, _)| *name == constant).and_then(|(_, name)| find(name));
                    if listed.is_none_or(|metric| metric.kind != kind) {
                        found.push(format!("`{constant}` is not a {} of the catalogue", kind.as_str()));
                    }
                }
            }
        }
    }
    found
}

/// The names of metrics in a text.
fn names(text: &str) -> impl Iterator<Item = &str> {
    text.match_indices("mainspring_").map(|(at, _)| {
        let rest = &text[at..];
        &rest[..rest
            .find(|c: char| !c.is_ascii_lowercase() && c != '_' && !c.is_ascii_digit())
            .unwrap_or(rest.len())]
    })
}

/// A histogram has series of its own.
fn is_known(name: &str) -> bool {
    let series = ["_bucket", "_sum", "_count"].iter().find_map(|end| name.strip_suffix(end));
    find(name).is_some_and(|metric| metric.kind != MetricKind::Histogram)
        || series.and_then(find).is_some_and(|metric| metric.kind == MetricKind::Histogram)
}

fn table() -> String {
    let mut text = String::from(
        "# Metrics\n\nWritten by `cargo xtask metrics` from the catalogue `mainspring::metric`; `cargo xtask tidy` keeps it true. They are \
         emitted\nthrough the facade [`metrics`](https://docs.rs/metrics): whoever installs a recorder gets them, \
         `mainspring::collect_prometheus`\n(feature `prometheus`) is one, and `PgStores::gauges` reads those that come from the database. Times are in \
         seconds.\n\n| metric | kind | labels | what it says |\n|---|---|---|---|\n",
    );
    for metric in ALL {
        let labels: Vec<String> = metric.labels.iter().map(|label| format!("`{label}`")).collect();
        let row = format!(
            "| `{}` | {} | {} | {} |",
            metric.name,
            metric.kind.as_str(),
            labels.join(", "),
            metric.help
        );
        let _ = writeln!(text, "{row}"); // a string takes everything
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_in_the_catalogue_is_found() {
        assert_eq!(unlisted("counter!(metric::POISON, \"queue\" => q)"), [""; 0]);
        assert_eq!(unlisted("counter!(\"mine\")"), ["`counter!(\"mine\"` is not of the catalogue"]);
        assert_eq!(unlisted("gauge!(metric::POISON)"), ["`POISON` is not a gauge of the catalogue"]);
        assert_eq!(
            constants("metric::POISON, metric::WORKERS)").into_iter().collect::<Vec<_>>(),
            ["POISON", "WORKERS"]
        );
        assert!(
            is_known("mainspring_job_duration_seconds_bucket")
                && !is_known("mainspring_job_duration_seconds")
        );
        assert!(
            is_known("mainspring_workers")
                && !is_known("mainspring_workers_count")
                && !is_known("mainspring_none")
        );
    }
}
