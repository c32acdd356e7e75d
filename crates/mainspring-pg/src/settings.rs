//! Where the database is and how to reach it.
//!
//! | host | `sslmode` when not given |
//! |---|---|
//! | a unix socket, `localhost`, a loopback address | `prefer` |
//! | anything else | `verify-full` |
//!
//! With several hosts the one that can be written to is used, also after another has taken over; `target_session_attrs=any` takes
//! the first that answers.
//!
//! `require` verifies the certificate too, which libpq does not. `prefer` falls back to plaintext without a word, so it is
//! refused for a remote host unless [`allow_plaintext`](Settings::allow_plaintext) says so; `disable` says it by itself.

use std::{fmt, net::IpAddr, time::Duration};

use mainspring_core::{Error, Result};
use tokio_postgres::config::{ChannelBinding, LoadBalanceHosts, TargetSessionAttrs};

use crate::{statements::Statements, tls::SslMode, url};

/// How to reach the database. `Debug` and `Display` show it without the password.
#[derive(Clone)]
pub struct Settings {
    pub(crate) hosts: Vec<String>,
    pub(crate) ports: Vec<u16>,
    pub(crate) user: Option<String>,
    pub(crate) password: Option<String>,
    pub(crate) dbname: Option<String>,
    pub(crate) ssl_mode: Option<SslMode>,
    pub(crate) ssl_root_cert: Option<String>,
    pub(crate) application_name: Option<String>,
    pub(crate) connect_timeout: Option<Duration>,
    pub(crate) options: Option<String>,
    pub(crate) target_session_attrs: Option<TargetSessionAttrs>,
    pub(crate) channel_binding: ChannelBinding,
    pub(crate) load_balance_hosts: LoadBalanceHosts,
    pub(crate) allow_plaintext: bool,
    pub(crate) session: bool,
    pub(crate) statements: Statements,
}

/// `localhost:5432`, the user and database named after the operating system's user.
impl Default for Settings {
    fn default() -> Self {
        Self {
            hosts: Vec::new(),
            ports: Vec::new(),
            user: None,
            password: None,
            dbname: None,
            ssl_mode: None,
            ssl_root_cert: None,
            application_name: None,
            connect_timeout: None,
            options: None,
            target_session_attrs: None,
            channel_binding: ChannelBinding::Prefer,
            load_balance_hosts: LoadBalanceHosts::Disable,
            allow_plaintext: false,
            session: true,
            statements: Statements::Named,
        }
    }
}

/// libpq's variables and the keys they stand for. Explicit settings win.
const VARIABLES: &[(&str, &str)] = &[
    ("PGHOST", "host"),
    ("PGPORT", "port"),
    ("PGUSER", "user"),
    ("PGPASSWORD", "password"),
    ("PGDATABASE", "dbname"),
    ("PGSSLMODE", "sslmode"),
    ("PGSSLROOTCERT", "sslrootcert"),
    ("PGAPPNAME", "application_name"),
    ("PGCONNECT_TIMEOUT", "connect_timeout"),
    ("PGOPTIONS", "options"),
];

const KEYS: &str = "host, port, user, password, dbname, sslmode, sslrootcert, application_name, connect_timeout, \
    options, target_session_attrs, channel_binding, load_balance_hosts and pooler";

impl Settings {
    /// Reads `postgres://user:password@host:port/dbname?sslmode=…` or libpq's `host=… user=…`. In a URL, `@ / # % :` in a
    /// user name or password are written `%40 %2F %23 %25 %3A`. No environment variable is read.
    ///
    /// # Errors
    /// [`Invalid`](mainspring_core::ErrorKind::Invalid), without repeating the text.
    pub fn parse(text: &str) -> Result<Self> {
        let mut settings = Self::default();
        for (key, value) in url::parse(text)? {
            settings.set(&key, &value)?;
        }
        Ok(settings)
    }

    /// Reads `DATABASE_URL`, and for what it leaves open `PGHOST PGPORT PGUSER PGPASSWORD PGDATABASE PGSSLMODE
    /// PGSSLROOTCERT PGAPPNAME PGCONNECT_TIMEOUT PGOPTIONS`. An empty variable counts as unset.
    ///
    /// # Errors
    /// [`Invalid`](mainspring_core::ErrorKind::Invalid), naming the variable.
    pub fn from_env() -> Result<Self> {
        Self::from_vars(|name| std::env::var(name).ok())
    }

