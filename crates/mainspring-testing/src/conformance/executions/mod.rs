//! What every [`ExecutionStore`](mainspring_core::ExecutionStore) does.

pub mod due;
pub mod keys;
pub mod search;

use mainspring_core::{
    Backend, Changes, ContextLimits, Execution, ExecutionFilter, ExecutionId, ExecutionStatus,
    ExecutionWrite, Expect, Failure, MessageId, NewEvent, TokenOptions,
};
use serde_json::json;

use super::{
    make::{created, execution, full_execution, id, ids, job, object, secs, worker},
    on, on_time,
};
use crate::TimeTravel;

/// All cases, those of [`keys`] and [`due`] too.
pub async fn suite<B: Backend, T: TimeTravel>(fresh: impl AsyncFn() -> (B, T)) {
    on(&fresh, every_column_survives_a_create).await;
    on(&fresh, every_changeable_column_survives_an_update).await;
    on(&fresh, an_execution_goes_on_without_what_it_no_longer_has).await;
    on(&fresh, executions_of_one_commit_need_not_be_alike).await;
    on(&fresh, what_was_agreed_at_creation_never_changes).await;
    on(&fresh, an_unknown_id_is_none).await;
    on(&fresh, a_returned_copy_is_isolated).await;
    on(&fresh, a_taken_id_is_refused).await;
    on(&fresh, an_update_of_another_revision_is_refused).await;
    on(&fresh, an_update_of_an_unknown_id_is_refused).await;
    on(&fresh, a_terminal_execution_never_changes).await;
    on(&fresh, a_life_has_one_end).await;
    on(&fresh, what_can_never_be_stored_is_refused).await;
    on(&fresh, an_execution_is_not_its_own_parent).await;
    on(&fresh, deleting_takes_all_but_the_history).await;
    on(&fresh, many_are_read_at_once).await;
    on_time(&fresh, a_list_is_read_page_by_page_newest_first).await;
    on_time(&fresh, a_list_is_filtered).await;
    on_time(&fresh, one_status_is_listed_newest_first).await;
    on_time(&fresh, children_are_found_oldest_first).await;
    on(&fresh, statuses_are_counted).await;
    Box::pin(keys::suite(&fresh)).await;
    Box::pin(due::suite(&fresh)).await;
    Box::pin(search::suite(&fresh)).await;
}

/// scenarios F17, F54
pub async fn every_column_survives_a_create(backend: &dyn Backend) {
    let given = full_execution(backend);
    let answer = backend.executions().create(given.clone()).await.unwrap();
    let stored = backend.executions().get(&given.id).await.unwrap().unwrap();
    assert_eq!(answer, stored);
    assert_eq!(stored.created_at, stored.updated_at);
    let times = Execution { created_at: stored.created_at, updated_at: stored.updated_at, ..given };
    assert_eq!(stored, Execution { revision: 1, position: 0, ..times });
}

/// scenario F54
pub async fn every_changeable_column_survives_an_update(backend: &dyn Backend) {
    let old = created(backend, "e").await;
    let full = full_execution(backend);
    let mut given = old.clone();
    given.status = full.status;
    given.current_step = "ship".into();
    given.context = full.context;
    given.wake_at = full.wake_at;
    given.wait_reason = full.wait_reason;
    given.wait_started_at = full.wait_started_at;
    given.error = full.error;
    given.step_count = full.step_count;
    given.retries = full.retries;
    given.metadata = full.metadata;
    given.attributes = full.attributes;
    given.cancellation = full.cancellation;
    given.driver = full.driver;
    given.holder = full.holder;
    let answer = backend.executions().update(given.clone(), Expect::Revision(1)).await.unwrap();
    let stored = backend.executions().get(&old.id).await.unwrap().unwrap();
    assert_eq!(answer, stored);
    assert_eq!(stored, Execution { revision: 2, updated_at: stored.updated_at, ..given });
}

/// The same execution with everything a step can take away taken away.
fn without_extras(full: &Execution) -> Execution {
    let plain = execution("plain");
    Execution {
        status: ExecutionStatus::Running,
        wake_at: None,
        wait_reason: None,
        wait_started_at: None,
        error: None,
        retries: plain.retries,
        metadata: plain.metadata,
        cancellation: None,
        ..full.clone()
    }
}

/// scenario F54
pub async fn an_execution_goes_on_without_what_it_no_longer_has(backend: &dyn Backend) {
    let full = backend.executions().create(full_execution(backend)).await.unwrap();
    let plain = without_extras(&full);
    let answer = backend.executions().update(plain.clone(), Expect::Revision(1)).await.unwrap();
    assert_eq!(answer, Execution { revision: 2, updated_at: answer.updated_at, ..plain });
    assert_eq!(backend.executions().get(&full.id).await.unwrap().unwrap(), answer);
}

