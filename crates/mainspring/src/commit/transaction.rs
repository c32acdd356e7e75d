//! One batch, from its first statement to the answer of every change in it.

use mainspring_core::{Changes, Committed, Error, ErrorKind, Result, metric};
use mainspring_events::{PgEventStore, locate, recorded};
use mainspring_pg::{Attempt, Db, Query, is_transient};

use super::{
    call::Call,
    doubt::resolve,
    plan::{Deciding, Loss, Outcome, appended, keys, placed, rest, won_appends},
};

/// How often a batch is run before a serialization failure or a deadlock is its callers'.
const ATTEMPTS: u32 = 5;

/// Commits `batch` in as few transactions as can be, one when nobody loses, and answers for each change.
pub(crate) async fn commit_batch(db: &Db<'static>, batch: &[&Changes]) -> Vec<Result<Committed>> {
    let mut answers: Vec<Option<Result<Committed>>> = batch.iter().map(|_| None).collect();
    // Ranges still to be committed; a failing one is halved until the guilty change is alone.
    let mut todo = vec![(0..batch.len()).collect::<Vec<usize>>()];
    while let Some(members) = todo.pop() {
        let changes: Vec<&Changes> = members.iter().filter_map(|&n| batch.get(n).copied()).collect();
        match with_retries(db, &changes).await {
            Ok(results) => {
                for (&n, result) in members.iter().zip(results) {
                    answers[n] = Some(result);
                }
            }
            Err(error) if members.len() > 1 && is_somebodys_fault(&error) => {
                let (left, right) = members.split_at(members.len() / 2);
                todo.push(right.to_vec());
                todo.push(left.to_vec());
            }
            Err(error) => {
                for &n in &members {
                    answers[n] = Some(Err(same(&error)));
                }
            }
        }
    }
    answers
        .into_iter()
        .map(|answer| answer.unwrap_or_else(|| Err(Error::internal("a change was left out of its batch"))))
        .collect()
}

/// Whether the failure comes from one of the changes, and not from the database as a whole.
fn is_somebodys_fault(error: &Error) -> bool {
    !matches!(
        error.kind(),
        ErrorKind::Unavailable | ErrorKind::CommitUnknown | ErrorKind::Busy | ErrorKind::Schema
    )
}

/// One failure told to several callers.
fn same(error: &Error) -> Error {
    Error::new(error.kind(), error.chain())
}

async fn with_retries(db: &Db<'static>, batch: &[&Changes]) -> Result<Vec<Result<Committed>>> {
    let mut attempt = 1;
    loop {
        match without_losers(db, batch).await {
            Err(error) if attempt < ATTEMPTS && is_transient(&error) => {
                tracing::debug!(attempt, error = error.code(), "batch runs again");
                metrics::counter!(metric::DB_RETRIES).increment(1);
                mainspring_pg::backoff(attempt).await;
                attempt += 1;
            }
            result => return result,
        }
    }
}

/// Runs the batch, and again without those that lost half-way, until what is left wins.
async fn without_losers(db: &Db<'static>, batch: &[&Changes]) -> Result<Vec<Result<Committed>>> {
    let mut answers: Vec<Option<Result<Committed>>> = batch.iter().map(|_| None).collect();
    let mut left: Vec<usize> = (0..batch.len()).collect();
    while !left.is_empty() {
        let members: Vec<&Changes> = left.iter().filter_map(|&n| batch.get(n).copied()).collect();
        let (outcomes, committed) = run(db, &members).await?;
        let mut again = Vec::new();
        for (&n, outcome) in left.iter().zip(outcomes) {
            match outcome {
                Outcome::Lost { why, .. } => answers[n] = Some(Err(explain(db, why).await)),
                Outcome::Won { at, appends } if committed => {
                    let at = at.unwrap_or_else(|| db.clock().now());
                    answers[n] = Some(Ok(Committed { at, appended: appended(appends) }));
                }
                Outcome::Won { .. } => again.push(n),
            }
        }
        left = again;
    }
    Ok(answers.into_iter().flatten().collect())
}

/// One transaction. Whether it was committed: not when somebody lost half-way.
async fn run(db: &Db<'static>, batch: &[&Changes]) -> Result<(Vec<Outcome>, bool)> {
    let Some(call) = Call::of(batch) else { return flights(db, batch).await };
    match db.attempt(&call.query).await? {
        Attempt::Done(rows) => {
            let outcomes = call.made(batch, &rows)?;
            observe(db, &outcomes);
            Ok((outcomes, true))
        }
        // Somebody lost, or the statement failed: who, and why, is for the flights to say.
        Attempt::Refused(_) => flights(db, batch).await,
        Attempt::InDoubt(error) => resolve(db, batch, &call, error).await,
    }
}