    /// [`from_env`](Self::from_env) with another source of variables.
    ///
    /// # Errors
    /// As [`from_env`](Self::from_env).
    pub fn from_vars(var: impl Fn(&str) -> Option<String>) -> Result<Self> {
        let var = |name: &str| var(name).filter(|value| !value.is_empty());
        let explicit = match var("DATABASE_URL") {
            Some(text) => url::parse(&text)?,
            None => Vec::new(),
        };
        let mut settings = Self::default();
        // A port belongs to its host: PGPORT must not redirect a host of the URL.
        let host_given = explicit.iter().any(|(key, _)| key == "host");
        for (name, key) in VARIABLES {
            let given = explicit.iter().any(|(other, _)| other == key) || (*key == "port" && host_given);
            if let (Some(value), false) = (var(name), given) {
                settings.set(key, &value).map_err(|error| Error::invalid(name, error))?;
            }
        }
        for (key, value) in explicit {
            settings.set(&key, &value)?;
        }
        Ok(settings)
    }

    /// The same settings with one of libpq's keys set, such as `host` or `password`.
    ///
    /// # Errors
    /// [`Invalid`](mainspring_core::ErrorKind::Invalid) for an unknown key or an unusable value.
    pub fn with(mut self, key: &str, value: &str) -> Result<Self> {
        self.set(key, value)?;
        Ok(self)
    }

    /// Accepts that `prefer` may send everything, the password included, in plaintext to a remote host.
    #[must_use]
    pub fn allow_plaintext(mut self) -> Self {
        self.allow_plaintext = true;
        self
    }

    /// For a pooler in transaction mode such as PgBouncer: no session settings are sent, and statements as it can pass them
    /// on. Set the timeouts on the role. The key is `pooler`: `transaction` for statements without names, `named` for a
    /// PgBouncer from 1.21 on with `max_prepared_statements`.
    #[must_use]
    pub fn through_pooler(mut self, statements: Statements) -> Self {
        self.session = false;
        self.statements = statements;
        self
    }

    /// Whether connections go through a pooler in transaction mode, which passes no hints on: listen beside it.
    pub fn is_pooled(&self) -> bool {
        !self.session
    }

    /// How statements reach the server.
    pub fn statements(&self) -> Statements {
        self.statements
    }

    fn set(&mut self, key: &str, value: &str) -> Result<()> {
        let text = || Some(value.to_owned());
        match key {
            "host" => self.hosts = value.split(',').map(str::to_owned).collect(),
            "port" => {
                let port = |part: &str| part.trim().parse().ok().filter(|port| *port != 0);
                let ports: Option<Vec<u16>> = value.split(',').map(port).collect();
                self.ports = ports.ok_or_else(|| Error::invalid("port", "not a number from 1 to 65535"))?;
            }
            "user" => self.user = text(),
            "password" => self.password = text(),
            "dbname" => self.dbname = text(),
            "sslmode" => self.ssl_mode = Some(value.parse()?),
            "sslrootcert" => self.ssl_root_cert = text(),
            "application_name" => self.application_name = text(),
            "connect_timeout" => {
                let seconds: u64 = value
                    .parse()
                    .map_err(|_| Error::invalid("connect_timeout", "not a number of seconds"))?;
                self.connect_timeout = Some(Duration::from_secs(seconds)).filter(|limit| !limit.is_zero());
            }
            "options" => self.options = text(),
            "pooler" => {
                *self = match value {
                    "transaction" => std::mem::take(self).through_pooler(Statements::Unnamed),
                    "named" => std::mem::take(self).through_pooler(Statements::Named),
                    _ => return Err(Error::invalid(key, "known are transaction and named")),
                }
            }
            "target_session_attrs" => {
                self.target_session_attrs = Some(match value {
                    "any" => TargetSessionAttrs::Any,
                    "read-write" => TargetSessionAttrs::ReadWrite,
                    "read-only" => TargetSessionAttrs::ReadOnly,
                    _ => return Err(Error::invalid(key, "known are any, read-write and read-only")),
                });
            }
            "channel_binding" => {
                self.channel_binding = match value {
                    "disable" => ChannelBinding::Disable,
                    "prefer" => ChannelBinding::Prefer,
                    "require" => ChannelBinding::Require,
                    _ => return Err(Error::invalid(key, "known are disable, prefer and require")),
                }
            }
            "load_balance_hosts" => {
                self.load_balance_hosts = match value {
                    "disable" => LoadBalanceHosts::Disable,
                    "random" => LoadBalanceHosts::Random,
                    _ => return Err(Error::invalid(key, "known are disable and random")),
                }
            }
            _ => {
                // Part of a password with a space in it lands here too, so only what looks like a key is shown.
                let plain =
                    key.len() <= 30 && key.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_');
                let shown = if plain { format!("unknown key `{key}`") } else { "unknown key".into() };
                return Err(Error::invalid("database url", format!("{shown}; known are {KEYS}")));
            }
        }
        Ok(())
    }