/// I1: whatever the executions have in common, each is written as it is given.
pub async fn executions_of_one_commit_need_not_be_alike(backend: &dyn Backend) {
    let full = full_execution(backend);
    let mut driven = Execution { tenant: "acme".into(), queue: "billing".into(), ..execution("driven") };
    (driven.driver, driven.context) = (full.driver.clone(), full.context.clone());
    driven.timeouts = full.timeouts;
    let held = Execution { status: ExecutionStatus::Running, holder: Some(worker("w")), ..execution("held") };
    let stepped = Execution { step_count: 3, ..execution("stepped") };
    let alike = ["a", "b"].map(|text| Execution { id: id(text), root: id(text), ..driven.clone() });
    let batches = [
        vec![full],
        vec![driven.clone()],
        vec![held.clone(), stepped],
        alike.to_vec(),
        vec![execution("c"), execution("d")],
    ];
    let mut stored = Vec::new();
    for batch in batches {
        let writes = batch.iter().map(|e| ExecutionWrite::create(e.clone(), vec![])).collect();
        backend.commit(Changes { executions: writes, ..Changes::default() }).await.unwrap();
        for given in batch {
            let found = backend.executions().get(&given.id).await.unwrap().unwrap();
            let times = Execution { created_at: found.created_at, updated_at: found.updated_at, ..given };
            assert_eq!(found, Execution { revision: 1, ..times });
            stored.push(found);
        }
    }
    // One that keeps all it has, and one that goes on, in one commit and in either order.
    for pair in stored.chunks_mut(2) {
        for execution in &mut *pair {
            execution.step_count += 1;
            execution.context = object(json!({"step": execution.step_count}));
        }
        let writes = pair.iter().map(|e| ExecutionWrite::update(e.clone(), vec![])).collect();
        let at = backend.commit(Changes { executions: writes, ..Changes::default() }).await.unwrap().at;
        for given in pair {
            let found = backend.executions().get(&given.id).await.unwrap().unwrap();
            assert_eq!(found, ExecutionWrite::update(given.clone(), vec![]).applied(at));
        }
    }
}

/// Whose it is, what it runs and what its end tells whom.
pub async fn what_was_agreed_at_creation_never_changes(backend: &dyn Backend) {
    let old = created(backend, "e").await;
    let mut given = Execution { id: old.id.clone(), revision: 1, ..full_execution(backend) };
    given.flow_version = "2.0.0".into();
    backend.executions().update(given, Expect::Revision(1)).await.unwrap();
    let stored = backend.executions().get(&old.id).await.unwrap().unwrap();
    let of = |e: &Execution| (e.tenant.clone(), e.flow_id.clone(), e.flow_version.clone(), e.queue.clone());
    assert_eq!(of(&stored), of(&old));
    assert_eq!((&stored.parent, &stored.root, &stored.reply), (&old.parent, &old.root, &old.reply));
    assert_eq!((stored.timeouts, stored.created_at, stored.position), (old.timeouts, old.created_at, 0));
    assert_eq!((stored.idempotency_key, stored.idempotency_expires_at), (None, None));
}

/// scenarios F21, F29
pub async fn an_unknown_id_is_none(backend: &dyn Backend) {
    assert!(backend.executions().get(&id("nobody")).await.unwrap().is_none());
    assert!(!backend.executions().delete(&id("nobody")).await.unwrap());
    assert!(backend.executions().get_many(&[id("nobody")]).await.unwrap().is_empty());
}

/// scenario F29
pub async fn a_returned_copy_is_isolated(backend: &dyn Backend) {
    let mut copy = created(backend, "e").await;
    copy.context.insert("mine".into(), json!(1));
    assert!(backend.executions().get(&copy.id).await.unwrap().unwrap().context.is_empty());
}

/// The second create changes nothing.
pub async fn a_taken_id_is_refused(backend: &dyn Backend) {
    let first = created(backend, "e").await;
    let second = Execution { flow_id: "other".into(), ..execution("e") };
    assert!(backend.executions().create(second).await.unwrap_err().is_conflict());
    assert_eq!(backend.executions().get(&first.id).await.unwrap().unwrap(), first);
}

/// The loser of a race changes nothing.
pub async fn an_update_of_another_revision_is_refused(backend: &dyn Backend) {
    let read = created(backend, "e").await;
    let first = Execution { step_count: 1, ..read.clone() };
    let first = backend.executions().update(first, Expect::Revision(1)).await.unwrap();
    for revision in [0, 1, 3] {
        let late = Execution { step_count: 9, ..read.clone() };
        let labelled = Execution { metadata: object(json!({"actor": "me"})), ..late.clone() };
        for late in [late, labelled] {
            let refused = backend.executions().update(late, Expect::Revision(revision)).await;
            assert!(refused.unwrap_err().is_conflict());
        }
    }
    assert_eq!(backend.executions().get(&read.id).await.unwrap().unwrap(), first);
}

