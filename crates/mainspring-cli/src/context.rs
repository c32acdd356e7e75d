//! What every command is given: the configuration, the output, and the stores when it asks for them.

use std::{
    io::IsTerminal,
    sync::OnceLock,
    time::{Duration, SystemTime},
};

use mainspring::{Engine, Error, PgStoreOptions, PgStores, Timestamp, upkeep::UpkeepOptions};
use mainspring_pg::{Deadlines, Migrator, Names, Prefix, Schema, Settings, row::get};

use crate::{
    Result,
    config::{Config, Sources, mistyped},
    environment::Environment,
    global::Global,
    libpq,
    output::{Output, colours},
    words::{Moment, Span},
};

/// How much longer we wait for an answer than the server works on it.
const ANSWER: Duration = Duration::from_secs(5);

/// See the module.
pub(crate) struct Context {
    pub(crate) global: Global,
    pub(crate) config: Config,
    pub(crate) environment: Environment,
    pub(crate) output: Output,
    /// Whether logs are lines of JSON.
    pub(crate) logs_json: bool,
    stores: OnceLock<PgStores<'static>>,
}

impl Context {
    /// Reads everything that says something; nothing is connected.
    ///
    /// # Errors
    /// What is wrong with it, and where it stands.
    pub(crate) fn new(global: Global) -> Result<Self> {
        let environment = Environment::here()?;
        let sources =
            Sources::read(global.settings(), &environment, global.config.as_deref(), global.profile.clone())?;
        let config = Config::resolve(&sources)?;
        let output = Output {
            format: config.get("output").unwrap_or_default().parse()?,
            quiet: global.quiet,
            colour: !global.no_color && colours(|name| environment.get(name)),
        };
        let logs_json = match config.get("log_format") {
            Some("json") => true,
            Some("text") => false,
            None => !std::io::stderr().is_terminal(),
            Some(_) => return Err(Error::invalid("log_format", "is neither text nor json").into()),
        };
        for (name, near) in mistyped(environment.names()) {
            output.note(format_args!("warning: nobody reads {name}; did you mean {near}?"));
        }
        Ok(Self { global, config, environment, output, logs_json, stores: OnceLock::new() })
    }

    /// Where the database is.
    ///
    /// # Errors
    /// Invalid, naming the key; the address itself is not repeated.
    pub(crate) fn settings(&self) -> Result<Settings> {
        self.settings_of(self.config.get("database_url"))
    }

    fn settings_of(&self, url: Option<&str>) -> Result<Settings> {
        let service = libpq::service(&self.environment)?;
        let said = |name: &str| {
            service.iter().find(|(variable, _)| *variable == name).map(|(_, value)| value.clone())
        };
        let settings = Settings::from_vars(|name| match name {
            "DATABASE_URL" => url.map(str::to_owned),
            "PGSSLROOTCERT" if self.config.get("ssl_root_cert").is_some() => {
                self.config.get("ssl_root_cert").map(str::to_owned)
            }
            name => said(name).or_else(|| self.environment.get(name)),
        })?;
        let settings = match self.statement_timeout()? {
            Some(limit) => settings.with_statement_timeout(limit),
            None => settings,
        };
        if settings.has_password() {
            return Ok(settings);
        }
        Ok(match libpq::passwords(&self.environment, &self.output)? {
            Some(file) => settings.with_password_of(&file, &self.environment.get("USER").unwrap_or_default()),
            None => settings,
        })
    }

    /// What the tables are called.
    ///
    /// # Errors
    /// Invalid, naming the rule it broke.
    pub(crate) fn names(&self) -> Result<Names> {
        let text = |key| self.config.get(key).unwrap_or_default().to_owned();
        Ok(Names::new(Schema::new(text("schema"))?, Prefix::new(text("prefix"))?))
    }

