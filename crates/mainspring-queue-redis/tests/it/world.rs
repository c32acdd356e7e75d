//! A world on Postgres with Redis beside it: its settings, its messages and steps over both ways of calling, what operators read.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex},
    time::Duration,
};

use mainspring::{
    BoxFuture, ClaimRequest, Cx, DeadLetter, Migrator, QueueDriver, Settings, WorkerId, Workflow,
    WorkflowResult, World,
    redis::{HybridOptions, HybridWorld, create_world_from},
    world::{
        CallOptions, StepHandlers,
        http::{
            Call, Credential, Endpoint, FunctionInvoker, Guard, HttpInvoker, HttpOptions, Invoker,
            MessageData, Reply, RouterOptions, Secret, ServeOptions, serve,
        },
    },
};
use mainspring_queue_redis::RedisOptions;
use mainspring_testing::TestDb;
use serde_json::json;
use tokio::{net::TcpListener, time::timeout};

use crate::server;

const PATIENCE: Duration = Duration::from_secs(30);
const SUM: Workflow<i64, i64, String> = Workflow::new("sum");

async fn sum(cx: Cx, n: i64) -> WorkflowResult<i64, String> {
    let numbers: Vec<i64> = (0..n).collect();
    let each = async |cx: Cx, n: &i64| Ok(cx.call::<i64>("plus", &(*n, 1)).await?);
    Ok(cx.map("each", &numbers, each).concurrency(1_000).await?.into_iter().sum())
}

/// The part of one process of a world on this database.
fn hybrid(url: &str, db: &TestDb) -> HybridWorld {
    let redis = RedisOptions { prefix: format!("{}:", db.name()), ..RedisOptions::parse(url).unwrap() };
    let options = HybridOptions { redis: Some(redis), ..HybridOptions::default() };
    create_world_from(options, |name| (name == "WORKFLOW_POSTGRES_URL").then(|| db.url().to_owned())).unwrap()
}

/// An application that answers as it is told, and then does the steps.
#[derive(Clone)]
struct App {
    seen: Arc<Mutex<Vec<MessageData>>>,
    replies: Arc<Mutex<VecDeque<Reply>>>,
    steps: StepHandlers,
}

impl App {
    fn answering(replies: impl IntoIterator<Item = Reply>) -> Self {
        let plus = |(a, b): (i64, i64), _call| async move { Ok(a + b) };
        let steps = StepHandlers::new().step("plus", plus).unwrap();
        Self { seen: Arc::default(), replies: Arc::new(Mutex::new(replies.into_iter().collect())), steps }
    }

    fn attempts(&self) -> Vec<u32> {
        self.seen.lock().unwrap().iter().map(|message| message.attempt).collect()
    }

    /// How a worker reaches it: in the same process, or over HTTP.
    async fn by(&self, http: bool, side: &World) -> Arc<dyn Invoker> {
        let (secret, app) = (Secret::generate().unwrap(), Arc::new(self.clone()));
        if !http {
            return Arc::new(FunctionInvoker::new(side.endpoint(app), secret));
        }
        let router = side.router(app, Guard::secret(secret.clone()), RouterOptions::default()).unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let base = format!("http://{}", listener.local_addr().unwrap());
        tokio::spawn(serve(listener, router, ServeOptions::default(), std::future::pending()));
        Arc::new(HttpInvoker::new(&base, Credential::secret(secret), HttpOptions::default()).unwrap())
    }
}

impl Endpoint for App {
    fn call(&self, call: Call) -> BoxFuture<'_, Reply> {
        Box::pin(async move {
            self.seen.lock().unwrap().push(call.message.clone());
            let told = self.replies.lock().unwrap().pop_front();
            match told {
                Some(reply) => reply,
                None if call.message.data.get("input").is_some() => self.steps.call(call).await,
                None => Reply::ok(),
            }
        })
    }
}

/// Two processes: one in which runs begin and the application is, one that works.
async fn stage(url: &str, db: &TestDb, app: &App, http: bool) -> (World, World, HybridWorld) {
    let (near, far) = (hybrid(url, db), hybrid(url, db));
    let side = near.builder().workflow(SUM, sum).build().unwrap();
    let worker = far.builder().workflow(SUM, sum).concurrency(50);
    let worker = worker.invoker(app.by(http, &side).await).build().unwrap();
    worker.start().await.unwrap();
    (side, worker, far)
}

