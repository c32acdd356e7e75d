//! What every [`Backend::commit`] does: all of it, or none of it.

use futures_util::future::join_all;
use mainspring_core::{
    Append, Backend, Changes, ChunkQuery, Delivery, Error, Execution, ExecutionStatus, ExecutionWrite,
    ExpectedPosition, Failure, Job, JobStatus, JobWrite, NewEvent, NewToken, OutputStream, OutputWrite,
    Settlement, TokenOptions, TokenSecret, TokenStatus, TokenWrite,
    event::{EXECUTIONS, STREAMS},
};
use serde_json::json;

use super::{
    make::{
        QUEUE, claim_one, created, execution, hours, id, job, keyed, message, number, push, settled, worker,
    },
    on, on_time,
    receipts::received,
};
use crate::TimeTravel;

/// All cases.
pub async fn suite<B: Backend, T: TimeTravel>(fresh: impl AsyncFn() -> (B, T)) {
    on(&fresh, nothing_is_committed_at_once).await;
    on(&fresh, everything_is_committed_together).await;
    on(&fresh, positions_and_revisions_grow_with_each_commit).await;
    on(&fresh, a_taken_id_undoes_everything).await;
    on(&fresh, a_taken_key_undoes_everything).await;
    on(&fresh, a_changed_revision_undoes_everything).await;
    on(&fresh, a_history_that_does_not_follow_undoes_everything).await;
    on(&fresh, an_ended_execution_undoes_everything).await;
    on(&fresh, an_unexpected_position_undoes_everything).await;
    on(&fresh, a_spent_token_undoes_everything).await;
    on(&fresh, a_lost_message_lease_undoes_everything).await;
    on(&fresh, a_lost_job_lease_undoes_everything).await;
    on(&fresh, an_invalid_part_undoes_everything).await;
    on(&fresh, one_loser_of_two_writes_undoes_both).await;
    on(&fresh, a_lost_lease_is_told_before_a_conflict).await;
    on(&fresh, nothing_is_touched_twice).await;
    on(&fresh, sixteen_commits_on_one_revision_have_one_winner).await;
    on(&fresh, sixteen_commits_of_sixteen_executions_all_win).await;
    on(&fresh, sixteen_commits_with_one_lease_have_one_winner).await;
    on(&fresh, jobs_end_with_the_commit).await;
    on(&fresh, an_execution_cancels_what_is_open).await;
    on(&fresh, chunks_are_published_with_the_commit).await;
    on(&fresh, chunks_of_nobody_known_undo_everything).await;
    on_time(&fresh, an_expired_token_undoes_everything).await;
    on_time(&fresh, a_key_whose_window_is_over_is_taken_over).await;
}

fn event(kind: &str) -> NewEvent {
    NewEvent::new(kind, json!({}))
}

/// A change of everything that is checked by nothing; what the cases put a broken guard beside.
fn harmless(marker: &str) -> Changes {
    let marked = execution(marker);
    let mut job = job(marker);
    job.id = mainspring_core::JobId::from_stored(format!("job-{marker}"));
    Changes {
        executions: vec![ExecutionWrite::create(marked, vec![event("execution.created")])],
        appends: vec![Append::to(format!("stream-{marker}"), vec![event("x")])],
        messages: vec![message(77)],
        jobs: vec![JobWrite::Create(Box::new(job))],
        outputs: vec![published(OutputStream::of(&id(marker), "s"), &["a", "b"])],
        ..Changes::default()
    }
}

