//! Where Redis is.

use std::{fmt, time::Duration};

use mainspring_core::{Error, Result};
use redis::{ConnectionAddr, ConnectionInfo, IntoConnectionInfo, ProtocolVersion, RedisConnectionInfo};

/// How several servers belong together.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Kind {
    /// One server.
    #[default]
    Single,
    /// A cluster; some of its nodes are named.
    Cluster,
    /// Sentinels, who know where the master of this name is.
    Sentinel(String),
}

/// Where Redis is and how to get in. Redis 6 or newer, or Valkey.
#[derive(Clone, PartialEq, Eq)]
pub struct RedisOptions {
    /// Host and port of each server; one, unless they are many [of a kind](Self::kind). Defaults to `localhost:6379`.
    pub nodes: Vec<(String, u16)>,
    /// Defaults to one server.
    pub kind: Kind,
    /// Defaults to none.
    pub username: Option<String>,
    /// Defaults to none.
    pub password: Option<String>,
    /// The number of the database; a cluster has but 0, the default.
    pub database: u16,
    /// TLS, by the roots of the system. Defaults to no.
    pub tls: bool,
    /// In front of every key and channel. Databases that share one Redis should have different ones, else they wake each other
    /// for nothing. Defaults to `mainspring:`.
    pub prefix: String,
    /// How long an answer may take, 10 ms to 1 s; then Redis counts as away for a second. Defaults to 250 ms.
    pub deadline: Duration,
}

impl Default for RedisOptions {
    fn default() -> Self {
        Self {
            nodes: vec![("localhost".to_owned(), 6379)],
            kind: Kind::Single,
            username: None,
            password: None,
            database: 0,
            tls: false,
            prefix: "mainspring:".to_owned(),
            deadline: Duration::from_millis(250),
        }
    }
}

impl RedisOptions {
    /// Reads `redis://user:password@host:6379/0`, `redis-cluster://host,host` or `redis-sentinel://host,host/0#master`; with
    /// `rediss` for TLS.
    ///
    /// # Errors
    /// Invalid, without the address, in which there may be a password.
    pub fn parse(address: &str) -> Result<Self> {
        let wrong = |problem: &str| Error::invalid("redis", problem);
        let (scheme, rest) = address.split_once("://").ok_or_else(|| wrong("is not redis://…"))?;
        let (rest, master) = rest.split_once('#').unwrap_or((rest, ""));
        let (scheme, kind) = match scheme {
            "redis" | "rediss" if master.is_empty() => (scheme, Kind::Single),
            "redis-cluster" if master.is_empty() => ("redis", Kind::Cluster),
            "rediss-cluster" if master.is_empty() => ("rediss", Kind::Cluster),
            "redis-sentinel" if !master.is_empty() => ("redis", Kind::Sentinel(master.to_owned())),
            "rediss-sentinel" if !master.is_empty() => ("rediss", Kind::Sentinel(master.to_owned())),
            "redis-sentinel" | "rediss-sentinel" => return Err(wrong("does not name the master after `#`")),
            _ => return Err(wrong("is none of redis://, rediss://, redis-cluster:// and redis-sentinel://")),
        };
        let (who, place) = rest.rsplit_once('@').map_or(("", rest), |(who, place)| (who, place));
        let (hosts, path) = place.split_once('/').map_or((place, ""), |(hosts, path)| (hosts, path));
        let at = if who.is_empty() { "" } else { "@" };
        let mut options = Self { nodes: Vec::new(), kind, tls: scheme == "rediss", ..Self::default() };
        for host in hosts.split(',') {
            let node = format!("{scheme}://{who}{at}{host}/{path}");
            let node = node.into_connection_info().map_err(|_| wrong("cannot be read"))?;
            let (ConnectionAddr::Tcp(name, port) | ConnectionAddr::TcpTls { host: name, port, .. }) =
                node.addr()
            else {
                return Err(wrong("names no host"));
            };
            let settings = node.redis_settings();
            options.nodes.push((name.clone(), *port));
            options.username = settings.username().map(ToOwned::to_owned);
            options.password = settings.password().map(ToOwned::to_owned);
            options.database = u16::try_from(settings.db()).map_err(|_| wrong("has no such database"))?;
        }
        options.check()?;
        Ok(options)
    }

    /// What `WORKFLOW_REDIS_URL` says, else `REDIS_URL`, else the default: `RedisOptions::from_vars(|name| std::env::var(name).ok())`.
    ///
    /// # Errors
    /// Invalid, naming the variable.
    pub fn from_vars(variable: impl Fn(&str) -> Option<String>) -> Result<Self> {
        for name in ["WORKFLOW_REDIS_URL", "REDIS_URL"] {
            if let Some(address) = variable(name).filter(|address| !address.is_empty()) {
                let wrong = |error| Error::invalid(name, "cannot be used").with_source(error);
                return Self::parse(&address).map_err(wrong);
            }
        }
        Ok(Self::default())
    }

