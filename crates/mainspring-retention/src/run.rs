//! Doing what a policy says: what would go, and batches until nothing is left.

use std::{
    collections::BTreeMap,
    sync::{Mutex, PoisonError},
};

use mainspring_core::{BoxFuture, Result, Timestamp};
use mainspring_pg::{Db, row::micros};

use crate::{
    Kind, RetentionPolicy, Rule, executions, partitions, rows,
    streams::{self, Place, Window},
};

/// Something that can go, and the rule it goes by.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Target {
    /// What it is.
    pub kind: Kind,
    /// Which of them: a flow, a type of streams, a partition; empty for all of the kind.
    pub name: String,
    /// The partition of streams, else empty.
    pub partition: String,
    /// What becomes of it.
    pub rule: Rule,
}

/// What would go now.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Planned {
    /// What it is.
    pub target: Target,
    /// How much: executions, streams, partitions, else rows.
    pub count: u64,
    /// When the longest over ended.
    pub oldest: Option<Timestamp>,
}

/// How far a run is.
#[derive(Debug, Clone, Copy)]
#[non_exhaustive]
pub struct Progress<'a> {
    /// What is going.
    pub target: &'a Target,
    /// How much of it went in this run.
    pub gone: u64,
    /// How much went in this run, of everything.
    pub all: u64,
}

/// What went.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Removed {
    /// What it was.
    pub target: Target,
    /// How much.
    pub count: u64,
}

/// What has to hold for a batch to be done, such as the term of whoever does the upkeep.
pub trait Guard: Send + Sync {
    /// Holds it until the transaction ends: the first thing in the transaction of every batch.
    ///
    /// # Errors
    /// When it does not hold; nothing is done then.
    fn check<'a>(&'a self, tx: &'a Db<'_>) -> BoxFuture<'a, Result<()>>;
}

/// Nobody has to agree.
struct Anybody;

impl Guard for Anybody {
    fn check<'a>(&'a self, _: &'a Db<'_>) -> BoxFuture<'a, Result<()>> {
        Box::pin(std::future::ready(Ok(())))
    }
}

/// Does what a policy says: see the crate.
pub struct Retention {
    db: Db<'static>,
    policy: RetentionPolicy,
    /// Where walks over streams go on, by partition and type. May be forgotten.
    walks: Mutex<BTreeMap<(String, String), Place>>,
}

impl Retention {
    /// Nothing is done yet.
    ///
    /// # Errors
    /// Invalid, naming the rule: see [`RetentionPolicy::check`].
    pub fn new(db: &Db<'static>, policy: RetentionPolicy) -> Result<Self> {
        policy.check()?;
        Ok(Self { db: db.clone(), policy, walks: Mutex::default() })
    }

    /// What the policy is.
    pub const fn policy(&self) -> &RetentionPolicy {
        &self.policy
    }

    /// What would go now, and how much; nothing is changed. It counts, so it reads what is over and the heads of streams. Not in
    /// it is what goes by none.
    ///
    /// # Errors
    /// Those of the database.
    pub async fn plan(&self) -> Result<Vec<Planned>> {
        let mut planned = Vec::new();
        for target in self.targets().await? {
            let (age, db) = (age(&target), &self.db);
            let (count, oldest) = match target.kind {
                Kind::Executions => executions::count(db, &target.name, age).await?,
                Kind::Streams => streams::count(db, &target.partition, &target.name, age).await?,
                Kind::Partitions => {
                    let old = partitions::old(db, &target.name, age).await?;
                    (u64::from(old.is_some()), old)
                }
                kind => match rows::of(kind, said(&target)) {
                    Some(rows) => rows.count(db, age).await?,
                    None => (0, None),
                },
            };
            planned.push(Planned { target, count, oldest });
        }
        Ok(planned)
    }

