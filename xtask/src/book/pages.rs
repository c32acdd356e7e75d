//! The pages of the book: which there are, which are listed, and which have snippets that somebody has to compile.

use std::{collections::BTreeSet, fs, io, path::Path};

const SUMMARY: &str = "SUMMARY.md";

/// A page of the book.
#[derive(Debug)]
pub(crate) struct Page {
    /// Its path below docs/, with `/`.
    pub(crate) name: String,
    pub(crate) text: String,
}

impl Page {
    /// Its lines outside of code blocks.
    pub(crate) fn prose(&self) -> impl Iterator<Item = &str> {
        let mut code = false;
        self.text.lines().filter(move |line| {
            let fence = line.trim_start().starts_with("```");
            code ^= fence;
            !code && !fence
        })
    }

    /// Whether a code block of it is Rust that is to be compiled.
    fn has_snippets(&self) -> bool {
        self.text.lines().any(|line| {
            line.strip_prefix("```rust").is_some_and(|rest| !rest.split(',').any(|word| word == "ignore"))
        })
    }
}

pub(super) fn all(docs: &Path) -> io::Result<Vec<Page>> {
    let read = |path: std::path::PathBuf| {
        let name = path.strip_prefix(docs).unwrap_or(&path).to_string_lossy().replace('\\', "/");
        Ok(Page { name, text: fs::read_to_string(&path)? })
    };
    super::below(docs, "md")?.into_iter().map(read).collect()
}

/// Pages that the summary does not name. Those it names and that are not there are found as links.
pub(super) fn unlisted(pages: &[Page]) -> Vec<String> {
    let summary = pages.iter().find(|page| page.name == SUMMARY);
    let listed: BTreeSet<&str> = summary.into_iter().flat_map(|page| super::links::of(&page.text)).collect();
    let missing = pages.iter().filter(|page| page.name != SUMMARY && !listed.contains(page.name.as_str()));
    missing.map(|page| format!("docs/{}: not in docs/{SUMMARY}", page.name)).collect()
}

/// Pages with Rust that the doc tests of the crate `tests` do not name.
pub(super) fn untested(pages: &[Page], tests: &str) -> Vec<String> {
    let is_tested = |page: &Page| tests.contains(&format!("docs/{}\"", page.name));
    pages
        .iter()
        .filter(|page| page.has_snippets() && !is_tested(page))
        .map(|page| format!("docs/{}: has Rust that tests/src/book.rs does not compile", page.name))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn page(name: &str, text: &str) -> Page {
        Page { name: name.into(), text: text.into() }
    }

    #[test]
    fn a_page_has_to_be_listed_and_its_rust_compiled() {
        let pages = [
            page(SUMMARY, "- [A](a.md)\n"),
            page("a.md", "# A\n```rust,ignore\nno\n```\n"),
            page("b/c.md", "```rust\nfn main() {}\n```\nbehind\n"),
        ];
        assert_eq!(unlisted(&pages), ["docs/b/c.md: not in docs/SUMMARY.md"]);
        assert_eq!(untested(&pages, "").len(), 1);
        assert!(untested(&pages, "include_str!(\"../../docs/b/c.md\")").is_empty());
        assert_eq!(pages[2].prose().collect::<Vec<_>>(), ["behind"]);
    }
}
