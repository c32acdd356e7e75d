//! Retention: what is over goes when a policy says so, archived or not, and nothing else ever does.

use std::{collections::BTreeSet, pin::pin, task::Poll, time::Duration};

use mainspring::{
    Append, Backend, ContextStore, Cx, Engine, Execution, ExecutionFilter, ExecutionId, ExecutionStatus,
    Failure, GlobalFilter, Job, JobStore, NewEvent, NewMessage, OutputStore, OutputStream, PgStores,
    Processor, QueueDriver, QueueOptions, QueueStore, RetentionPolicy, Settlement, StreamId, TokenOptions,
    TokenStore, Workflow, WorkflowResult, reactor_fn,
    retention::{Kind, Retention, Rule},
};
use mainspring_testing::TestDb;
use serde_json::{Value, json};

const DAY: Duration = Duration::from_secs(24 * 3_600);

fn retention(stores: &PgStores<'static>, policy: RetentionPolicy) -> Retention {
    stores.retention(policy).unwrap()
}

/// What a run took out, by kind.
async fn run(stores: &PgStores<'static>, policy: RetentionPolicy) -> Vec<(Kind, u64)> {
    let removed = retention(stores, policy).run(|_| {}).await.unwrap();
    removed.into_iter().map(|removed| (removed.target.kind, removed.count)).collect()
}

/// Ids and data of what was archived of a kind.
async fn archived(stores: &PgStores<'static>, kind: Kind) -> Vec<(String, Value)> {
    let sql = "SELECT id, data FROM {archive} WHERE kind = $1 ORDER BY seq";
    let rows = stores.db().all(sql, &[&kind.as_str()]).await.unwrap();
    rows.iter().map(|row| (row.get(0), row.get(1))).collect()
}

async fn count(stores: &PgStores<'static>, sql: &'static str) -> i64 {
    stores.db().one(sql, &[]).await.unwrap().get(0)
}

/// An execution that is over, or not.
async fn execution(stores: &PgStores<'static>, flow: &str, id: &str, status: ExecutionStatus) -> ExecutionId {
    let id = ExecutionId::new(id).unwrap();
    let execution = Execution { status, ..Execution::new(id.clone(), flow, "1.0.0", "a") };
    stores.executions().create(execution).await.unwrap();
    id
}

const ASK: Workflow<String, String, String> = Workflow::new("ask");

async fn ask(cx: Cx, name: String) -> WorkflowResult<String, String> {
    let answer: String = cx.signal("answer").await?;
    Ok(cx.step("greet", async || Ok::<_, String>(format!("{name} {answer}"))).await?)
}

#[tokio::test]
async fn an_execution_goes_with_everything_that_belongs_to_it() {
    let (stores, db) = crate::fresh().await;
    let engine = Engine::builder(stores.clone()).register(ASK, ask).build().unwrap();
    let asked = engine.start(ASK, &"Ada".to_owned()).id("x").await.unwrap();
    asked.signal("answer", &"yes").await.unwrap();
    let worker = engine.worker().start().unwrap();
    asked.result().await.unwrap();
    worker.stop().await.unwrap();
    let x = ExecutionId::new("x").unwrap();
    stores.jobs.create(Job::new(x.clone(), "greet", "h", json!(1))).await.unwrap();
    stores.context.set(&x, "large", json!({"big": true})).await.unwrap();
    let (secret, _) = stores.resume_tokens.generate(&x, "greet", TokenOptions::default()).await.unwrap();
    let output = OutputStream::of(&x, "out");
    stores.outputs.write(&output, "hello".into()).await.unwrap();
    let policy = || RetentionPolicy::default().with(Kind::Executions, Rule::Archive(DAY));
    assert_eq!(run(&stores, policy()).await, [], "it is not old");
    db.advance(2 * DAY).await;
    let plan = retention(&stores, policy()).plan().await.unwrap();
    let planned = plan.iter().find(|planned| planned.target.kind == Kind::Executions).unwrap();
    assert_eq!((planned.target.name.as_str(), planned.count), ("ask", 1));
    assert_eq!(run(&stores, policy()).await, [(Kind::Executions, 1)]);
    assert_eq!(run(&stores, policy()).await, [], "a second time there is nothing to do");

    let all = archived(&stores, Kind::Executions).await;
    let (id, data) = &all[0];
    assert_eq!((all.len(), id.as_str(), &data["status"]), (1, "x", &json!("completed")));
    assert!(data["history"].as_array().unwrap().len() > 2, "{data}");
    assert_eq!(data["sent"][0]["stream"], "inbox-x");
    assert_eq!(data["jobs"][0]["handler"], "h");
    assert_eq!(data["contexts"]["large"]["big"], true);
    assert_eq!(data["outputs"]["out"][0], "aGVsbG8=");
    assert!(data["tokens"][0].get("hash").is_none() && !data.to_string().contains(&secret.reveal()[3..]));
    for (what, sql) in [
        ("rows", "SELECT count(*) FROM {executions}"),
        ("events", "SELECT count(*) FROM {events}"),
        ("heads of streams", "SELECT count(*) FROM {streams}"),
        ("jobs", "SELECT count(*) FROM {jobs}"),
        ("tokens", "SELECT count(*) FROM {resume_tokens}"),
        ("values", "SELECT count(*) FROM {context_values}"),
        ("chunks", "SELECT count(*) FROM {output_chunks}"),
    ] {
        assert_eq!(count(&stores, sql).await, 0, "{what}");
    }
}

