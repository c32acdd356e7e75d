//! The migration history when someone else wrote into it: typed errors, never a panic (fault F78).

use mainspring_core::ErrorKind;
use mainspring_pg::{MigrationState, Migrator};

use crate::ground::{self, Ground};

async fn migrated() -> (Ground, Migrator) {
    let ground = Ground::bare();
    let migrator = Migrator::new(ground::settings(), ground.names.clone());
    migrator.up().await.unwrap();
    (ground, migrator)
}

/// `up`, `status`, `plan` and `verify` all refuse, saying `problem`.
async fn refused(migrator: &Migrator, problem: &str) {
    for error in [
        migrator.up().await.unwrap_err(),
        migrator.status().await.unwrap_err(),
        migrator.plan().await.unwrap_err(),
        migrator.verify().await.unwrap_err(),
    ] {
        assert_eq!(error.kind(), ErrorKind::Schema, "{error}");
        assert!(error.to_string().contains(problem), "{error}");
    }
}

#[tokio::test]
async fn a_changed_migration_is_refused() {
    let (ground, migrator) = migrated().await;
    ground.sql("UPDATE {schema_history} SET checksum = '1' WHERE version = 2").await;
    refused(&migrator, "with checksum 1, here it has").await;
}

#[tokio::test]
async fn a_renamed_migration_is_refused() {
    let (ground, migrator) = migrated().await;
    ground.sql("UPDATE {schema_history} SET name = 'other' WHERE version = 1").await;
    refused(&migrator, "was applied as V1__other").await;
}

#[tokio::test]
async fn t12_garbage_never_panics() {
    let (ground, migrator) = migrated().await;
    for (sql, problem) in [
        (
            "UPDATE {schema_history} SET applied_on = 'yesterday' WHERE version = 1",
            "`applied_on` is not a time",
        ),
        ("UPDATE {schema_history} SET applied_on = NULL WHERE version = 1", "`applied_on` is empty"),
        (
            "UPDATE {schema_history} SET checksum = '-7', applied_on = '2026-01-01T00:00:00Z' WHERE version = 1",
            "`checksum` is not a number",
        ),
        ("UPDATE {schema_history} SET checksum = NULL WHERE version = 1", "`checksum` is empty"),
        ("UPDATE {schema_history} SET checksum = '1', name = NULL WHERE version = 1", "`name` is empty"),
        ("DELETE FROM {schema_history} WHERE version = 1", "row 1 is not version 1"),
        ("INSERT INTO {schema_history} VALUES (-5, 'x', 'y', 'z')", "row 1 is not version 1"),
        ("ALTER TABLE {schema_history} ALTER COLUMN version TYPE bigint", "`version` is bigint"),
        ("ALTER TABLE {schema_history} DROP COLUMN version", "`version` is missing"),
        (
            "DROP TABLE {schema_history}; CREATE VIEW {schema_history} AS SELECT 1 AS version",
            "`name` is missing",
        ),
    ] {
        ground.sql(sql).await;
        refused(&migrator, problem).await;
    }
}

#[tokio::test]
async fn f76_a_database_ahead_of_the_binary_is_left_alone() {
    let (ground, migrator) = migrated().await;
    ground
        .sql("INSERT INTO {schema_history} SELECT max(version) + 1, 'next', '2026-01-01T00:00:00Z', '1' FROM {schema_history}")
        .await;
    let status = migrator.up().await.unwrap();
    assert!(status.note.as_ref().is_some_and(|note| note.contains("1 ahead of this binary")), "{status:?}");
    assert!(matches!(status.migrations.last(), Some((.., MigrationState::Newer(_)))));
    assert!(migrator.plan().await.unwrap().is_empty());
    migrator.verify().await.unwrap();
}
