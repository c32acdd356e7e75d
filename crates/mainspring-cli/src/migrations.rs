//! Where the tables stand, for people.

use std::fmt::Write;

use mainspring_pg::{MigrationState, Status};

/// One line for each migration, and a note when there is one.
pub fn describe(status: &Status) -> String {
    let mut lines = String::new();
    for (version, name, _, state) in &status.migrations {
        let state = match state {
            MigrationState::Applied(on) => format!("applied {on}"),
            MigrationState::Pending => "pending".to_owned(),
            MigrationState::Newer(on) => format!("applied {on} by a newer version"),
            _ => String::new(),
        };
        let _ = writeln!(lines, "V{version:<3} {name:<12} {state}"); // a string takes everything
    }
    lines.extend(status.note.as_deref());
    lines.trim_end().to_owned()
}
