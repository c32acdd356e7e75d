//! Settings: read, defaulted, masked, and what a session looks like.

use mainspring_core::ErrorKind;
use mainspring_pg::{Db, Names, Settings, SslMode, pool};

use crate::ground;

#[test]
fn t17_the_default_protection_depends_on_the_host() {
    for local in
        ["postgres://localhost/d", "postgres://127.0.0.1/d", "postgres://[::1]/d", "host=/tmp", "dbname=d"]
    {
        let settings = Settings::parse(local).unwrap();
        assert_eq!(settings.ssl_mode(), SslMode::Prefer, "{local}");
        pool(&settings, 1).unwrap();
    }
    for remote in ["postgres://db.example/d", "postgres://10.0.0.1/d", "postgres://localhost,db.example/d"] {
        assert_eq!(Settings::parse(remote).unwrap().ssl_mode(), SslMode::VerifyFull, "{remote}");
        let risky = Settings::parse(&format!("{remote}?sslmode=prefer")).unwrap();
        let error = pool(&risky, 1).unwrap_err();
        assert!(error.is_invalid() && error.to_string().contains("plaintext"), "{error}");
        pool(&risky.allow_plaintext(), 1).unwrap();
        pool(&Settings::parse(&format!("{remote}?sslmode=disable")).unwrap(), 1).unwrap();
    }
    for (text, mode) in [("verify-ca", SslMode::VerifyCa), ("require", SslMode::Require)] {
        assert_eq!(Settings::parse(&format!("postgres://h/d?sslmode={text}")).unwrap().ssl_mode(), mode);
    }
}

#[test]
fn unusable_settings_name_the_key() {
    for (text, word) in [
        ("postgres://h/d?sslmode=allow", "sslmode"),
        ("postgres://h/d?sslmod=require", "unknown key `sslmod`"),
        ("host=h port=abc", "port"),
        ("host=h port=0", "port"),
        ("host=h connect_timeout=5s", "connect_timeout"),
        ("host=h target_session_attrs=standby", "target_session_attrs"),
    ] {
        let error = Settings::parse(text).unwrap_err();
        assert!(error.is_invalid() && error.to_string().contains(word), "{error}");
    }
    let settings = Settings::parse("host=a,b,c port=1,2").unwrap();
    assert!(pool(&settings, 1).unwrap_err().is_invalid());
    let settings = Settings::parse("host=h sslrootcert=/nowhere/ca.pem").unwrap();
    assert!(pool(&settings, 1).unwrap_err().to_string().contains("/nowhere/ca.pem"));
    assert!(pool(&Settings::default(), 0).unwrap_err().is_invalid());
}

#[test]
fn the_environment_fills_what_the_url_leaves_open() {
    let read = |vars: &[(&str, &str)]| {
        let find =
            |name: &str| vars.iter().find(|(key, _)| *key == name).map(|(_, value)| (*value).to_owned());
        Settings::from_vars(find)
    };
    let all =
        [("PGHOST", "h"), ("PGPORT", "5433"), ("PGUSER", "u"), ("PGPASSWORD", "canary"), ("PGDATABASE", "d")];
    assert_eq!(read(&all).unwrap().to_string(), "postgres://u:***@h:5433/d?sslmode=verify-full");
    let mut both = vec![("DATABASE_URL", "postgres://other/e"), ("PGSSLMODE", "disable")];
    both.extend(all);
    // PGPORT belongs to PGHOST, not to the host of the URL.
    assert_eq!(read(&both).unwrap().to_string(), "postgres://u:***@other/e?sslmode=disable");
    let empty = [("PGHOST", ""), ("DATABASE_URL", "")];
    assert_eq!(read(&empty).unwrap().to_string(), "postgres://localhost/?sslmode=prefer");
    let error = read(&[("PGPORT", "x")]).unwrap_err();
    assert!(error.to_string().contains("PGPORT"), "{error}");
}

