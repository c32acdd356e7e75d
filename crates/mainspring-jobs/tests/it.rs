//! What is special about jobs on Postgres; what every backend does alike is in the conformance suite.

#![allow(clippy::unwrap_used, reason = "the helpers of tests are tests too")]

use std::time::Duration;

use mainspring_core::{
    Error, Execution, ExecutionId, ExecutionStore, Failure, Job, JobId, JobLease, JobStatus, JobStore,
    JobWrite, MessageId, Progress, Reply, Result, Timestamp, WorkerId,
};
use mainspring_executions::PgExecutionStore;
use mainspring_jobs::{JobEnd, PgJobStore, cancel_all_query, create_query, decode_settled, settle_query};
use mainspring_pg::{Db, Query};
use mainspring_testing::TestDb;
use serde_json::{Map, Value, json};
use tokio::task::JoinSet;

struct World {
    test: TestDb,
    db: Db<'static>,
    jobs: PgJobStore<'static>,
}

async fn world() -> World {
    let test = TestDb::new().await;
    let db = test.db();
    let executions = PgExecutionStore::new(&db);
    for id in ["e", "f"] {
        executions.create(Execution::new(execution(id), "order", "1.0.0", "ship")).await.unwrap();
    }
    World { jobs: PgJobStore::new(&db), db, test }
}

impl World {
    async fn pending(&self) -> Job {
        self.jobs.create(job("e")).await.unwrap()
    }

    async fn claimed(&self) -> Job {
        let job = self.pending().await;
        self.jobs.claim(&job.id, &worker("w")).await.unwrap().unwrap()
    }

    async fn read(&self, id: &JobId) -> Job {
        self.jobs.get(id).await.unwrap().unwrap()
    }
}

fn execution(id: &str) -> ExecutionId {
    ExecutionId::new(id).unwrap()
}

fn worker(id: &str) -> WorkerId {
    WorkerId::new(id).unwrap()
}

fn job(owner: &str) -> Job {
    Job::new(execution(owner), "ship", "print-labels", json!({"parcels": 2}))
}

fn failure() -> Failure {
    Failure::new("BOOM", "it failed")
}

fn object(value: Value) -> Map<String, Value> {
    value.as_object().unwrap().clone()
}

/// Something in every column.
fn full() -> Job {
    let error = Failure {
        step_id: Some("ship".into()),
        details: json!({"tries": [1, null]}),
        timestamp: Some(Timestamp::from_micros(1_700_000_000_000_001)),
        ..failure()
    };
    Job {
        tenant: "acme".into(),
        status: JobStatus::Running,
        input: json!(null),
        error: Some(error),
        holder: Some(worker("w")),
        token: 1 << 40,
        heartbeat_at: Some(Timestamp::from_micros(1_700_000_000_000_003)),
        stalled_after_ms: 1_234,
        attempts: 5,
        lost: 2,
        max_attempts: 7,
        checkpoint: object(json!({"page": {"n": [1.5, "ü"]}})),
        progress: Some(Progress { percent: 40, message: "printing".into() }),
        reply: Some(Reply {
            message: MessageId::generate(),
            to: execution("f"),
            queue: "billing".into(),
            inbox: None,
        }),
        ..job("e")
    }
}

/// scenario F54
#[tokio::test]
async fn every_column_survives_a_round_trip() {
    let world = world().await;
    let running = world.jobs.create(full()).await.unwrap();
    assert_eq!(world.read(&running.id).await, running);
    assert_eq!((running.created_at, running.finished_at), (running.updated_at, None));

    let ended = Job {
        status: JobStatus::Completed,
        result: Some(json!(null)),
        holder: None,
        heartbeat_at: None,
        ..full()
    };
    let ended = world.jobs.create(Job { id: JobId::generate(), ..ended }).await.unwrap();
    assert_eq!(world.read(&ended.id).await, ended);
    assert_eq!(ended.finished_at, Some(ended.created_at));
    assert_eq!(ended.result, Some(Value::Null), "a result that is null is a result");
}