async fn until(what: &str, mut holds: impl AsyncFnMut() -> bool) {
    let held = timeout(PATIENCE, async {
        while !holds().await {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    });
    assert!(held.await.is_ok(), "{what}");
}

#[tokio::test]
async fn many_steps_are_done_by_an_application_each_once() {
    // W43, R02
    let Some(server) = server(&[]) else { return };
    for http in [false, true] {
        let (db, app) = (TestDb::new().await, App::answering([]));
        let (side, worker, far) = stage(server.url(), &db, &app, http).await;
        let handle = side.engine().start(SUM, &110).await.unwrap();
        let result = timeout(PATIENCE, handle.result()).await.unwrap();
        assert_eq!(result.unwrap(), (1..=110).sum::<i64>());
        assert_eq!(app.attempts(), vec![1; 110]);
        assert!(far.redis.health().tally.taken > 0, "{:?}", far.health().await);
        worker.close().await.unwrap();
    }
}

#[tokio::test]
async fn replies_keep_failures_delays_and_absence_apart() {
    // W42, R10: what asks for time uses up no attempt.
    let Some(server) = server(&[]) else { return };
    for http in [false, true] {
        let db = TestDb::new().await;
        let app =
            App::answering([Reply::Again(Duration::from_secs(9)), Reply::failed("no"), Reply::failed("no")]);
        let (side, worker, _) = stage(server.url(), &db, &app, http).await;
        let handle = side.engine().start(SUM, &1).await.unwrap();
        // Time goes on only while the message waits, so that no lease runs out meanwhile.
        let client = db.client().await;
        for tries in 1..=3 {
            until("it is put off", async || {
                let rows = client.query("SELECT FROM ms_deferred WHERE type = 'job.run'", &[]).await.unwrap();
                app.attempts().len() > tries || (app.attempts().len() == tries && !rows.is_empty())
            })
            .await;
            db.advance(Duration::from_secs(if app.attempts().len() == tries { 10 } else { 0 })).await;
        }
        assert_eq!(timeout(PATIENCE, handle.result()).await.unwrap().unwrap(), 1);
        assert_eq!(app.attempts(), [1, 1, 2, 3]);
        worker.close().await.unwrap();
    }
}

#[tokio::test]
async fn what_fails_for_good_ends_in_the_dead_letters_or_fails_its_run() {
    // R06
    let Some(server) = server(&[]) else { return };
    for http in [false, true] {
        let (db, app) = (TestDb::new().await, App::answering([Reply::fatal("never"), Reply::fatal("never")]));
        let (side, worker, far) = stage(server.url(), &db, &app, http).await;
        let handle = side.engine().start(SUM, &1).await.unwrap();
        let error = timeout(PATIENCE, handle.result()).await.unwrap().unwrap_err();
        assert!(error.to_string().contains("never"), "{error}");
        side.queue("__wkf_workflow_x", json!(1), CallOptions::default()).await.unwrap();
        let mut dead: Vec<DeadLetter> = Vec::new();
        until("the dead letter", async || {
            dead = far.stores.queue.dead_letters("workflow_calls", 10).await.unwrap();
            !dead.is_empty()
        })
        .await;
        assert!(dead[0].reason.message.contains("never"), "{dead:?}");
        worker.close().await.unwrap();
    }
}

#[tokio::test]
async fn a_run_that_cannot_be_marked_failed_keeps_its_message_until_it_can() {
    // R07: the end of a run and that of its message are one commit.
    let Some(server) = server(&[]) else { return };
    let (db, app) = (TestDb::new().await, App::answering([Reply::fatal("never")]));
    let client = db.client().await;
    let refuse = "CREATE SEQUENCE refusals;
      CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS
        $$ BEGIN PERFORM nextval('refusals'); RAISE EXCEPTION 'not now'; END $$;
      CREATE TRIGGER refuse BEFORE UPDATE ON ms_executions FOR EACH ROW WHEN (NEW.status = 'failed') EXECUTE FUNCTION refuse()";
    client.batch_execute(refuse).await.unwrap();
    let (side, worker, far) = stage(server.url(), &db, &app, false).await;
    let handle = side.engine().start(SUM, &1).await.unwrap();
    let number = async |sql: &str| client.query_one(sql, &[]).await.unwrap().get::<_, i64>(0);
    let refused =
        async || number("SELECT CASE WHEN is_called THEN last_value ELSE 0 END FROM refusals").await;
    for times in 1..=3 {
        until("it is refused", async || {
            db.advance(Duration::from_secs(60)).await;
            refused().await >= times
        })
        .await;
        let kept = "SELECT (SELECT count(*) FROM ms_messages WHERE type LIKE 'execution%') +
          (SELECT count(*) FROM ms_deferred WHERE type LIKE 'execution%')";
        assert!(number(kept).await >= 1, "its message is there");
        assert_eq!(number("SELECT count(*) FROM ms_dead_letters").await, 0);
    }
    client.batch_execute("DROP TRIGGER refuse ON ms_executions").await.unwrap();
    let ended = async {
        tokio::select! {
            ended = handle.result() => ended,
            () = async { loop { db.advance(Duration::from_secs(60)).await; tokio::time::sleep(Duration::from_millis(50)).await } } => unreachable!(),
        }
    };
    let error = timeout(PATIENCE, ended).await.unwrap().unwrap_err();
    assert!(error.to_string().contains("never"), "{error}");
    assert_eq!(app.attempts(), [1], "the step was not done again");
    drop(far);
    worker.close().await.unwrap();
}

#[tokio::test]
async fn messages_have_ids_keys_and_delays() {
    // W41, R11
    let Some(server) = server(&[]) else { return };
    for http in [false, true] {
        let (db, app) = (TestDb::new().await, App::answering([]));
        let (side, worker, _) = stage(server.url(), &db, &app, http).await;
        let key = |key: &str| CallOptions { idempotency_key: Some(key.into()), ..CallOptions::default() };
        let send = async |options| side.queue("__wkf_workflow_order", json!(1), options).await.unwrap();
        let (first, second, other) = (send(key("a")).await, send(key("a")).await, send(key("b")).await);
        assert!(first == second && first != other);
        send(CallOptions { delay: Some(Duration::from_secs(3600)), ..CallOptions::default() }).await;
        until("two messages", async || app.attempts().len() >= 2).await;
        assert_eq!(send(key("a")).await, first, "done, and still the same");
        db.advance(Duration::from_secs(3601)).await;
        until("the one that was put off", async || app.attempts().len() >= 3).await;
        assert_eq!(app.attempts(), [1, 1, 1]);
        worker.close().await.unwrap();
    }
}

#[tokio::test]
async fn a_world_that_is_created_twice_and_set_up_twice_is_one_world_and_says_how_it_is() {
    // R13, R14
    let Some(server) = server(&[]) else { return };
    let db = TestDb::empty().await;
    for _ in 0..2 {
        Migrator::new(Settings::parse(db.url()).unwrap(), db.names().clone()).up().await.unwrap();
    }
    let hybrid = hybrid(server.url(), &db);
    let world = hybrid.builder().build().unwrap();
    let health = hybrid.health().await.unwrap();
    assert_eq!((health.pending, health.claimed, health.oldest, health.reclaimed), (0, 0, None, 0));
    world.ready().await.unwrap();
    world.queue("__wkf_workflow_x", json!(1), CallOptions::default()).await.unwrap();
    db.advance(Duration::from_secs(60)).await;
    let health = hybrid.health().await.unwrap();
    assert!(health.pending >= 1 && health.oldest.unwrap() >= Duration::from_secs(60), "{health:?}");
    let dying = ClaimRequest::new("workflow_calls", WorkerId::generate(), Duration::from_secs(1), 1);
    assert_eq!(hybrid.stores.queue.claim(dying).await.unwrap().deliveries.len(), 1);
    assert_eq!(hybrid.health().await.unwrap().claimed, 1);
    db.advance(Duration::from_secs(60)).await;
    hybrid.stores.queue.maintain().await.unwrap();
    let health = hybrid.health().await.unwrap();
    assert_eq!((health.claimed, health.reclaimed), (0, 1));
}

#[tokio::test]
async fn operators_read_runs_with_sql() {
    // The queries of the README this world comes from, on the views.
    let Some(server) = server(&[]) else { return };
    let (db, app) = (TestDb::new().await, App::answering([Reply::fatal("never")]));
    let (side, worker, far) = stage(server.url(), &db, &app, false).await;
    let failed = side.engine().start(SUM, &1).await.unwrap();
    assert!(timeout(PATIENCE, failed.result()).await.unwrap().is_err());
    let fine = side.engine().start(SUM, &1).await.unwrap();
    timeout(PATIENCE, fine.result()).await.unwrap().unwrap();
    worker.close().await.unwrap();
    let client = db.client().await;
    let ids = async |sql: &str| -> Vec<String> {
        let rows = client.query(sql, &[]).await.unwrap();
        rows.iter().map(|row| row.get("execution_id")).collect()
    };
    let recent =
        "SELECT * FROM ms_v_executions WHERE status = 'failed' AND created_at > now() - interval '24 hours'";
    assert_eq!(ids(recent).await, [failed.id().to_string()]);
    let steps = format!("SELECT * FROM ms_v_steps WHERE execution_id = '{}' ORDER BY position", fine.id());
    assert!(!ids(&steps).await.is_empty());
    let set = "UPDATE ms_executions SET attributes = '{\"user\": \"u1\"}'; CREATE TABLE users (id text, email text);
      INSERT INTO users VALUES ('u1', 'ada@example.com')";
    client.batch_execute(set).await.unwrap();
    let joined = "SELECT x.*, u.email FROM ms_v_executions x JOIN users u ON u.id = x.attributes->>'user' WHERE x.status = 'completed'";
    assert_eq!(ids(joined).await, [fine.id().to_string()]);
    assert!(far.redis.health().up);
}

#[test]
fn settings_come_from_options_then_the_environment_then_the_defaults() {
    // R12
    let variables = |name: &str| match name {
        "WORKFLOW_POSTGRES_URL" => Some("postgres://me:hush@db/x".to_owned()),
        "WORKFLOW_POSTGRES_JOB_PREFIX" => Some("ours_".to_owned()),
        "WORKFLOW_POSTGRES_WORKER_CONCURRENCY" => Some("7".to_owned()),
        "WORKFLOW_REDIS_URL" => Some("redis://me:hush@cache:1234".to_owned()),
        _ => None,
    };
    let world = create_world_from(HybridOptions::default(), variables).unwrap();
    assert_eq!(
        (world.settings.queue_prefix.as_deref(), world.settings.concurrency),
        (Some("ours_"), Some(7))
    );
    let shown = format!("{:?} {:?}", world.redis, world.settings);
    assert!(shown.contains("cache") && !shown.contains("hush"), "{shown}");
    let option = RedisOptions::parse("redis://option").unwrap();
    let world =
        create_world_from(HybridOptions { redis: Some(option), ..HybridOptions::default() }, variables);
    assert!(format!("{:?}", world.unwrap().redis).contains("option"));

    let short = HybridOptions { visibility: Some(Duration::from_secs(59)), ..HybridOptions::default() };
    let error = create_world_from(short, variables).map(drop).unwrap_err();
    assert!(error.is_invalid() && error.to_string().contains("visibility"), "{error}");
    let none = create_world_from(HybridOptions::default(), |_| None).map(drop).unwrap_err();
    assert!(none.to_string().contains("WORKFLOW_POSTGRES_URL"), "{none}");
    let nonsense = |name: &str| {
        if name == "REDIS_URL" {
            Some("here".to_owned())
        } else {
            variables(name).filter(|_| name != "WORKFLOW_REDIS_URL")
        }
    };
    let error = create_world_from(HybridOptions::default(), nonsense).map(drop).unwrap_err();
    assert!(error.to_string().starts_with("REDIS_URL"), "{error}");
}