    /// Where the database is for whoever may change the tables.
    ///
    /// # Errors
    /// As [`settings`](Self::settings).
    pub(crate) fn migrator_settings(&self) -> Result<Settings> {
        self.settings_of(self.config.get("migrate_url").or_else(|| self.config.get("database_url")))
    }

    /// What creates and checks the tables, as whoever may.
    ///
    /// # Errors
    /// As [`settings`](Self::settings) and [`names`](Self::names).
    pub(crate) fn migrator(&self) -> Result<Migrator> {
        let settings = self.migrator_settings()?;
        self.output.note(format_args!("database: {settings}"));
        Ok(Migrator::new(settings, self.names()?))
    }

    /// All stores. Nothing is connected before the first statement.
    ///
    /// # Errors
    /// As [`settings`](Self::settings) and [`names`](Self::names).
    pub(crate) fn stores(&self) -> Result<&PgStores<'static>> {
        if let Some(stores) = self.stores.get() {
            return Ok(stores);
        }
        let stores = PgStores::connect_with(self.settings()?, self.store_options()?)?;
        Ok(self.stores.get_or_init(|| stores))
    }

    /// What the tables are called, and what stays for how long.
    ///
    /// # Errors
    /// Invalid, naming the rule it broke.
    pub(crate) fn store_options(&self) -> Result<PgStoreOptions> {
        let names = self.names()?;
        let mut deadlines = Deadlines::default();
        if let Some(limit) = self.statement_timeout()? {
            deadlines.statement = limit.saturating_add(ANSWER);
        }
        Ok(PgStoreOptions {
            deadlines,
            table_prefix: names.prefix().to_owned(),
            schema: names.schema().to_owned(),
            retention: self.retention()?,
            ..PgStoreOptions::default()
        })
    }

    /// How the upkeep is done.
    ///
    /// # Errors
    /// Invalid, naming the entry.
    pub(crate) fn upkeep_options(&self) -> Result<UpkeepOptions> {
        Ok(UpkeepOptions { retention: self.retention()?, ..UpkeepOptions::default() })
    }

    /// An engine without handlers but the built-in ones, for what can be done to executions from outside.
    ///
    /// # Errors
    /// As [`stores`](Self::stores).
    pub(crate) fn engine(&self) -> Result<Engine> {
        let queue = self.config.get("queue").unwrap_or(mainspring::DEFAULT_QUEUE);
        Ok(Engine::builder(self.stores()?.clone()).queue(queue).build()?)
    }

    /// Whose things are meant, when somebody said so.
    pub(crate) fn tenant(&self) -> Option<String> {
        self.config.get("tenant").map(str::to_owned)
    }

    /// A time that somebody wrote; how long ago goes by the database's clock.
    ///
    /// # Errors
    /// As [`stores`](Self::stores), and those of a statement.
    pub(crate) async fn time_of(&self, moment: Option<Moment>) -> Result<Option<Timestamp>> {
        Ok(match moment {
            None => None,
            Some(Moment::At(at)) => Some(at),
            Some(Moment::Ago(ago)) => {
                let now = self.stores()?.db().one("SELECT {now}()", &[]).await?;
                Some(Timestamp::from(get::<SystemTime>(&now, 0)?) - ago)
            }
        })
    }

    /// How long the server may work on one statement, when somebody said so.
    ///
    /// # Errors
    /// Invalid, when it cannot be read or is nothing.
    pub(crate) fn statement_timeout(&self) -> Result<Option<Duration>> {
        let limit = self.config.parsed::<Span>("statement_timeout")?.map(|Span(span)| span);
        match limit {
            Some(Duration::ZERO) => {
                Err(Error::invalid("statement_timeout", "must be more than nothing").into())
            }
            limit => Ok(limit),
        }
    }

    /// How long the command may take.
    ///
    /// # Errors
    /// Invalid, when it cannot be read.
    pub(crate) fn timeout(&self) -> Result<Option<Duration>> {
        Ok(self.config.parsed::<Span>("timeout")?.map(|Span(span)| span))
    }
}
