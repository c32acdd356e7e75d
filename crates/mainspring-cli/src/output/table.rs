//! Tables for people: beside a time stands how long ago it is.

use std::time::{Duration, SystemTime};

use comfy_table::{Cell, CellAlignment, Color, LineStyle, Table, TableStyle};
use mainspring_core::Timestamp;
use serde_json::Value;

/// Most characters of a cell in a table of many.
const CELL: usize = 80;

const RULE: LineStyle = LineStyle::none().fill('─').junction('─');
const STYLE: TableStyle = TableStyle::new().header_separator(RULE);

/// A table of many: a row for each.
pub(super) fn many(names: &[&str], rows: Vec<Vec<Value>>, colour: bool) -> String {
    let mut table = Table::new();
    table.load_style(STYLE).set_header(names.iter().map(|name| name.replace('_', " ")));
    let numbers: Vec<usize> = (0..names.len())
        .filter(|n| rows.iter().any(|row| row.get(*n).is_some_and(Value::is_number)))
        .collect();
    let now = now();
    for row in rows {
        let cells = names.iter().zip(row);
        table.add_row(
            cells.map(|(name, value)| painted(name, &cut(&timed(name, plain(&value), now)), colour)),
        );
    }
    for number in numbers {
        if let Some(column) = table.column_mut(number) {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
    finished(table)
}

/// A table of one: a row for each thing that is said of it.
pub(super) fn one(fields: Vec<(&str, Value)>, colour: bool) -> String {
    let (mut table, now) = (Table::new(), now());
    table.load_style(TableStyle::new());
    for (name, value) in fields {
        let text = match &value {
            Value::Object(_) | Value::Array(_) => serde_json::to_string_pretty(&value).unwrap_or_default(),
            value => timed(name, plain(value), now),
        };
        table.add_row([Cell::new(name.replace('_', " ")), painted(name, &text, colour)]);
    }
    finished(table)
}

fn finished(mut table: Table) -> String {
    for column in table.column_iter_mut() {
        column.set_padding((0, 2));
    }
    table.trim_fmt()
}

/// As text that no terminal takes for a command.
fn plain(value: &Value) -> String {
    match value {
        Value::Null => String::new(),
        Value::String(text) => text
            .chars()
            .flat_map(|c| if c.is_control() { c.escape_default().collect::<Vec<_>>() } else { vec![c] })
            .collect(),
        other => other.to_string(),
    }
}

#[allow(clippy::disallowed_methods, reason = "for eyes: nothing is decided by it")]
fn now() -> Timestamp {
    SystemTime::now().into()
}

/// A time with how far it is from `now`; anything else as it is.
fn timed(name: &str, text: String, now: Timestamp) -> String {
    if !name.ends_with("_at") && !matches!(name, "next" | "last" | "tick") {
        return text;
    }
    match text.parse::<Timestamp>() {
        Ok(at) if at > now => format!("{text} (in {})", length(at.since(now))),
        Ok(at) => format!("{text} ({} ago)", length(now.since(at))),
        Err(_) => text,
    }
}

/// In the largest unit of which there is one.
fn length(span: Duration) -> String {
    let seconds = span.as_secs();
    let units = [(86_400, "d"), (3_600, "h"), (60, "m")];
    let unit = units.into_iter().find(|(unit, _)| seconds >= *unit).unwrap_or((1, "s"));
    format!("{}{}", seconds / unit.0, unit.1)
}

fn cut(text: &str) -> String {
    if text.chars().count() <= CELL {
        return text.to_owned();
    }
    text.chars().take(CELL - 1).chain(['…']).collect()
}

fn painted(name: &str, text: &str, colour: bool) -> Cell {
    let cell = Cell::new(text);
    let painted = match text {
        "completed" | "done" | "applied" => Color::Green,
        "failed" | "dead" | "missing" => Color::Red,
        "running" | "claimed" => Color::Cyan,
        "waiting" | "pending" | "paused" | "cancelling" => Color::Yellow,
        _ => return cell,
    };
    if colour && matches!(name, "status" | "state" | "paused") { cell.fg(painted) } else { cell }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn nothing_reaches_the_terminal_as_a_command() {
        let table = many(&["a_b", "n"], vec![vec![json!("x\u{1b}[2J\ny"), json!(7)]], false);
        assert!(table.starts_with("a b"), "{table}");
        assert!(table.contains(r"x\u{1b}[2J\ny") && !table.contains('\u{1b}'), "{table}");
        assert!(cut(&"é".repeat(200)).chars().count() == CELL);
    }

    #[test]
    fn beside_a_time_stands_how_far_it_is() {
        let now: Timestamp = "2026-01-02T00:00:00Z".parse().unwrap();
        let shown = |name: &str, text: &str| timed(name, text.to_owned(), now);
        assert_eq!(shown("dead_at", "2026-01-01T21:30:00Z"), "2026-01-01T21:30:00Z (2h ago)");
        assert_eq!(shown("next", "2026-01-05T00:00:00Z"), "2026-01-05T00:00:00Z (in 3d)");
        assert_eq!(shown("tick", "2026-01-02T00:00:00Z"), "2026-01-02T00:00:00Z (0s ago)");
        assert_eq!(shown("name", "2026-01-02T00:00:00Z"), "2026-01-02T00:00:00Z");
        assert_eq!(shown("dead_at", ""), "");
    }
}
