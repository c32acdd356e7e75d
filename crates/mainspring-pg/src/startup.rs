//! What a new connection is told: address, protection, and the settings of its session.
//!
//! The session settings travel in the startup packet, so they cost no round trip and cannot be forgotten. The server's
//! timeouts are shorter than our own deadlines: the server gives up first and says why.

use std::time::Duration;

use mainspring_core::{Error, Result};
use tokio_postgres::config::Config;

use crate::{
    settings::{Settings, is_local},
    tls::SslMode,
};

/// Sent at connect, before the application's own `options`, which therefore win.
const SESSION: &str = "-c statement_timeout=30s -c lock_timeout=5s -c idle_in_transaction_session_timeout=30s \
    -c TimeZone=UTC -c default_transaction_isolation=read\\ committed -c default_transaction_read_only=off";

const DEFAULT_NAME: &str = concat!("mainspring/", env!("CARGO_PKG_VERSION"));

impl Settings {
    pub(crate) fn config(&self) -> Result<Config> {
        let mode = self.ssl_mode();
        let remote = self.hosts().into_iter().find(|host| !is_local(host));
        if let (SslMode::Prefer, Some(host), false) = (mode, remote, self.allow_plaintext) {
            let problem =
                format!("`prefer` may send everything in plaintext to `{host}`; use verify-full or disable");
            return Err(Error::invalid("sslmode", problem));
        }
        if self.ports.len() > 1 && self.ports.len() != self.hosts().len() {
            return Err(Error::invalid("port", "neither one port nor one for each host"));
        }
        let mut config = Config::new();
        for host in self.hosts() {
            config.host(host);
        }
        for port in &self.ports {
            config.port(*port);
        }
        if let Some(user) = &self.user {
            config.user(user);
        }
        if let Some(password) = &self.password {
            config.password(password);
        }
        if let Some(dbname) = &self.dbname {
            config.dbname(dbname);
        }
        config.application_name(self.application_name.as_deref().unwrap_or(DEFAULT_NAME));
        let own = self.options.as_deref().unwrap_or_default();
        if self.session {
            config.options(format!("{SESSION} {own}").trim_end());
        } else if !own.is_empty() {
            config.options(own);
        }
        config.ssl_mode(match mode {
            SslMode::Disable => tokio_postgres::config::SslMode::Disable,
            SslMode::Prefer => tokio_postgres::config::SslMode::Prefer,
            SslMode::Require | SslMode::VerifyCa | SslMode::VerifyFull => {
                tokio_postgres::config::SslMode::Require
            }
        });
        config.target_session_attrs(self.target_session_attrs());
        config.channel_binding(self.channel_binding);
        config.load_balance_hosts(self.load_balance_hosts);
        config.connect_timeout(self.connect_timeout());
        config.keepalives_idle(Duration::from_secs(10));
        config.keepalives_interval(Duration::from_secs(5));
        config.keepalives_retries(3);
        Ok(config)
    }
}