    pub(crate) fn hosts(&self) -> Vec<&str> {
        let hosts: Vec<&str> =
            self.hosts.iter().map(String::as_str).filter(|host| !host.is_empty()).collect();
        if hosts.is_empty() { vec!["localhost"] } else { hosts }
    }

    /// How the connection will be protected.
    pub fn ssl_mode(&self) -> SslMode {
        let local = self.hosts().into_iter().all(is_local);
        self.ssl_mode.unwrap_or(if local { SslMode::Prefer } else { SslMode::VerifyFull })
    }

    /// Of several hosts the one that can be written to, unless something else was asked for: the others follow it, and what
    /// they answer may be old.
    pub(crate) fn target_session_attrs(&self) -> TargetSessionAttrs {
        let several = self.hosts().len() > 1;
        let usual = if several { TargetSessionAttrs::ReadWrite } else { TargetSessionAttrs::Any };
        self.target_session_attrs.unwrap_or(usual)
    }

    pub(crate) fn ssl_root_cert(&self) -> Option<&str> {
        self.ssl_root_cert.as_deref().filter(|path| *path != "system")
    }

    /// The same with this limit on connecting; the key `connect_timeout` knows whole seconds only.
    #[must_use]
    pub fn with_connect_timeout(mut self, limit: Duration) -> Self {
        self.connect_timeout = Some(limit);
        self
    }

    /// The same where the server ends a statement after so long, to the millisecond; zero is never. A pooler does not pass it on.
    #[must_use]
    pub fn with_statement_timeout(mut self, limit: Duration) -> Self {
        let own = self.options.unwrap_or_default();
        self.options = Some(format!("{own} -c statement_timeout={}", limit.as_millis()).trim().to_owned());
        self
    }

    pub(crate) fn connect_timeout(&self) -> Duration {
        self.connect_timeout.unwrap_or(Duration::from_secs(5))
    }
}

pub(crate) fn is_local(host: &str) -> bool {
    host.starts_with(['/', '@'])
        || host.eq_ignore_ascii_case("localhost")
        || host.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
}

/// As a URL with the password as `***`.
impl fmt::Display for Settings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("postgres://")?;
        if let Some(user) = &self.user {
            f.write_str(&url::encoded(user))?;
        }
        if self.password.is_some() {
            f.write_str(":***")?;
        }
        if self.user.is_some() || self.password.is_some() {
            f.write_str("@")?;
        }
        for (i, host) in self.hosts().into_iter().enumerate() {
            let host = if host.contains(':') { format!("[{host}]") } else { url::encoded(host) };
            write!(f, "{}{host}", if i > 0 { "," } else { "" })?;
            if let Some(port) = self.ports.get(i).or(self.ports.first()) {
                write!(f, ":{port}")?;
            }
        }
        let dbname = url::encoded(self.dbname.as_deref().unwrap_or_default());
        write!(f, "/{dbname}?sslmode={}", self.ssl_mode().as_str())
    }
}

impl fmt::Debug for Settings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Settings({self})")
    }
}
