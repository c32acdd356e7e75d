//! Two lists call their entries F: the scenarios of flows, and the faults. A comment that cites one says which.

/// Which lists there are, and their last entries.
const LISTS: [(&str, u32); 2] = [("scenario", 54), ("fault", 97)];

/// What may stand between two entries of one list.
const BETWEEN: [&str; 5] = [", ", " and ", " or ", " to ", "-"];

/// What is wrong with the citations of a file.
pub fn problems(name: &str, text: &str) -> Vec<String> {
    let comments = text.lines().enumerate().filter_map(|(n, line)| Some((n + 1, line.find("//")?, line)));
    comments
        .flat_map(|(n, begin, line)| {
            let comment = line.get(begin..).unwrap_or_default();
            unclear(comment).into_iter().map(move |entry| {
                format!("{name}:{n}: write `fault {entry}` (to F97) or `scenario {entry}` (to F54)")
            })
        })
        .collect()
}

/// Entries of no list.
fn unclear(comment: &str) -> Vec<&str> {
    let mut found = Vec::new();
    let mut list: Option<u32> = None;
    let mut end = 0;
    for (begin, _) in comment.match_indices('F') {
        let Some(number) = entry(comment, begin) else { continue };
        let before = comment.get(end..begin).unwrap_or_default();
        if !BETWEEN.contains(&before) || end == 0 {
            list = named(comment.get(..begin).unwrap_or_default());
        }
        end = begin + 3;
        if list.is_none_or(|last| !(1..=last).contains(&number)) {
            found.push(comment.get(begin..end).unwrap_or_default());
        }
    }
    found
}

/// The number of an entry that begins here and is no part of a word.
fn entry(comment: &str, begin: usize) -> Option<u32> {
    let is_of_word = |c: char| c.is_ascii_alphanumeric() || c == '_';
    let (before, digits) = (comment.get(..begin)?, comment.get(begin + 1..begin + 3)?);
    let within = before.ends_with(is_of_word) || comment.get(begin + 3..)?.starts_with(is_of_word);
    (!within && digits.bytes().all(|byte| byte.is_ascii_digit())).then(|| digits.parse().ok()).flatten()
}

/// The last entry of the list that is named last.
fn named(before: &str) -> Option<u32> {
    let word = before.strip_suffix(' ')?.rsplit(|c: char| !c.is_ascii_alphabetic()).next()?;
    let one = word.strip_suffix('s').unwrap_or(word);
    LISTS.iter().find(|(list, _)| *list == one).map(|(_, last)| *last)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_citation_says_of_which_list_it_is() {
        let problems = |text: &str| problems("a.rs", &format!("let F01 = 1; // {text}"));
        for clear in [
            "fault F97",
            "X2, scenarios F01, F18 and F44: so it goes on",
            "faults F01-F03, scenario F27, X3",
            "(faults F30 to F32)",
            "0xF12, F123, `MF01` and F01_a",
        ] {
            assert_eq!(problems(clear), [""; 0]);
        }
        for (unclear, entries) in [
            ("F07, X2", 1),
            ("R-F07", 1),
            ("scenario F55", 1),
            ("fault F98, F00", 2),
            ("fault F01; F02", 1),
            ("the fault is F03", 1),
            ("scenarios F54, F55", 1),
            ("default F01", 1),
        ] {
            assert_eq!(problems(unclear).len(), entries, "{unclear}");
        }
    }
}