/// scenario F53: a worker that comes back after its job was taken over, under the same name, changes nothing.
#[tokio::test]
async fn a_zombie_writes_nothing() {
    let world = world().await;
    let old = world.claimed().await;
    let zombie = PgJobStore::new(&world.test.db());
    world.jobs.save_checkpoint(&old.lease(), "page", json!(7)).await.unwrap();

    let new = world.jobs.take_over(&old.id, &worker("w")).await.unwrap().unwrap();
    assert!(new.token > old.token);
    assert_eq!((new.attempts, new.lost, new.checkpoint["page"].clone()), (2, 1, json!(7)));

    let lease = old.lease();
    assert!(!zombie.heartbeat(&lease).await.unwrap());
    assert!(!zombie.complete(&lease, json!("late")).await.unwrap());
    assert_eq!(zombie.fail(&lease, failure()).await.unwrap(), None);
    assert!(!zombie.save_checkpoint(&lease, "page", json!(1)).await.unwrap());
    assert!(!zombie.clear_checkpoint(&lease, Some("page")).await.unwrap());
    assert!(!zombie.clear_checkpoint(&lease, None).await.unwrap());
    assert!(!zombie.update_progress(&lease, Progress { percent: 9, message: String::new() }).await.unwrap());
    assert_eq!(world.read(&old.id).await, new);
}

/// Both are in the middle of a transaction: the second write waits for the first and then sees that it came too late.
#[tokio::test]
async fn a_write_that_waited_for_a_take_over_finds_its_claim_gone() {
    let world = world().await;
    let old = world.claimed().await;
    let (jobs, lease) = (world.jobs.clone(), old.lease());
    let (taken, settled) = world
        .db
        .with_tx(async |tx| {
            let taken = jobs.on(tx).take_over(&lease.id, &worker("next")).await?.unwrap();
            let zombie = jobs.clone();
            let lease = lease.clone();
            let settled = tokio::spawn(async move { zombie.complete(&lease, json!("late")).await });
            blocked(&world.db).await;
            Ok((taken, settled))
        })
        .await
        .unwrap();
    assert!(!settled.await.unwrap().unwrap());
    assert_eq!(world.read(&old.id).await, taken);
}

/// Returns when a statement on our table waits for a lock.
async fn blocked(db: &Db<'_>) {
    const WAITING: &str = "SELECT count(*) FROM pg_locks l JOIN pg_locks h ON h.pid = l.pid
      WHERE NOT l.granted AND h.relation = '{jobs}'::regclass
        AND h.database = (SELECT oid FROM pg_database WHERE datname = current_database())";
    loop {
        let waiting: i64 = db.one(WAITING, &[]).await.unwrap().get(0);
        if waiting > 0 {
            return;
        }
        tokio::task::yield_now().await;
    }
}

/// scenario F51
#[tokio::test(flavor = "multi_thread")]
async fn sixteen_claims_have_one_winner() {
    let world = world().await;
    let job = world.pending().await;
    let mut claims = JoinSet::new();
    for n in 0..16 {
        let (jobs, id) = (world.jobs.clone(), job.id.clone());
        claims.spawn(async move { jobs.claim(&id, &worker(&format!("w{n}"))).await.unwrap() });
    }
    let winners: Vec<Job> = claims.join_all().await.into_iter().flatten().collect();
    assert_eq!(winners.len(), 1);
    assert_eq!(world.read(&job.id).await, winners[0]);
}

/// A live worker's job is its own: of those that find the holder dead, the first keeps it.
#[tokio::test(flavor = "multi_thread")]
async fn sixteen_take_overs_have_one_winner() {
    const REGISTER: &str = "INSERT INTO {workers} (id, expires_at, started_at)
      VALUES ($1, {now}() + interval '1 minute', {now}())";
    let world = world().await;
    let job = world.claimed().await;
    let mut claims = JoinSet::new();
    for n in 0..16 {
        let heir = worker(&format!("heir{n}"));
        world.db.exec(REGISTER, &[&heir.as_str()]).await.unwrap();
        let (jobs, id) = (world.jobs.clone(), job.id.clone());
        claims.spawn(async move { jobs.take_over(&id, &heir).await.unwrap() });
    }
    let winners: Vec<Job> = claims.join_all().await.into_iter().flatten().collect();
    assert_eq!(winners.len(), 1);
    assert_eq!((winners[0].attempts, winners[0].lost), (2, 1));
}

#[tokio::test(flavor = "multi_thread")]
async fn checkpoints_of_concurrent_writers_all_stay() {
    let world = world().await;
    let job = world.claimed().await;
    let mut writes = JoinSet::new();
    for n in 0..32 {
        let (jobs, lease) = (world.jobs.clone(), job.lease());
        writes.spawn(async move { jobs.save_checkpoint(&lease, &format!("k{n}"), json!(n)).await.unwrap() });
    }
    assert!(writes.join_all().await.into_iter().all(|saved| saved));
    let stored = world.read(&job.id).await;
    assert_eq!(stored.checkpoint.len(), 32);
    assert!(stored.heartbeat_at >= job.heartbeat_at);
}

