//! `mainspring doctor`.

use mainspring_testing::redis_server;
use serde_json::Value;

use crate::ground::Ground;

/// On a server for tests, which keeps nothing safe.
fn doctor(ground: &Ground, more: &[&str]) -> (i32, Vec<Value>) {
    let mut arguments = vec!["doctor", "-o", "json"];
    let ignored = [
        "wal_minimal",
        "fsync_off",
        "full_page_writes_off",
        "synchronous_commit_off",
        "connections_short",
        "slot_pins",
    ];
    arguments.extend(ignored.iter().flat_map(|code| ["--ignore", code]));
    arguments.extend(more);
    let said = ground.run(&arguments);
    let answer: Value = serde_json::from_str(&said.out).unwrap_or_else(|error| panic!("{error}: {said:?}"));
    (said.code, answer["items"].as_array().unwrap().clone())
}

#[tokio::test]
async fn f81_findings_and_what_mends_them() {
    let ground = Ground::new().await;
    assert_eq!(doctor(&ground, &["--deep"]), (0, Vec::new()));
    let client = ground.db.client().await;
    client.batch_execute("DROP INDEX ms_jobs_by_status").await.unwrap();
    let (code, found) = doctor(&ground, &[]);
    assert_eq!((code, found.len(), &found[0]["code"]), (1, 1, &"index_missing".into()));
    let said = ground.run(&["doctor"]);
    assert!(
        said.out.contains("error index_missing: index ms_jobs_by_status: is missing\n    CREATE INDEX"),
        "{said:?}"
    );
    client.batch_execute(found[0]["mend"].as_str().unwrap()).await.unwrap();
    assert_eq!(doctor(&ground, &[]).0, 0);
}

/// fault F66: a Redis that throws keys away, one that is as it should be, and one that is not there.
#[tokio::test]
async fn f66_the_redis_beside_the_database_is_asked() {
    let ground = Ground::new().await;
    let asked = |url: &str| {
        std::fs::write(ground.folder.path().join("mainspring.toml"), format!("redis_url = '{url}'")).unwrap();
        let (code, found) = doctor(&ground, &[]);
        (code, found.iter().map(|found| found["code"].as_str().unwrap().to_owned()).collect::<Vec<_>>())
    };
    assert_eq!(asked("redis://127.0.0.1:1"), (1, vec!["check_failed".to_owned()]));
    for (settings, expected) in [
        (&["--maxmemory-policy", "allkeys-lru"][..], vec!["redis_evicts", "redis_forgets"]),
        (&["--appendonly", "yes"], vec![]),
    ] {
        // Not somebody else's, which cannot be set.
        let Some(server) = redis_server(settings).filter(|server| server.pid().is_some()) else { return };
        let code = i32::from(!expected.is_empty());
        assert_eq!(asked(server.url()), (code, expected.into_iter().map(str::to_owned).collect()));
    }
}

#[tokio::test]
async fn tables_that_do_not_fit_and_a_role_that_may_not() {
    let ground = Ground::new().await;
    let (code, found) = doctor(&ground, &["--prefix", "none_"]);
    assert_eq!(
        (code, &found[0]["code"], &found[0]["mend"]),
        (3, &"schema_old".into(), &"mainspring migrate up".into())
    );
    let (code, found) = doctor(&ground, &["--role", "nobody_of_this_name"]);
    assert_eq!((code, &found[0]["code"]), (1, &"role_missing".into()));
    assert_eq!(ground.run(&["doctor", "--ignore", "nothing"]).code, 2);

    let role = format!("doc_{}", ground.db.name());
    let client = ground.db.client().await;
    client.batch_execute(&format!("CREATE ROLE {role}")).await.unwrap();
    client.batch_execute(&ground.run(&["migrate", "grants", &role]).ok().out).await.unwrap();
    assert_eq!(
        doctor(&ground, &["--role", &role]),
        (0, Vec::new()),
        "what `migrate grants` prints is enough"
    );
    client.batch_execute(&format!("DROP OWNED BY {role}; DROP ROLE {role}")).await.unwrap();
}