#[tokio::test]
async fn t18_no_password_is_ever_printed() {
    let settings = Settings::parse("postgres://u:can%61ry@127.0.0.1:1/d").unwrap();
    let pool = pool(&settings, 1).unwrap();
    let db = Db::new(pool.clone(), Names::default());
    let error = db.one("SELECT 1", &[]).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable);
    let own = settings.connect().await.err().unwrap();
    let migrator = mainspring_pg::Migrator::new(settings.clone(), Names::default());
    let hints = mainspring_pg::Hints::new(Some(db.clone()), Some(settings.clone()), Names::default());
    let mut printed = format!("{settings} {settings:?} {db:?} {pool:?} {migrator:?} {hints:?}");
    for error in [error, own, migrator.up().await.unwrap_err()] {
        printed += &format!("{error} {error:?} {}", error.chain());
    }
    let query = mainspring_pg::Query::new("SELECT $1").bind("canary");
    printed += &format!("{query:?}");
    assert!(!printed.contains("canary"), "{printed}");
    assert!(printed.contains("***"), "{printed}");
}

#[tokio::test]
async fn a_session_has_the_settings_we_need() {
    // fault F26
    const SHOW: &str = "SELECT current_setting($1)";
    let db = Db::new(pool(&ground::settings(), 1).unwrap(), Names::default());
    let own = ground::settings().connect().await.unwrap();
    for (name, want) in [
        ("application_name", concat!("mainspring/", env!("CARGO_PKG_VERSION"))),
        ("statement_timeout", "30s"),
        ("lock_timeout", "5s"),
        ("idle_in_transaction_session_timeout", "30s"),
        ("client_connection_check_interval", "1s"),
        ("TimeZone", "UTC"),
        ("default_transaction_isolation", "read committed"),
    ] {
        assert_eq!(db.one(SHOW, &[&name]).await.unwrap().get::<_, &str>(0), want, "{name}");
        assert_eq!(own.query_one(SHOW, &[&name]).await.unwrap().get::<_, &str>(0), want, "{name}");
    }
    let other =
        ground::settings().with("options", "-c statement_timeout=7s -c search_path=pg_catalog").unwrap();
    let other = other.with("application_name", "mine").unwrap().connect().await.unwrap();
    for (name, want) in
        [("statement_timeout", "7s"), ("search_path", "pg_catalog"), ("application_name", "mine")]
    {
        assert_eq!(other.query_one(SHOW, &[&name]).await.unwrap().get::<_, &str>(0), want, "{name}");
    }
    let pooler = ground::settings().through_pooler(mainspring_pg::Statements::Named).connect().await.unwrap();
    assert_eq!(pooler.query_one(SHOW, &[&"statement_timeout"]).await.unwrap().get::<_, &str>(0), "0");
}

#[test]
fn a_pooler_is_named_in_the_address() {
    use mainspring_pg::{Settings, Statements};
    for (key, statements) in [("transaction", Statements::Unnamed), ("named", Statements::Named)] {
        let url = format!("postgres://u@localhost/d?pooler={key}&sslmode=disable");
        let settings = Settings::parse(&url).unwrap();
        assert_eq!((settings.is_pooled(), settings.statements()), (true, statements));
        assert!(settings.to_string().starts_with("postgres://u@localhost/d"), "{settings}");
    }
    assert!(!Settings::parse("postgres://h/d").unwrap().is_pooled());
    assert!(Settings::parse("postgres://h/d?pooler=session").unwrap_err().is_invalid());
}

#[tokio::test]
async fn the_connection_that_was_used_last_is_used_next() {
    let pool = pool(&ground::settings(), 3).unwrap();
    let open = tokio::try_join!(pool.get(), pool.get(), pool.get()).unwrap();
    drop(open);

    let db = Db::new(pool, Names::default());
    let mut backends = std::collections::HashSet::new();
    for _ in 0..6 {
        let row = db.one("SELECT pg_backend_pid()", &[]).await.unwrap();
        backends.insert(row.get::<_, i32>(0));
    }
    assert_eq!(backends.len(), 1, "the others are left to rest");
}
