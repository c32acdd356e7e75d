//! What one batch sends, as values, and who won.
//!
//! Every write that can lose a race is in the first flight: settlements, job ends, revisions, creates, appends, tokens, receipts. Each
//! is one statement over all changes of the batch that answers which of its rows it wrote.

use std::collections::{HashSet, VecDeque};

use mainspring_core::{
    Append, Appended, Changes, Error, ExecutionId, ExecutionWrite, Expect, Job, JobLease, JobWrite,
    NewMessage, NewToken, OutputWrite, Receipt, Result, Settle, StreamId, Timestamp, TokenHash, TokenWrite,
    event::check_streams_once,
};
use mainspring_events::{Appending, Decided, events_query, history_query, place};
use mainspring_executions::{Written, create_query, free_keys_query, update_query};
use mainspring_jobs::{JobEnd, cancel_all_query, create_query as create_jobs, decode_settled, settle_query};
use mainspring_output::write_query;
use mainspring_pg::{Query, Row};
use mainspring_queue::{decode_receipts, push_queries, receipt_query, settle_queries, settled};
use mainspring_tokens::{consume_query, create_query as create_tokens, decode_consumed, revoke_all_query};

/// Which statement of the first flight a set of rows belongs to.
enum Leg {
    Settle,
    Jobs,
    Updates,
    FreeKeys,
    Creates,
    Appends,
    Tokens,
    Receipts,
}

/// The first flight of a batch: its statements, and who reads their answers.
pub(crate) struct Deciding<'a> {
    pub(crate) queries: Vec<Query>,
    pub(crate) judge: Judge<'a>,
}

/// Reads the answers of a first flight.
pub(crate) struct Judge<'a> {
    legs: Vec<Leg>,
    appending: Option<Appending<'a>>,
}

/// What became of one change in the first flight.
#[derive(Debug)]
pub(crate) enum Outcome {
    /// Everything it wanted to write was written; where its appends go is decided.
    Won { at: Option<Timestamp>, appends: Vec<Decided> },
    /// It lost. `partly`: something of it was written all the same, so the transaction has to go.
    Lost { why: Loss, partly: bool },
}

/// Why a change lost.
#[derive(Debug)]
pub(crate) enum Loss {
    Error(Error),
    /// This append was refused; why is still to be read.
    Append(Box<Append>),
}

fn all<'a, T: 'a, I: Iterator<Item = &'a T> + 'a>(
    batch: &'a [&Changes],
    of: impl Fn(&'a Changes) -> I + 'a,
) -> Vec<&'a T> {
    batch.iter().flat_map(|changes| of(changes)).collect()
}

pub(super) fn writes<'a>(batch: &'a [&Changes], new: bool) -> Vec<&'a ExecutionWrite> {
    let mut writes = all(batch, |c| c.executions.iter());
    writes.retain(|write| (write.expect == Expect::New) == new);
    // Locks are taken in the order of ids, so that two batches cannot wait for each other.
    writes.sort_by(|a, b| a.execution.id.cmp(&b.execution.id));
    writes
}

fn consumed_tokens(changes: &Changes) -> impl Iterator<Item = TokenHash> {
    changes.tokens.iter().filter_map(|token| match token {
        TokenWrite::Consume(hash) => Some(*hash),
        TokenWrite::Create(_) | TokenWrite::RevokeAll(_) => None,
    })
}