    /// Checks the ranges.
    ///
    /// # Errors
    /// Invalid, naming the option and the limit.
    pub fn check(&self) -> Result<()> {
        if self.nodes.is_empty() || self.nodes.iter().any(|(host, _)| host.is_empty()) {
            return Err(Error::invalid("redis.nodes", "names no host"));
        }
        if self.kind == Kind::Single && self.nodes.len() > 1 {
            return Err(Error::invalid("redis.nodes", "are several, but neither a cluster nor sentinels"));
        }
        if self.kind == Kind::Cluster && self.database != 0 {
            return Err(Error::invalid("redis.database", "a cluster has only 0"));
        }
        if self.deadline < Duration::from_millis(10) || self.deadline > Duration::from_secs(1) {
            let problem = format!("{:?} is not within 10 ms to 1 s", self.deadline);
            return Err(Error::invalid("redis.deadline", problem));
        }
        Ok(())
    }

    /// What to connect to, for each node.
    pub(crate) fn addresses(&self) -> Vec<ConnectionAddr> {
        let address = |(host, port): &(String, u16)| match self.tls {
            true => {
                ConnectionAddr::TcpTls { host: host.clone(), port: *port, insecure: false, tls_params: None }
            }
            false => ConnectionAddr::Tcp(host.clone(), *port),
        };
        self.nodes.iter().map(address).collect()
    }

    /// How to get in.
    pub(crate) fn account(&self) -> RedisConnectionInfo {
        let mut account = RedisConnectionInfo::default().set_protocol(ProtocolVersion::RESP3);
        account = account.set_db(i64::from(self.database));
        if let Some(username) = &self.username {
            account = account.set_username(username);
        }
        match &self.password {
            Some(password) => account.set_password(password),
            None => account,
        }
    }

    pub(crate) fn infos(&self) -> redis::RedisResult<Vec<ConnectionInfo>> {
        let info =
            |address: ConnectionAddr| Ok(address.into_connection_info()?.set_redis_settings(self.account()));
        self.addresses().into_iter().map(info).collect()
    }
}

/// Without the password.
impl fmt::Debug for RedisOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RedisOptions")
            .field("nodes", &self.nodes)
            .field("kind", &self.kind)
            .field("username", &self.username)
            .field("password", &self.password.as_ref().map(|_| "[redacted]"))
            .field("database", &self.database)
            .field("tls", &self.tls)
            .field("prefix", &self.prefix)
            .field("deadline", &self.deadline)
            .finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_say_who_where_and_what_kind() {
        let options = RedisOptions::parse("rediss://ada:s%40cret@cache.example:6380/3").unwrap();
        assert_eq!(options.nodes, [("cache.example".to_owned(), 6380)]);
        assert_eq!((options.username.as_deref(), options.password.as_deref()), (Some("ada"), Some("s@cret")));
        assert_eq!((options.database, options.tls, options.kind), (3, true, Kind::Single));
        let options = RedisOptions::parse("redis-cluster://:pw@a:1,b:2,c").unwrap();
        assert_eq!(options.nodes, [("a".to_owned(), 1), ("b".to_owned(), 2), ("c".to_owned(), 6379)]);
        assert_eq!((options.kind, options.password.as_deref()), (Kind::Cluster, Some("pw")));
        let options = RedisOptions::parse("redis-sentinel://s1:26379,s2:26379/1#mymaster").unwrap();
        assert_eq!((options.kind, options.database), (Kind::Sentinel("mymaster".to_owned()), 1));
        assert_eq!(RedisOptions::parse("redis://localhost").unwrap(), RedisOptions::default());
    }

    #[test]
    fn what_is_wrong_is_refused_and_no_password_is_shown() {
        let wrong = [
            "localhost:6379",
            "http://me:hush@localhost",
            "redis://me:hush@localhost:port",
            "redis://me:hush@localhost/nine",
            "redis://me:hush@a,b",
            "redis://me:hush@a#master",
            "redis-sentinel://me:hush@a",
            "redis-cluster://me:hush@a/2",
            "redis://",
        ];
        for address in wrong {
            let error = RedisOptions::parse(address).map(drop).unwrap_err();
            assert!(error.is_invalid(), "{address}");
            assert!(!format!("{error:?}{error}").contains("hush"), "{error:?}");
        }
        let shown = format!("{:?}", RedisOptions::parse("redis://me:hush@localhost").unwrap());
        assert!(!shown.contains("hush") && shown.contains("[redacted]"), "{shown}");
    }

    #[test]
    fn our_variable_comes_before_the_common_one_and_that_before_the_default() {
        let read = |ours: &str, theirs: &str| {
            let (ours, theirs) = (ours.to_owned(), theirs.to_owned());
            RedisOptions::from_vars(move |name| match name {
                "WORKFLOW_REDIS_URL" => Some(ours.clone()),
                "REDIS_URL" => Some(theirs.clone()),
                _ => None,
            })
        };
        let host = |options: RedisOptions| options.nodes[0].0.clone();
        assert_eq!(host(read("redis://ours", "redis://theirs").unwrap()), "ours");
        assert_eq!(host(read("", "redis://theirs").unwrap()), "theirs");
        assert_eq!(host(read("", "").unwrap()), "localhost");
        assert!(read("", "nonsense").unwrap_err().to_string().starts_with("REDIS_URL"));
    }
}