#[tokio::test]
async fn a_claim_forgets_the_progress_and_keeps_the_checkpoint() {
    let world = world().await;
    let lease = world.claimed().await.lease();
    world.jobs.update_progress(&lease, Progress { percent: 40, message: String::new() }).await.unwrap();
    world.jobs.save_checkpoint(&lease, "page", json!(7)).await.unwrap();
    world.jobs.fail(&lease, failure()).await.unwrap();
    let again = world.jobs.claim(&lease.id, &worker("w")).await.unwrap().unwrap();
    assert_eq!((again.progress, again.checkpoint["page"].clone()), (None, json!(7)));
    assert_eq!(again.error, Some(failure()));
}

/// The clock goes on within a statement; each statement reads it once.
#[tokio::test]
async fn a_write_happens_at_one_moment() {
    let world = world().await;
    let job = world.claimed().await;
    let lease = job.lease();
    assert_eq!(job.heartbeat_at, Some(job.updated_at));
    for n in 0..4 {
        let progress = Progress { percent: n, message: String::new() };
        assert!(match n {
            0 => world.jobs.heartbeat(&lease).await.unwrap(),
            1 => world.jobs.save_checkpoint(&lease, "k", json!(n)).await.unwrap(),
            2 => world.jobs.clear_checkpoint(&lease, None).await.unwrap(),
            _ => world.jobs.update_progress(&lease, progress).await.unwrap(),
        });
        let after = world.read(&job.id).await;
        assert_eq!(after.heartbeat_at, Some(after.updated_at), "{n}");
    }
    assert!(world.jobs.complete(&lease, json!(1)).await.unwrap());
    let ended = world.read(&job.id).await;
    assert_eq!(ended.finished_at, Some(ended.updated_at));
}

#[tokio::test]
async fn a_rollback_leaves_nothing() {
    let world = world().await;
    let waiting = world.pending().await;
    let new = job("e");
    let undone: Result<()> = world
        .db
        .with_tx(async |tx| {
            let jobs = world.jobs.on(tx);
            jobs.create(new.clone()).await?;
            let claimed = jobs.claim(&waiting.id, &worker("w")).await?.unwrap();
            assert!(jobs.complete(&claimed.lease(), json!(1)).await?);
            Err(Error::invalid("test", "rolled back"))
        })
        .await;
    assert!(undone.unwrap_err().is_invalid());
    assert_eq!(world.jobs.get(&new.id).await.unwrap(), None);
    assert_eq!(world.read(&waiting.id).await, waiting);
}

/// The application's own transaction, with its own statements.
#[tokio::test]
async fn a_job_is_created_with_the_row_it_is_for_or_not_at_all() {
    let world = world().await;
    let mut client = world.test.client().await;
    client.batch_execute("CREATE TABLE orders (job text)").await.unwrap();
    for committed in [false, true] {
        let new = job("e");
        let tx = client.transaction().await.unwrap();
        tx.execute("INSERT INTO orders (job) VALUES ($1)", &[&new.id.as_str()]).await.unwrap();
        world.jobs.on(&tx).create(new.clone()).await.unwrap();
        assert_eq!(world.jobs.get(&new.id).await.unwrap(), None, "nobody else sees it yet");
        let ended = if committed { tx.commit().await } else { tx.rollback().await };
        ended.unwrap();
        let orders: i64 = client.query_one("SELECT count(*) FROM orders", &[]).await.unwrap().get(0);
        let found = world.jobs.get(&new.id).await.unwrap().is_some();
        assert_eq!((orders, found), (i64::from(committed), committed));
    }
}

#[tokio::test]
async fn what_a_new_job_names_wrongly_is_named_in_the_error() {
    let world = world().await;
    let orphan = world.jobs.create(job("nobody")).await.unwrap_err();
    assert!(orphan.is_not_found(), "{orphan}");
    assert_eq!(orphan.to_string(), "execution `nobody` does not exist");

    let job = world.pending().await;
    let taken = world.jobs.create(job.clone()).await.unwrap_err();
    assert!(taken.is_conflict());
    assert_eq!(taken.to_string(), format!("job `{}` exists", job.id));
}

