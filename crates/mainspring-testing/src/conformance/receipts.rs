//! What every [`Backend::commit`] does with receipts: what was handled once is not handled again.

use futures_util::future::join_all;
use mainspring_core::{Backend, Changes, ExecutionWrite, QueueOptions, Receipt};

use super::{
    commit::refused,
    make::{QUEUE, execution, hours, id},
    on, on_time,
};
use crate::TimeTravel;

/// All cases.
pub async fn suite<B: Backend, T: TimeTravel>(fresh: impl AsyncFn() -> (B, T)) {
    on(&fresh, a_receipt_that_is_there_undoes_everything).await;
    on(&fresh, sixteen_commits_with_one_receipt_have_one_winner).await;
    on_time(&fresh, a_receipt_counts_as_long_as_it_is_kept).await;
}

pub(super) fn received(key: &str) -> Changes {
    let receipt = Receipt { queue: QUEUE.to_owned(), key: key.to_owned(), keep: hours(1) };
    Changes { receipts: vec![receipt], ..Changes::default() }
}

/// What was handled is not handled again, whoever tries.
pub async fn a_receipt_that_is_there_undoes_everything(backend: &dyn Backend) {
    assert!(!backend.queues().has_receipt(QUEUE, "k").await.unwrap());
    backend.commit(received("k")).await.unwrap();
    assert!(backend.queues().has_receipt(QUEUE, "k").await.unwrap());
    assert!(refused(backend, received("k")).await.is_conflict());
    refused_none(backend, "other").await;
    let elsewhere = Receipt { queue: "elsewhere".to_owned(), key: "k".to_owned(), keep: hours(1) };
    backend.commit(Changes { receipts: vec![elsewhere], ..Changes::default() }).await.unwrap();
}

async fn refused_none(backend: &dyn Backend, key: &str) {
    assert!(!backend.queues().has_receipt(QUEUE, key).await.unwrap());
    backend.commit(received(key)).await.unwrap();
}

/// In one batch or in several.
pub async fn sixteen_commits_with_one_receipt_have_one_winner(backend: &dyn Backend) {
    let commits = (0..16).map(|n| {
        let mut changes = received("k");
        changes.executions.push(ExecutionWrite::create(execution(&format!("e{n}")), Vec::new()));
        backend.commit(changes)
    });
    let won: Vec<usize> =
        join_all(commits).await.iter().enumerate().filter(|(_, r)| r.is_ok()).map(|(n, _)| n).collect();
    assert_eq!(won.len(), 1);
    for n in 0..16 {
        let there = backend.executions().get(&id(&format!("e{n}"))).await.unwrap().is_some();
        assert_eq!(there, won.contains(&n), "{n}");
    }
}

/// Until its time is over, or its queue is begun anew.
pub async fn a_receipt_counts_as_long_as_it_is_kept(backend: &dyn Backend, time: &dyn TimeTravel) {
    backend.queues().create_queue(QUEUE, QueueOptions::default()).await.unwrap();
    backend.commit(received("k")).await.unwrap();
    time.advance(hours(2)).await;
    refused_none(backend, "k").await;
    assert!(backend.commit(received("k")).await.unwrap_err().is_conflict());
    backend.queues().recreate_queue(QUEUE, QueueOptions::default()).await.unwrap();
    refused_none(backend, "k").await;
    time.advance(hours(2)).await;
    backend.queues().sweep().await.unwrap();
    refused_none(backend, "k").await;
}
