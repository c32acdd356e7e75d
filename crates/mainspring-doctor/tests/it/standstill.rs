//! Databases in which something stands still, or does not add up.

use std::time::Duration;

use mainspring_core::{ClaimRequest, NewMessage, QueueDriver, WorkerId};
use mainspring_doctor::{Code, DoctorOptions};
use mainspring_queue::PgQueue;
use mainspring_testing::TestDb;
use serde_json::json;

use crate::{NOW, examine, options, the_one};

/// An execution in this state; `{}` are more columns and their values.
fn execution(id: &str, status: &str, more: (&str, &str)) -> String {
    let (columns, values) = more;
    format!(
        "INSERT INTO ms_executions (id, status, revision, flow_id, flow_version, current_step, queue, deadline_at, execution_timeout_ms,
           wait_timeout_ms, root_execution_id, created_at, updated_at, context, retries, metadata {columns})
         VALUES ('{id}', '{status}', 1, 'f', '1.0.0', 's', 'default', now() + interval '9 days', 1, 1, '{id}', now(), now(), '{{}}', '{{}}', '{{}}'
           {values});"
    )
}

#[tokio::test]
async fn a_transaction_that_keeps_old_rows_is_named_with_its_process() {
    let db = TestDb::new().await;
    let mut session = db.client().await;
    let tx = session.transaction().await.unwrap();
    let pid: i32 = tx
        .query_one("SELECT pg_backend_pid() FROM (SELECT pg_current_xact_id()) x", &[])
        .await
        .unwrap()
        .get(0);
    assert_eq!(examine(&db, options()).await.findings, [], "it is not old yet");
    let finding = the_one(&db, DoctorOptions { transaction_age: NOW, ..options() }).await;
    assert_eq!((finding.code, finding.subject), (Code::TransactionOld, format!("session {pid}")));
    assert!(finding.problem.contains("idle in transaction") && finding.problem.contains("keeps every row"));
    db.client().await.batch_execute(&finding.mend.unwrap()).await.unwrap();
    assert!(tx.commit().await.is_err());
}

#[tokio::test]
async fn what_holds_up_the_log_is_named_with_its_process() {
    let db = TestDb::new().await;
    let mut session = db.client().await;
    let tx = session.transaction().await.unwrap();
    let append = "SELECT ms_event_fence(), nextval('ms_event_position')";
    let pid: i32 = tx.query_one("SELECT pg_backend_pid()", &[]).await.unwrap().get(0);
    tx.query_one(append, &[]).await.unwrap();
    assert_eq!(examine(&db, options()).await.findings, []);
    let finding = the_one(&db, DoctorOptions { fence_age: NOW, ..options() }).await;
    assert_eq!((finding.code, finding.subject), (Code::FenceLag, format!("session {pid}")));
    assert!(finding.problem.contains("behind 1 positions"), "{}", finding.problem);
}

#[tokio::test]
async fn executions_that_nobody_drives_are_stuck() {
    let later = Duration::from_secs(180);
    for (status, more, code) in [
        ("running", (", driver", ", 'msg_gone'"), Code::ExecutionStranded),
        ("waiting", (", driver, wake_at", ", 'msg_gone', now() + interval '1 day'"), Code::ExecutionStranded),
        ("running", (", holder", ", 'wrk_dead'"), Code::ExecutionOrphaned),
        ("waiting", (", wake_at", ", now()"), Code::ExecutionLate),
        ("waiting", (", wait_deadline_at", ", now()"), Code::ExecutionLate),
    ] {
        let db = TestDb::new().await;
        let sound = execution("sound", "running", (", holder", ", 'wrk_alive'"))
            + &execution("parked", "waiting", (", driver", ", 'msg_of_its_child'"))
            + "INSERT INTO ms_workers VALUES ('wrk_alive', now() + interval '1 day', now());";
        db.client().await.batch_execute(&sound).await.unwrap();
        db.client().await.batch_execute(&execution("stuck", status, more)).await.unwrap();
        assert_eq!(examine(&db, options()).await.findings, [], "not for long: {status}{}", more.0);
        db.advance(later).await;
        // the clock of this test is a function that was replaced, as the doctor sees
        let ignore = [options().ignore, vec![Code::FunctionChanged]].concat();
        let finding = the_one(&db, DoctorOptions { ignore, ..options() }).await;
        assert_eq!((finding.code, &*finding.subject), (code, "1 executions (stuck)"), "{status}{}", more.0);
    }
}

