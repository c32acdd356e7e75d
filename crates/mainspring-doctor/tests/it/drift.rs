//! Schemas that are not what they should be, and the SQL that mends them.

use mainspring_doctor::{Code, DoctorOptions, Severity};
use mainspring_pg::{Names, Prefix, Schema};
use mainspring_testing::TestDb;

use crate::{examine, options, the_one};

#[tokio::test]
async fn a_healthy_database_has_no_findings_whatever_its_names() {
    for (schema, prefix) in [("public", "ms_"), ("user", ""), ("app", "a_long_prefix_of_24_byte")] {
        let names = Names::new(Schema::new(schema).unwrap(), Prefix::new(prefix).unwrap());
        let report = examine(&TestDb::with_names(names, 1).await, options()).await;
        assert_eq!(report.findings, [], "{schema}.{prefix}");
        assert!(
            report.is_healthy()
                && report.schema_version > 20
                && report.schema_version == report.needed_version
        );
    }
}

/// Breaks the database, finds just that, mends it with what was said, and finds nothing.
async fn mended(breaking: &str, code: Code, subject: &str) {
    let db = TestDb::new().await;
    db.client().await.batch_execute(breaking).await.unwrap();
    let finding = the_one(&db, options()).await;
    assert_eq!((finding.code, &*finding.subject), (code, subject), "{finding}");
    assert_eq!(finding.severity, Severity::Error);
    let mend = finding.mend.unwrap();
    let client = db.client().await;
    // CREATE INDEX CONCURRENTLY wants a message of its own
    for statement in if mend.contains("CONCURRENTLY") { mend.lines().collect() } else { vec![mend.as_str()] }
    {
        client.batch_execute(statement).await.unwrap_or_else(|error| unreachable!("{mend}: {error:?}"));
    }
    assert_eq!(examine(&db, options()).await.findings, [], "after {mend}");
}

#[tokio::test]
async fn f81_indexes() {
    mended("DROP INDEX ms_jobs_by_status", Code::IndexMissing, "index ms_jobs_by_status").await;
    mended("DROP INDEX ms_events_global", Code::IndexMissing, "index ms_events_global").await;
    let other = "DROP INDEX ms_jobs_old; CREATE INDEX ms_jobs_old ON ms_jobs (finished_at)";
    mended(other, Code::IndexChanged, "index ms_jobs_old").await;
    let unfinished = "UPDATE pg_index SET indisvalid = false WHERE indexrelid = 'ms_jobs_old'::regclass";
    mended(unfinished, Code::IndexInvalid, "index ms_jobs_old").await;
}

#[tokio::test]
async fn f81_columns() {
    let kind = "ALTER TABLE ms_jobs ALTER COLUMN attempts TYPE bigint";
    mended(kind, Code::ColumnChanged, "column ms_jobs.attempts").await;
    let default = "ALTER TABLE ms_jobs ALTER COLUMN lost DROP DEFAULT, ALTER COLUMN lost DROP NOT NULL";
    mended(default, Code::ColumnChanged, "column ms_jobs.lost").await;
    let collation = "ALTER TABLE ms_leases ALTER COLUMN name TYPE text COLLATE \"default\"";
    mended(collation, Code::ColumnChanged, "column ms_leases.name").await;
    mended(
        "ALTER TABLE ms_processors DROP COLUMN created_at",
        Code::ColumnMissing,
        "column ms_processors.created_at",
    )
    .await;
}

#[tokio::test]
async fn f81_constraints_triggers_and_functions() {
    let check = "ALTER TABLE ms_jobs DROP CONSTRAINT ms_jobs_finished";
    mended(check, Code::ConstraintMissing, "constraint ms_jobs_finished").await;
    let unchecked = "ALTER TABLE ms_jobs DROP CONSTRAINT ms_jobs_execution,
        ADD CONSTRAINT ms_jobs_execution FOREIGN KEY (execution_id) REFERENCES ms_executions (id) ON DELETE CASCADE NOT VALID";
    mended(unchecked, Code::ConstraintChanged, "constraint ms_jobs_execution").await;
    let trigger = "DROP TRIGGER ms_output_deleted ON ms_output_streams";
    mended(trigger, Code::ConstraintMissing, "trigger ms_output_deleted").await;
    mended("DROP FUNCTION ms_admit(text)", Code::FunctionMissing, "function ms_admit").await;
    let fence = "CREATE OR REPLACE FUNCTION ms_event_fence() RETURNS void LANGUAGE sql AS 'SELECT'";
    mended(fence, Code::FunctionChanged, "function ms_event_fence").await;
}

