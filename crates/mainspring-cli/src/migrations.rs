//! Where the tables stand.

use mainspring_pg::{MigrationState, Status};
use serde_json::Value;

use crate::output::{Column, Output, Page, col, text};

type Line = (i32, String, u64, MigrationState);

const COLUMNS: [Column<Line>; 4] = [
    col("version", |(version, ..)| (*version).into()),
    col("name", |(_, name, ..)| text(name)),
    col("state", |(.., state)| text(word(state))),
    col("applied_at", |(.., state)| match state {
        MigrationState::Applied(on) | MigrationState::Newer(on) => text(on),
        _ => Value::Null,
    }),
];

const fn word(state: &MigrationState) -> &'static str {
    match state {
        MigrationState::Applied(_) => "applied",
        MigrationState::Pending => "pending",
        MigrationState::Newer(_) => "newer",
        _ => "",
    }
}

/// A line for each migration, and a note when there is one.
pub(crate) fn show(output: &Output, status: &Status) -> std::io::Result<()> {
    output.list(&COLUMNS, &Page::all(status.migrations.clone()), false)?;
    if let Some(note) = &status.note {
        output.note(note);
    }
    Ok(())
}
