//! Every error code has a page and every page a code: the codes are found in the sources, as texts in capitals.

use std::{collections::BTreeMap, fs, io, path::Path};

use super::Page;

/// Whose failures have codes.
const CRATES: &[&str] = &["core", "engine", "jobs", "queue", "worker", "world", "broker", "consumer"];
/// Fewest letters of a code.
const SHORTEST: usize = 5;
/// Texts in capitals that are no codes.
const NO_CODES: &[&str] = &[
    "APP_PORT",
    "APP_URL",
    "DATABASE_URL",
    "DELETE",
    "INSECURE",
    "JOB_PREFIX",
    "OPTIONS",
    "PATCH",
    "SELECT",
    "SECURITY_TOKEN",
    "WORKER_CONCURRENCY",
];
/// In front of names of variables and the like.
const NO_CODES_BEGIN: &[&str] = &["CARGO_", "MAINSPRING_", "WORKFLOW_POSTGRES_"];
/// A page for codes that are made at run time.
const HTTP_STATUS: &str = "HTTP_STATUS";
/// The page of what the doctor finds.
const DOCTOR: &str = "reference/doctor.md";

pub(super) fn problems(root: &Path, pages: &[Page]) -> io::Result<Vec<String>> {
    let mut codes: BTreeMap<String, String> = BTreeMap::new();
    for name in CRATES {
        for file in super::below(&root.join(format!("crates/mainspring-{name}/src")), "rs")? {
            let shown = file.strip_prefix(root).unwrap_or(&file).display().to_string();
            let text = fs::read_to_string(&file)?;
            if !shown.ends_with("tests.rs") {
                codes.extend(
                    in_source(&text).into_iter().map(|code| (format!("failures/{code}.md"), shown.clone())),
                );
            }
        }
    }
    for file in super::below(&root.join("migrations"), "sql")? {
        let text = fs::read_to_string(&file)?;
        let shown = file.strip_prefix(root).unwrap_or(&file).display().to_string();
        let found = text.split("'code', '").skip(1).filter_map(|rest| rest.split('\'').next());
        codes.extend(found.map(|code| (format!("failures/{code}.md"), shown.clone())));
    }
    codes.insert(format!("failures/{HTTP_STATUS}.md"), "an http step".to_owned());
    let kinds = root.join("crates/mainspring-core/src/error.rs");
    codes.extend(
        kinds_in(&fs::read_to_string(kinds)?)
            .map(|kind| (format!("errors/{kind}.md"), "ErrorKind".to_owned())),
    );
    let mut found = compared(&codes, pages);
    let findings = fs::read_to_string(root.join("crates/mainspring-doctor/src/finding.rs"))?;
    let page = pages.iter().find(|page| page.name == DOCTOR).map_or("", |page| page.text.as_str());
    let missing = findings_in(&findings).filter(|finding| !page.contains(&format!("| `{finding}` |")));
    found.extend(missing.map(|finding| format!("docs/{DOCTOR}: has no line for `{finding}`")));
    Ok(found)
}

/// What the doctor may find: `Name = "name", Severity;`.
fn findings_in(source: &str) -> impl Iterator<Item = &str> {
    let lines = source.lines().filter(|line| line.trim_end().ends_with(';'));
    lines.filter_map(|line| line.split_once(" = \"")?.1.split_once("\", ").map(|(name, _)| name))
}

/// Codes without a page, and pages without a code.
fn compared(codes: &BTreeMap<String, String>, pages: &[Page]) -> Vec<String> {
    let is_page_of_code =
        |page: &&Page| page.name.starts_with("errors/") || page.name.starts_with("failures/");
    let of_codes: Vec<&str> = pages.iter().filter(is_page_of_code).map(|page| page.name.as_str()).collect();
    let missing = codes
        .iter()
        .filter(|(page, _)| !of_codes.contains(&page.as_str()))
        .map(|(page, place)| format!("docs/{page}: is missing for the code in {place}"));
    let orphans = of_codes
        .iter()
        .filter(|page| !codes.contains_key(**page))
        .map(|page| format!("docs/{page}: nothing has this code"));
    missing.chain(orphans).collect()
}

fn in_source(text: &str) -> Vec<&str> {
    let tested = text.find("#[cfg(test)]").unwrap_or(text.len());
    let lines = text[..tested].lines().filter(|line| !line.trim_start().starts_with("//"));
    let texts = lines.flat_map(|line| line.split('"').skip(1).step_by(2));
    texts.filter(|text| is_code(text)).collect()
}

fn is_code(text: &str) -> bool {
    let capitals = text.bytes().all(|byte| byte.is_ascii_uppercase() || byte == b'_');
    capitals
        && text.len() >= SHORTEST
        && !NO_CODES.contains(&text)
        && !NO_CODES_BEGIN.iter().any(|begin| text.starts_with(begin))
}

/// The codes of the kinds, as `ErrorKind::code` has them.
fn kinds_in(source: &str) -> impl Iterator<Item = &str> {
    let arms = source.lines().filter_map(|line| line.trim().strip_prefix("Self::")?.split_once(" => \""));
    arms.filter_map(|(_, code)| code.strip_suffix("\","))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_code_needs_a_page_and_a_page_a_code() {
        let source = "// \"COMMENT\"\nFailure::new(\"TOO_FAR\", \"text\")\nenv(\"WORKFLOW_POSTGRES_URL\")\n#[cfg(test)]\n\"TESTED\"";
        assert_eq!(in_source(source), ["TOO_FAR"]);
        let findings = "    IndexMissing = \"index_missing\", Error;\n    let a = 1;";
        assert_eq!(findings_in(findings).collect::<Vec<_>>(), ["index_missing"]);
        assert_eq!(
            kinds_in("    Self::Busy => \"busy\",\n    Self::Lost | Self::A => ErrorKind::B,")
                .collect::<Vec<_>>(),
            ["busy"]
        );
        let codes = [("failures/TOO_FAR.md".to_owned(), "a.rs".to_owned())].into();
        let pages = [Page { name: "errors/old.md".into(), text: String::new() }];
        assert_eq!(
            compared(&codes, &pages),
            [
                "docs/failures/TOO_FAR.md: is missing for the code in a.rs",
                "docs/errors/old.md: nothing has this code"
            ]
        );
    }
}
