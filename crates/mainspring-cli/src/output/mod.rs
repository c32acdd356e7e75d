//! What a command answers: a table for people, JSON, lines of JSON or YAML for programs. Data goes to standard output, remarks to
//! standard error.
//!
//! JSON has a `schema_version`, which grows when a field goes or changes its meaning; new fields may come at any time. Times are
//! RFC 3339 in UTC. Payloads are shown only where they are asked for, with `--data`.

mod column;
mod table;
mod yaml;

use std::{
    io::{self, IsTerminal, Write},
    str::FromStr,
};

use mainspring_core::Error;
use serde_json::{Map, Value, json};

pub(crate) use column::{Column, Show, col, data, detail, maybe, text};

/// Of all JSON that is written here.
const SCHEMA_VERSION: u32 = 1;

/// How data is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Format {
    Table,
    Json,
    Jsonl,
    Yaml,
}

impl FromStr for Format {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        match text {
            "table" => Ok(Self::Table),
            "json" => Ok(Self::Json),
            "jsonl" => Ok(Self::Jsonl),
            "yaml" => Ok(Self::Yaml),
            _ => Err(Error::invalid("output", "is none of table, json, jsonl and yaml")),
        }
    }
}

/// One page of a list.
pub(crate) struct Page<T> {
    pub(crate) items: Vec<T>,
    /// What `--after` says for the next page; `None` for the last.
    pub(crate) next: Option<String>,
}

impl<T> Page<T> {
    /// All there is.
    pub(crate) fn all(items: Vec<T>) -> Self {
        Self { items, next: None }
    }

    /// A page that has a next one when it is full.
    pub(crate) fn keyed(items: Vec<T>, limit: u32, cursor: impl Fn(&T) -> String) -> Self {
        let full = limit > 0 && items.len() >= limit as usize;
        let next = items.last().filter(|_| full).map(cursor);
        Self { items, next }
    }
}

/// Where to and how.
pub(crate) struct Output {
    pub(crate) format: Format,
    pub(crate) quiet: bool,
    pub(crate) colour: bool,
}

impl Output {
    /// A list, or a page of it; payloads only with `with_data`.
    pub(crate) fn list<T>(&self, columns: &[Column<T>], page: &Page<T>, with_data: bool) -> io::Result<()> {
        let object = |item: &T| Self::fields(columns, item, with_data);
        match self.format {
            Format::Json | Format::Yaml => {
                let items: Vec<Value> = page.items.iter().map(|item| Value::Object(object(item))).collect();
                self.raw(&json!({"schema_version": SCHEMA_VERSION, "items": items, "next": page.next}))
            }
            Format::Jsonl => {
                for item in &page.items {
                    self.raw(&versioned(object(item)))?;
                }
                self.more(page.next.as_deref());
                Ok(())
            }
            Format::Table => {
                let shown: Vec<&Column<T>> = columns
                    .iter()
                    .filter(|column| column.show == Show::Always || column.show == Show::Data && with_data)
                    .collect();
                self.line(&Self::table(&shown, &page.items, self.colour))?;
                self.more(page.next.as_deref());
                Ok(())
            }
        }
    }

    /// One thing, with its details; payloads only with `with_data`.
    pub(crate) fn one<T>(&self, columns: &[Column<T>], item: &T, with_data: bool) -> io::Result<()> {
        if self.format == Format::Table {
            let known = columns.iter().filter(|column| column.show != Show::Data || with_data);
            let fields = known.map(|column| (column.name, (column.value)(item)));
            let fields = fields.filter(|(_, value)| !value.is_null()).collect();
            return self.line(&table::one(fields, self.colour));
        }
        self.raw(&versioned(Self::fields(columns, item, with_data)))
    }

    /// A table of many.
    pub(crate) fn table<T>(columns: &[&Column<T>], items: &[T], colour: bool) -> String {
        let names: Vec<&str> = columns.iter().map(|column| column.name).collect();
        let row = |item| columns.iter().map(|column| (column.value)(item)).collect();
        table::many(&names, items.iter().map(row).collect(), colour)
    }

    /// The fields of one thing, for a larger answer.
    pub(crate) fn fields<T>(columns: &[Column<T>], item: &T, with_data: bool) -> Map<String, Value> {
        fields(columns, item, with_data).collect()
    }

    /// What was done: `text` for people, `facts`, an object, for programs.
    pub(crate) fn done(&self, text: &str, facts: Value) -> io::Result<()> {
        match (self.format, facts) {
            (Format::Table, _) => self.line(text),
            (_, Value::Object(facts)) => self.raw(&versioned(facts)),
            (_, facts) => self.raw(&facts),
        }
    }

    /// Text as it is, and a line's end.
    pub(crate) fn line(&self, text: &str) -> io::Result<()> {
        let mut out = io::stdout().lock();
        out.write_all(text.trim_end_matches('\n').as_bytes())?;
        out.write_all(b"\n")?;
        out.flush()
    }

    /// A remark for people.
    pub(crate) fn note(&self, text: impl std::fmt::Display) {
        if !self.quiet {
            eprintln!("{text}");
        }
    }

    fn more(&self, next: Option<&str>) {
        if let Some(next) = next {
            self.note(format_args!("there may be more: --after {next}"));
        }
    }

    fn raw(&self, value: &Value) -> io::Result<()> {
        match self.format {
            Format::Yaml => self.line(&format!("---\n{}", yaml::text(value))),
            _ => self.line(&value.to_string()),
        }
    }
}

fn versioned(mut facts: Map<String, Value>) -> Value {
    facts.insert("schema_version".to_owned(), SCHEMA_VERSION.into());
    Value::Object(facts)
}

fn fields<'a, T>(
    columns: &'a [Column<T>],
    item: &'a T,
    with_data: bool,
) -> impl Iterator<Item = (String, Value)> + 'a {
    let shown = columns.iter().filter(move |column| column.show != Show::Data || with_data);
    shown.map(move |column| (column.name.to_owned(), (column.value)(item)))
}

/// Whether standard output is for eyes: a terminal, unless `NO_COLOR` is set; whatever it is with `CLICOLOR_FORCE`.
pub(crate) fn colours(variable: impl Fn(&str) -> Option<String>) -> bool {
    let forced = variable("CLICOLOR_FORCE").is_some_and(|value| value != "0");
    variable("NO_COLOR").is_none() && (forced || io::stdout().is_terminal())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn colours_are_for_terminals_unless_somebody_says_otherwise() {
        let with = |set: &'static [&str]| colours(|name| set.contains(&name).then(|| "1".to_owned()));
        assert!(with(&["CLICOLOR_FORCE"]));
        assert!(!with(&["CLICOLOR_FORCE", "NO_COLOR"]));
        assert!(!with(&["NO_COLOR"]));
    }

    #[test]
    fn a_full_page_has_a_next_one() {
        assert_eq!(Page::keyed(vec![1, 2], 2, ToString::to_string).next.as_deref(), Some("2"));
        assert_eq!(Page::keyed(vec![1], 2, ToString::to_string).next, None);
    }
}
