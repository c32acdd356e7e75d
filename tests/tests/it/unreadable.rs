//! Rows that nobody can read, past all checks: they keep nobody else waiting, and go on when they are mended (fault F86).

use std::time::Duration;

use mainspring::{Cx, Engine, EventStore as _, ExecutionId, ExecutionStatus, Workflow, WorkflowResult};
use mainspring_tests::{LEASE, LOOK, Lab, worker};

/// JSON that Postgres stores, and whose number is none of ours.
const POISON: &str = "jsonb_build_object('n', 1e400)";

async fn spoil(lab: &Lab, id: &ExecutionId) {
    let sql = format!("UPDATE ms_executions SET context = context || {POISON} WHERE id = $1");
    assert_eq!(lab.client().await.execute(&sql, &[&id.as_str()]).await.unwrap(), 1);
}

async fn mend(lab: &Lab, id: &ExecutionId) {
    const MEND: &str = "UPDATE ms_executions SET context = context - 'n' WHERE id = $1";
    assert_eq!(lab.client().await.execute(MEND, &[&id.as_str()]).await.unwrap(), 1);
}

async fn status(lab: &Lab, id: &ExecutionId) -> ExecutionStatus {
    lab.get(id).await.status
}

#[tokio::test(flavor = "multi_thread")]
async fn executions_that_cannot_be_read_hold_up_neither_work_nor_sweeps() {
    // fault F86: each kind of them comes before a healthy one of its kind
    const LATE: &str = "UPDATE ms_executions SET deadline_at = ms_now() - interval '1 hour' WHERE id = $1";
    const ORPHAN: &str = "UPDATE ms_executions SET holder = 'gone', driver = NULL WHERE id = $1";
    let lab = Lab::new().await;
    let engine = lab.engine();
    let mut poisoned = lab.create(&engine, 3).await;
    let mut healthy = lab.create(&engine, 3).await;
    let client = lab.client().await;
    for ids in [&poisoned, &healthy] {
        client.execute(LATE, &[&ids[0].as_str()]).await.unwrap();
        client.execute(ORPHAN, &[&ids[1].as_str()]).await.unwrap();
    }
    for id in &poisoned {
        spoil(&lab, id).await;
    }
    let workers = [lab.engine(), lab.engine()].map(|engine| worker(&engine).start().unwrap());
    lab.over(&healthy).await;
    assert_eq!(status(&lab, &healthy[0]).await, ExecutionStatus::Cancelled, "it was late");
    for id in &healthy[1..] {
        assert_eq!(status(&lab, id).await, ExecutionStatus::Completed);
    }
    let open: i64 = {
        const OPEN: &str = "SELECT count(*) FROM ms_executions WHERE finished_at IS NULL";
        client.query_one(OPEN, &[]).await.unwrap().get(0)
    };
    assert_eq!(open, 3, "those that cannot be read stay as they are");
    for id in &poisoned {
        mend(&lab, id).await;
    }
    lab.over(&poisoned).await;
    assert_eq!(status(&lab, &poisoned[0]).await, ExecutionStatus::Cancelled);
    healthy.append(&mut poisoned);
    lab.verdict(&healthy).await;
    for worker in workers {
        worker.stop().await.unwrap();
    }
}

const LISTEN: Workflow<(), (u32, u32), String> = Workflow::new("listen");

async fn listen(cx: Cx, (): ()) -> WorkflowResult<(u32, u32), String> {
    let first = cx.step("first", async || Ok::<_, String>(7)).await?;
    Ok((first, cx.signal("word").await?))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_history_that_cannot_be_read_holds_up_its_own_execution_only() {
    // fault F86
    const EVENT: &str =
        "UPDATE ms_events_executions SET data = $2 WHERE stream = $1 AND type = 'step.completed'";
    let lab = Lab::new().await;
    let build = || {
        let builder = Engine::builder(lab.stores(4)).lease(LEASE).keep_parked(Duration::ZERO, 0);
        builder.register(LISTEN, listen).build().unwrap()
    };
    let engine = build();
    let (bad, good) = (engine.start(LISTEN, &()).await.unwrap(), engine.start(LISTEN, &()).await.unwrap());
    engine.worker().drain().await.unwrap();
    let spoiled = lab.get(bad.id()).await;
    let stream = spoiled.stream();
    let whole = lab.near().events.get_by_execution(bad.id()).await.unwrap();
    let data =
        whole.iter().find(|event| event.event.event_type == "step.completed").unwrap().event.data.clone();
    let client = lab.client().await;
    let poison = format!(
        "UPDATE ms_events_executions SET data = {POISON} WHERE stream = $1 AND type = 'step.completed'"
    );
    assert_eq!(client.execute(&poison, &[&stream]).await.unwrap(), 1);
    for handle in [&bad, &good] {
        handle.signal("word", &3).await.unwrap();
    }
    let running = build();
    let working = running.worker().lease(LEASE).poll_interval(LOOK).start().unwrap();
    assert_eq!(good.result().await.unwrap(), (7, 3));
    assert_eq!(status(&lab, bad.id()).await, ExecutionStatus::Waiting);
    assert_eq!(client.execute(EVENT, &[&stream, &data]).await.unwrap(), 1);
    assert_eq!(bad.result().await.unwrap(), (7, 3));
    working.stop().await.unwrap();
}
