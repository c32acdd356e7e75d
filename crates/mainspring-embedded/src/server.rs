//! A server that is there already, or one of our own.

use crate::{cluster::Cluster, error::Result, options::Options};
use std::{env, fmt};

/// A Postgres server to use: one that runs already, or a private one.
#[derive(Debug)]
pub enum Server {
    /// Somebody else's server, named by a URL that is used as it is. It is neither started nor stopped.
    External(String),
    /// A server of our own, which stops when this is dropped.
    Owned(Box<Cluster>),
}

impl Server {
    /// The server named by an environment variable (`DATABASE_URL`, or `TEST_DATABASE_URL` for tests), or a
    /// private one when the variable is not set or empty.
    ///
    /// # Errors
    ///
    /// Those of [`Cluster::start`].
    pub fn from_env(variable: &str, options: Options) -> Result<Server> {
        match env::var(variable) {
            Ok(url) if !url.is_empty() => Ok(Server::External(url)),
            _ => Ok(Server::Owned(Box::new(Cluster::start(options)?))),
        }
    }

    /// The URL to connect to: the external one, or that of the private server's `postgres` database.
    pub fn url(&self) -> String {
        match self {
            Server::External(url) => url.clone(),
            Server::Owned(cluster) => cluster.url("postgres"),
        }
    }

    /// The private server, if it is one.
    pub fn cluster(&self) -> Option<&Cluster> {
        match self {
            Server::External(_) => None,
            Server::Owned(cluster) => Some(cluster),
        }
    }
}

/// One line for people: `postgres: 15.18 from /usr/lib/postgresql/15/bin`. It never shows a password.
impl fmt::Display for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Server::External(url) => write!(f, "postgres: {}", without_secrets(url)),
            Server::Owned(cluster) => cluster.fmt(f),
        }
    }
}

/// Host, port and database of a URL; nothing of a `key=value` string, whose parts are harder to tell apart.
fn without_secrets(url: &str) -> String {
    let Some((_scheme, rest)) = url.split_once("://") else { return "an external server".into() };
    let place = rest.rsplit('@').next().unwrap_or_default(); // a password may hold an unescaped `?` or `/`
    format!("external server at {}", place.split('?').next().unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_external_server_is_shown_without_its_password() {
        let check = |url: &str, want: &str| assert_eq!(Server::External(url.into()).to_string(), want);
        check(
            "postgres://me:s3cret@db.example:5432/app?x=y",
            "postgres: external server at db.example:5432/app",
        );
        check("postgres://me:p?s/s@db/app?password=s3cret", "postgres: external server at db/app");
        check("host=db password=s3cret", "postgres: an external server");
    }
}