#[tokio::test]
async fn messages_that_wait_for_long_and_those_of_dead_workers() {
    let db = TestDb::new().await;
    let queue = PgQueue::new(&db.db());
    let push = async |name: &str| queue.push(vec![NewMessage::new(name, "t", json!(1))]).await.unwrap();
    push("mail").await;
    assert_eq!(examine(&db, options()).await.findings, []);
    let old = the_one(&db, DoctorOptions { message_age: NOW, ..options() }).await;
    assert_eq!((old.code, &*old.subject), (Code::MessageOld, "queue mail"));

    let worker = WorkerId::generate();
    queue.register(&worker, Duration::from_secs(30)).await.unwrap();
    let claim = ClaimRequest::new("mail", worker, Duration::from_secs(30), 1);
    assert_eq!(queue.claim(claim).await.unwrap().deliveries.len(), 1);
    assert_eq!(examine(&db, options()).await.findings, []);
    db.client().await.batch_execute("DELETE FROM ms_workers").await.unwrap();
    assert_eq!(the_one(&db, options()).await.code, Code::MessageOrphaned);
}

#[tokio::test]
async fn upkeep_that_nobody_does_is_noticed_by_what_is_overdue() {
    let db = TestDb::new().await;
    let put_off = "INSERT INTO ms_deferred (available_at, queue, priority, max_attempts, created_at, id, tenant, type, data)
        VALUES (now() - interval '1 minute', 'q', 0, 3, now(), 'm', '', 't', '1')";
    db.client().await.batch_execute(put_off).await.unwrap();
    assert_eq!(examine(&db, options()).await.findings, []);
    let finding = the_one(&db, DoctorOptions { late: Duration::from_secs(30), ..options() }).await;
    assert_eq!(finding.code, Code::UpkeepMissing);
}

#[tokio::test]
async fn invariants_that_do_not_hold_are_found_by_a_deep_look_only() {
    let message = "queue, priority, max_attempts, created_at, id, tenant, type, data";
    let values = "'q', 0, 3, now(), 'm', '', 't', '1'";
    let one_place = format!(
        "INSERT INTO ms_messages (seq, {message}) VALUES (7, {values});
         INSERT INTO ms_deferred (seq, available_at, {message}) VALUES (7, now() + interval '1 day', {values})"
    );
    let gap = execution("gap", "waiting", (", position", ", 2"))
        + "INSERT INTO ms_events (partition, tenant, stream, stream_position, created_at, type, data)
           VALUES ('executions', '', 'execution-gap', 2, now(), 't', '1')";
    let stream = "INSERT INTO ms_streams (partition, tenant, stream, stream_position, created_at) VALUES ('streams', '', 's', 1, now())";
    let ahead = "INSERT INTO ms_processors (name, version, partition, tenant, shard, shards, position, created_at, updated_at)
        VALUES ('p', 1, '*', '*', 0, 1, 9, now(), now())";
    let output = "INSERT INTO ms_output_streams (owner, name, chunks, created_at) VALUES ('', 'o', 1, now())";
    let tries = execution("x", "waiting", ("", ""))
        + "INSERT INTO ms_jobs (id, execution_id, step_id, handler, status, input, stalled_after_ms, attempts, max_attempts, created_at, updated_at)
           VALUES ('j', 'x', 's', 'h', 'pending', '1', 1, 4, 3, now(), now())";
    let state = execution("odd", "completed", ("", ""));
    let unreadable = execution("bad", "waiting", ("", "")) + "UPDATE ms_executions SET context = '[]'";
    let saved = execution("y", "waiting", ("", ""))
        + "INSERT INTO ms_jobs (id, execution_id, step_id, handler, status, input, stalled_after_ms, max_attempts, checkpoint, created_at, updated_at)
           VALUES ('k', 'y', 's', 'h', 'pending', '1', 1, 3, '[]', now(), now())";
    let letter = format!(
        "INSERT INTO ms_dead_letters (reason, dead_at, seq, failures, lost, delays, {message})
         VALUES ('1', now(), 8, 0, 0, 0, {values})"
    );
    let plain = format!(
        "INSERT INTO ms_messages (options, {message}) SELECT '{{}}', {values} FROM generate_series(1, 300);
         INSERT INTO ms_messages (options, {message}) VALUES ('\"canary\"', {values})"
    );
    let gate = "INSERT INTO ms_gates VALUES ('q', 'kx', 1)";
    for (breaking, subject) in [
        (&*one_place, "message m"),
        (&*gap, "execution gap"),
        (stream, "stream s of streams"),
        (ahead, "processor p"),
        (output, "output stream o"),
        (&*tries, "job j"),
        (&*state, "execution odd"),
        (gate, "queues"),
        (&*unreadable, "rows of executions"),
        (&*saved, "rows of jobs"),
        (&*letter, "rows of dead_letters"),
        (&*plain, "rows of messages"),
    ] {
        let db = TestDb::new().await;
        db.client().await.batch_execute(breaking).await.unwrap();
        let finding = the_one(&db, options()).await;
        assert_eq!((finding.code, &*finding.subject), (Code::InvariantBroken, subject), "{finding}");
        assert!(!finding.to_string().contains("canary"), "{finding}");
        assert_eq!(examine(&db, DoctorOptions { deep: false, ..options() }).await.findings, []);
    }
}
