//! What operators read with SQL: the views, and the examples of their documentation.

use std::{
    sync::atomic::{AtomicU32, Ordering},
    time::Duration,
};

use mainspring::{
    Append, Backend, ClaimRequest, Cx, Engine, EventStore, Failure, NewEvent, NewMessage, PgStores, Policy,
    QueueOptions, Settle, Settlement, WorkerId, Workflow, WorkflowResult, exponential,
    stats::{PgStats, Thresholds},
    world::{Fact, Fault, NewRun, NewStep, RunEvent, Storage},
};
use mainspring_pg::Row;
use serde_json::json;

async fn all(stores: &PgStores<'static>, sql: &'static str) -> Vec<Row> {
    stores.db().all(sql, &[]).await.unwrap()
}

fn texts(rows: &[Row], column: &str) -> Vec<Option<String>> {
    rows.iter().map(|row| row.get(column)).collect()
}

/// A run with a step that fails once, then for good, for this user.
async fn failing_run(storage: &Storage, user: &str) -> String {
    let mut new = NewRun::new("checkout", json!({"card": "canary"}));
    new.attributes.insert("user_id".into(), json!(user));
    let run = storage.runs().create(new).await.unwrap().run_id;
    let events = storage.events();
    let error = Fault { code: Some("DECLINED".into()), ..Fault::new("no money") };
    let charge = NewStep { step_name: "charge".into(), input: Some(json!("canary")) };
    for event in [
        RunEvent::from(Fact::RunStarted { run_input: None }),
        RunEvent::about("step_1", Fact::StepStarted { create: Some(charge) }),
        RunEvent::about("step_1", Fact::StepRetrying { error: error.clone(), retry_after: None }),
        RunEvent::about("step_1", Fact::StepStarted { create: None }),
        RunEvent::about("step_1", Fact::StepFailed { error: error.clone() }),
        RunEvent::from(Fact::RunFailed { error }),
    ] {
        events.create(Some(&run), event).await.unwrap();
    }
    run.to_string()
}

#[tokio::test]
async fn failed_runs_their_steps_and_the_users_they_belong_to() {
    let (stores, db) = crate::fresh().await;
    let storage = Storage::new(stores.clone());
    let old = failing_run(&storage, "u-2").await;
    db.advance(Duration::from_secs(25 * 3600)).await;
    let failed = failing_run(&storage, "u-1").await;
    let mut running = NewRun::new("checkout", json!(1));
    running.attributes.insert("user_id".into(), json!("u-2"));
    let running = storage.runs().create(running).await.unwrap().run_id;
    storage.events().create(Some(&running), Fact::RunStarted { run_input: None }).await.unwrap();
    let users = "CREATE TABLE users (id text PRIMARY KEY, email text);
        INSERT INTO users VALUES ('u-1', 'ada@example.org'), ('u-2', 'bob@example.org')";
    db.client().await.batch_execute(users).await.unwrap();

    let day = all(
        &stores,
        "SELECT * FROM {v_executions} WHERE status = 'failed' AND created_at > {now}() - interval '24 hours'",
    );
    let day = day.await;
    assert_eq!(texts(&day, "execution_id"), [Some(failed.clone())], "not {old}");
    assert_eq!(
        (texts(&day, "error_code"), texts(&day, "error_message")),
        (vec![Some("DECLINED".into())], vec![Some("no money".into())])
    );
    assert!(day[0].get::<_, f64>("duration_seconds") >= 0.0);

    let steps = "SELECT * FROM {v_steps} WHERE execution_id = $1 ORDER BY position";
    let steps = stores.db().all(steps, &[&failed]).await.unwrap();
    let states: Vec<(&str, &str, Option<&str>)> =
        steps.iter().map(|row| (row.get("step"), row.get("state"), row.get("error_code"))).collect();
    assert_eq!(
        states,
        [
            ("step_1", "created", None),
            ("step_1", "started", None),
            ("step_1", "retrying", Some("DECLINED")),
            ("step_1", "started", None),
            ("step_1", "failed", Some("DECLINED")),
        ]
    );

    let joined = "SELECT w.*, u.email FROM {v_executions} w JOIN users u ON w.attributes->>'user_id' = u.id WHERE w.status = 'running'";
    let joined = all(&stores, joined).await;
    assert_eq!(texts(&joined, "execution_id"), [Some(running.to_string())]);
    assert_eq!(texts(&joined, "email"), [Some("bob@example.org".into())]);
}