#[tokio::test]
async fn flows_have_rules_of_their_own_and_a_child_waits_for_its_parent() {
    let (stores, db) = crate::fresh().await;
    for n in 0..3 {
        execution(&stores, "brief", &format!("b{n}"), ExecutionStatus::Completed).await;
        execution(&stores, "long", &format!("l{n}"), ExecutionStatus::Failed).await;
        execution(&stores, "kept", &format!("k{n}"), ExecutionStatus::Cancelled).await;
    }
    execution(&stores, "brief", "runs", ExecutionStatus::Pending).await;
    let mut child = Execution::new(ExecutionId::new("child").unwrap(), "brief", "1.0.0", "a");
    child.status = ExecutionStatus::Completed;
    child.parent = Some(ExecutionId::new("runs").unwrap());
    stores.executions().create(child).await.unwrap();
    let policy = || {
        let policy = RetentionPolicy::default().with(Kind::Executions, Rule::Delete(9 * DAY)).batch(10);
        policy.flow("brief", Rule::Delete(DAY)).flow("kept", Rule::Keep)
    };
    db.advance(2 * DAY).await;
    assert_eq!(run(&stores, policy()).await, [(Kind::Executions, 3)]);
    db.advance(8 * DAY).await;
    assert_eq!(run(&stores, policy()).await, [(Kind::Executions, 3)]);
    let left = stores.executions().list(ExecutionFilter::default()).await.unwrap();
    let left: BTreeSet<&str> = left.iter().map(|execution| execution.id.as_str()).collect();
    assert_eq!(left, ["child", "k0", "k1", "k2", "runs"].into());
    assert_eq!(archived(&stores, Kind::Executions).await, []);
}

/// One of each kind that is a row of one table; how many of each are over.
async fn one_of_each(stores: &PgStores<'static>) -> Vec<Kind> {
    let over = execution(stores, "f", "over", ExecutionStatus::Completed).await;
    let runs = execution(stores, "f", "runs", ExecutionStatus::Pending).await;
    for id in [&over, &runs] {
        let job = stores.jobs.create(Job::new(id.clone(), "a", "h", json!(1))).await.unwrap();
        let worker = mainspring::WorkerId::generate();
        let claimed = stores.jobs.claim(&job.id, &worker).await.unwrap().unwrap();
        let lease = claimed.lease();
        assert!(stores.jobs.complete(&lease, json!(2)).await.unwrap());
        stores.context.set(id, "v", json!(3)).await.unwrap();
        let (secret, _) = stores.resume_tokens.generate(id, "a", TokenOptions::default()).await.unwrap();
        if *id == over {
            assert!(stores.resume_tokens.revoke(&secret).await.unwrap());
        }
    }
    for (name, is_over) in [("closed", true), ("open", false)] {
        stores.outputs.write(&OutputStream::named(name), "x".into()).await.unwrap();
        if is_over {
            stores.outputs.close(&OutputStream::named(name)).await.unwrap();
        }
    }
    let options = QueueOptions { keep_finished: DAY, ..QueueOptions::default() };
    stores.queue.create_queue("q", options).await.unwrap();
    let push = |queue: &str| NewMessage::new(queue, "m", json!({"n": 1}));
    stores.queue.push(vec![push("q"), push("plain")]).await.unwrap();
    for (queue, settlement) in
        [("q", Settlement::Done), ("plain", Settlement::DeadLetter(Failure::new("BAD", "no")))]
    {
        let request = mainspring::ClaimRequest::new(
            queue,
            mainspring::WorkerId::generate(),
            Duration::from_secs(60),
            1,
        );
        let lease = stores.queue.claim(request).await.unwrap().deliveries.remove(0).lease;
        stores.queue.settle(vec![mainspring::Settle::new(lease, settlement)]).await.unwrap();
    }
    stores.queue.push(vec![push("plain")]).await.unwrap();
    vec![Kind::Jobs, Kind::Tokens, Kind::Contexts, Kind::Outputs, Kind::Messages, Kind::DeadLetters]
}

