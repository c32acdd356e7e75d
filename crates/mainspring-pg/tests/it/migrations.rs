//! Migrating: many at once, side by side, again, and by hand.

use std::time::Duration;

use mainspring_core::ErrorKind;
use mainspring_pg::{MigrationState, Migrator, Mode, Names, Prefix, up_with};

use crate::ground::{self, Ground};

fn migrator(names: &Names) -> Migrator {
    Migrator::new(ground::settings(), names.clone())
}

/// Names of the indexes, sequences and tables of one prefix, without it.
async fn relations(names: &Names) -> Vec<String> {
    const SQL: &str = "SELECT substr(relname, length($2) + 1) FROM pg_class c JOIN pg_namespace n ON n.oid = relnamespace \
        WHERE nspname = $1 AND starts_with(relname, $2) ORDER BY 1";
    let rows = ground::admin().await.query(SQL, &[&names.schema(), &names.prefix()]).await.unwrap();
    rows.iter().map(|row| row.get(0)).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn t12_t13_f73_sixteen_migrators_at_once_all_succeed() {
    // E01, X4
    let ground = Ground::bare();
    let tasks: Vec<_> = (0..16)
        .map(|_| {
            let migrator = migrator(&ground.names);
            tokio::spawn(async move { migrator.up().await })
        })
        .collect();
    for task in tasks {
        assert_eq!(task.await.unwrap().unwrap().pending(), 0);
    }
    migrator(&ground.names).verify().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_migration_that_waits_for_a_table_lets_those_behind_it_through() {
    // fault F75: somebody reads the table for long, the migration wants it for itself, and a heartbeat comes after it
    const WAITS: &str =
        "SELECT count(*) > 0 FROM pg_locks WHERE relation = $1::text::regclass AND NOT granted";
    let ground = Ground::bare();
    let migrator = migrator(&ground.names);
    let script = migrator.print().unwrap();
    let (before, _) = script.split_once("-- V24__").unwrap();
    ground::admin().await.batch_execute(before).await.unwrap();
    let workers = ground.names.table("workers");

    let (mut reader, watch) = (ground::admin().await, ground::admin().await);
    let reading = reader.transaction().await.unwrap();
    reading.query(&format!("SELECT id FROM {workers}"), &[]).await.unwrap();
    let migrating = tokio::spawn({
        let migrator = migrator.clone();
        async move { migrator.up().await }
    });
    // Twice, since the first time may be between two tries.
    for _ in 0..2 {
        while !watch.query_one(WAITS, &[&workers]).await.unwrap().get::<_, bool>(0) {
            tokio::task::yield_now().await;
        }
        // Who waits for a lock for 5 s gives up.
        watch.execute(&format!("UPDATE {workers} SET started_at = started_at"), &[]).await.unwrap();
    }
    assert!(!migrating.is_finished(), "the table is still read");
    reading.commit().await.unwrap();
    assert_eq!(migrating.await.unwrap().unwrap().pending(), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn t14_f80_prefixes_live_side_by_side_and_no_name_is_cut() {
    let ground = Ground::bare();
    let longest = "p".repeat(Prefix::MAX_BYTES);
    let all: Vec<Names> = ["a_", "a_b_", &longest].iter().map(|prefix| ground.prefixed(prefix)).collect();
    let (a, b, c) = (migrator(&all[0]), migrator(&all[1]), migrator(&all[2]));
    let (a, b, c) = tokio::join!(a.up(), b.up(), c.up()); // the schema is created by all three at once
    let versions = a.unwrap().migrations.len();
    assert_eq!((b.unwrap().migrations.len(), c.unwrap().migrations.len()), (versions, versions));
    let longest = relations(&all[2]).await;
    // Postgres shortens the names it makes up itself; ours are the ones that must survive.
    let ours = |name: &&String| {
        let name = name.trim_end_matches(|c: char| c.is_ascii_digit());
        !["_pkey", "_idx", "_key"].iter().any(|ending| name.ends_with(ending))
    };
    let inner = relations(&all[1]).await;
    assert_eq!(
        inner.iter().filter(ours).collect::<Vec<_>>(),
        longest.iter().filter(ours).collect::<Vec<_>>()
    );
    assert!(!inner.is_empty());
    migrator(&all[0]).run(Mode::DangerouslyForce).await.unwrap();
    for names in &all {
        migrator(names).verify().await.unwrap();
    }
}

#[tokio::test]
async fn f74_a_migrator_that_dies_leaves_whole_steps() {
    let ground = Ground::bare();
    let migrator = migrator(&ground.names);
    for millis in (0..60).step_by(4) {
        drop(tokio::time::timeout(Duration::from_millis(millis), migrator.up()).await);
        migrator.status().await.unwrap();
    }
    assert_eq!(migrator.up().await.unwrap().pending(), 0);
    migrator.verify().await.unwrap();
}

#[tokio::test]
async fn e02_every_older_version_becomes_the_newest_one_and_keeps_its_checkpoints() {
    const KEEP: &str = "INSERT INTO {processors} (name, version, partition, tenant, shard, shards, position, created_at, updated_at)
        VALUES ('p', 1, '', '', 0, 1, 42, now(), now())";
    const KEPT: &str = "SELECT position FROM {processors} WHERE name = 'p'";
    let newest = Ground::bare();
    let versions = migrator(&newest.names).up().await.unwrap().migrations.len();
    let expected = relations(&newest.names).await;
    for older in 1..versions {
        let ground = Ground::bare();
        let migrator = migrator(&ground.names);
        let script = migrator.print().unwrap();
        let begun: String = script.split_inclusive("\nCOMMIT;\n").take(older).collect();
        ground::admin().await.batch_execute(&begun).await.unwrap();
        assert_eq!(migrator.status().await.unwrap().pending(), versions - older);
        let keeps = relations(&ground.names).await.contains(&"processors".to_owned());
        if keeps {
            ground.sql(KEEP).await;
        }
        // X4: two at once, as on an empty schema above
        let (one, other) = tokio::join!(migrator.up(), migrator.up());
        assert_eq!((one.unwrap().pending(), other.unwrap().pending()), (0, 0));
        assert_eq!(relations(&ground.names).await, expected, "from version {older}");
        migrator.verify().await.unwrap();
        if keeps {
            let row = ground::admin().await.query_one(&*ground.names.render(KEPT), &[]).await.unwrap();
            assert_eq!(row.get::<_, i64>(0), 42, "from version {older}");
        }
    }
}

#[tokio::test]
async fn plan_status_and_verify_change_nothing() {
    let ground = Ground::bare();
    let migrator = migrator(&ground.names);
    let planned = migrator.plan().await.unwrap();
    let status = migrator.status().await.unwrap();
    assert_eq!(planned.len(), status.pending());
    assert!(!planned.is_empty() && planned[0].sql.contains(ground.names.schema()));
    let error = migrator.run(Mode::Noop).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Schema);
    assert!(error.to_string().contains("mainspring migrate up"), "{error}");
    assert!(relations(&ground.names).await.is_empty());

    let status = migrator.run(Mode::CreateIfMissing).await.unwrap();
    assert!(status.migrations.iter().all(|(.., state)| matches!(state, MigrationState::Applied(_))));
    assert_eq!(status.note, None);
    assert!(migrator.plan().await.unwrap().is_empty());
    assert_eq!(migrator.run(Mode::Noop).await.unwrap(), status);
    assert_eq!(migrator.up().await.unwrap(), status); // again: nothing to do
}

#[tokio::test]
async fn the_printed_script_is_what_up_does() {
    // E51
    let ground = Ground::bare();
    let migrator = migrator(&ground.names);
    let script = migrator.print().unwrap();
    ground::admin().await.batch_execute(&script).await.unwrap();
    assert!(migrator.plan().await.unwrap().is_empty());
    migrator.run(Mode::Noop).await.unwrap();
}

#[tokio::test]
async fn a_connection_of_the_caller_migrates_and_keeps_no_lock() {
    let ground = Ground::bare();
    let mut client = ground::admin().await;
    up_with(&mut client, &ground.names).await.unwrap();
    up_with(&mut client, &ground.names).await.unwrap();
    let sql = "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND pid = pg_backend_pid()";
    assert_eq!(client.query_one(sql, &[]).await.unwrap().get::<_, i64>(0), 0);
}

#[tokio::test]
async fn force_drops_what_is_ours_and_nothing_else() {
    let ground = Ground::bare();
    let migrator = migrator(&ground.names);
    migrator.up().await.unwrap();
    ground.sql("CREATE TABLE {of_the_app} (id int); INSERT INTO {of_the_app} VALUES (1)").await;
    ground.sql("INSERT INTO {flows} VALUES ('f', '1.0.0', NULL, NULL, 'draft', '{}', '{}', now())").await;
    let status = migrator.run(Mode::DangerouslyForce).await.unwrap();
    assert_eq!(status.pending(), 0);
    let count = async |sql: &'static str| {
        ground::admin().await.query_one(&*ground.names.render(sql), &[]).await.unwrap().get::<_, i64>(0)
    };
    assert_eq!(count("SELECT count(*) FROM {flows}").await, 0);
    assert_eq!(count("SELECT count(*) FROM {of_the_app}").await, 1);
}

#[tokio::test]
async fn f81_verify_names_every_difference() {
    let ground = Ground::bare();
    let migrator = migrator(&ground.names);
    migrator.up().await.unwrap();
    ground.sql("ALTER TABLE {flows} ADD COLUMN of_the_app int").await;
    migrator.verify().await.unwrap(); // extras are welcome
    ground.sql("ALTER TABLE {flows} DROP COLUMN tags").await;
    ground.sql("ALTER TABLE {executions} ALTER COLUMN execution_timeout_ms TYPE integer").await;
    ground.sql("DROP TABLE {context_values}").await;
    let error = migrator.verify().await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Schema);
    for problem in [
        "column t_flows.tags (text[]) is missing",
        "column t_executions.execution_timeout_ms is integer, not bigint",
        "table t_context_values is missing",
    ] {
        assert!(error.to_string().contains(problem), "{error}");
    }
    assert_eq!(error.to_string().matches("t_context_values").count(), 1, "{error}");
}

#[tokio::test]
async fn f79_a_role_that_may_not_create_is_told_so() {
    let ground = Ground::bare();
    let role = format!("{}_low", ground.names.schema());
    let admin = ground::admin().await;
    admin
        .batch_execute(&format!("CREATE ROLE {role}; CREATE SCHEMA {}", ground.names.schema()))
        .await
        .unwrap();
    let mut client = ground::admin().await;
    client.batch_execute(&format!("SET ROLE {role}")).await.unwrap();
    let error = up_with(&mut client, &ground.names).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Schema);
    assert!(error.to_string().contains("GRANT"), "{error}");
    admin.batch_execute(&format!("DROP ROLE {role}")).await.unwrap();
}
