//! What can be configured, and under which names.

/// What of a value must not be shown.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Secrecy {
    /// Nothing is secret.
    Open,
    /// The password in an address is.
    Address,
    /// All of it is.
    Secret,
}

/// One thing that can be configured.
pub(crate) struct Key {
    /// Its name in files. With `MAINSPRING_` in front, in capitals, it is a variable; with `_FILE` behind that, the variable
    /// names a file that holds the value.
    pub(crate) name: &'static str,
    /// What it is.
    pub(crate) what: &'static str,
    /// Variables of others that say the same, in the order they are asked, after everything else.
    pub(crate) others: &'static [&'static str],
    /// Where nobody says anything.
    pub(crate) default: Option<&'static str>,
    pub(crate) secrecy: Secrecy,
}

impl Key {
    /// The variable of this name.
    pub(crate) fn variable(&self) -> String {
        format!("MAINSPRING_{}", self.name.to_uppercase())
    }
}

const fn key(name: &'static str, what: &'static str, others: &'static [&'static str]) -> Key {
    Key { name, what, others, default: None, secrecy: Secrecy::Open }
}

impl Key {
    const fn or(mut self, default: &'static str) -> Self {
        self.default = Some(default);
        self
    }

    const fn address(mut self) -> Self {
        self.secrecy = Secrecy::Address;
        self
    }

    const fn secret(mut self) -> Self {
        self.secrecy = Secrecy::Secret;
        self
    }
}

/// All of them.
pub(crate) const KEYS: &[Key] = &[
    key(
        "database_url",
        "the database; what it leaves open, libpq's variables say",
        &["WORKFLOW_POSTGRES_URL", "POSTGRES_CONNECTION_STRING", "DATABASE_URL"],
    )
    .address(),
    key("migrate_url", "the database as whoever may change tables; else database_url", &[]).address(),
    key("ssl_root_cert", "file of the certificates that are trusted", &["PG_CA_CERT"]),
    key("schema", "the schema of the tables", &[]).or("public"),
    key("prefix", "in front of every table's name", &[]).or("ms_"),
    key("tenant", "whose things are meant", &[]),
    key("output", "table, json, jsonl or yaml", &[]).or("table"),
    key("log_format", "text or json; else text on a terminal and json elsewhere", &[]),
    key("timeout", "how long a command may take, such as 30s", &[]),
    key("statement_timeout", "how long the server may work on one statement; else 30s", &[]),
    key(
        "retention",
        "what stays for how long where the upkeep is done, such as `executions=archive:90d outputs=7d`",
        &[],
    ),
    key("data_dir", "where `dev` keeps its Postgres", &[]),
    key("queue", "the queue of the engine", &[]).or("default"),
    key("concurrency", "handlers at the same time", &["WORKFLOW_POSTGRES_WORKER_CONCURRENCY"]).or("10"),
    key("queue_prefix", "in front of the queues of a world", &["WORKFLOW_POSTGRES_JOB_PREFIX"])
        .or("workflow_"),
    key(
        "target_world",
        "the world that `worker --world` drives: postgres, or redis for Redis beside it",
        &["WORKFLOW_TARGET_WORLD"],
    )
    .or("postgres"),
    key("app_url", "the application that a world calls", &["WORKFLOW_POSTGRES_APP_URL", "APP_URL"]).address(),
    key("app_port", "its port", &["WORKFLOW_POSTGRES_APP_PORT"]).or("3000"),
    key(
        "security_token",
        "what both sides of a call of a world know",
        &["WORKFLOW_POSTGRES_SECURITY_TOKEN", "SECURITY_TOKEN"],
    )
    .secret(),
    key("insecure", "take a weak security token, on this machine only", &["WORKFLOW_POSTGRES_INSECURE"]),
    key("redis_url", "the Redis beside the database", &["WORKFLOW_REDIS_URL", "REDIS_URL"]).address(),
];

/// The key of this name.
pub(crate) fn find(name: &str) -> Option<&'static Key> {
    KEYS.iter().find(|key| key.name == name)
}

/// The known name that `name` is most like, when it is like any.
pub(crate) fn nearest<'a>(name: &str, known: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    let far = |known: &&str| strsim::damerau_levenshtein(name, known);
    known.min_by_key(far).filter(|known| far(known) <= 1 + name.len() / 4)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mistyped_name_finds_its_neighbour() {
        let near = |name| nearest(name, KEYS.iter().map(|key| key.name));
        assert_eq!(near("databse_url"), Some("database_url"));
        assert_eq!(near("prefx"), Some("prefix"));
        assert_eq!(near("colour_of_the_sky"), None);
    }
}
