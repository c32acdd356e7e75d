//! Random commits leave the same behind in memory, by the one call, and by the two flights.

use mainspring::{
    Append, Backend, Changes, ErrorKind, Execution, ExecutionId, ExecutionStatus, ExecutionWrite, Expect,
    ExpectedPosition, NewEvent, NewMessage, Timestamp,
};
use mainspring_core::event::STREAMS;
use mainspring_testing::{Dice, MemoryBackend};
use serde_json::{Value, json};

const EXECUTIONS: usize = 4;
const COMMITS: usize = 60;

/// Everything that may differ from backend to backend is the same.
fn timeless(mut execution: Execution) -> Execution {
    let never = Timestamp::from_micros(0);
    execution.finished_at = execution.finished_at.map(|_| never);
    Execution { created_at: never, updated_at: never, ..execution }
}

fn id(n: usize) -> ExecutionId {
    ExecutionId::new(format!("e{n}")).unwrap()
}

/// What is known of the rows: what the memory backend has.
async fn random(dice: &mut Dice, backend: &dyn Backend, round: usize) -> Changes {
    let mut changes = Changes::default();
    let first = dice.index(EXECUTIONS);
    for n in 0..=dice.index(3) {
        let id = id((first + n) % EXECUTIONS);
        let stored = backend.executions().get(&id).await.unwrap();
        changes.executions.push(write(dice, id, stored, round));
    }
    // With anything else it is no call.
    if dice.once_in(3) {
        changes.messages.push(NewMessage::new("q", "m", json!(round)));
    }
    if dice.once_in(4) {
        let expected = ExpectedPosition::Exact(i64::try_from(dice.index(4)).unwrap());
        changes.appends.push(Append::to("s", vec![NewEvent::new("x", json!(round))]).expecting(expected));
    }
    changes
}

/// Mostly what fits; now and then of the wrong revision, or with a history that does not follow.
fn write(dice: &mut Dice, id: ExecutionId, stored: Option<Execution>, round: usize) -> ExecutionWrite {
    let creates = stored.is_none() != dice.once_in(12);
    let mut execution = stored.unwrap_or_else(|| Execution::new(id, "f", "1.0.0", "s"));
    execution.status = if dice.once_in(8) { ExecutionStatus::Completed } else { ExecutionStatus::Running };
    execution.context.insert("round".to_owned(), json!(round));
    if dice.once_in(3) {
        execution.metadata.insert("m".to_owned(), json!(round));
    }
    if dice.once_in(10) {
        execution.position += i64::try_from(dice.index(5)).unwrap() - 2;
    }
    if dice.once_in(10) {
        execution.revision += 1;
    }
    let mut events: Vec<_> = (0..dice.index(3)).map(|n| NewEvent::new("happened", json!(n))).collect();
    if let (Some(event), true) = (events.first_mut(), dice.once_in(3)) {
        event.metadata.insert("m".to_owned(), json!(round));
    }
    let expect = if creates { Expect::New } else { Expect::Revision(execution.revision) };
    if creates {
        execution.status = ExecutionStatus::Running;
        execution.step_count = 0;
    }
    ExecutionWrite { expect, execution, events }
}

/// Rows, histories, the stream, and how many messages there are.
async fn left_behind(backend: &dyn Backend) -> (Vec<(Option<Execution>, Value)>, i64, u64) {
    let mut rows = Vec::new();
    for n in 0..EXECUTIONS {
        let events = backend.events().get_by_execution(&id(n)).await.unwrap();
        let told = events.iter().map(|it| json!([it.position, it.event.data, it.event.metadata]));
        let row = backend.executions().get(&id(n)).await.unwrap();
        rows.push((row.map(timeless), told.collect()));
    }
    let position = backend.events().position(STREAMS, "", "s").await.unwrap();
    (rows, position, backend.queue().stats("q").await.unwrap().ready)
}

#[tokio::test]
async fn random_commits_leave_the_same_behind_everywhere() {
    // X3
    let seed = Dice::any_seed();
    let mut dice = Dice::new(seed);
    let memory = MemoryBackend::new();
    let ((called, _called_db), (flown, flown_db)) = (crate::fresh().await, crate::fresh().await);
    let mut client = flown_db.client().await;
    let mut refused = 0;
    for round in 0..COMMITS {
        if dice.once_in(10) {
            let gone = id(dice.index(EXECUTIONS));
            let all: [&dyn Backend; 3] = [&memory, &called, &flown];
            let mut deleted = Vec::new();
            for backend in all {
                deleted.push(backend.executions().forget(&gone, "none").await.unwrap());
            }
            assert!(deleted.iter().all(|was| *was == deleted[0]), "seed {seed}, {round}");
        }
        let changes = random(&mut dice, &memory, round).await;
        let kind = |result: mainspring::Result<_>| result.err().map(|error: mainspring::Error| error.kind());
        let in_memory = kind(memory.commit(changes.clone()).await.map(drop));
        let by_call = kind(called.commit(changes.clone()).await.map(drop));
        // The caller's own transaction is not the call's.
        let tx = client.transaction().await.unwrap();
        let by_flights = kind(flown.on(&tx).commit(changes.clone()).await.map(drop));
        tx.commit().await.unwrap();
        assert_eq!((in_memory, by_call), (by_flights, by_flights), "seed {seed}, {round}: {changes:?}");
        assert!(in_memory.is_none_or(|kind| kind == ErrorKind::Conflict), "seed {seed}, {round}");
        refused += usize::from(in_memory.is_some());
        let expected = left_behind(&memory).await;
        assert_eq!(left_behind(&called).await, expected, "seed {seed}, {round}, by call: {changes:?}");
        assert_eq!(left_behind(&flown).await, expected, "seed {seed}, {round}, by flights: {changes:?}");
    }
    assert!((1..COMMITS).contains(&refused), "seed {seed}: {refused} refused");
}