#[tokio::test]
async fn of_each_kind_only_what_is_over_goes_and_is_archived() {
    let (stores, db) = crate::fresh().await;
    let kinds = one_of_each(&stores).await;
    let mut policy = RetentionPolicy::default();
    for kind in &kinds {
        let after = if *kind == Kind::Messages { Duration::ZERO } else { DAY };
        policy = policy.with(*kind, Rule::Archive(after));
    }
    assert_eq!(run(&stores, policy.clone()).await, []);
    db.advance(2 * DAY).await;
    let plan = retention(&stores, policy.clone()).plan().await.unwrap();
    let planned: Vec<(Kind, u64)> = plan
        .iter()
        .filter(|planned| planned.count > 0)
        .map(|planned| (planned.target.kind, planned.count))
        .collect();
    let one_each: Vec<(Kind, u64)> = kinds.iter().map(|kind| (*kind, 1)).collect();
    assert_eq!(planned, one_each);
    assert!(plan.iter().all(|planned| planned.oldest.is_some() == (planned.count > 0)));
    assert_eq!(run(&stores, policy.clone()).await, one_each);
    assert_eq!(run(&stores, policy).await, []);
    for kind in kinds {
        assert_eq!(archived(&stores, kind).await.len(), 1, "{kind}");
    }
    assert_eq!(archived(&stores, Kind::Outputs).await[0].1["data"], json!(["eA=="]));
    assert!(archived(&stores, Kind::Tokens).await[0].1.get("hash").is_none());
    assert_eq!(archived(&stores, Kind::DeadLetters).await[0].1["reason"]["code"], "BAD");

    let policy = RetentionPolicy::default().with(Kind::Archive, Rule::Delete(DAY));
    assert_eq!(run(&stores, policy.clone()).await, [], "it was archived just now");
    db.advance(2 * DAY).await;
    assert_eq!(run(&stores, policy).await, [(Kind::Archive, 6)]);
}

/// A stream with one event.
async fn stream(stores: &PgStores<'static>, id: StreamId) -> StreamId {
    let events = vec![NewEvent::new("Added", json!({}))];
    stores.events().append(Append::to(id.clone(), events)).await.unwrap();
    id
}

#[tokio::test]
async fn streams_of_a_type_go_when_they_are_idle_and_seen() {
    let (stores, db) = crate::fresh().await;
    stores.events().create_partition("shop").await.unwrap();
    let in_shop = |name: &str| StreamId::new(name).in_partition("shop").of_tenant("t");
    let (idle, other) = (stream(&stores, in_shop("cart-1")).await, stream(&stores, in_shop("carts-1")).await);
    for n in 0..25 {
        stream(&stores, StreamId::new(format!("cart-{n}"))).await;
    }
    stream(&stores, StreamId::new("execution-x")).await;
    let follow = || {
        let nothing = reactor_fn(|_| async { Ok(mainspring::Changes::default()) });
        stores.consumer("all").only(GlobalFilter::default()).processor(Processor::reactor("late", nothing))
    };
    follow().run_to_end().await.unwrap();
    db.advance(2 * DAY).await;
    let fresh = stream(&stores, StreamId::new("cart-7")).await;
    let policy = || RetentionPolicy::default().stream("cart", Rule::Archive(DAY)).batch(50);
    assert_eq!(run(&stores, policy()).await, [(Kind::Streams, 24), (Kind::Streams, 1)]);
    assert_eq!(stores.events().head(&fresh).await.unwrap().position, 2, "somebody went on with it");
    assert_eq!(stores.events().head(&idle).await.unwrap().position, 0);
    assert_eq!(stores.events().head(&other).await.unwrap().position, 1, "of another type");
    assert!(stores.events().restore(&idle).await.unwrap());
    assert_eq!(stores.events().head(&idle).await.unwrap().position, 1);
    assert_eq!(run(&stores, policy()).await, [(Kind::Streams, 1)]);

    let unseen = stream(&stores, StreamId::new("cart-unseen")).await;
    db.advance(2 * DAY).await;
    assert_eq!(run(&stores, policy()).await, [], "nobody has seen either of them");
    follow().run_to_end().await.unwrap();
    let delete = RetentionPolicy::default().stream("cart", Rule::Delete(DAY));
    let plan = retention(&stores, delete.clone()).plan().await.unwrap();
    let planned: u64 = plan.iter().filter(|it| it.target.kind == Kind::Streams).map(|it| it.count).sum();
    assert_eq!(planned, 2);
    assert_eq!(run(&stores, delete).await, [(Kind::Streams, 2)]);
    assert_eq!(stores.events().head(&unseen).await.unwrap().position, 0);
}

