//! Settings of the server: those that decide whether what is committed stays, and those that let one session stop all others.

use std::collections::BTreeMap;

use mainspring_core::Result;
use mainspring_pg::{Db, row::get};

use crate::{Code, Finding};

/// The oldest major version the library runs on.
const OLDEST: i32 = 13;
/// Transactions after which the server begins to warn, with room to act.
const MOST_AGE: i64 = 1_500_000_000;

/// What the server says of itself.
#[derive(Debug, Clone, Default)]
pub(crate) struct Server {
    /// `150018`
    pub(crate) version: i32,
    pub(crate) settings: BTreeMap<String, String>,
    pub(crate) standby: bool,
    pub(crate) encoding: String,
    /// Of the oldest transaction id of this database.
    pub(crate) age: i64,
    /// Clients that are connected.
    pub(crate) connected: i64,
}

const NAMES: [&str; 10] = [
    "fsync",
    "full_page_writes",
    "synchronous_commit",
    "autovacuum",
    "wal_level",
    "max_connections",
    "superuser_reserved_connections",
    "reserved_connections",
    "default_transaction_read_only",
    "idle_in_transaction_session_timeout",
];

pub(crate) async fn read(db: &Db<'_>) -> Result<Server> {
    let row = db.one(FACTS, &[]).await?;
    let mut server = Server {
        version: get(&row, 0)?,
        standby: get(&row, 1)?,
        encoding: get(&row, 2)?,
        age: get(&row, 3)?,
        connected: get(&row, 4)?,
        settings: BTreeMap::new(),
    };
    for row in db
        .all("SELECT name, setting FROM pg_catalog.pg_settings WHERE name = ANY ($1)", &[&&NAMES[..]])
        .await?
    {
        server.settings.insert(get(&row, 0)?, get(&row, 1)?);
    }
    Ok(server)
}

const FACTS: &str = "SELECT current_setting('server_version_num')::integer, pg_is_in_recovery(), pg_encoding_to_char(d.encoding)::text,
    age(d.datfrozenxid)::bigint,
    (SELECT count(*) FROM pg_catalog.pg_stat_activity a WHERE a.backend_type = 'client backend')
  FROM pg_catalog.pg_database d WHERE d.datname = current_database()";

impl Server {
    fn says(&self, name: &str, value: &str) -> bool {
        self.settings.get(name).is_some_and(|setting| setting == value)
    }

    fn number(&self, name: &str) -> i64 {
        self.settings.get(name).and_then(|setting| setting.parse().ok()).unwrap_or(0)
    }
}

