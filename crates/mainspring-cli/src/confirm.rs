//! Asking before something is done to many.

use std::io::{self, BufRead, IsTerminal, Write};

use serde_json::json;

use crate::{Context, Result, report::Refused};

impl Context {
    /// Whether `verb` is to be done to `count` `things`: it is when somebody said `--yes` or says so now. With `--dry-run` the
    /// count is the answer, and there is nothing to do.
    ///
    /// # Errors
    /// [`Refused`], when nobody is there who could say so, or says no.
    pub(crate) fn confirmed(&self, verb: &str, count: u64, things: &str) -> Result<bool> {
        if self.global.dry_run {
            let facts = json!({"dry_run": true, "action": verb, "count": count});
            self.output.done(&format!("would {verb} {count} {things}"), facts)?;
            return Ok(false);
        }
        if self.global.yes || count == 0 {
            return Ok(true);
        }
        if self.global.no_input || !io::stdin().is_terminal() {
            let problem = format!("would {verb} {count} {things}, and nobody is there to ask: say --yes");
            return Err(Refused(problem).into());
        }
        eprint!("{verb} {count} {things}? [y/N] ");
        io::stderr().flush()?;
        let mut answer = String::new();
        io::stdin().lock().read_line(&mut answer)?;
        match answer.trim() {
            "y" | "Y" | "yes" => Ok(true),
            _ => Err(Refused(format!("{things} are left as they are")).into()),
        }
    }

    /// Whether `verb` is to be done to this one, which was named: unless it is a `--dry-run`.
    pub(crate) fn confirmed_one(&self, verb: &str, name: &str) -> Result<bool> {
        if self.global.dry_run {
            let facts = json!({"dry_run": true, "action": verb, "count": 1});
            self.output.done(&format!("would {verb} {name}"), facts)?;
        }
        Ok(!self.global.dry_run)
    }
}