    /// Takes out everything that is over, batch by batch, and tells after each; what went. What somebody else holds stays.
    ///
    /// # Errors
    /// Those of the database. What went before stays gone, and it can be run again.
    pub async fn run(&self, mut tell: impl FnMut(Progress<'_>) + Send) -> Result<Vec<Removed>> {
        self.walks.lock().unwrap_or_else(PoisonError::into_inner).clear();
        let (mut removed, mut all) = (Vec::new(), 0);
        for target in self.targets().await? {
            let mut count = 0;
            loop {
                let (gone, more) = self.batch(&target, &Anybody).await?;
                count += gone;
                all += gone;
                if gone > 0 {
                    tell(Progress { target: &target, gone: count, all });
                }
                if !more {
                    break;
                }
            }
            if count > 0 {
                removed.push(Removed { target, count });
            }
        }
        Ok(removed)
    }

    /// A part of it: at most `batches` of each target, each under the guard; how much went.
    ///
    /// # Errors
    /// Those of the guard and of the database.
    pub async fn round(&self, guard: &dyn Guard, batches: u32) -> Result<u64> {
        let mut all = 0;
        for target in self.targets().await? {
            for _ in 0..batches {
                let (gone, more) = self.batch(&target, guard).await?;
                all += gone;
                if !more {
                    break;
                }
            }
        }
        Ok(all)
    }

    /// Everything that does not stay for ever, in order.
    async fn targets(&self) -> Result<Vec<Target>> {
        let mut all = Vec::new();
        let mut add = |kind, name: &str, partition: &str, rule: Rule| {
            if rule != Rule::Keep {
                let (name, partition) = (name.to_owned(), partition.to_owned());
                all.push(Target { kind, name, partition, rule });
            }
        };
        for kind in Kind::ALL.iter().copied() {
            let rule = self.policy.rule(kind);
            match kind {
                Kind::Executions if rule == Rule::Keep && self.policy.flows.is_empty() => {}
                Kind::Executions => {
                    for flow in executions::flows(&self.db).await? {
                        add(kind, &flow, "", self.policy.rule_of_flow(&flow));
                    }
                }
                Kind::Streams if !self.policy.streams.is_empty() => {
                    for partition in streams::partitions(&self.db).await? {
                        self.policy
                            .streams
                            .iter()
                            .for_each(|(name, rule)| add(kind, name, &partition, *rule));
                    }
                }
                Kind::Partitions if !self.policy.partitions.is_empty() => {
                    for partition in streams::partitions(&self.db).await?.into_iter().skip(1) {
                        let after = partitions::rule(&self.policy.partitions, &partition);
                        add(kind, &partition, "", after.map_or(Rule::Keep, Rule::Delete));
                    }
                }
                // as their queues say, whatever else
                Kind::DeadLetters => {
                    add(kind, "", "", as_said(rule));
                    add(kind, "", "", rule);
                }
                kind => add(kind, "", "", rule),
            }
        }
        Ok(all)
    }

    /// How much went, and whether there may be more.
    async fn batch(&self, target: &Target, guard: &dyn Guard) -> Result<(u64, bool)> {
        let (age, archive) = (age(target), matches!(target.rule, Rule::Archive(_)));
        let (many, few) = (self.policy.rows(), self.policy.families());
        let full = |gone: u64, limit: i64| (gone, gone >= limit.unsigned_abs());
        match target.kind {
            Kind::Executions => {
                let taken = self.db.with_tx(async |tx| {
                    guard.check(tx).await?;
                    executions::take(tx, &target.name, age, few, archive).await
                });
                Ok(full(taken.await?, few))
            }
            Kind::Streams => self.walk(target, guard, few, archive).await,
            Kind::Partitions => {
                if partitions::old(&self.db, &target.name, age).await?.is_none() {
                    return Ok((0, false));
                }
                let taken = self.db.with_tx(async |tx| {
                    guard.check(tx).await?;
                    partitions::take(tx, &target.name, age).await
                });
                Ok((u64::from(taken.await?), false))
            }
            kind => {
                let Some(rows) = rows::of(kind, said(target)) else { return Ok((0, false)) };
                let taken = self.db.with_tx(async |tx| {
                    guard.check(tx).await?;
                    rows.take(tx, age, many, archive).await
                });
                Ok(full(taken.await?, many))
            }
        }
    }

    /// One window of a walk over streams; at the end it begins again.
    async fn walk(&self, target: &Target, guard: &dyn Guard, few: i64, archive: bool) -> Result<(u64, bool)> {
        let of = (target.partition.clone(), target.name.clone());
        let place = self.walks.lock().unwrap_or_else(PoisonError::into_inner).get(&of).cloned();
        let place = place.unwrap_or_default();
        let window = Window::look(&self.db, (&of.0, &of.1), age(target), &place, few).await?;
        let taken = self.db.with_tx(async |tx| {
            guard.check(tx).await?;
            window.take(tx, &target.partition, archive).await
        });
        let (gone, more) = (taken.await?, window.next.is_some());
        let mut walks = self.walks.lock().unwrap_or_else(PoisonError::into_inner);
        match window.next {
            Some(next) => walks.insert(of, next),
            None => walks.remove(&of),
        };
        Ok((gone, more))
    }
}

/// Takes out a batch of messages, dead letters and receipts whose time is over, as their queues say, without a policy; how many
/// messages and dead letters.
///
/// # Errors
/// Those of the database.
pub async fn expire(db: &Db<'_>) -> Result<u64> {
    let mut gone = 0;
    for kind in [Kind::Messages, Kind::DeadLetters, Kind::Receipts] {
        if let Some(rows) = rows::of(kind, true) {
            let count = rows.take(db, 0, RetentionPolicy::default().rows(), false).await?;
            gone += if kind == Kind::Receipts { 0 } else { count };
        }
    }
    Ok(gone)
}

fn age(target: &Target) -> i64 {
    target.rule.after().map_or(i64::MAX, micros)
}

/// Whether each says itself when it goes.
fn said(target: &Target) -> bool {
    target.rule.after().is_some_and(|after| after.is_zero())
}

/// The same at the time that each says itself.
const fn as_said(rule: Rule) -> Rule {
    match rule {
        Rule::Archive(_) => Rule::Archive(std::time::Duration::ZERO),
        _ => Rule::Delete(std::time::Duration::ZERO),
    }
}