fn published(stream: OutputStream, chunks: &[&'static str]) -> OutputWrite {
    OutputWrite { stream, chunks: chunks.iter().map(|chunk| (*chunk).into()).collect(), closes: false }
}

/// Commits `broken` together with something harmless, and looks whether anything of it is there.
pub(super) async fn refused(backend: &dyn Backend, broken: Changes) -> Error {
    let stats = backend.queue().stats(QUEUE).await.unwrap();
    let mut changes = harmless("trace");
    changes.executions.extend(broken.executions);
    changes.appends.extend(broken.appends);
    changes.messages.extend(broken.messages);
    changes.jobs.extend(broken.jobs);
    changes.tokens.extend(broken.tokens);
    changes.outputs.extend(broken.outputs);
    changes.receipts.extend(broken.receipts);
    changes.settle = broken.settle;
    let error = backend.commit(changes).await.unwrap_err();
    assert!(backend.executions().get(&id("trace")).await.unwrap().is_none());
    assert!(backend.events().get_by_execution(&id("trace")).await.unwrap().is_empty());
    assert_eq!(backend.events().position(STREAMS, "", "stream-trace").await.unwrap(), 0);
    assert!(backend.jobs().get_by_execution(&id("trace")).await.unwrap().is_empty());
    assert_eq!(backend.queue().stats(QUEUE).await.unwrap(), stats);
    assert!(backend.outputs().list(&id("trace"), None).await.unwrap().is_empty());
    error
}

async fn delivered(backend: &dyn Backend) -> Delivery {
    push(backend, 5..6).await;
    claim_one(backend, "w").await
}

async fn running_job(backend: &dyn Backend) -> Job {
    created(backend, "owner").await;
    let job = backend.jobs().create(job("owner")).await.unwrap();
    backend.jobs().claim(&job.id, &worker("w")).await.unwrap().unwrap()
}

fn consume(secret: &TokenSecret) -> Changes {
    Changes { tokens: vec![TokenWrite::Consume(secret.hash())], ..Changes::default() }
}

fn update(execution: Execution) -> Changes {
    Changes {
        executions: vec![ExecutionWrite::update(execution, vec![event("step.completed")])],
        ..Changes::default()
    }
}

/// An empty commit says what time it is.
pub async fn nothing_is_committed_at_once(backend: &dyn Backend) {
    let first = backend.commit(Changes::default()).await.unwrap();
    let second = backend.commit(harmless("a")).await.unwrap();
    assert!(first.at <= second.at);
}

/// Everything a decision can hold.
pub async fn everything_is_committed_together(backend: &dyn Backend) {
    let delivery = delivered(backend).await;
    let job = running_job(backend).await;
    let spent = backend.tokens().generate(&id("owner"), "s", TokenOptions::default()).await.unwrap().0;
    let (secret, token) = NewToken::generate(id("new"), "s", TokenOptions::default()).unwrap();
    let mut changes = harmless("new");
    changes.jobs.push(JobWrite::Complete(job.lease(), json!("done")));
    changes.tokens = vec![TokenWrite::Create(Box::new(token)), TokenWrite::Consume(spent.hash())];
    changes.settle = Some(settled(&delivery, Settlement::Done));
    let committed = backend.commit(changes).await.unwrap();
    let stored = backend.executions().get(&id("new")).await.unwrap().unwrap();
    assert_eq!((stored.revision, stored.position, stored.created_at), (1, 1, committed.at));
    assert_eq!(backend.events().read_stream(EXECUTIONS, "", &stored.stream(), 1, 9).await.unwrap().len(), 1);
    assert_eq!(backend.events().position(STREAMS, "", "stream-new").await.unwrap(), 1);
    assert_eq!(backend.jobs().get_by_execution(&id("new")).await.unwrap().len(), 1);
    assert_eq!(backend.outputs().info(&OutputStream::of(&id("new"), "s")).await.unwrap().tail_index, 1);
    assert_eq!(backend.jobs().get(&job.id).await.unwrap().unwrap().status, JobStatus::Completed);
    assert_eq!(backend.tokens().get(&spent).await.unwrap().unwrap().status, TokenStatus::Used);
    assert_eq!(backend.tokens().get(&secret).await.unwrap().unwrap().status, TokenStatus::Pending);
    assert_eq!(number(&claim_one(backend, "w").await), 77);
}

/// The revision by one, the position by the events.
pub async fn positions_and_revisions_grow_with_each_commit(backend: &dyn Backend) {
    let create = ExecutionWrite::create(execution("e"), vec![event("a"), event("b")]);
    backend.commit(Changes { executions: vec![create], ..Changes::default() }).await.unwrap();
    for (revision, events) in [(2, 3_usize), (3, 0), (4, 1)] {
        let read = backend.executions().get(&id("e")).await.unwrap().unwrap();
        let write = ExecutionWrite::update(read, (0..events).map(|_| event("c")).collect());
        let applied = write.clone();
        let at = backend.commit(Changes { executions: vec![write], ..Changes::default() }).await.unwrap().at;
        let stored = backend.executions().get(&id("e")).await.unwrap().unwrap();
        assert_eq!((stored.revision, stored.updated_at), (revision, at));
        assert_eq!(stored, applied.applied(at), "the caller knows the row without reading it");
    }
    let history = backend.events().get_by_execution(&id("e")).await.unwrap();
    assert_eq!(history.iter().map(|event| event.position).collect::<Vec<_>>(), [1, 2, 3, 4, 5, 6]);
}

/// A duplicate create.
pub async fn a_taken_id_undoes_everything(backend: &dyn Backend) {
    created(backend, "e").await;
    let again = ExecutionWrite::create(execution("e"), vec![event("execution.created")]);
    let error = refused(backend, Changes { executions: vec![again], ..Changes::default() }).await;
    assert!(error.is_conflict());
    assert!(backend.events().get_by_execution(&id("e")).await.unwrap().is_empty());
}

/// scenario F11
pub async fn a_taken_key_undoes_everything(backend: &dyn Backend) {
    backend.executions().create(keyed("first", "k", hours(1), backend)).await.unwrap();
    let second = ExecutionWrite::create(keyed("second", "k", hours(1), backend), Vec::new());
    assert!(refused(backend, Changes { executions: vec![second], ..Changes::default() }).await.is_conflict());
    assert!(backend.executions().get(&id("second")).await.unwrap().is_none());
}

/// Someone else was first.
pub async fn a_changed_revision_undoes_everything(backend: &dyn Backend) {
    let read = created(backend, "e").await;
    backend.commit(update(read.clone())).await.unwrap();
    assert!(refused(backend, update(Execution { step_count: 9, ..read })).await.is_conflict());
    let stored = backend.executions().get(&id("e")).await.unwrap().unwrap();
    assert_eq!((stored.revision, stored.step_count, stored.position), (2, 0, 1));
    assert_eq!(backend.events().get_by_execution(&id("e")).await.unwrap().len(), 1);
}

/// Whoever writes a history has to know where it ends: behind that it would have a gap.
pub async fn a_history_that_does_not_follow_undoes_everything(backend: &dyn Backend) {
    let read = created(backend, "e").await;
    backend.commit(update(read.clone())).await.unwrap();
    let placed = |position| Execution { revision: 2, position, ..read.clone() };
    for position in [0, 5] {
        assert!(refused(backend, update(placed(position))).await.is_conflict(), "{position}");
        assert!(
            backend.commit(update(placed(position))).await.unwrap_err().is_conflict(),
            "{position}, alone"
        );
    }
    // Without events there is nothing to follow.
    let silent = ExecutionWrite::update(placed(0), Vec::new());
    backend.commit(Changes { executions: vec![silent], ..Changes::default() }).await.unwrap();
    let stored = backend.executions().get(&id("e")).await.unwrap().unwrap();
    assert_eq!((stored.revision, stored.position), (3, 1));
    assert_eq!(backend.events().get_by_execution(&id("e")).await.unwrap().len(), 1);
}

/// What has ended stays as it is, whatever revision is named.
pub async fn an_ended_execution_undoes_everything(backend: &dyn Backend) {
    let ended = Execution { status: ExecutionStatus::Completed, ..created(backend, "e").await };
    backend.commit(update(ended)).await.unwrap();
    let ended = backend.executions().get(&id("e")).await.unwrap().unwrap();
    let revived = Execution { status: ExecutionStatus::Running, finished_at: None, ..ended.clone() };
    for again in [ended.clone(), revived] {
        assert!(refused(backend, update(again)).await.is_conflict());
    }
    assert_eq!(backend.executions().get(&id("e")).await.unwrap().unwrap(), ended);
}

/// The error has the real position.
pub async fn an_unexpected_position_undoes_everything(backend: &dyn Backend) {
    backend.events().append(Append::to("a", vec![event("1"), event("2")])).await.unwrap();
    for expected in [ExpectedPosition::NoStream, ExpectedPosition::Exact(1), ExpectedPosition::Exact(3)] {
        let append = Append::to("a", vec![event("3")]).expecting(expected);
        let error = refused(backend, Changes { appends: vec![append], ..Changes::default() }).await;
        assert!(error.is_conflict() && error.to_string().contains("position 2"), "{error}");
    }
    assert_eq!(backend.events().position(STREAMS, "", "a").await.unwrap(), 2);
}

/// Used, revoked and unknown ones alike.
pub async fn a_spent_token_undoes_everything(backend: &dyn Backend) {
    created(backend, "e").await;
    let new = async || backend.tokens().generate(&id("e"), "s", TokenOptions::default()).await.unwrap().0;
    let (used, revoked) = (new().await, new().await);
    backend.commit(consume(&used)).await.unwrap();
    backend.tokens().revoke(&revoked).await.unwrap();
    for secret in [used, revoked, TokenSecret::generate().unwrap()] {
        assert!(refused(backend, consume(&secret)).await.is_conflict());
    }
}

/// Nobody has to clean up first.
pub async fn an_expired_token_undoes_everything(backend: &dyn Backend, time: &dyn TimeTravel) {
    created(backend, "e").await;
    let options = TokenOptions { expires_in: Some(hours(1)), ..TokenOptions::default() };
    let secret = backend.tokens().generate(&id("e"), "s", options).await.unwrap().0;
    time.advance(hours(2)).await;
    assert!(refused(backend, consume(&secret)).await.is_conflict());
}

/// The zombie's work counts for nothing.
pub async fn a_lost_message_lease_undoes_everything(backend: &dyn Backend) {
    let delivery = delivered(backend).await;
    backend.queue().release(&worker("w")).await.unwrap();
    for settlement in [Settlement::Done, Settlement::DeadLetter(Failure::new("BAD", "no"))] {
        let settle = Some(settled(&delivery, settlement));
        assert!(refused(backend, Changes { settle, ..Changes::default() }).await.is_fenced());
    }
    assert_eq!(number(&claim_one(backend, "w").await), 5);
}

/// fault F07, for jobs.
pub async fn a_lost_job_lease_undoes_everything(backend: &dyn Backend) {
    let job = running_job(backend).await;
    let next = backend.jobs().take_over(&job.id, &worker("next")).await.unwrap().unwrap();
    let failure = Failure::new("BOOM", "no");
    let lease = job.lease();
    for write in [
        JobWrite::Complete(lease.clone(), json!(1)),
        JobWrite::Fail(lease.clone(), failure.clone()),
        JobWrite::Retry(lease, failure),
    ] {
        assert!(refused(backend, Changes { jobs: vec![write], ..Changes::default() }).await.is_fenced());
    }
    assert_eq!(backend.jobs().get(&job.id).await.unwrap().unwrap(), next);
}

/// Before anything is written.
pub async fn an_invalid_part_undoes_everything(backend: &dyn Backend) {
    let bad = mainspring_core::NewMessage { data: json!("a\0b"), ..message(1) };
    assert!(refused(backend, Changes { messages: vec![bad], ..Changes::default() }).await.is_invalid());
    let bad = Append::to("", vec![event("x")]);
    assert!(refused(backend, Changes { appends: vec![bad], ..Changes::default() }).await.is_invalid());
}

/// The winner of the two does not stay.
pub async fn one_loser_of_two_writes_undoes_both(backend: &dyn Backend) {
    let (good, bad) = (created(backend, "good").await, created(backend, "bad").await);
    backend.commit(update(bad.clone())).await.unwrap();
    let mut changes = update(Execution { step_count: 9, ..good.clone() });
    changes.executions.extend(update(bad).executions);
    assert!(refused(backend, changes).await.is_conflict());
    assert_eq!(backend.executions().get(&id("good")).await.unwrap().unwrap(), good);
}

/// Stop at once is the stronger advice.
pub async fn a_lost_lease_is_told_before_a_conflict(backend: &dyn Backend) {
    created(backend, "e").await;
    let delivery = delivered(backend).await;
    backend.queue().release(&worker("w")).await.unwrap();
    let create = ExecutionWrite::create(execution("e"), Vec::new());
    let settle = Some(settled(&delivery, Settlement::Done));
    assert!(
        refused(backend, Changes { executions: vec![create], settle, ..Changes::default() })
            .await
            .is_fenced()
    );
}

/// One of two writes of one row would be lost without a word.
pub async fn nothing_is_touched_twice(backend: &dyn Backend) {
    let job = running_job(backend).await;
    let read = backend.executions().get(&id("owner")).await.unwrap().unwrap();
    let secret = backend.tokens().generate(&id("owner"), "s", TokenOptions::default()).await.unwrap().0;
    let once = [
        update(Execution { step_count: 1, ..read.clone() }),
        Changes { jobs: vec![JobWrite::Complete(job.lease(), json!(1))], ..Changes::default() },
        Changes {
            appends: vec![Append::to("a", vec![event("x")]).expecting(ExpectedPosition::NoStream)],
            ..Changes::default()
        },
        consume(&secret),
        received("k"),
    ];
    for mut twice in once {
        twice.executions.extend(twice.executions.clone());
        twice.jobs.extend(twice.jobs.clone());
        twice.appends.extend(twice.appends.clone());
        twice.tokens.extend(twice.tokens.clone());
        twice.receipts.extend(twice.receipts.clone());
        assert!(refused(backend, twice).await.is_invalid());
    }
    assert_eq!(backend.executions().get(&id("owner")).await.unwrap().unwrap(), read);
    assert_eq!(backend.jobs().get(&job.id).await.unwrap().unwrap(), job);
    assert_eq!(backend.events().position(STREAMS, "", "a").await.unwrap(), 0);
    assert_eq!(backend.tokens().validate(&secret).await.unwrap(), None);
}

/// The compare-and-set, under load.
pub async fn sixteen_commits_on_one_revision_have_one_winner(backend: &dyn Backend) {
    let read = created(backend, "e").await;
    let commits = (0..16).map(|n| {
        let mut changes = update(Execution { step_count: n, ..read.clone() });
        changes.messages.push(message(n as usize));
        backend.commit(changes)
    });
    let results = join_all(commits).await;
    let winner = results.iter().position(Result::is_ok).unwrap();
    assert_eq!(results.iter().filter(|result| result.is_ok()).count(), 1);
    assert!(results.into_iter().filter_map(Result::err).all(|error| error.is_conflict()));
    let stored = backend.executions().get(&id("e")).await.unwrap().unwrap();
    assert_eq!((stored.revision, stored.step_count as usize), (2, winner));
    assert_eq!(number(&claim_one(backend, "w").await) as usize, winner);
    assert_eq!(backend.events().get_by_execution(&id("e")).await.unwrap().len(), 1);
}

/// Nobody loses to a stranger, and one loser does not take others with it.
pub async fn sixteen_commits_of_sixteen_executions_all_win(backend: &dyn Backend) {
    let taken = created(backend, "taken").await;
    backend.commit(update(taken.clone())).await.unwrap();
    let names: Vec<String> = (0..16).map(|n| format!("e{n}")).collect();
    let mut commits: Vec<Changes> = names.iter().map(|name| harmless(name)).collect();
    commits.insert(8, update(taken));
    let results = join_all(commits.into_iter().map(|changes| backend.commit(changes))).await;
    for (n, result) in results.into_iter().enumerate() {
        assert_eq!(result.is_err(), n == 8, "{n}");
    }
    for name in &names {
        assert_eq!(backend.events().get_by_execution(&id(name)).await.unwrap().len(), 1);
    }
    assert_eq!(backend.queue().stats(QUEUE).await.unwrap().ready, 16);
}

/// A message is settled by one decision.
pub async fn sixteen_commits_with_one_lease_have_one_winner(backend: &dyn Backend) {
    let delivery = delivered(backend).await;
    let commits = (0..16).map(|n| {
        let mut changes = harmless(&format!("e{n}"));
        changes.settle = Some(settled(&delivery, Settlement::Done));
        backend.commit(changes)
    });
    let results = join_all(commits).await;
    assert_eq!(results.iter().filter(|result| result.is_ok()).count(), 1);
    assert!(results.into_iter().filter_map(Result::err).all(|error| error.is_fenced()));
    assert_eq!(backend.queue().stats(QUEUE).await.unwrap().ready, 1);
}

/// Complete, fail for good, and wait for another run.
pub async fn jobs_end_with_the_commit(backend: &dyn Backend) {
    created(backend, "owner").await;
    let failure = Failure::new("BOOM", "no");
    for expected in [JobStatus::Completed, JobStatus::Failed, JobStatus::Pending] {
        let job = backend.jobs().create(job("owner")).await.unwrap();
        let lease = backend.jobs().claim(&job.id, &worker("w")).await.unwrap().unwrap().lease();
        let write = match expected {
            JobStatus::Completed => JobWrite::Complete(lease, json!({"ok": 1})),
            JobStatus::Failed => JobWrite::Fail(lease, failure.clone()),
            _ => JobWrite::Retry(lease, failure.clone()),
        };
        backend.commit(Changes { jobs: vec![write], ..Changes::default() }).await.unwrap();
        let ended = backend.jobs().get(&job.id).await.unwrap().unwrap();
        assert_eq!((ended.status, ended.holder, ended.heartbeat_at), (expected, None, None));
        assert_eq!(ended.finished_at.is_some(), expected.is_terminal());
        assert_eq!(ended.error.is_some(), expected != JobStatus::Completed);
    }
}

/// scenario F10: jobs and tokens, in the commit of the cancel.
pub async fn an_execution_cancels_what_is_open(backend: &dyn Backend) {
    let held = running_job(backend).await;
    let pending = backend.jobs().create(job("owner")).await.unwrap();
    let secret = backend.tokens().generate(&id("owner"), "s", TokenOptions::default()).await.unwrap().0;
    let changes = Changes {
        jobs: vec![JobWrite::CancelAll(id("owner"))],
        tokens: vec![TokenWrite::RevokeAll(id("owner"))],
        ..Changes::default()
    };
    backend.commit(changes.clone()).await.unwrap();
    backend.commit(changes).await.unwrap();
    for id in [&held.id, &pending.id] {
        let job = backend.jobs().get(id).await.unwrap().unwrap();
        assert_eq!((job.status, job.holder, job.finished_at.is_some()), (JobStatus::Cancelled, None, true));
    }
    assert!(!backend.jobs().complete(&held.lease(), json!(1)).await.unwrap());
    assert_eq!(backend.tokens().get(&secret).await.unwrap().unwrap().status, TokenStatus::Revoked);
}

/// scenario F13
pub async fn a_key_whose_window_is_over_is_taken_over(backend: &dyn Backend, time: &dyn TimeTravel) {
    let first = backend.executions().create(keyed("first", "k", hours(1), backend)).await.unwrap();
    time.advance(hours(2)).await;
    let mut second = keyed("second", "k", hours(1), backend);
    second.idempotency_expires_at = Some(first.created_at + hours(9));
    let write = ExecutionWrite::create(second, vec![event("execution.created")]);
    backend.commit(Changes { executions: vec![write], ..Changes::default() }).await.unwrap();
    let found = backend.executions().find_by_idempotency_key("", "order", "k").await.unwrap().unwrap();
    assert_eq!(found.id, id("second"));
}

/// In the order of the changes, to whatever else is written to the stream, and not behind its end.
pub async fn chunks_are_published_with_the_commit(backend: &dyn Backend) {
    let (own, other) = (OutputStream::of(&id("e"), "s"), OutputStream::named("s"));
    let end = OutputWrite { closes: true, ..published(own.clone(), &[]) };
    let outputs = vec![
        published(own.clone(), &["a"]),
        published(other.clone(), &["x"]),
        published(own.clone(), &["b", "c"]),
        end.clone(),
        published(own.clone(), &["late"]),
    ];
    let executions = vec![ExecutionWrite::create(execution("e"), vec![])];
    backend.commit(Changes { executions, outputs, ..Changes::default() }).await.unwrap();
    let all = async |stream: &OutputStream| {
        let page = backend.outputs().get_chunks(ChunkQuery::of(stream.clone())).await.unwrap();
        let chunks: Vec<String> =
            page.chunks.iter().map(|c| String::from_utf8_lossy(&c.data).into()).collect();
        (chunks.concat(), page.done)
    };
    assert_eq!(all(&own).await, ("abc".to_owned(), true));
    // Whoever comes later finds it closed, and his other changes count.
    let outputs = vec![published(own.clone(), &["late"]), end, published(other.clone(), &["y"])];
    backend.commit(Changes { outputs, ..Changes::default() }).await.unwrap();
    assert_eq!(all(&own).await, ("abc".to_owned(), true));
    assert_eq!(all(&other).await, ("xy".to_owned(), false));
    let commits = (0..16).map(|_| {
        let outputs = vec![published(other.clone(), &["z", "z"])];
        backend.commit(Changes { outputs, ..Changes::default() })
    });
    assert!(join_all(commits).await.iter().all(Result::is_ok));
    assert_eq!(all(&other).await.0.len(), 34);
}

/// And so does what can never be stored.
pub async fn chunks_of_nobody_known_undo_everything(backend: &dyn Backend) {
    let nobody = published(OutputStream::of(&id("nobody"), "s"), &["x"]);
    refused(backend, Changes { outputs: vec![nobody], ..Changes::default() }).await;
    let nameless = published(OutputStream::named(""), &["x"]);
    let error = refused(backend, Changes { outputs: vec![nameless], ..Changes::default() }).await;
    assert!(error.is_invalid(), "{error:?}");
}
