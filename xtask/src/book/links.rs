//! Links and includes of the book: what they name is there.

use std::{fs, path::Path};

use super::Page;

/// In front of a path of the repository; what is outside of docs/ is linked to in this way, since it is no part of the book.
const REPOSITORY: &str = "https://github.com/mainspring-rs/mainspring/blob/main/";

pub(super) fn problems(root: &Path, pages: &[Page]) -> Vec<String> {
    pages.iter().flat_map(|page| of_page(root, pages, page)).collect()
}

fn of_page(root: &Path, pages: &[Page], page: &Page) -> Vec<String> {
    let prose: String = page.prose().collect::<Vec<_>>().join("\n");
    let links = of(&prose).into_iter().filter_map(|link| broken(root, pages, page, link));
    let includes = includes(&page.text).into_iter().filter_map(|path| not_included(root, page, path));
    links.chain(includes).map(|problem| format!("docs/{}: {problem}", page.name)).collect()
}

/// The targets of all links in a text; what is code is no link.
pub(super) fn of(text: &str) -> Vec<&str> {
    let mut found = Vec::new();
    for (i, part) in text.split('`').enumerate() {
        // What begins inside of code spans is skipped; a link whose text is code ends in the part behind it.
        if i % 2 == 0 {
            let ends = part.split("](").skip(1).filter_map(|rest| rest.split_once(')'));
            found.extend(ends.map(|(target, _)| target));
        }
    }
    found
}

fn broken(root: &Path, pages: &[Page], page: &Page, link: &str) -> Option<String> {
    if let Some(path) = link.strip_prefix(REPOSITORY) {
        return (!root.join(path).exists()).then(|| format!("links to {path}, which the repository has not"));
    }
    if link.contains("://") || link.starts_with("mailto:") {
        return None;
    }
    let (path, anchor) = link.split_once('#').map_or((link, None), |(path, anchor)| (path, Some(anchor)));
    let target = if path.is_empty() { page.name.clone() } else { resolve(&page.name, path) };
    let Some(other) = pages.iter().find(|page| page.name == target) else {
        let there = !target.starts_with("..") && root.join("docs").join(&target).exists();
        return (!there).then(|| format!("links to {link}, which the book has not"));
    };
    let anchor = anchor?;
    let found = other.prose().filter(|line| line.starts_with('#')).any(|line| slug(line) == anchor);
    (!found).then(|| format!("links to {link}, but there is no such heading"))
}

/// `path` as seen from the page `from`, with its `..` taken out.
fn resolve(from: &str, path: &str) -> String {
    let mut parts: Vec<&str> = from.split('/').collect();
    parts.pop();
    for part in path.split('/') {
        match part {
            "." | "" => {}
            ".." if parts.last().is_some_and(|last| *last != "..") => {
                parts.pop();
            }
            part => parts.push(part),
        }
    }
    parts.join("/")
}

/// The anchor of a heading: letters and digits in lower case, spaces as hyphens.
fn slug(heading: &str) -> String {
    let text = heading.trim_start_matches('#').trim().to_lowercase();
    let kept = text.chars().filter(|c| c.is_alphanumeric() || [' ', '-', '_'].contains(c));
    kept.map(|c| if c == ' ' { '-' } else { c }).collect()
}

/// What `{{#include …}}` names.
fn includes(text: &str) -> Vec<&str> {
    let after = text.split("{{#include ").skip(1);
    after.filter_map(|rest| rest.split_once("}}")).map(|(path, _)| path.trim()).collect()
}

fn not_included(root: &Path, page: &Page, what: &str) -> Option<String> {
    let (path, anchor) = what.split_once(':').map_or((what, None), |(path, anchor)| (path, Some(anchor)));
    let folder = Path::new("docs").join(&page.name);
    let file = root.join(folder.parent().unwrap_or(Path::new("docs"))).join(path);
    let Ok(text) = fs::read_to_string(&file) else {
        return Some(format!("includes {path}, which is not there"));
    };
    let anchor = anchor.filter(|anchor| !anchor.starts_with(|c: char| c.is_ascii_digit() || c == ':'))?;
    let mark = format!("ANCHOR: {anchor}");
    (!text.lines().any(|line| line.ends_with(&mark)))
        .then(|| format!("includes {what}, but {path} has no such anchor"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn links_are_found_where_they_are_links() {
        let text = "a [b](c.md), [`d`](e.md#f) and `[g](h.md)` or [i](https://j)";
        assert_eq!(of(text), ["c.md", "e.md#f", "https://j"]);
        assert_eq!(resolve("a/b.md", "../c/d.md"), "c/d.md");
        assert_eq!(resolve("b.md", "../c.md"), "../c.md");
        assert_eq!(slug("## What is `kept`, and why"), "what-is-kept-and-why");
    }

    #[test]
    fn what_is_not_there_is_said() {
        let page = |name: &str, text: &str| Page { name: name.into(), text: text.into() };
        let pages = [page("a.md", "# One thing\n"), page("decisions/c.md", "")];
        let root = crate::root();
        let said = |link: &str| broken(&root, &pages, &pages[1], link);
        assert_eq!(said("../a.md#one-thing"), None);
        assert!(said("../a.md#two-things").is_some_and(|said| said.contains("no such heading")));
        assert!(said("a.md").is_some_and(|said| said.contains("which the book has not")));
        assert!(said("../../README.md").is_some(), "outside of the book");
        assert_eq!(said(&format!("{REPOSITORY}README.md")), None);
        assert!(said(&format!("{REPOSITORY}NOTHING.md")).is_some());
        assert!(not_included(&root, &pages[1], "../../README.md").is_none());
        assert!(not_included(&root, &pages[1], "../../README.md:nothing").is_some());
        assert!(not_included(&root, &pages[1], "../NOTHING.md").is_some());
    }
}