/// `wanted`: connections that all processes together may open.
pub(crate) fn judge(server: &Server, wanted: Option<u32>) -> Vec<Finding> {
    let mut found = Vec::new();
    let mut say = |wrong: bool, code: Code, subject: &str, problem: &str, mend: &str| {
        if wrong {
            let finding = Finding::new(code, subject, problem);
            found.push(if mend.is_empty() { finding } else { finding.mended_by(mend) });
        }
    };
    let major = server.version / 10_000;
    let old = format!("is version {major}, and {OLDEST} is the oldest that is supported");
    say(major < OLDEST, Code::ServerOld, "server", &old, "");
    say(server.standby, Code::ServerReadOnly, "server", "is a standby: nothing can be written", "");
    let on = |name: &str| format!("ALTER SYSTEM SET {name} = on; SELECT pg_reload_conf();");
    let read_only = "every transaction is read-only unless it says otherwise";
    say(
        server.says("default_transaction_read_only", "on"),
        Code::ServerReadOnly,
        "setting default_transaction_read_only",
        read_only,
        "ALTER SYSTEM RESET default_transaction_read_only; SELECT pg_reload_conf();",
    );
    let encoding = format!("is {}", server.encoding);
    say(server.encoding != "UTF8", Code::EncodingNotUtf8, "encoding of the database", &encoding, "");
    for (name, code, problem) in [
        ("fsync", Code::FsyncOff, "is off: a crash of the host may lose everything"),
        ("full_page_writes", Code::FullPageWritesOff, "is off: a crash of the host may tear pages"),
        (
            "synchronous_commit",
            Code::SynchronousCommitOff,
            "is off: a crash loses work that was acknowledged",
        ),
        ("autovacuum", Code::AutovacuumOff, "is off: tables grow without end"),
    ] {
        say(server.says(name, "off"), code, &format!("setting {name}"), problem, &on(name));
    }
    let minimal = "is minimal: no standby, no recovery to a point in time";
    let logical = "ALTER SYSTEM SET wal_level = replica; -- needs a restart";
    say(server.says("wal_level", "minimal"), Code::WalMinimal, "setting wal_level", minimal, logical);
    let unlimited = "is 0: a session that forgets its transaction holds its locks for ever";
    say(
        server.says("idle_in_transaction_session_timeout", "0"),
        Code::IdleTransactionsUnlimited,
        "setting idle_in_transaction_session_timeout",
        unlimited,
        "ALTER DATABASE CURRENT_DATABASE SET idle_in_transaction_session_timeout = '30s'; -- with the name of the database",
    );
    let aged = format!("its oldest transaction id is {} transactions old", server.age);
    say(server.age > MOST_AGE, Code::WraparoundNear, "database", &aged, "VACUUM (FREEZE);");
    let free = server.number("max_connections")
        - server.number("superuser_reserved_connections")
        - server.number("reserved_connections");
    let used = wanted.map_or(server.connected, i64::from);
    let short = format!("is enough for {free} clients, and {used} are wanted");
    // Without a figure, nine tenths taken are too many.
    let wrong = if wanted.is_some() { used > free } else { used * 10 > free * 9 };
    say(wrong && free > 0, Code::ConnectionsShort, "setting max_connections", &short, "");
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sound() -> Server {
        let settings = [
            ("fsync", "on"),
            ("full_page_writes", "on"),
            ("synchronous_commit", "on"),
            ("autovacuum", "on"),
            ("wal_level", "replica"),
            ("max_connections", "100"),
            ("superuser_reserved_connections", "3"),
            ("default_transaction_read_only", "off"),
            ("idle_in_transaction_session_timeout", "30000"),
        ];
        let settings =
            settings.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        Server {
            version: 150_018,
            settings,
            encoding: "UTF8".into(),
            age: 1_000,
            connected: 20,
            standby: false,
        }
    }

    #[test]
    fn a_sound_server_has_no_findings_and_every_setting_has_one_of_its_own() {
        assert_eq!(judge(&sound(), Some(97)), []);
        for (name, value, code) in [
            ("fsync", "off", Code::FsyncOff),
            ("full_page_writes", "off", Code::FullPageWritesOff),
            ("synchronous_commit", "off", Code::SynchronousCommitOff),
            ("autovacuum", "off", Code::AutovacuumOff),
            ("wal_level", "minimal", Code::WalMinimal),
            ("max_connections", "21", Code::ConnectionsShort),
            ("default_transaction_read_only", "on", Code::ServerReadOnly),
            ("idle_in_transaction_session_timeout", "0", Code::IdleTransactionsUnlimited),
        ] {
            let mut server = sound();
            server.settings.insert(name.into(), value.into());
            let found = judge(&server, None);
            assert_eq!(found.iter().map(|finding| finding.code).collect::<Vec<_>>(), [code], "{name}");
        }
        let codes =
            |server: Server| judge(&server, None).into_iter().map(|finding| finding.code).collect::<Vec<_>>();
        assert_eq!(codes(Server { version: 120_000, ..sound() }), [Code::ServerOld]);
        assert_eq!(codes(Server { standby: true, ..sound() }), [Code::ServerReadOnly]);
        assert_eq!(codes(Server { encoding: "LATIN1".into(), ..sound() }), [Code::EncodingNotUtf8]);
        assert_eq!(codes(Server { age: 2_000_000_000, ..sound() }), [Code::WraparoundNear]);
        assert_eq!(judge(&sound(), Some(98))[0].code, Code::ConnectionsShort);
    }
}