impl<'a> Deciding<'a> {
    /// The statements that decide.
    ///
    /// # Errors
    /// Invalid, when two changes of the batch touch one stream that is not theirs to share.
    pub(crate) fn of(batch: &[&'a Changes]) -> Result<Self> {
        let mut plan = Self { queries: Vec::new(), judge: Judge { legs: Vec::new(), appending: None } };
        let settles: Vec<&Settle> = batch.iter().filter_map(|c| c.settle.as_ref()).collect();
        for query in settle_queries(&settles) {
            plan.add(Leg::Settle, query);
        }
        let ends: Vec<_> = batch.iter().flat_map(|c| &c.jobs).filter_map(JobEnd::of).collect();
        if !ends.is_empty() {
            plan.add(Leg::Jobs, settle_query(&ends));
        }
        let updates = writes(batch, false);
        if !updates.is_empty() {
            plan.add(Leg::Updates, update_query(&updates));
        }
        let creates = writes(batch, true);
        if let Some(query) = free_keys_query(&creates) {
            plan.add(Leg::FreeKeys, query);
        }
        if !creates.is_empty() {
            plan.add(Leg::Creates, create_query(&creates));
        }
        let appends: Vec<&Append> = batch.iter().flat_map(|c| &c.appends).collect();
        if !appends.is_empty() {
            let appending = Appending::of(appends)?;
            for query in appending.queries() {
                plan.add(Leg::Appends, query);
            }
            plan.judge.appending = Some(appending);
        }
        let tokens: Vec<TokenHash> = batch.iter().flat_map(|c| consumed_tokens(c)).collect();
        if !tokens.is_empty() {
            plan.add(Leg::Tokens, consume_query(&tokens));
        }
        let receipts: Vec<&Receipt> = batch.iter().flat_map(|c| &c.receipts).collect();
        if !receipts.is_empty() {
            plan.add(Leg::Receipts, receipt_query(&receipts));
        }
        Ok(plan)
    }

    fn add(&mut self, leg: Leg, query: Query) {
        self.judge.legs.push(leg);
        self.queries.push(query);
    }
}

impl Judge<'_> {
    /// Who won, in the order of the batch.
    ///
    /// # Errors
    /// Internal, when an answer cannot be read.
    pub(crate) fn judge(&self, batch: &[&Changes], answers: &[Vec<Row>]) -> Result<Vec<Outcome>> {
        let mut won = Winners::default();
        if let Some(appending) = &self.appending {
            let first = self.legs.iter().position(|leg| matches!(leg, Leg::Appends)).unwrap_or(0);
            let (decided, at) = appending.decide(answers.get(first..).unwrap_or_default())?;
            won.appends = decided.into();
            won.appended_at = at;
        }
        for (leg, rows) in self.legs.iter().zip(answers) {
            match leg {
                Leg::FreeKeys | Leg::Appends => {}
                Leg::Settle => won.settles.extend(settled(rows)?),
                Leg::Jobs => won.jobs.extend(decode_settled(rows)?),
                Leg::Updates => won.updates = Written::decode(rows)?,
                Leg::Creates => won.creates = Written::decode(rows)?,
                Leg::Tokens => won.tokens.extend(decode_consumed(rows)?),
                Leg::Receipts => won.receipts = decode_receipts(rows)?,
            }
        }
        Ok(batch.iter().map(|changes| won.outcome(changes)).collect())
    }
}

#[derive(Default)]
struct Winners {
    settles: HashSet<(i64, i64)>,
    jobs: HashSet<JobLease>,
    updates: Written,
    creates: Written,
    /// Those of all changes, in the order of the batch; each change takes its own off the front.
    appends: VecDeque<Decided>,
    appended_at: Option<Timestamp>,
    tokens: HashSet<TokenHash>,
    receipts: HashSet<(String, String)>,
}

