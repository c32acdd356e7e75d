//! `mainspring explain <code>`: what an error code means, and what to do about it.

use std::{io::Write, process::ExitCode};

use mainspring_core::Error;

use crate::{Outcome, pages::PAGES};

/// Most names offered for a code that does not exist.
const MOST_NAMES: usize = 3;
/// How alike a name has to be to be offered: 1 is the same.
const ALIKE: f64 = 0.6;

#[derive(clap::Args)]
pub(crate) struct Args {
    /// A code as errors, failures and dead letters show it; all of them when left out.
    code: Option<String>,
}

/// Prints the page of a code, or a line for each.
pub(crate) fn run(args: &Args) -> Outcome {
    let list = || PAGES.iter().map(|(code, page)| format!("{code:<28} {}\n", summary(page))).collect();
    let text = args.code.as_deref().map_or_else(|| Ok(list()), |code| page(code).map(str::to_owned))?;
    std::io::stdout().write_all(text.as_bytes())?;
    Ok(ExitCode::SUCCESS)
}

/// The page of this code. Case counts only where two codes differ in nothing else.
fn page(asked: &str) -> Result<&'static str, Error> {
    let asked = match asked.strip_prefix("HTTP_") {
        Some(status) if status.len() == 3 && status.bytes().all(|byte| byte.is_ascii_digit()) => {
            "HTTP_STATUS"
        }
        _ => asked,
    };
    let same = |(code, _): &&(&str, &str)| *code == asked;
    let alike = |(code, _): &&(&str, &str)| code.eq_ignore_ascii_case(asked);
    match PAGES.iter().find(same).or_else(|| PAGES.iter().find(alike)) {
        Some((_, page)) => Ok(page),
        None => {
            let unknown = Error::not_found("error code", asked);
            let names = nearest(asked);
            if names.is_empty() {
                return Err(unknown);
            }
            let message = format!("{unknown}; did you mean {}?", names.join(" or "));
            Err(Error::new(unknown.kind(), message))
        }
    }
}

/// The codes that are spelled nearly like this, the nearest first.
fn nearest(asked: &str) -> Vec<&'static str> {
    let asked = asked.to_ascii_lowercase();
    let mut names: Vec<(f64, &str)> = PAGES
        .iter()
        .map(|(code, _)| (strsim::normalized_damerau_levenshtein(&asked, &code.to_ascii_lowercase()), *code))
        .filter(|(alike, _)| *alike >= ALIKE)
        .collect();
    names.sort_by(|a, b| b.0.total_cmp(&a.0));
    names.into_iter().map(|(_, code)| code).take(MOST_NAMES).collect()
}

/// The first sentence of a page.
pub(crate) fn summary(page: &str) -> String {
    let text = page.lines().skip(2).take_while(|line| !line.is_empty()).collect::<Vec<_>>().join(" ");
    match text.split_once(". ") {
        Some((first, _)) => format!("{first}."),
        None => text,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_page_is_found_under_its_code_and_says_what_to_do() {
        for (code, text) in PAGES {
            assert_eq!(page(code).unwrap(), *text, "{code}");
            assert!(text.starts_with(&format!("# {code}\n")), "{code}");
            for part in ["\n## Cause\n", "\n## See it\n", "\n## Fix\n"] {
                assert!(text.contains(part), "{code} has no {part}");
            }
            assert!(summary(text).ends_with(['.', ')']), "{code}: {}", summary(text));
        }
    }

    #[test]
    fn case_tells_apart_only_what_differs_in_nothing_else() {
        assert!(page("conflict").unwrap().starts_with("# conflict\n"));
        assert!(page("CONFLICT").unwrap().starts_with("# CONFLICT\n"));
        assert!(page("timeout").unwrap().starts_with("# TIMEOUT\n"));
        assert!(page("HTTP_503").unwrap().starts_with("# HTTP_STATUS\n"));
    }

    #[test]
    fn an_unknown_code_is_answered_with_those_that_are_spelled_like_it() {
        let said = page("TIMEOT").unwrap_err();
        assert!(said.is_not_found());
        assert_eq!(said.to_string(), "error code `TIMEOT` does not exist; did you mean TIMEOUT?");
        assert_eq!(page("xyzzy").unwrap_err().to_string(), "error code `xyzzy` does not exist");
    }
}
