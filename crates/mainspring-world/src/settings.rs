//! What a world is told from outside: options, environment variables, defaults, in this order.

use std::{fmt, net::IpAddr};

use mainspring_core::{Error, Result};
use mainspring_http::Secret;

use crate::WorldBuilder;

/// Where a world is and whom it calls. What is `None` comes from the environment, and then from the defaults.
#[derive(Clone, Default)]
pub struct WorldSettings {
    /// The database. From `WORKFLOW_POSTGRES_URL`, then `DATABASE_URL`. The default is the facade's affair.
    pub url: Option<String>,
    /// What both sides of a call know. From `WORKFLOW_POSTGRES_SECURITY_TOKEN`; there is no default.
    pub security_token: Option<String>,
    /// Takes a weak security token, on this machine only. From `WORKFLOW_POSTGRES_INSECURE`; defaults to no.
    pub insecure: Option<bool>,
    /// In front of the names of queues. From `WORKFLOW_POSTGRES_JOB_PREFIX`; defaults to `workflow_`.
    pub queue_prefix: Option<String>,
    /// Handlers at the same time, of each queue. From `WORKFLOW_POSTGRES_WORKER_CONCURRENCY`; defaults to 10.
    pub concurrency: Option<usize>,
    /// The application that is called. From `WORKFLOW_POSTGRES_APP_URL`; defaults to this machine.
    pub app_url: Option<String>,
    /// Its port, where the address says none. From `WORKFLOW_POSTGRES_APP_PORT`; defaults to 3000.
    pub app_port: Option<u16>,
}

impl WorldSettings {
    /// Fills in what is not set from the environment: `settings.or_from(|name| std::env::var(name).ok())`.
    ///
    /// # Errors
    /// Invalid, naming the variable.
    pub fn or_from(mut self, variable: impl Fn(&str) -> Option<String>) -> Result<Self> {
        let of = |name: &str| variable(&format!("WORKFLOW_POSTGRES_{name}")).filter(|text| !text.is_empty());
        self.url =
            self.url.or_else(|| of("URL")).or_else(|| variable("DATABASE_URL").filter(|url| !url.is_empty()));
        self.security_token = self.security_token.or_else(|| of("SECURITY_TOKEN"));
        self.queue_prefix = self.queue_prefix.or_else(|| of("JOB_PREFIX"));
        self.app_url = self.app_url.or_else(|| of("APP_URL"));
        if let (None, Some(text)) = (self.insecure, of("INSECURE")) {
            self.insecure = Some(matches!(text.as_str(), "1" | "true"));
        }
        self.concurrency = match (self.concurrency, of("WORKER_CONCURRENCY")) {
            (None, Some(text)) => Some(number("WORKFLOW_POSTGRES_WORKER_CONCURRENCY", &text)?),
            (set, _) => set,
        };
        self.app_port = match (self.app_port, of("APP_PORT")) {
            (None, Some(text)) => Some(number("WORKFLOW_POSTGRES_APP_PORT", &text)?),
            (set, _) => set,
        };
        Ok(self)
    }

    /// The address of the database.
    ///
    /// # Errors
    /// Invalid when there is none.
    pub fn database_url(&self) -> Result<&str> {
        let missing = || Error::invalid("WORKFLOW_POSTGRES_URL", "is not set, nor is DATABASE_URL");
        self.url.as_deref().ok_or_else(missing)
    }

    /// The base of the application's addresses.
    pub fn app_base(&self) -> String {
        let port = self.app_port.unwrap_or(3000);
        self.app_url.clone().unwrap_or_else(|| format!("http://localhost:{port}"))
    }

    /// The secret of both sides of a call.
    ///
    /// # Errors
    /// Invalid when there is none, or when it is short or well known and the application is not on this machine, or nobody
    /// said that it may be insecure.
    pub fn secret(&self) -> Result<Secret> {
        let token = self.security_token.as_deref();
        let token = token.ok_or_else(|| {
            Error::invalid("WORKFLOW_POSTGRES_SECURITY_TOKEN", "is not set, and there is no default")
        })?;
        match Secret::new(token) {
            Err(_) if self.insecure == Some(true) && is_loopback(&self.app_base()) => Secret::insecure(token),
            secret => secret,
        }
    }

    /// Applies what concerns the workers.
    pub fn apply(&self, mut world: WorldBuilder) -> WorldBuilder {
        if let Some(prefix) = &self.queue_prefix {
            world = world.queue_prefix(prefix);
        }
        if let Some(concurrency) = self.concurrency {
            world = world.concurrency(concurrency);
        }
        world
    }
}

fn number<T: std::str::FromStr>(name: &str, text: &str) -> Result<T> {
    text.trim().parse().map_err(|_| Error::invalid(name, format!("`{}` is no number", text.escape_debug())))
}

fn is_loopback(base: &str) -> bool {
    let rest = base.split_once("://").map_or(base, |(_, rest)| rest);
    let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
    let host = authority.rsplit_once('@').map_or(authority, |(_, host)| host);
    let host = match host.strip_prefix('[').and_then(|host| host.split_once(']')) {
        Some((host, _)) => host,
        None => host.split(':').next().unwrap_or_default(),
    };
    host == "localhost" || host.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback())
}

