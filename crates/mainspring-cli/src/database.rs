//! Which database, and which tables in it.

use mainspring_core::Result;
use mainspring_pg::{Names, Prefix, Schema, Settings};

use crate::environment::Environment;

/// The variables that name a database, the first that is set counts. libpq's `PGHOST` and its kin fill in what is left open.
const URLS: [&str; 3] = ["MAINSPRING_DATABASE_URL", "WORKFLOW_POSTGRES_URL", "DATABASE_URL"];

#[derive(clap::Args)]
pub(crate) struct DatabaseArgs {
    /// The database: postgres://… or key=value. Defaults to MAINSPRING_DATABASE_URL, then WORKFLOW_POSTGRES_URL, then
    /// DATABASE_URL, then what libpq's variables say.
    #[arg(long, global = true, value_name = "URL")]
    database_url: Option<String>,
    /// The schema of the tables.
    #[arg(long, global = true, default_value = "public")]
    schema: String,
    /// In front of every table's name.
    #[arg(long, global = true, default_value = "ms_")]
    prefix: String,
}

impl DatabaseArgs {
    /// Where the database is.
    ///
    /// # Errors
    /// Invalid, naming the key; the address itself is not repeated.
    pub(crate) fn settings(&self, environment: &Environment) -> Result<Settings> {
        let named = || URLS.iter().find_map(|name| environment.get(name));
        let url = self.database_url.clone().or_else(named);
        Settings::from_vars(|name| match name {
            "DATABASE_URL" => url.clone(),
            name => environment.get(name),
        })
    }

    /// What the tables are called.
    ///
    /// # Errors
    /// Invalid, naming the rule it broke.
    pub(crate) fn names(&self) -> Result<Names> {
        Ok(Names::new(Schema::new(&self.schema)?, Prefix::new(&self.prefix)?))
    }
}
