//! Tests that pages name as proof: they are there.

use std::{collections::BTreeSet, fs, io, path::Path};

use super::Page;

/// Pages whose claims are followed by the tests that show them.
const PAGES: &[&str] = &["guarantees.md", "faults.md"];
/// A name of a function with so many `_` or more is a test's.
const FEWEST: usize = 3;

pub(super) fn problems(root: &Path, pages: &[Page]) -> io::Result<Vec<String>> {
    let mut functions = BTreeSet::new();
    for folder in ["crates", "tests", "xtask"] {
        for file in super::below(&root.join(folder), "rs")? {
            functions.extend(functions_in(&fs::read_to_string(file)?).map(ToOwned::to_owned));
        }
    }
    let pages = pages.iter().filter(|page| PAGES.contains(&page.name.as_str()));
    let missing = pages.flat_map(|page| {
        let named = named(&page.text).filter(|name| !functions.contains(*name));
        named.map(|name| format!("docs/{}: there is no test `{name}`", page.name)).collect::<Vec<_>>()
    });
    Ok(missing.collect())
}

fn functions_in(source: &str) -> impl Iterator<Item = &str> {
    let after = source.split("fn ").skip(1);
    after.filter_map(|rest| rest.split(|c: char| !c.is_ascii_alphanumeric() && c != '_').next())
}

fn named(text: &str) -> impl Iterator<Item = &str> {
    let is_name = |word: &&str| {
        word.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_')
            && word.matches('_').count() >= FEWEST
    };
    text.split('`').skip(1).step_by(2).filter(is_name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_test_that_a_page_names_is_looked_for() {
        let text = "see `killed_in_the_middle_of_it` and `max_lost` and `Worker::grace`";
        assert_eq!(named(text).collect::<Vec<_>>(), ["killed_in_the_middle_of_it"]);
        assert_eq!(functions_in("async fn a_b() {}\nfn c(").collect::<Vec<_>>(), ["a_b", "c"]);
        let page = Page { name: "faults.md".into(), text: "`there_is_no_such_test_anywhere_else`".into() };
        let found = problems(&crate::root(), &[page]).unwrap();
        assert_eq!(found.len(), 1, "{found:?}");
    }
}
