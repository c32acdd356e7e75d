//! Reads from the migrations which tables, columns and types a finished schema has.
//!
//! It knows the few statements the migrations use: CREATE TABLE, ALTER TABLE with ADD, DROP, RENAME and ALTER … TYPE, DROP,
//! and the names of sequences, functions, types and views, with RENAME TO of a function. What it does not know it skips;
//! `RENAME TO` of a table it refuses.

/// What the statements read so far add up to.
#[derive(Debug, Default)]
pub(crate) struct Schema {
    /// Table, without prefix, and its columns with their types, as written.
    pub(crate) tables: Vec<(String, Vec<(String, String)>)>,
    /// Kind and name of everything else, in the order of creation.
    pub(crate) others: Vec<(String, String)>,
    /// Bytes of the longest name after the prefix.
    pub(crate) longest_suffix: usize,
}

impl Schema {
    /// Adds one migration.
    pub(crate) fn read(&mut self, sql: &str) -> Result<(), String> {
        for (at, _) in sql.match_indices('{') {
            let after = &sql[at + 1..];
            let word = placeholder(&sql[at..]).unwrap_or_default();
            let name = match word {
                "schema" => "",
                "prefix" => {
                    let rest = &after[word.len() + 1..];
                    &rest[..rest.find(|c: char| !c.is_ascii_alphanumeric() && c != '_').unwrap_or(rest.len())]
                }
                word => word,
            };
            self.longest_suffix = self.longest_suffix.max(name.len());
        }
        bare(sql).split(';').try_for_each(|statement| self.statement(statement.trim()))
    }

    fn statement(&mut self, text: &str) -> Result<(), String> {
        let mut words = Words(text);
        match words.next().as_str() {
            "CREATE" => {
                let mut kind = words.next();
                while ["OR", "REPLACE", "UNLOGGED", "MATERIALIZED", "UNIQUE"].contains(&kind.as_str()) {
                    kind = words.next();
                }
                words.skip(&["IF", "NOT", "EXISTS"]);
                let Some(name) = words.name() else { return Ok(()) };
                if kind == "TABLE" {
                    let columns = if words.0.starts_with('(') { columns(words.0) } else { Vec::new() };
                    self.tables.push((name, columns));
                } else if ["SEQUENCE", "FUNCTION", "PROCEDURE", "TYPE", "VIEW", "DOMAIN"]
                    .contains(&kind.as_str())
                {
                    let other = (kind, name);
                    if !self.others.contains(&other) {
                        self.others.push(other);
                    }
                }
            }
            "DROP" => {
                let kind = words.next();
                words.skip(&["IF", "EXISTS"]);
                let Some(name) = words.name() else { return Ok(()) };
                self.tables.retain(|(table, _)| kind != "TABLE" || *table != name);
                self.others.retain(|other| *other != (kind.clone(), name.clone()));
            }
            "ALTER" => {
                let kind = words.next();
                if kind == "FUNCTION" {
                    self.rename(&kind, &mut words);
                }
                if kind != "TABLE" {
                    return Ok(());
                }
                words.skip(&["IF", "EXISTS", "ONLY"]);
                let Some(name) = words.name() else { return Ok(()) };
                let table = self.tables.iter_mut().find(|(table, _)| *table == name);
                let (_, columns) =
                    table.ok_or(format!("ALTER TABLE of `{name}`, which no migration created"))?;
                split(words.0).into_iter().try_for_each(|action| alter(columns, action))?;
            }
            _ => {}
        }
        Ok(())
    }

    /// `name(…) RENAME TO {prefix}name`.
    fn rename(&mut self, kind: &str, words: &mut Words<'_>) {
        let Some(name) = words.name() else { return };
        let Some((_, to)) = words.0.split_once("RENAME TO {prefix}") else { return };
        let old = self.others.iter_mut().find(|other| other.0 == kind && other.1 == name);
        if let Some(old) = old {
            old.1 = to.trim().to_owned();
        }
    }
}

fn alter(columns: &mut Vec<(String, String)>, action: &str) -> Result<(), String> {
    let mut words = Words(action);
    let verb = words.next();
    words.skip(&["COLUMN"]);
    match verb.as_str() {
        "ADD" => {
            words.skip(&["IF", "NOT", "EXISTS"]);
            columns.extend(column(words.0));
        }
        "DROP" => {
            words.skip(&["IF", "EXISTS"]);
            let name = words.next().to_lowercase();
            columns.retain(|(column, _)| *column != name);
        }
        "RENAME" => {
            let from = words.next().to_lowercase();
            if from == "to" {
                return Err("RENAME TO of a table is not understood here".into());
            }
            words.skip(&["TO"]);
            let to = words.next().to_lowercase();
            columns
                .iter_mut()
                .filter(|(column, _)| *column == from)
                .for_each(|(column, _)| column.clone_from(&to));
        }
        "ALTER" => {
            let name = words.next().to_lowercase();
            words.skip(&["SET", "DATA"]);
            if words.next() == "TYPE" {
                let changed = column(&format!("{name} {}", words.0));
                columns.iter_mut().filter(|(column, _)| *column == name).for_each(|old| {
                    if let Some(new) = &changed {
                        old.clone_from(new);
                    }
                });
            }
        }
        _ => {}
    }
    Ok(())
}

