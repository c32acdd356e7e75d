//! How many transactions things cost, counted by the server.

use mainspring::{
    Backend, Changes, Cx, Engine, Execution, ExecutionId, ExecutionStatus, ExecutionWrite, Flow, PgStores,
    Workflow, flow::Step,
};
use mainspring_core::trace::{TraceContext, within};
use mainspring_pg::Session;
use mainspring_testing::TestDb;
use serde_json::json;

/// Counts transactions of one database. It keeps its own session, so that what counting costs is the same each time.
struct Counter {
    session: Session,
    stores: PgStores<'static>,
}

impl Counter {
    async fn new(db: &TestDb, stores: &PgStores<'static>) -> Self {
        let counter = Self { session: db.client().await, stores: stores.clone() };
        // Sessions that ended report late; a few rounds let them.
        let mut last = 0;
        for _ in 0..100 {
            let now = counter.spent(async || {}).await;
            if now == last {
                break;
            }
            last = now;
        }
        counter
    }

    async fn committed(&self) -> i64 {
        // The pooled sessions report what they did.
        for _ in 0..8 {
            self.stores.db().exec("SELECT pg_stat_force_next_flush()", &[]).await.unwrap();
        }
        self.session.batch_execute("SELECT pg_stat_force_next_flush()").await.unwrap();
        self.session.batch_execute("SELECT pg_stat_clear_snapshot()").await.unwrap();
        let sql = "SELECT xact_commit FROM pg_stat_database WHERE datname = current_database()";
        self.session.query_one(sql, &[]).await.unwrap().get(0)
    }

    /// Transactions committed while `work` runs, counting included.
    async fn spent(&self, work: impl AsyncFn()) -> i64 {
        let before = self.committed().await;
        work().await;
        self.committed().await - before
    }
}

fn five_steps() -> Flow {
    let mut flow = Flow::builder("five", "1.0.0");
    for n in 1..=5 {
        let step = Step::new(format!("s{n}"), "transform").input(json!({"static": n}));
        flow = flow.step(if n < 5 { step.on_success(format!("s{}", n + 1)) } else { step });
    }
    flow.build().unwrap()
}

#[tokio::test]
async fn an_execution_of_five_steps_run_here_is_six_writing_transactions_and_reads_nothing_between_them() {
    let (stores, db) = crate::on(TestDb::with_pool(1).await);
    let engine = Engine::builder(stores.clone()).flow(five_steps()).build().unwrap();
    let warm = engine.create("five", json!({})).run().await.unwrap();
    assert_eq!(warm.status, ExecutionStatus::Completed);

    let counter = Counter::new(&db, &stores).await;
    let run = async |runs: i64| {
        for _ in 0..runs {
            let done = engine.create("five", json!({})).run().await.unwrap();
            assert_eq!((done.status, done.revision), (ExecutionStatus::Completed, 6));
        }
    };
    // Sessions report at moments of their own. After the first round that adds the same each time, so the difference of two
    // rounds is what ten runs cost.
    counter.spent(async || run(10).await).await;
    let ten = counter.spent(async || run(10).await).await;
    let twenty = counter.spent(async || run(20).await).await;
    // Create and five steps. A read or a commit more in each run would be ten more.
    assert!(
        (55..=65).contains(&(twenty - ten)),
        "{ten} transactions for ten executions, {twenty} for twenty"
    );
}

#[tokio::test]
async fn a_traced_execution_is_one_call_for_each_commit_too() {
    // What two flights write keeps the mark of the call before, or has none.
    const KEEP: &str = "CREATE TABLE {marks} (mark bigint);
        CREATE FUNCTION {keep_mark}() RETURNS trigger LANGUAGE plpgsql AS $$
          BEGIN INSERT INTO {marks} VALUES (NEW.mark); RETURN NULL; END $$;
        CREATE TRIGGER keep AFTER INSERT OR UPDATE ON {executions} FOR EACH ROW EXECUTE FUNCTION {keep_mark}()";
    let (stores, db) = crate::fresh().await;
    let client = db.client().await;
    client.batch_execute(&db.names().render(KEEP)).await.unwrap();
    let engine = Engine::builder(stores.clone()).flow(five_steps()).build().unwrap();
    let context = TraceContext::parse("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01", None);
    let done = within(context, engine.create("five", json!({})).run()).await.unwrap();
    assert_eq!((done.status, done.metadata.len()), (ExecutionStatus::Completed, 1));
    let marks = db.names().render("SELECT count(DISTINCT mark) FROM {marks}");
    assert_eq!(client.query_one(&*marks, &[]).await.unwrap().get::<_, i64>(0), 6);
}

#[tokio::test]
async fn a_workflow_of_five_steps_run_here_is_six_writing_transactions_and_reads_nothing_between_them() {
    const FIVE: Workflow<u32, u32, String> = Workflow::new("five");
    let (stores, db) = crate::on(TestDb::with_pool(1).await);
    let engine = Engine::builder(stores.clone())
        .register(FIVE, async |cx: Cx, mut n: u32| {
            for _ in 0..5 {
                n = cx.step("up", async || Ok::<_, String>(n + 1)).await?;
            }
            Ok(n)
        })
        .build()
        .unwrap();
    assert_eq!(engine.start(FIVE, &1).run().await.unwrap(), 6);
    let counter = Counter::new(&db, &stores).await;
    let run = async |runs: i64| {
        for _ in 0..runs {
            engine.start(FIVE, &1).run().await.unwrap();
        }
    };
    counter.spent(async || run(10).await).await;
    let ten = counter.spent(async || run(10).await).await;
    let twenty = counter.spent(async || run(20).await).await;
    assert!((55..=65).contains(&(twenty - ten)), "{ten} transactions for ten workflows, {twenty} for twenty");
}

#[tokio::test]
async fn what_is_wanted_at_the_same_time_is_one_transaction() {
    let (stores, db) = crate::fresh().await;
    let write = |n: usize| {
        let execution = Execution::new(ExecutionId::new(format!("e{n}")).unwrap(), "f", "1.0.0", "s");
        Changes { executions: vec![ExecutionWrite::create(execution, vec![])], ..Changes::default() }
    };
    stores.commit(write(1_000)).await.unwrap();
    let cost = Counter::new(&db, &stores)
        .await
        .spent(async || {
            let all: Vec<_> = (0..200).map(|n| stores.commit(write(n))).collect();
            for result in futures_util::future::join_all(all).await {
                result.unwrap();
            }
        })
        .await;
    assert!(cost < 100, "{cost} transactions for 200 changes wanted at once");
}
