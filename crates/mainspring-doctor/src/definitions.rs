//! Functions and views as the migrations define them, for comparison and for mending.

use std::collections::BTreeMap;

use mainspring_pg::Names;

/// What the migrations add up to.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Definitions {
    /// Name, without prefix, and definition of each function.
    pub(crate) functions: BTreeMap<String, Function>,
    /// Name and definition of each view.
    pub(crate) views: BTreeMap<String, String>,
}

/// One function.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Function {
    /// What creates it or replaces what is there.
    pub(crate) text: String,
    /// What is between its dollar signs.
    pub(crate) body: String,
}

impl Definitions {
    /// Reads the script of all migrations, names in place. Statements begin a line, as those of our migrations do.
    pub(crate) fn read(script: &str, names: &Names) -> Self {
        let table = names.table("");
        let ours = table.strip_suffix('"').unwrap_or(&table);
        let mut found = Self::default();
        let mut rest = script;
        while let Some((statement, after)) = next_statement(rest) {
            rest = after;
            let Some((verb, from)) = statement.split_once(ours) else { continue };
            let Some((name, tail)) = from.split_once('"') else { continue };
            found.apply(verb.trim(), name, tail, statement, names.prefix());
        }
        found
    }

    fn apply(&mut self, verb: &str, name: &str, tail: &str, statement: &str, prefix: &str) {
        let text = || statement.replacen("CREATE FUNCTION", "CREATE OR REPLACE FUNCTION", 1);
        match verb {
            "CREATE FUNCTION" | "CREATE OR REPLACE FUNCTION" => {
                let body = body(statement).map_or_else(String::new, |(_, body, _)| body.to_owned());
                self.functions.insert(name.to_owned(), Function { text: text(), body });
            }
            "DROP FUNCTION" => drop(self.functions.remove(name)),
            "ALTER FUNCTION" => {
                let Some((_, to)) = tail.split_once("RENAME TO ") else { return };
                let to = to.trim_end_matches(';').trim();
                let to = to.strip_prefix(prefix).unwrap_or(to);
                if let Some(mut function) = self.functions.remove(name) {
                    function.text = function.text.replacen(&format!("{name}\""), &format!("{to}\""), 1);
                    self.functions.insert(to.to_owned(), function);
                }
            }
            "CREATE VIEW" | "CREATE OR REPLACE VIEW" => {
                let text = statement.replacen("CREATE VIEW", "CREATE OR REPLACE VIEW", 1);
                self.views.insert(name.to_owned(), text);
            }
            "DROP VIEW" => drop(self.views.remove(name)),
            _ => {}
        }
    }
}

const BEGINNINGS: [&str; 7] = [
    "CREATE FUNCTION ",
    "CREATE OR REPLACE FUNCTION ",
    "ALTER FUNCTION ",
    "DROP FUNCTION ",
    "CREATE VIEW ",
    "CREATE OR REPLACE VIEW ",
    "DROP VIEW ",
];

/// The next statement about a function or view, its semicolon included, and what comes after it.
fn next_statement(text: &str) -> Option<(&str, &str)> {
    let begins = |at: usize| BEGINNINGS.iter().any(|beginning| text[at..].starts_with(beginning));
    let lines = std::iter::once(0).chain(text.match_indices('\n').map(|(at, _)| at + 1));
    let start = lines.into_iter().find(|at| begins(*at))?;
    let statement = &text[start..];
    let head = statement.find(';').unwrap_or(statement.len());
    // A body has semicolons of its own.
    let end = match body(statement).filter(|(begin, ..)| statement.starts_with("CREATE") && *begin < head) {
        Some((_, _, end)) => end + statement[end..].find(';')? + 1,
        None => head + 1,
    };
    Some((&statement[..end], &statement[end..]))
}

/// Where the first text in dollar signs begins, the text, and where it ends.
fn body(text: &str) -> Option<(usize, &str, usize)> {
    let begin = text.find("$$")?;
    let body = &text[begin + 2..];
    let length = body.find("$$")?;
    Some((begin, &body[..length], begin + length + 4))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_replaced_renamed_and_dropped_counts_as_it_is_at_the_end() {
        let script = "CREATE FUNCTION \"public\".\"ms_a\"() RETURNS int AS $$ one; $$;\n\
             CREATE FUNCTION \"public\".\"ms_b\"(x text[]) RETURNS int\n  AS $$ two; $$ LANGUAGE sql;\n\
             CREATE FUNCTION \"public\".\"ms_c\"() RETURNS int AS $$ three $$;\n\
             CREATE OR REPLACE FUNCTION \"public\".\"ms_a\"() RETURNS int AS $$ four; $$;\n\
             ALTER FUNCTION \"public\".\"ms_b\"(text[]) RENAME TO ms_old;\n\
             CREATE FUNCTION \"public\".\"ms_b\"() RETURNS int AS $$ five $$;\n\
             ALTER FUNCTION \"public\".\"ms_b\"() RESET ALL;\nDROP FUNCTION \"public\".\"ms_c\"();\n\
             CREATE VIEW \"public\".\"ms_v\" AS SELECT 1;\n";
        let found = Definitions::read(script, &Names::default());
        let bodies: Vec<(&str, &str)> =
            found.functions.iter().map(|(name, function)| (&**name, &*function.body)).collect();
        assert_eq!(bodies, [("a", " four; "), ("b", " five "), ("old", " two; ")]);
        assert!(
            found.functions["old"]
                .text
                .starts_with("CREATE OR REPLACE FUNCTION \"public\".\"ms_old\"(x text[])")
        );
        assert!(found.functions["old"].text.ends_with("LANGUAGE sql;"));
        assert_eq!(found.views["v"], "CREATE OR REPLACE VIEW \"public\".\"ms_v\" AS SELECT 1;");
    }
}