/// An update never creates.
pub async fn an_update_of_an_unknown_id_is_refused(backend: &dyn Backend) {
    let store = backend.executions();
    assert!(store.update(execution("nobody"), Expect::Revision(1)).await.unwrap_err().is_conflict());
    assert!(store.update(execution("nobody"), Expect::Revision(0)).await.unwrap_err().is_conflict());
    assert!(store.get(&id("nobody")).await.unwrap().is_none());
}

/// Completed, failed and cancelled are the end.
pub async fn a_terminal_execution_never_changes(backend: &dyn Backend) {
    for status in [ExecutionStatus::Completed, ExecutionStatus::Failed, ExecutionStatus::Cancelled] {
        let ended = Execution { status, ..created(backend, status.as_str()).await };
        let ended = backend.executions().update(ended, Expect::Revision(1)).await.unwrap();
        assert!(ended.finished_at.is_some());
        for next in ExecutionStatus::ALL {
            let again = Execution { status: next, ..ended.clone() };
            assert!(backend.executions().update(again, Expect::Revision(2)).await.unwrap_err().is_conflict());
        }
        assert_eq!(backend.executions().get(&ended.id).await.unwrap().unwrap(), ended);
    }
}

/// scenario F18
pub async fn a_life_has_one_end(backend: &dyn Backend) {
    use ExecutionStatus::{Completed, Running, Waiting};
    let mut now = created(backend, "e").await;
    assert_eq!((now.status, now.finished_at), (ExecutionStatus::Pending, None));
    for (revision, status) in (2..).zip([Running, Waiting, Running, Completed]) {
        now.status = status;
        now = backend.executions().update(now, Expect::Revision(revision - 1)).await.unwrap();
        assert_eq!((now.status, now.revision), (status, revision));
        assert_eq!(now.finished_at, (status == Completed).then_some(now.updated_at));
    }
    let failed = Execution { status: ExecutionStatus::Failed, ..created(backend, "f").await };
    let failed = Execution { error: Some(Failure::new("STEP_FAILED", "no")), ..failed };
    let failed = backend.executions().update(failed, Expect::Revision(1)).await.unwrap();
    assert_eq!(backend.executions().get(&failed.id).await.unwrap().unwrap(), failed);
}

/// NUL, nesting and size are refused at the door, with a name.
pub async fn what_can_never_be_stored_is_refused(backend: &dyn Backend) {
    let mut deep = json!(1);
    for _ in 0..100 {
        deep = json!([deep]);
    }
    for bad in [json!({"a": "x\0y"}), json!({"a\0": 1}), json!({"a": deep})] {
        let given = Execution { context: object(bad), ..execution("e") };
        let error = backend.executions().create(given).await.unwrap_err();
        assert!(error.is_invalid() && error.to_string().contains("context"), "{error}");
    }
    let bad = Execution { id: ExecutionId::from_stored(String::new()), ..execution("e") };
    assert!(backend.executions().create(bad).await.unwrap_err().is_invalid());
    assert!(ContextLimits::default().check(&object(json!({"a": 1}))).is_ok());
    assert!(backend.executions().find_waiting(10_001).await.unwrap_err().is_invalid());
}

/// Neither when it is created nor in a commit.
pub async fn an_execution_is_not_its_own_parent(backend: &dyn Backend) {
    let given = Execution { parent: Some(id("e")), ..execution("e") };
    assert!(backend.executions().create(given.clone()).await.unwrap_err().is_invalid());
    let changes =
        Changes { executions: vec![ExecutionWrite::create(given, Vec::new())], ..Changes::default() };
    assert!(backend.commit(changes).await.unwrap_err().is_invalid());
    assert!(backend.executions().get(&id("e")).await.unwrap().is_none());
}

/// scenario F29
pub async fn deleting_takes_all_but_the_history(backend: &dyn Backend) {
    let event = NewEvent::new("execution.created", json!({}));
    let write = ExecutionWrite::create(execution("e"), vec![event]);
    backend.commit(Changes { executions: vec![write], ..Changes::default() }).await.unwrap();
    let owner = id("e");
    let job = backend.jobs().create(job("e")).await.unwrap();
    let (secret, _) = backend.tokens().generate(&owner, "charge", TokenOptions::default()).await.unwrap();
    backend.context().set(&owner, "big", json!([1])).await.unwrap();
    assert!(backend.executions().delete(&owner).await.unwrap());
    assert!(!backend.executions().delete(&owner).await.unwrap());
    assert!(backend.jobs().get(&job.id).await.unwrap().is_none());
    assert!(backend.tokens().get(&secret).await.unwrap().is_none());
    assert!(backend.context().get(&owner, "big").await.unwrap_err().is_not_found());
    assert_eq!(backend.events().get_by_execution(&owner).await.unwrap().len(), 1);
}

