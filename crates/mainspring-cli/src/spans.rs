//! Where in a text something is wrong, shown to whoever wrote it.
//!
//! ```text
//! error: steps.ship.type: must not be empty
//!   --> flow.json:9:15
//!    |
//!  9 |       "type": "",
//!    |       ^
//! ```
//! A report of that kind is forty lines; a crate for it would bring a dozen others.

use std::{error::Error, fmt};

/// An error with its place in a text.
#[derive(Debug)]
pub(crate) struct At {
    error: mainspring::Error,
    excerpt: String,
}

impl At {
    /// `error` about what begins at byte `at` of the text of `name`.
    pub(crate) fn new(error: mainspring::Error, name: &str, text: &str, at: usize) -> Self {
        let before = text.get(..at).unwrap_or(text);
        let begin = before.rfind('\n').map_or(0, |n| n + 1);
        let (line, column) = (before.matches('\n').count() + 1, before[begin..].chars().count() + 1);
        let shown: String = text[begin..].lines().next().unwrap_or_default().chars().take(120).collect();
        let width = line.to_string().len();
        let (bar, caret) = (" ".repeat(width), " ".repeat(column.min(120) - 1));
        let excerpt =
            format!(" {bar}--> {name}:{line}:{column}\n {bar} |\n {line} | {shown}\n {bar} | {caret}^");
        Self { error, excerpt }
    }

    /// `error` about a cron pattern, at the first of its fields that is none whatever the others say.
    pub(crate) fn in_pattern(
        error: mainspring::Error,
        pattern: &str,
        good: fn(&str) -> bool,
    ) -> Box<dyn Error> {
        let fields: Vec<&str> = pattern.split_whitespace().collect();
        let alone = |n: usize| -> Vec<&str> {
            fields.iter().enumerate().map(|(m, field)| if m == n { *field } else { "*" }).collect()
        };
        let bad = fields.iter().enumerate().find(|(n, _)| !good(&alone(*n).join(" ")));
        let at = bad.filter(|_| matches!(fields.len(), 5 | 6)).map_or(0, |(n, _)| {
            let mut at = 0;
            for field in &fields[..n] {
                at += pattern[at..].find(field).unwrap_or_default() + field.len();
            }
            at + pattern[at..].find(fields[n]).unwrap_or_default()
        });
        Box::new(Self::new(error, "pattern", pattern, at))
    }

    /// `error` about a place that JSON's reader named in its message, or that is the path in front of its message.
    pub(crate) fn in_json(error: mainspring::Error, name: &str, text: &str) -> Box<dyn Error> {
        let message = error.to_string();
        let at = named(&message, text).or_else(|| place(text, message.split_once(": ")?.0));
        match at {
            Some(at) => Box::new(Self::new(error, name, text, at)),
            None => Box::new(error),
        }
    }
}

impl fmt::Display for At {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}\n{}", self.error, self.excerpt)
    }
}

impl Error for At {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        self.error.source()
    }
}

impl At {
    /// The error itself.
    pub(crate) fn error(&self) -> &mainspring::Error {
        &self.error
    }
}

/// The byte that `… at line 3 column 5` means.
fn named(message: &str, text: &str) -> Option<usize> {
    let (line, column) = message.rsplit_once(" at line ")?.1.split_once(" column ")?;
    let (line, column): (usize, usize) = (line.parse().ok()?, column.parse().ok()?);
    let begin: usize = text.split_inclusive('\n').take(line.checked_sub(1)?).map(str::len).sum();
    let at = (begin + column.saturating_sub(1)).min(text.len());
    (0..=at).rev().find(|at| text.is_char_boundary(*at))
}

/// The byte at which the value of a path such as `steps.ship.transitions.onSuccess` begins, or of the part of it that is there.
fn place(text: &str, path: &str) -> Option<usize> {
    let mut at = None;
    let mut from = 0;
    let mut rest = path;
    while !rest.is_empty() {
        let (key, begin) = member(text, from, rest)?;
        rest = rest[key.len()..].trim_start_matches('.');
        (at, from) = (Some(begin), begin);
        if rest.starts_with('[') {
            break;
        }
    }
    at
}

/// The member of the object that begins at `from` whose key is the longest beginning of `path`: that, and where its value
/// begins.
fn member<'p>(text: &str, from: usize, path: &'p str) -> Option<(&'p str, usize)> {
    let bytes = text.as_bytes();
    let mut at = from + text[from..].find('{')? + 1;
    let mut depth = 1;
    let mut found: Option<(&str, usize)> = None;
    while depth > 0 {
        match bytes.get(at)? {
            b'"' => {
                let end = string_end(bytes, at)?;
                let after = end + text[end..].find(|c: char| !c.is_whitespace())?;
                if depth == 1 && bytes.get(after) == Some(&b':') {
                    let key = &text[at + 1..end - 1];
                    let matches = path
                        .strip_prefix(key)
                        .is_some_and(|rest| rest.is_empty() || rest.starts_with(['.', '[']));
                    if matches && found.is_none_or(|(longest, _)| key.len() > longest.len()) {
                        let value = after + 1 + text[after + 1..].find(|c: char| !c.is_whitespace())?;
                        found = Some((&path[..key.len()], value));
                    }
                }
                at = end;
                continue;
            }
            b'{' | b'[' => depth += 1,
            b'}' | b']' => depth -= 1,
            _ => {}
        }
        at += 1;
    }
    found
}

/// One behind the closing mark of the string that begins at `at`.
fn string_end(bytes: &[u8], at: usize) -> Option<usize> {
    let mut end = at + 1;
    loop {
        match bytes.get(end)? {
            b'\\' => end += 2,
            b'"' => return Some(end + 1),
            _ => end += 1,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "{\n  \"id\": \"{f\\\"\",\n  \"steps\": {\n    \"a.b\": {\"type\": \"x\", \"retry\": {\"n\": 0}},\n    \"a\": {}\n  }\n}";

    #[test]
    fn a_path_finds_its_value() {
        let found = |path| place(TEXT, path).map(|at| TEXT[at..].chars().take(5).collect::<String>());
        assert_eq!(found("steps.a.b.type").as_deref(), Some("\"x\", "));
        assert_eq!(found("steps.a.b.retry.n").as_deref(), Some("0}},\n"));
        assert_eq!(found("id").as_deref(), Some("\"{f\\\""));
        assert_eq!(found("nothing"), None);
        assert_eq!(place("", "id"), None);
        assert_eq!(place("{\"id", "id"), None);
    }

    #[test]
    fn the_field_of_a_pattern_is_shown() {
        let good = |text: &str| !text.contains("61");
        let shown =
            |text| At::in_pattern(mainspring::Error::invalid("cron", "is bad"), text, good).to_string();
        assert!(shown("* 61 1 61 *").ends_with("| * 61 1 61 *\n   |   ^"), "{}", shown("* 61 1 61 *"));
        assert!(shown("61").ends_with("\n   | ^"));
    }

    #[test]
    fn the_place_is_shown_with_its_line() {
        let error = mainspring::Error::invalid("steps.a.b.type", "is bad");
        let shown = At::in_json(error, "f.json", TEXT).to_string();
        let expected = "steps.a.b.type: is bad\n  --> f.json:4:21\n   |\n 4 |     \"a.b\": {\"type\": \"x\", \
            \"retry\": {\"n\": 0}},\n   |                     ^";
        assert_eq!(shown, expected);
        let error = mainspring::Error::invalid("flow", "what at line 99 column 99");
        assert!(At::in_json(error, "f.json", TEXT).to_string().contains("f.json:7:2"));
    }
}