const WAITS: Workflow<String, (), String> = Workflow::new("waits");
const DAY: Duration = Duration::from_secs(24 * 3600);

async fn waits(cx: Cx, what: String) -> WorkflowResult<(), String> {
    let tries = AtomicU32::new(0);
    let flaky = async || match tries.fetch_add(1, Ordering::Relaxed) {
        0 => Err("not yet".to_owned()),
        _ => Ok(()),
    };
    cx.step("flaky", flaky).retry(exponential(2)).await?;
    match what.as_str() {
        "timer" => cx.sleep(DAY).await,
        "token" => {
            let hook = cx.hook::<u32>("decision");
            cx.step("ask", async || hook.token().await.map(drop).map_err(|error| error.to_string())).await?;
            let _ = hook.await?;
        }
        "child" => cx.child(WAITS, &"timer".to_owned()).await?,
        _ => {
            let _ = cx.signal::<u32>("go").await?;
        }
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn what_executions_wait_for_and_what_their_steps_came_to() {
    let (stores, _db) = crate::fresh().await;
    let engine = Engine::builder(stores.clone()).register(WAITS, waits).build().unwrap();
    let worker = engine.worker().start().unwrap();
    for what in ["timer", "token", "child", "signal"] {
        engine.start(WAITS, &what.to_owned()).id(what).await.unwrap();
    }
    // five wait: these four and the child
    while all(&stores, "SELECT * FROM {v_waits}").await.len() < 5 {
        tokio::task::yield_now().await;
    }
    let rows = all(
        &stores,
        "SELECT * FROM {v_waits} WHERE execution_id IN ('timer', 'token', 'child', 'signal') ORDER BY execution_id",
    );
    let rows = rows.await;
    assert_eq!(texts(&rows, "execution_id"), texts(&rows, "kind"));
    assert!(rows.iter().all(|row| row.get::<_, Option<std::time::SystemTime>>("since").is_some()));
    assert!(rows[0].get::<_, Option<&str>>("waits_for").is_some(), "the child's id");
    assert!(rows[2].get::<_, Option<std::time::SystemTime>>("until").is_some(), "when the timer ends");
    let steps = all(&stores, "SELECT * FROM {v_steps} WHERE execution_id = 'child' ORDER BY position").await;
    let steps: Vec<(&str, &str)> = steps.iter().map(|row| (row.get("step"), row.get("state"))).collect();
    assert_eq!(steps[..2], [("flaky", "retrying"), ("flaky", "completed")]);
    assert_eq!(steps[2].1, "child_started");
    worker.stop().await.unwrap();
}

#[tokio::test]
async fn queues_and_dead_letters() {
    let (stores, _db) = crate::fresh().await;
    let mail = |id: &str| NewMessage::new("mail", id, json!("canary"));
    stores.queue().push(vec![mail("a"), mail("b")]).await.unwrap();
    stores.queues().create_queue("empty", QueueOptions::default()).await.unwrap();
    let before = all(&stores, "SELECT * FROM {v_queues}").await;
    assert_eq!(
        (texts(&before, "queue"), before[0].get::<_, Option<i64>>("ready")),
        (vec![Some("empty".into())], None)
    );

    let one = ClaimRequest::new("mail", WorkerId::generate(), Duration::from_secs(30), 1);
    stores.queue().register(&one.holder, Duration::from_secs(30)).await.unwrap();
    let lease = stores.queue().claim(one).await.unwrap().deliveries.remove(0).lease;
    let dead = Settlement::DeadLetter(Failure::new("BOUNCED", "no such address"));
    stores.queue().settle(vec![Settle::new(lease, dead)]).await.unwrap();
    PgStats::new(stores.db()).count(&Thresholds::default()).await.unwrap();

    let queues = all(&stores, "SELECT * FROM {v_queues} ORDER BY queue").await;
    assert_eq!(texts(&queues, "queue"), [Some("empty".into()), Some("mail".into())]);
    assert_eq!((queues[1].get::<_, i64>("ready"), queues[1].get::<_, i64>("dead")), (1, 1));
    assert_eq!((queues[0].get::<_, bool>("created"), queues[1].get::<_, bool>("created")), (true, false));
    assert!(queues[1].get::<_, f64>("oldest_seconds") >= 0.0);
    let dead = all(&stores, "SELECT * FROM {v_dead_letters} WHERE queue = 'mail'").await;
    assert_eq!(
        (texts(&dead, "reason_code"), texts(&dead, "type")),
        (vec![Some("BOUNCED".into())], vec![Some("a".into())])
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn who_holds_up_what() {
    let (stores, db) = crate::fresh().await;
    let blockers = "SELECT * FROM {v_blockers} ORDER BY kind";
    assert!(all(&stores, blockers).await.is_empty());

    let singleton = QueueOptions { policy: Policy::Singleton, ..QueueOptions::default() };
    stores.queues().create_queue("orders", singleton).await.unwrap();
    let order = |id: &str| NewMessage { key: Some("c-7".into()), ..NewMessage::new("orders", id, json!(1)) };
    let (first, second) = (order("first"), order("second"));
    stores.queues().push_each(vec![first.clone(), second]).await.unwrap();
    let report = NewMessage::new("reports", "later", json!(1)).after([&first]);
    stores.queues().create_queue("reports", QueueOptions::default()).await.unwrap();
    stores.queues().push_each(vec![report]).await.unwrap();
    let worker = WorkerId::generate();
    stores.queue().register(&worker, DAY).await.unwrap();
    let claim = ClaimRequest::new("orders", worker.clone(), DAY, 1);
    assert_eq!(stores.queue().claim(claim).await.unwrap().deliveries.len(), 1);
    stores.queues().pause_queue("reports", true).await.unwrap();

    let (mut holder, waiter) = (db.client().await, db.client().await);
    let tx = holder.transaction().await.unwrap();
    let pid: i32 = tx.query_one("SELECT pg_backend_pid()", &[]).await.unwrap().get(0);
    let event = |stream: &str| Append::to(stream, vec![NewEvent::new("added", json!({}))]);
    stores.events().append(event("s")).await.unwrap();
    stores.on(&tx).events.append(event("other")).await.unwrap();
    stores.events().append(event("s")).await.unwrap();
    let lock = format!("LOCK TABLE {}", db.names().table("flows"));
    tx.batch_execute(&lock).await.unwrap();
    let waiting = tokio::spawn(async move { waiter.batch_execute(&format!("BEGIN; {lock}; COMMIT")).await });

    let mut rows = all(&stores, blockers).await;
    while rows.len() < 5 {
        rows = all(&stores, blockers).await;
    }
    assert_eq!(
        texts(&rows, "kind").into_iter().flatten().collect::<Vec<_>>(),
        ["key", "lock", "log_fence", "parent", "paused_queue"]
    );
    let of = |n: usize, column: &str| rows[n].get::<_, Option<String>>(column).unwrap();
    assert_eq!((of(0, "what"), of(0, "held_by")), ("orders/c-7".into(), format!("message {}", first.id)));
    assert_eq!(of(0, "detail"), format!("claimed by {worker}"));
    assert_eq!((rows[1].get::<_, i32>("pid"), rows[2].get::<_, i32>("pid")), (pid, pid));
    assert_eq!((rows[2].get::<_, i64>("waiting"), of(2, "detail")), (2, "idle in transaction".into()));
    assert_eq!((of(3, "what"), of(3, "held_by")), ("reports".into(), format!("message orders/{}", first.id)));
    assert_eq!(of(4, "what"), "reports");
    tx.commit().await.unwrap();
    waiting.await.unwrap().unwrap();
    let rows = all(&stores, blockers).await;
    assert_eq!(
        texts(&rows, "kind").into_iter().flatten().collect::<Vec<_>>(),
        ["key", "parent", "paused_queue"]
    );
}

#[tokio::test]
async fn no_view_shows_a_payload_or_a_secret() {
    let (stores, _db) = crate::fresh().await;
    let rows = all(
        &stores,
        "SELECT a.attname::text AS name FROM pg_catalog.pg_attribute a JOIN pg_catalog.pg_class c ON c.oid = a.attrelid
         WHERE c.relkind = 'v' AND c.relname LIKE '{prefix}v\\_%' AND a.attnum > 0",
    );
    let names = texts(&rows.await, "name");
    assert!(names.len() > 70, "{names:?}");
    for secret in ["hash", "data", "headers", "context", "input", "result", "reply", "metadata", "output"] {
        assert!(!names.iter().flatten().any(|name| name == secret), "{secret}");
    }
}