#[tokio::test]
async fn f81_tables_sequences_and_views() {
    mended("DROP TABLE ms_queue_watches", Code::RelationMissing, "table ms_queue_watches").await;
    mended("DROP TABLE ms_parked", Code::RelationMissing, "table ms_parked").await;
    mended("DROP SEQUENCE ms_claim_token", Code::RelationMissing, "sequence ms_claim_token").await;
    mended("DROP VIEW ms_v_steps", Code::RelationMissing, "view ms_v_steps").await;
    mended("ALTER VIEW ms_v_queues RENAME COLUMN dead TO gone", Code::ColumnChanged, "view ms_v_queues")
        .await;
}

#[tokio::test]
async fn an_old_schema_is_said_and_looked_at_no_further() {
    let db = TestDb::empty().await;
    let finding = the_one(&db, options()).await;
    assert_eq!((finding.code, finding.mend.as_deref()), (Code::SchemaOld, Some("mainspring migrate up")));

    let db = TestDb::new().await;
    let client = db.client().await;
    client.batch_execute("DELETE FROM ms_schema_history WHERE version > 7").await.unwrap();
    let report = examine(&db, options()).await;
    assert!(report.is_mismatch() && report.schema_version == 7, "{report:?}");
    assert!(report.findings[0].problem.contains("is 7"), "{report:?}");
    client.batch_execute("UPDATE ms_schema_history SET checksum = '1' WHERE version = 3").await.unwrap();
    let report = examine(&db, options()).await;
    assert_eq!((report.findings[0].code, report.is_mismatch()), (Code::HistoryBroken, true));
}

#[tokio::test]
async fn f79_missing_grants_of_the_applications_role() {
    let db = TestDb::new().await;
    let role = format!("app_{}", db.name());
    let client = db.client().await;
    let as_role = || DoctorOptions { role: Some(role.clone()), ..options() };
    let nobody = the_one(&db, as_role()).await;
    assert_eq!(nobody.code, Code::RoleMissing);
    let sql = format!(
        "CREATE ROLE {role}; GRANT USAGE ON SCHEMA public TO {role}; GRANT SELECT ON ms_schema_history TO {role};
         GRANT ALL ON ALL TABLES IN SCHEMA public TO {role}; GRANT ALL ON ALL SEQUENCES IN SCHEMA public TO {role}"
    );
    client.batch_execute(&sql).await.unwrap();
    assert_eq!(examine(&db, as_role()).await.findings, []);
    let sql = format!(
        "REVOKE DELETE, INSERT ON ms_jobs FROM {role}; REVOKE USAGE ON SEQUENCE ms_message_seq FROM {role}"
    );
    client.batch_execute(&sql).await.unwrap();
    let report = examine(&db, as_role()).await;
    let subjects: Vec<&str> = report.of(Code::GrantMissing).map(|finding| &*finding.subject).collect();
    assert_eq!(subjects, ["sequence public.ms_message_seq", "table public.ms_jobs"]);
    let wanted = format!("GRANT DELETE, INSERT ON TABLE public.ms_jobs TO \"{role}\";");
    assert_eq!(report.findings[1].mend.as_deref(), Some(&*wanted));
    for finding in &report.findings {
        client.batch_execute(finding.mend.as_ref().unwrap()).await.unwrap();
    }
    assert_eq!(examine(&db, as_role()).await.findings, []);
    client.batch_execute(&format!("DROP OWNED BY {role}; DROP ROLE {role}")).await.unwrap();
}
