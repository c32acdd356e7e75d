//! Many want the same thing at the same time: one gets it, and the others hear why not (faults F48, F52, F54, F55).

use std::{collections::HashSet, sync::Arc};

use futures_util::future::join_all;
use mainspring::{ExecutionStatus, event::kind};
use mainspring_testing::{Action, Faults, FaultyBackend};
use mainspring_tests::{Lab, until, worker};
use serde_json::json;
use tokio::{
    sync::{Barrier, Notify},
    task::JoinSet,
};

use crate::signals;

#[tokio::test(flavor = "multi_thread")]
async fn of_32_creates_with_one_key_one_creates() {
    // fault F48: from two processes
    let lab = Lab::new().await;
    let engines = [lab.engine(), lab.engine()];
    let (start, mut running) = (Arc::new(Barrier::new(32)), JoinSet::new());
    for n in 0..32 {
        let (engine, start) = (engines[n % 2].clone(), start.clone());
        running.spawn(async move {
            start.wait().await;
            engine.create("order", json!({"n": n})).idempotency_key("one").await
        });
    }
    let created: Vec<_> = running.join_all().await.into_iter().map(Result::unwrap).collect();
    let ids: HashSet<_> = created.iter().map(|created| created.execution.id.clone()).collect();
    assert_eq!((ids.len(), created.iter().filter(|created| created.created).count()), (1, 1));
    assert!(created.iter().all(|created| created.created != created.idempotency_hit));

    let worker = worker(&engines[0]).start().unwrap();
    lab.all_completed(&ids.into_iter().collect::<Vec<_>>()).await;
    worker.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn of_16_resumes_with_one_token_one_resumes() {
    // fault F55, X2: from two processes
    let lab = Lab::new().await;
    let asking = [signals::engine(&lab, lab.stores(4)), signals::engine(&lab, lab.stores(4))];
    let worker = worker(&asking[0].engine).start().unwrap();
    let (id, token) = asking[0].waiting().await;

    let (start, mut running) = (Arc::new(Barrier::new(16)), JoinSet::new());
    for n in 0..16 {
        let (engine, start, token) = (asking[n % 2].engine.clone(), start.clone(), token.clone());
        running.spawn(async move {
            start.wait().await;
            (n, engine.resume(&token, json!(n)).await)
        });
    }
    let outcomes = running.join_all().await;
    let winners: Vec<usize> = outcomes.iter().filter(|(_, o)| o.is_ok()).map(|(n, _)| *n).collect();
    for (_, outcome) in &outcomes {
        assert!(outcome.as_ref().err().is_none_or(mainspring::Error::is_conflict), "{outcome:?}");
    }
    assert_eq!(winners.len(), 1, "{outcomes:?}");
    lab.verdict(std::slice::from_ref(&id)).await;
    assert_eq!(lab.get(&id).await.context["resumeData"], json!(winners[0]));
    assert_eq!(signals::count(&lab, &id, kind::TOKEN_USED).await, 1);
    worker.stop().await.unwrap();
}

/// Cancels an execution while its last commit stands at `point`.
async fn cancel_while(point: &str) -> (Lab, ExecutionStatus, bool) {
    let lab = Lab::new().await;
    let backend = FaultyBackend::new(lab.stores(4), Faults::none());
    let (faults, go_on) = (backend.faults().clone(), Arc::new(Notify::new()));
    faults.arm(point, 1, Action::Pause(go_on.clone()));
    let paused = signals::engine(&lab, backend).engine;
    let near = lab.engine();
    near.publish().await.unwrap();
    let id = near.create("parcel", json!({})).await.unwrap().execution.id;
    let worker = worker(&paused).start().unwrap();
    faults.wait_fired(point, 1).await;
    let cancelling = tokio::spawn({
        let (near, id) = (near.clone(), id.clone());
        async move { near.cancel(&id, "race").await.unwrap() }
    });
    until("the cancel is announced", async || cancelling.is_finished() || lab.get(&id).await.revision > 1)
        .await;
    go_on.notify_one();
    let result = cancelling.await.unwrap();
    lab.verdict(std::slice::from_ref(&id)).await;
    worker.stop().await.unwrap();
    let status = lab.get(&id).await.status;
    (lab, status, result.cancelled)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cancel_before_the_last_commit_wins() {
    // fault F54, one order
    let (lab, status, cancelled) = cancel_while("commit.before").await;
    assert_eq!((status, cancelled), (ExecutionStatus::Cancelled, true));
    assert_eq!(lab.ledger.len(), 1, "the handler had run: its effect stays, its result does not count");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cancel_after_the_last_commit_is_too_late() {
    // fault F54, the other order
    let (_, status, cancelled) = cancel_while("commit.after").await;
    assert_eq!((status, cancelled), (ExecutionStatus::Completed, false));
}

#[tokio::test(flavor = "multi_thread")]
async fn cancels_that_race_with_the_work_end_every_execution_once() {
    // fault F54: whenever they come, for parents, children and jobs
    let lab = Lab::new().await;
    let engines = [lab.engine(), lab.engine()];
    let workers = engines.each_ref().map(|engine| worker(engine).start().unwrap());
    let ids = lab.create(&engines[0], 40).await;
    let results = join_all(ids.iter().enumerate().map(async |(n, id)| {
        let mine = || lab.ledger.effects().iter().filter(|effect| effect.execution == id.as_str()).count();
        // Each at another stage of its execution.
        until("it has come so far", async || mine() >= n % 7).await;
        (id, engines[n % 2].cancel(id, "race").await.unwrap().cancelled)
    }))
    .await;
    let report = lab.verdict(&ids).await;
    for (id, cancelled) in results {
        let status = lab.get(id).await.status;
        assert_eq!(status == ExecutionStatus::Cancelled, cancelled, "{id} is {status}");
    }
    assert!(report.with_status(ExecutionStatus::Cancelled) > 0, "{report}");
    for worker in workers {
        worker.stop().await.unwrap();
    }
}