impl Winners {
    fn outcome(&mut self, changes: &Changes) -> Outcome {
        let appends: Vec<Decided> =
            self.appends.drain(..changes.appends.len().min(self.appends.len())).collect();
        let mut loss: Option<Loss> = None;
        let mut written = false;
        let mut check = |held: bool, why: &dyn Fn() -> Loss| {
            written |= held;
            if !held && loss.is_none() {
                loss = Some(why());
            }
        };
        if let Some(settle) = &changes.settle {
            let held = self.settles.contains(&(settle.lease.seq, settle.lease.token));
            check(held, &|| Loss::Error(settle.fenced()));
        }
        for lease in changes.jobs.iter().filter_map(JobWrite::lease) {
            check(self.jobs.contains(lease), &|| Loss::Error(lease.fenced()));
        }
        for write in &changes.executions {
            let winners = if write.expect == Expect::New { &self.creates } else { &self.updates };
            check(winners.ids.contains(&write.execution.id), &|| Loss::Error(write.conflict()));
        }
        for (append, decided) in changes.appends.iter().zip(&appends) {
            let held = matches!(decided, Decided::Moved(_) | Decided::Done(_));
            check(held, &|| match decided {
                Decided::Overlaps(recorded) => Loss::Error(append.overlaps(*recorded)),
                _ => Loss::Append(Box::new(append.clone())),
            });
        }
        for hash in consumed_tokens(changes) {
            check(self.tokens.contains(&hash), &|| {
                Loss::Error(Error::conflict("resume token was used, revoked or expired before"))
            });
        }
        for receipt in &changes.receipts {
            let written = self.receipts.contains(&(receipt.queue.clone(), receipt.key.clone()));
            check(written, &|| Loss::Error(receipt.conflict()));
        }
        match loss {
            Some(why) => Outcome::Lost { why, partly: written },
            None => Outcome::Won { at: self.updates.at.or(self.creates.at).or(self.appended_at), appends },
        }
    }
}

/// Where the appends of the winners are, from the answer of the second flight.
///
/// # Errors
/// Internal, when an answer cannot be read.
pub(crate) fn placed(answers: &[Vec<Row>], outcomes: &mut [Outcome]) -> Result<()> {
    let winners = outcomes.iter_mut().filter_map(|outcome| match outcome {
        Outcome::Won { appends, .. } => Some(appends),
        Outcome::Lost { .. } => None,
    });
    // The events of appends are the first statement, when there are any.
    place(answers.first().map_or(&[], Vec::as_slice), winners.flatten())
}

/// What the caller of a change that won hears of its appends.
pub(crate) fn appended(appends: Vec<Decided>) -> Vec<Appended> {
    let appended = appends.into_iter().filter_map(|decided| match decided {
        Decided::Moved(appended) | Decided::Done(appended) => Some(appended),
        Decided::Refused | Decided::Overlaps(_) => None,
    });
    appended.collect()
}

/// The appends of those of `batch` that won, and what was decided of them.
pub(crate) fn won_appends<'a>(
    batch: &'a [&'a Changes],
    outcomes: &'a [Outcome],
) -> impl Iterator<Item = (&'a Append, &'a Decided)> {
    batch.iter().zip(outcomes).flat_map(|(changes, outcome)| {
        let decided = match outcome {
            Outcome::Won { appends, .. } => appends.as_slice(),
            Outcome::Lost { .. } => &[],
        };
        changes.appends.iter().zip(decided)
    })
}