/// The columns of `( … ) …`.
fn columns(text: &str) -> Vec<(String, String)> {
    let mut depth = 0;
    let end = text.char_indices().find(|(_, c)| {
        depth += i32::from(*c == '(') - i32::from(*c == ')');
        depth == 0
    });
    let inner = &text[1..end.map_or(text.len(), |(at, _)| at)];
    split(inner).into_iter().filter_map(column).collect()
}

/// `name type …`, unless it is a constraint.
fn column(text: &str) -> Option<(String, String)> {
    const NOT_COLUMNS: &[&str] = &["CONSTRAINT", "PRIMARY", "UNIQUE", "CHECK", "FOREIGN", "EXCLUDE", "LIKE"];
    const AFTER_TYPE: &[&str] = &[
        "NOT",
        "NULL",
        "DEFAULT",
        "PRIMARY",
        "REFERENCES",
        "CHECK",
        "UNIQUE",
        "GENERATED",
        "COLLATE",
        "CONSTRAINT",
        "STORAGE",
        "COMPRESSION",
        "USING",
    ];
    let mut words = text.split_whitespace();
    let name = words.next()?;
    if NOT_COLUMNS.contains(&name.to_uppercase().as_str()) {
        return None;
    }
    let kind: Vec<&str> =
        words.take_while(|word| !AFTER_TYPE.contains(&word.to_uppercase().as_str())).collect();
    let kind = match kind.join(" ").to_lowercase().as_str() {
        "smallserial" => "smallint".into(),
        "serial" => "integer".into(),
        "bigserial" => "bigint".into(),
        other => other.to_owned(),
    };
    Some((name.trim_matches('"').to_lowercase(), kind))
}

/// Splits at commas outside parentheses.
fn split(text: &str) -> Vec<&str> {
    let mut depth = 0;
    text.split(|c: char| {
        depth += i32::from(c == '(') - i32::from(c == ')');
        c == ',' && depth == 0
    })
    .map(str::trim)
    .collect()
}

/// The text without comments, and with every quoted text empty.
fn bare(sql: &str) -> String {
    let mut out = String::new();
    let mut rest = sql;
    while let Some(c) = rest.chars().next() {
        let skipped = if rest.starts_with("--") {
            rest.find('\n')
        } else if rest.starts_with("/*") {
            rest.find("*/").map(|at| at + 2)
        } else if c == '\'' {
            out.push_str("''");
            rest[1..].find('\'').map(|at| at + 2)
        } else if let Some(tag) = dollar_tag(rest) {
            out.push_str("''");
            rest[tag.len()..].find(tag).map(|at| at + 2 * tag.len())
        } else {
            out.push(c);
            Some(c.len_utf8())
        };
        rest = skipped.map_or("", |skipped| &rest[skipped..]);
    }
    out
}

/// `$$` or `$body$` at the beginning.
fn dollar_tag(text: &str) -> Option<&str> {
    let rest = text.strip_prefix('$')?;
    let end = rest.find('$')?;
    rest[..end].bytes().all(|byte| byte.is_ascii_alphabetic() || byte == b'_').then(|| &text[..end + 2])
}

fn placeholder(text: &str) -> Option<&str> {
    let (word, _) = text.strip_prefix('{')?.split_once('}')?;
    (!word.is_empty() && word.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_')).then_some(word)
}

struct Words<'a>(&'a str);

impl Words<'_> {
    /// The next word in upper case.
    fn next(&mut self) -> String {
        let text = self.0.trim_start();
        let end = text.find(|c: char| c.is_whitespace() || c == '(').unwrap_or(text.len());
        let (word, rest) = text.split_at(end);
        self.0 = rest.trim_start();
        word.to_uppercase()
    }

    fn skip(&mut self, words: &[&str]) {
        loop {
            let mut ahead = Words(self.0);
            if !words.contains(&ahead.next().as_str()) {
                return;
            }
            self.0 = ahead.0;
        }
    }

    /// A name of ours: `{word}` or `{schema}.{prefix}word`.
    fn name(&mut self) -> Option<String> {
        if let Some(rest) = self.0.strip_prefix("{schema}.{prefix}") {
            let end = rest.find(|c: char| !c.is_ascii_alphanumeric() && c != '_').unwrap_or(rest.len());
            let (name, rest) = rest.split_at(end);
            self.0 = rest.trim_start();
            return Some(name.to_owned());
        }
        let word = placeholder(self.0)?;
        self.0 = self.0[word.len() + 2..].trim_start();
        Some(word.to_owned())
    }
}
