//! What a role needs that uses the tables and does not own them.

use mainspring_core::{Error, Result};

use crate::{
    migrate::{Migrator, OTHERS, TABLES},
    names::quoted,
};

/// Longest name of a role; Postgres cuts longer ones.
const LONGEST_ROLE: usize = 63;

impl Migrator {
    /// The grants for `role` as a script for psql: to read and write every table of these names, and nothing else. No database
    /// is needed. What makes, drops or empties partitions of the log stays with the owner.
    ///
    /// # Errors
    /// Invalid, when no role can be called so.
    pub fn grants(&self, role: &str) -> Result<String> {
        if role.is_empty() || role.len() > LONGEST_ROLE || role.chars().any(char::is_control) {
            let problem =
                format!("a role has a name of 1 to {LONGEST_ROLE} bytes without control characters");
            return Err(Error::invalid("role", problem));
        }
        let (names, role) = (self.names(), quoted(role));
        let mut out = format!("GRANT USAGE ON SCHEMA {} TO {role};\n", quoted(names.schema()));
        for (table, _) in TABLES {
            out += &format!("GRANT SELECT, INSERT, UPDATE, DELETE ON {} TO {role};\n", names.table(table));
        }
        out += &format!("GRANT SELECT ON {} TO {role};\n", names.table("schema_history"));
        for (_, sequence) in OTHERS.iter().filter(|(kind, _)| *kind == "SEQUENCE") {
            out += &format!("GRANT SELECT, USAGE ON SEQUENCE {} TO {role};\n", names.table(sequence));
        }
        for (_, view) in OTHERS.iter().filter(|(kind, _)| *kind == "VIEW") {
            out += &format!("GRANT SELECT ON {} TO {role};\n", names.table(view));
        }
        Ok(out)
    }
}