/// The second flight: everything that cannot lose, for those of `batch` that won.
pub(crate) fn rest(batch: &[&Changes], outcomes: &[Outcome]) -> Vec<Query> {
    let won = batch.iter().zip(outcomes).filter(|(_, outcome)| matches!(outcome, Outcome::Won { .. }));
    let winners: Vec<&Changes> = won.map(|(changes, _)| *changes).collect();
    let winners = winners.as_slice();
    let mut queries = Vec::new();
    queries.extend(events_query(won_appends(batch, outcomes)));
    let executions = all(winners, |c| c.executions.iter());
    queries.extend(history_query(&executions));

    let jobs = all(winners, |c| c.jobs.iter());
    let created: Vec<&Job> = jobs
        .iter()
        .filter_map(|job| match job {
            JobWrite::Create(job) => Some(&**job),
            _ => None,
        })
        .collect();
    if !created.is_empty() {
        queries.push(create_jobs(&created));
    }
    let cancelled: Vec<&ExecutionId> = jobs
        .iter()
        .filter_map(|job| match job {
            JobWrite::CancelAll(execution) => Some(execution),
            _ => None,
        })
        .collect();
    if !cancelled.is_empty() {
        queries.push(cancel_all_query(&cancelled));
    }

    let tokens = all(winners, |c| c.tokens.iter());
    let created: Vec<&NewToken> = tokens
        .iter()
        .filter_map(|token| match token {
            TokenWrite::Create(token) => Some(&**token),
            _ => None,
        })
        .collect();
    if !created.is_empty() {
        queries.push(create_tokens(&created));
    }
    let revoked: Vec<&ExecutionId> = tokens
        .iter()
        .filter_map(|token| match token {
            TokenWrite::RevokeAll(execution) => Some(execution),
            _ => None,
        })
        .collect();
    if !revoked.is_empty() {
        queries.push(revoke_all_query(&revoked));
    }

    let outputs: Vec<&OutputWrite> = all(winners, |c| c.outputs.iter());
    if !outputs.is_empty() {
        queries.push(write_query(&outputs));
    }
    let messages: Vec<&NewMessage> = all(winners, |c| c.messages.iter());
    queries.extend(push_queries(&messages));
    queries
}

/// What a change touches. Two changes that touch the same thing never share a batch: a statement could not tell them apart.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) enum Key {
    Execution(String),
    Idempotency(String, String, String),
    Message(i64),
    Job(String),
    Token(TokenHash),
    Receipt(String, String),
    Stream(StreamId),
}

/// Everything a change touches.
#[derive(Debug, Default)]
pub(crate) struct Keys {
    /// What it wants for itself.
    pub(crate) own: HashSet<Key>,
    /// Streams it appends to wherever they are, as others may in the same batch.
    pub(crate) shared: HashSet<Key>,
}

impl Keys {
    /// Whether both can be in one batch.
    pub(crate) fn agree_with(&self, other: &Self) -> bool {
        self.own.is_disjoint(&other.own)
            && self.own.is_disjoint(&other.shared)
            && self.shared.is_disjoint(&other.own)
    }

    pub(crate) fn extend(&mut self, other: &Self) {
        self.own.extend(other.own.iter().cloned());
        self.shared.extend(other.shared.iter().cloned());
    }
}

/// Everything `changes` touches.
///
/// # Errors
/// Invalid, when it touches something twice.
pub(crate) fn keys(changes: &Changes) -> Result<Keys> {
    check_streams_once(&changes.appends)?;
    let mut keys = Keys::default();
    let mut add = |key: Key| {
        if keys.own.contains(&key) {
            return Err(Error::invalid("changes", format!("touches {key:?} twice")));
        }
        keys.own.insert(key);
        Ok(())
    };
    for write in &changes.executions {
        let execution = &write.execution;
        add(Key::Execution(execution.id.to_string()))?;
        if let (Expect::New, Some(key)) = (write.expect, &execution.idempotency_key) {
            add(Key::Idempotency(execution.tenant.clone(), execution.flow_id.clone(), key.clone()))?;
        }
    }
    if let Some(settle) = &changes.settle {
        add(Key::Message(settle.lease.seq))?;
    }
    for job in &changes.jobs {
        match job {
            JobWrite::Create(job) => add(Key::Job(job.id.to_string()))?,
            JobWrite::CancelAll(_) => {}
            JobWrite::Complete(lease, _) | JobWrite::Fail(lease, _) | JobWrite::Retry(lease, _) => {
                add(Key::Job(lease.id.to_string()))?;
            }
        }
    }
    for hash in consumed_tokens(changes) {
        add(Key::Token(hash))?;
    }
    for receipt in &changes.receipts {
        add(Key::Receipt(receipt.queue.clone(), receipt.key.clone()))?;
    }
    for append in &changes.appends {
        let streams = if append.goes_anywhere() { &mut keys.shared } else { &mut keys.own };
        streams.insert(Key::Stream(append.stream_id()));
    }
    Ok(keys)
}