#[tokio::test]
async fn a_partition_goes_whole_when_all_of_it_is_old() {
    let (stores, db) = crate::fresh().await;
    for partition in ["log-1", "log-2", "other"] {
        stores.events().create_partition(partition).await.unwrap();
        stream(&stores, StreamId::new("s").in_partition(partition)).await;
    }
    let policy = || RetentionPolicy::default().partition("log-*", DAY);
    db.advance(2 * DAY).await;
    stream(&stores, StreamId::new("t").in_partition("log-2")).await;
    assert_eq!(run(&stores, policy()).await, [(Kind::Partitions, 1)]);
    assert_eq!(run(&stores, policy()).await, []);
    let left: Vec<String> = stores.events().partitions().await.unwrap().into_keys().collect();
    assert_eq!(left, ["log-2", "other"]);
}

/// Some executions of one flow that are over.
async fn over(stores: &PgStores<'static>, db: &TestDb, many: usize) {
    for n in 0..many {
        execution(stores, "f", &format!("e{n}"), ExecutionStatus::Completed).await;
    }
    db.advance(2 * DAY).await;
}

async fn all_are_archived_once(stores: &PgStores<'static>, many: usize) {
    let ids = archived(stores, Kind::Executions).await.into_iter().map(|(id, _)| id);
    let ids: Vec<String> = ids.collect();
    assert_eq!(ids.len(), many, "each once");
    assert_eq!(ids.iter().collect::<BTreeSet<_>>().len(), many);
    assert_eq!(count(stores, "SELECT count(*) FROM {executions}").await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn several_may_do_it_at_once() {
    let (stores, db) = crate::fresh().await;
    over(&stores, &db, 60).await;
    let policy = || RetentionPolicy::default().with(Kind::Executions, Rule::Archive(DAY)).batch(50);
    let (one, two) = tokio::join!(run(&stores, policy()), run(&stores, policy()));
    let all: u64 = one.iter().chain(&two).map(|(_, count)| count).sum();
    assert!(all <= 60);
    run(&stores, policy()).await; // what one of them held was passed over by the other
    all_are_archived_once(&stores, 60).await;
}

/// fault F34: dropped at each of its first polls, and then left alone.
#[tokio::test]
async fn it_may_be_ended_at_any_point() {
    let (stores, db) = crate::fresh().await;
    over(&stores, &db, 40).await;
    let policy = || RetentionPolicy::default().with(Kind::Executions, Rule::Archive(DAY)).batch(10);
    for polls in 1..40 {
        let retention = retention(&stores, policy());
        let mut work = pin!(retention.run(|_| {}));
        let mut left = polls;
        std::future::poll_fn(|cx| {
            left -= 1;
            if left == 0 || work.as_mut().poll(cx).is_ready() { Poll::Ready(()) } else { Poll::Pending }
        })
        .await;
    }
    run(&stores, policy()).await;
    all_are_archived_once(&stores, 40).await;
}

#[tokio::test]
async fn whoever_does_the_upkeep_goes_by_the_policy() {
    let (stores, db) = crate::fresh().await;
    over(&stores, &db, 3).await;
    let retention = RetentionPolicy::default().with(Kind::Executions, Rule::Archive(DAY));
    let options = mainspring::upkeep::UpkeepOptions { retention, ..Default::default() };
    let (first, second) = (stores.upkeep(options.clone()).unwrap(), stores.upkeep(options).unwrap());
    assert_eq!(first.round().await.forgotten, 3);
    assert_eq!(second.round().await.term, None);
    all_are_archived_once(&stores, 3).await;
}