/// Two round trips: who won is known before the rest is written.
pub(super) async fn flights(db: &Db<'static>, batch: &[&Changes]) -> Result<(Vec<Outcome>, bool)> {
    let Deciding { queries, judge } = Deciding::of(batch)?;
    if queries.is_empty() {
        let outcomes: Vec<Outcome> =
            batch.iter().map(|_| Outcome::Won { at: None, appends: Vec::new() }).collect();
        db.together(rest(batch, &outcomes)).await?;
        return Ok((outcomes, true));
    }
    let (flight, rows) = db.begin(queries).await?;
    let mut outcomes = judge.judge(batch, &rows)?;
    let half_way = outcomes.iter().any(|outcome| matches!(outcome, Outcome::Lost { partly: true, .. }));
    if half_way || outcomes.iter().all(|outcome| matches!(outcome, Outcome::Lost { .. })) {
        flight.rollback().await?;
        return Ok((outcomes, false));
    }
    // A lane is a task that nobody drops.
    let rows = match flight.land(rest(batch, &outcomes)).await? {
        Some(rows) => rows,
        None => vec![locate(db, won_appends(batch, &outcomes)).await?],
    };
    placed(&rows, &mut outcomes)?;
    observe(db, &outcomes);
    Ok((outcomes, true))
}

/// Sets the clock by a commit.
fn observe(db: &Db<'_>, outcomes: &[Outcome]) {
    let at = outcomes.iter().find_map(|outcome| match outcome {
        Outcome::Won { at, .. } => *at,
        Outcome::Lost { .. } => None,
    });
    if let Some(at) = at {
        db.clock().observe(at);
    }
}

async fn explain(db: &Db<'_>, why: Loss) -> Error {
    match why {
        Loss::Error(error) => error,
        Loss::Append(append) => PgEventStore::new(db).refusal(&append).await,
    }
}

/// Commits `changes` in a transaction of their own, with the inline projections of `events` in it.
pub(crate) async fn commit_alone(
    db: &Db<'static>,
    events: &PgEventStore<'_>,
    changes: &Changes,
) -> Result<Committed> {
    let mut attempt = 1;
    loop {
        let (flight, _) = db.begin_plain(Vec::new()).await?;
        let result = match commit_within(&flight.db()?, events, changes).await {
            // Fails when a statement of a projection did and its failure was ignored.
            Ok(committed) => flight.commit(vec![Query::new("SELECT 1")]).await.map(|_| committed),
            Err(error) => flight.rollback().await.and(Err(error)),
        };
        match result {
            Err(error) if attempt < ATTEMPTS && is_transient(&error) => {
                mainspring_pg::backoff(attempt).await;
                attempt += 1;
            }
            result => return result,
        }
    }
}

/// Commits `changes` inside the caller's transaction: written there, durable with the caller's own commit. A refusal leaves
/// nothing behind, so the transaction goes on.
pub(crate) async fn commit_within(
    db: &Db<'_>,
    events: &PgEventStore<'_>,
    changes: &Changes,
) -> Result<Committed> {
    keys(changes)?;
    db.exec("SAVEPOINT mainspring_commit", &[]).await?;
    let result = write_within(db, events, changes).await;
    let end = match &result {
        Ok(_) => "RELEASE SAVEPOINT mainspring_commit",
        Err(_) => "ROLLBACK TO SAVEPOINT mainspring_commit",
    };
    db.exec(end, &[]).await?;
    result
}

async fn write_within(db: &Db<'_>, events: &PgEventStore<'_>, changes: &Changes) -> Result<Committed> {
    let batch = [changes];
    let Deciding { queries, judge } = Deciding::of(&batch)?;
    let rows = db.together(queries).await?;
    let mut outcomes = judge.judge(&batch, &rows)?;
    if let Some(Outcome::Won { .. }) = outcomes.first() {
        let rows = db.together(rest(&batch, &outcomes)).await?;
        placed(&rows, &mut outcomes)?;
        if let [Outcome::Won { appends, .. }] = outcomes.as_slice()
            && !events.inline().is_empty()
        {
            let rows = rows.first().map_or(&[][..], Vec::as_slice);
            events.apply_inline(db, &recorded(&changes.appends, appends, rows)?).await?;
        }
    }
    match outcomes.pop() {
        Some(Outcome::Lost { why, .. }) => Err(explain(db, why).await),
        Some(Outcome::Won { at, appends }) => {
            let at = at.unwrap_or_else(|| db.clock().now());
            Ok(Committed { at, appended: appended(appends) })
        }
        None => Err(Error::internal("a change was not judged")),
    }
}