/// Neither the token nor the password of the database.
impl fmt::Debug for WorldSettings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { insecure, queue_prefix, concurrency, app_url, app_port, .. } = self;
        f.debug_struct("WorldSettings")
            .field("url", &self.url.as_ref().map(|_| "[redacted]"))
            .field("security_token", &self.security_token.as_ref().map(|_| "[redacted]"))
            .field("insecure", insecure)
            .field("queue_prefix", queue_prefix)
            .field("concurrency", concurrency)
            .field("app_url", app_url)
            .field("app_port", app_port)
            .finish()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use super::*;

    fn read(settings: WorldSettings, variables: &[(&str, &str)]) -> Result<WorldSettings> {
        let variables: HashMap<&str, &str> = variables.iter().copied().collect();
        settings.or_from(|name| variables.get(name).map(ToString::to_string))
    }

    #[test]
    fn an_option_comes_before_a_variable_and_a_variable_before_the_default() {
        for (option, ours, theirs, expected) in [
            ("option", "ours", "theirs", "option"),
            ("option", "ours", "", "option"),
            ("option", "", "theirs", "option"),
            ("option", "", "", "option"),
            ("", "ours", "theirs", "ours"),
            ("", "ours", "", "ours"),
            ("", "", "theirs", "theirs"),
            ("", "", "", ""),
        ] {
            let set = |text: &str| Some(text.to_owned()).filter(|text| !text.is_empty());
            let settings = WorldSettings { url: set(option), ..WorldSettings::default() };
            // What is set to nothing is not set.
            let variables = [("WORKFLOW_POSTGRES_URL", ours), ("DATABASE_URL", theirs)];
            let found = read(settings, &variables).unwrap();
            assert_eq!(found.database_url().ok().unwrap_or_default(), expected);
        }
        let text = |text: &str| Some(text.to_owned());
        let option = WorldSettings {
            security_token: text("t"),
            insecure: Some(false),
            queue_prefix: text("p"),
            concurrency: Some(3),
            app_url: text("http://a"),
            app_port: Some(1),
            ..WorldSettings::default()
        };
        let variables = [
            ("WORKFLOW_POSTGRES_SECURITY_TOKEN", "variable"),
            ("WORKFLOW_POSTGRES_INSECURE", "true"),
            ("WORKFLOW_POSTGRES_JOB_PREFIX", "variable"),
            ("WORKFLOW_POSTGRES_WORKER_CONCURRENCY", "7"),
            ("WORKFLOW_POSTGRES_APP_URL", "variable"),
            ("WORKFLOW_POSTGRES_APP_PORT", "7"),
        ];
        let all = |s: WorldSettings| {
            (s.security_token, s.insecure, s.queue_prefix, s.concurrency, s.app_url, s.app_port)
        };
        assert_eq!(all(read(option.clone(), &variables).unwrap()), all(option));
        let (token, insecure, prefix, concurrency, url, port) =
            all(read(WorldSettings::default(), &variables).unwrap());
        assert!([token, prefix, url].iter().all(|text| text.as_deref() == Some("variable")));
        assert_eq!((insecure, concurrency, port), (Some(true), Some(7), Some(7)));
        let port = [("WORKFLOW_POSTGRES_APP_PORT", "8080")];
        assert_eq!(read(WorldSettings::default(), &port).unwrap().app_base(), "http://localhost:8080");
        assert_eq!(WorldSettings::default().app_base(), "http://localhost:3000");
        let wrong = [("WORKFLOW_POSTGRES_WORKER_CONCURRENCY", "many")];
        let error = read(WorldSettings::default(), &wrong).unwrap_err().to_string();
        assert!(error.starts_with("WORKFLOW_POSTGRES_WORKER_CONCURRENCY"), "{error}");
    }

    #[test]
    fn a_weak_secret_needs_a_flag_and_this_machine() {
        let of = |token: Option<&str>, insecure, app: &str| {
            let security_token = token.map(ToOwned::to_owned);
            let app_url = Some(app.to_owned());
            WorldSettings { security_token, insecure: Some(insecure), app_url, ..WorldSettings::default() }
                .secret()
        };
        let strong = "b7f2c9d1e5a84036";
        assert!(!of(Some(strong), false, "https://app.example").unwrap().is_insecure());
        assert!(of(None, true, "http://localhost").is_err());
        assert!(of(Some("secret"), false, "http://localhost:3000").is_err());
        assert!(of(Some("secret"), true, "https://app.example").is_err());
        assert!(of(Some("secret"), true, "http://localhost@app.example/localhost").is_err());
        for here in ["http://localhost:3000", "http://127.0.0.1/x", "http://[::1]:3000"] {
            assert!(of(Some("secret"), true, here).unwrap().is_insecure(), "{here}");
        }
    }

    #[test]
    fn nothing_secret_is_shown() {
        let settings = WorldSettings {
            url: Some("postgres://me:hush@db/x".into()),
            security_token: Some("b7f2c9d1e5a84036".into()),
            ..WorldSettings::default()
        };
        let shown = format!("{settings:?}");
        assert!(!shown.contains("hush") && !shown.contains("b7f2"), "{shown}");
    }
}