#[tokio::test]
async fn what_postgres_cannot_store_is_refused_and_changes_nothing() {
    let world = world().await;
    let job = world.claimed().await;
    let (jobs, lease) = (&world.jobs, job.lease());
    let refused = |error: Error| assert!(error.is_invalid(), "{error:?}");
    refused(jobs.complete(&lease, json!("a\0b")).await.unwrap_err());
    refused(jobs.fail(&lease, Failure { message: "a\0b".into(), ..failure() }).await.unwrap_err());
    refused(jobs.save_checkpoint(&lease, "a\0b", json!(1)).await.unwrap_err());
    refused(jobs.save_checkpoint(&lease, "k", json!("a\0b")).await.unwrap_err());
    refused(jobs.clear_checkpoint(&lease, Some("")).await.unwrap_err());
    refused(jobs.create(Job { max_attempts: 0, ..full() }).await.unwrap_err());
    refused(jobs.create(Job { tenant: "a\0b".into(), ..full() }).await.unwrap_err());
    refused(jobs.list_by_status(JobStatus::Pending, 10_001).await.unwrap_err());
    assert_eq!(world.read(&job.id).await, job);
}

#[tokio::test]
async fn a_batch_settles_what_still_stands_and_only_that() {
    let world = world().await;
    let (done, failed, again, lost) =
        (world.claimed().await, world.claimed().await, world.claimed().await, world.claimed().await);
    let stale = lost.lease();
    world.jobs.take_over(&lost.id, &worker("next")).await.unwrap().unwrap();
    let writes = [
        JobWrite::Complete(done.lease(), json!({"n": 1})),
        JobWrite::Fail(failed.lease(), failure()),
        JobWrite::Retry(again.lease(), failure()),
        JobWrite::Complete(stale, json!("late")),
        JobWrite::CancelAll(execution("f")),
    ];
    let ends: Vec<(&JobLease, JobEnd<'_>)> = writes.iter().filter_map(JobEnd::of).collect();
    let settled = decode_settled(&world.db.run(settle_query(&ends)).await.unwrap()).unwrap();
    assert_eq!(settled, [done.lease(), failed.lease(), again.lease()].into());

    let (done, failed, again) =
        (world.read(&done.id).await, world.read(&failed.id).await, world.read(&again.id).await);
    assert_eq!((done.status, done.result, done.error), (JobStatus::Completed, Some(json!({"n": 1})), None));
    assert_eq!((failed.status, failed.result, failed.error), (JobStatus::Failed, None, Some(failure())));
    assert_eq!((again.status, again.error, again.finished_at), (JobStatus::Pending, Some(failure()), None));
    assert!(done.finished_at.is_some() && failed.finished_at.is_some());
    assert_eq!(world.read(&lost.id).await.status, JobStatus::Running);
}

#[tokio::test]
async fn cancelling_ends_all_that_is_not_terminal() {
    let world = world().await;
    let (pending, running, done) = (world.pending().await, world.claimed().await, world.claimed().await);
    world.jobs.complete(&done.lease(), json!(1)).await.unwrap();
    let other = world.jobs.create(job("f")).await.unwrap();

    let cancelled = world.db.run(cancel_all_query(&[&execution("e"), &execution("nobody")])).await.unwrap();
    assert_eq!(cancelled.len(), 2);
    for job in [&pending, &running] {
        let job = world.read(&job.id).await;
        assert_eq!(
            (job.status, job.holder, job.finished_at),
            (JobStatus::Cancelled, None, Some(job.updated_at))
        );
    }
    assert!(!world.jobs.complete(&running.lease(), json!(1)).await.unwrap());
    assert_eq!(world.read(&done.id).await.status, JobStatus::Completed);
    assert_eq!(world.read(&other.id).await.status, JobStatus::Pending);
}

/// The rows of one statement in a transaction of its own, as a group commit runs it.
async fn in_flight(db: &Db<'_>, query: Query) -> usize {
    let (flight, rows) = db.begin(vec![query]).await.unwrap();
    flight.commit(Vec::new()).await.unwrap();
    rows[0].len()
}

/// Batches over the same jobs, named in opposite orders: without one order of locks they would deadlock.
#[tokio::test(flavor = "multi_thread")]
async fn overlapping_batches_do_not_deadlock() {
    let world = world().await;
    for _ in 0..10 {
        let mut leases = Vec::new();
        for _ in 0..20 {
            leases.push(world.claimed().await.lease());
        }
        let result = json!(1);
        let ends: Vec<_> = leases.iter().map(|lease| (lease, JobEnd::Complete(&result))).collect();
        let reversed: Vec<_> = ends.iter().copied().rev().collect();
        let (e, f) = (execution("e"), execution("f"));
        let (a, b, c, d) = tokio::join!(
            in_flight(&world.db, settle_query(&ends)),
            in_flight(&world.db, settle_query(&reversed)),
            in_flight(&world.db, cancel_all_query(&[&e, &f])),
            in_flight(&world.db, cancel_all_query(&[&f, &e])),
        );
        let changed = a + b + c + d;
        assert_eq!(changed, 20, "each job ended once");
    }
}

/// One job with an absurd setting must not hide all others from the sweeper.
#[tokio::test]
async fn an_endless_patience_does_not_break_the_search_for_stalled_jobs() {
    let world = world().await;
    let patient = world.jobs.create(Job { stalled_after_ms: i64::MAX, ..job("e") }).await.unwrap();
    world.jobs.claim(&patient.id, &worker("w")).await.unwrap().unwrap();
    let silent = world.claimed().await;
    world.test.advance(Duration::from_secs(3600)).await;
    let found = world.jobs.find_stalled(10).await.unwrap();
    assert_eq!(found.into_iter().map(|job| job.id).collect::<Vec<_>>(), [silent.id]);
    assert_eq!(world.jobs.reset_stalled(&patient.id).await.unwrap(), None);
}

#[tokio::test]
async fn a_job_that_cost_ten_workers_is_given_up_when_it_stalls() {
    let world = world().await;
    for (lost, expected) in [(9, JobStatus::Pending), (10, JobStatus::Failed)] {
        let job = Job { lost, attempts: lost, ..job("e") };
        let job = world.jobs.create(job).await.unwrap();
        world.jobs.claim(&job.id, &worker("w")).await.unwrap().unwrap();
        world.test.advance(Duration::from_secs(3600)).await;
        assert_eq!(world.jobs.reset_stalled(&job.id).await.unwrap(), Some(expected));
        let job = world.read(&job.id).await;
        assert_eq!(
            (job.status, job.holder, job.error.unwrap().code.as_str()),
            (expected, None, "JOB_STALLED")
        );
    }
}

/// A sign of life and the sweeper race: either the holder is told that it lost, or the sweeper finds nothing.
#[tokio::test(flavor = "multi_thread")]
async fn a_heartbeat_and_a_reset_never_both_win() {
    let world = world().await;
    for _ in 0..20 {
        let held = world.claimed().await;
        world.test.advance(Duration::from_secs(3600)).await;
        let lease = held.lease();
        let (beat, reset) = tokio::join!(world.jobs.heartbeat(&lease), world.jobs.reset_stalled(&held.id));
        let (beat, reset) = (beat.unwrap(), reset.unwrap());
        let status = world.read(&held.id).await.status;
        let expected =
            if beat { (JobStatus::Running, None) } else { (JobStatus::Pending, Some(JobStatus::Pending)) };
        assert_eq!((status, reset), expected);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn old_jobs_are_deleted_in_batches_by_any_number_of_cleaners() {
    let world = world().await;
    let old: Vec<Job> = (0..1_500).map(|_| Job { status: JobStatus::Cancelled, ..job("e") }).collect();
    let old: Vec<&Job> = old.iter().collect();
    world.db.run(create_query(&old)).await.unwrap();
    world.test.advance(Duration::from_secs(3600)).await;
    let young = world.claimed().await;
    world.jobs.complete(&young.lease(), json!(1)).await.unwrap();
    let cut = world.read(&young.id).await.finished_at.unwrap() - Duration::from_secs(60);

    assert_eq!(world.jobs.delete_old(cut).await.unwrap(), 1_000);
    let (a, b) = tokio::join!(world.jobs.delete_old(cut), world.jobs.delete_old(cut));
    assert_eq!(a.unwrap() + b.unwrap(), 500);
    assert_eq!(world.jobs.get_by_execution(&execution("e")).await.unwrap().len(), 1);
}

#[tokio::test]
async fn a_row_that_cannot_be_read_is_named() {
    const BREAK: &str = "UPDATE {jobs} SET checkpoint = '[1]' WHERE id = $1";
    let world = world().await;
    let job = world.pending().await;
    world.db.exec(BREAK, &[&job.id.as_str()]).await.unwrap();
    let error = world.jobs.get(&job.id).await.unwrap_err();
    assert_eq!(error.to_string(), format!("checkpoint of the row `{}` cannot be read", job.id));
}

#[tokio::test]
async fn a_job_goes_with_its_execution() {
    let world = world().await;
    let job = world.pending().await;
    assert!(PgExecutionStore::new(&world.db).delete(&execution("e")).await.unwrap());
    assert_eq!(world.jobs.get(&job.id).await.unwrap(), None);
}