/// Those that exist; one asked for twice comes once.
pub async fn many_are_read_at_once(backend: &dyn Backend) {
    for text in ["a", "b", "c"] {
        created(backend, text).await;
    }
    let found = backend.executions().get_many(&[id("c"), id("a"), id("nobody"), id("a")]).await.unwrap();
    let mut found = ids(&found);
    found.sort_unstable();
    assert_eq!(found, ["a", "c"]);
    assert!(backend.executions().get_many(&[]).await.unwrap().is_empty());
}

async fn created_over_time(backend: &dyn Backend, time: &dyn TimeTravel, all: Vec<Execution>) {
    for one in all {
        backend.executions().create(one).await.unwrap();
        time.advance(secs(1)).await;
    }
}

/// By keyset: what is created meanwhile does not shift the pages.
pub async fn a_list_is_read_page_by_page_newest_first(backend: &dyn Backend, time: &dyn TimeTravel) {
    created_over_time(backend, time, ["a", "b", "c", "d", "e"].map(execution).into()).await;
    let mut filter = ExecutionFilter { limit: 2, ..ExecutionFilter::default() };
    let mut pages = Vec::new();
    loop {
        let page = backend.executions().list(filter.clone()).await.unwrap();
        let Some(last) = page.last() else { break };
        filter.after = Some((last.created_at, last.id.clone()));
        pages.push(ids(&page).join(""));
        created(backend, &format!("new{}", pages.len())).await;
        time.advance(secs(1)).await;
    }
    assert_eq!(pages, ["ed", "cb", "a"]);
}

/// By tenant, flow and status, each alone and together.
pub async fn a_list_is_filtered(backend: &dyn Backend, time: &dyn TimeTravel) {
    let acme = Execution { tenant: "acme".into(), ..execution("a") };
    let other = Execution { flow_id: "other".into(), ..execution("b") };
    let running = Execution { status: ExecutionStatus::Running, tenant: "acme".into(), ..execution("c") };
    created_over_time(backend, time, vec![acme, other, running]).await;
    let check = async |tenant: Option<&str>, flow: Option<&str>, status, expected: &[&str]| {
        let (tenant, flow_id) = (tenant.map(Into::into), flow.map(Into::into));
        let filter = ExecutionFilter { tenant, flow_id, status, ..ExecutionFilter::default() };
        assert_eq!(ids(&backend.executions().list(filter).await.unwrap()), expected);
    };
    check(None, None, None, &["c", "b", "a"]).await;
    check(Some("acme"), None, None, &["c", "a"]).await;
    check(None, Some("other"), None, &["b"]).await;
    check(None, None, Some(ExecutionStatus::Running), &["c"]).await;
    check(Some("acme"), Some("order"), Some(ExecutionStatus::Pending), &["a"]).await;
    check(Some("nobody"), None, None, &[]).await;
}

/// scenario F31
pub async fn one_status_is_listed_newest_first(backend: &dyn Backend, time: &dyn TimeTravel) {
    created_over_time(backend, time, ["a", "b", "c"].map(execution).into()).await;
    let store = backend.executions();
    let found = store.find_by_status(ExecutionStatus::Pending, 2).await.unwrap();
    assert_eq!(ids(&found), ["c", "b"]);
    assert!(store.find_by_status(ExecutionStatus::Failed, 2).await.unwrap().is_empty());
}

/// scenario F33
pub async fn children_are_found_oldest_first(backend: &dyn Backend, time: &dyn TimeTravel) {
    let child = |text, parent| Execution { parent: Some(id(parent)), root: id("p"), ..execution(text) };
    let family = vec![execution("p"), child("z", "p"), child("a", "p"), child("grandchild", "a")];
    created_over_time(backend, time, family).await;
    assert_eq!(ids(&backend.executions().find_children(&id("p")).await.unwrap()), ["z", "a"]);
    assert!(backend.executions().find_children(&id("z")).await.unwrap().is_empty());
}

/// A status nobody has may be left out.
pub async fn statuses_are_counted(backend: &dyn Backend) {
    created(backend, "a").await;
    created(backend, "b").await;
    let waiting = Execution { status: ExecutionStatus::Waiting, ..execution("c") };
    let waiting = Execution { driver: Some(MessageId::generate()), holder: Some(worker("w")), ..waiting };
    backend.executions().create(waiting).await.unwrap();
    let mut counts = backend.executions().count_by_status().await.unwrap();
    counts.retain(|(_, count)| *count > 0);
    counts.sort_unstable();
    assert_eq!(counts, [(ExecutionStatus::Pending, 2), (ExecutionStatus::Waiting, 1)]);
}
