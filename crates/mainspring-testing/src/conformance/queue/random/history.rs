//! One holder after the other does something at random, and the model says after every step whether that may be.

use std::collections::BTreeMap;

use mainspring_core::{
    Available, Backend, ClaimRequest, Failure, Group, GroupLimit, MessageId, MessageLease, NewMessage,
    Policy, QueueOptions, QueueStats, Retry, Settle, Settlement, Timestamp, Which,
};

use super::{
    super::super::make::{QUEUE, message, worker},
    model::{Checked, Kind, LIMITS, Model, RETRY, SOON, State, TICK, TIMEOUT, Verdict, secs},
};
use crate::{Dice, TimeTravel};

const HOLDERS: usize = 3;
/// No holder dies of old age in a history.
const LEASE: u64 = 86_400;
const TIERS: [Option<&str>; 3] = [None, Some("gold"), Some("free")];

pub(super) fn options(kind: Kind) -> QueueOptions {
    let tiers =
        BTreeMap::from([("gold".to_owned(), LIMITS[1] as u32), ("free".to_owned(), LIMITS[2] as u32)]);
    let groups = GroupLimit { limit: LIMITS[0] as u32, tiers };
    QueueOptions {
        policy: if kind == Kind::Keys { Policy::KeyStrictFifo } else { Policy::Standard },
        groups: (kind != Kind::Keys).then_some(groups),
        retry: Retry::fixed(secs(RETRY)),
        timeout: Some(secs(TIMEOUT)),
        ..QueueOptions::default()
    }
}

/// The `n`th message, at this gate; the tier counts where a group has more than one.
pub(super) fn message_at(kind: Kind, n: usize, gate: Option<usize>, tier: usize) -> NewMessage {
    let id = MessageId::new(format!("m{n}")).unwrap();
    let group = |gate: usize| Group {
        id: gate.to_string(),
        tier: TIERS[if kind == Kind::Tiers { tier } else { gate }].map(str::to_owned),
    };
    NewMessage {
        id,
        key: gate.filter(|_| kind == Kind::Keys).map(|gate| gate.to_string()),
        group: gate.filter(|_| kind != Kind::Keys).map(group),
        ..message(n)
    }
}

struct Held {
    n: usize,
    holder: usize,
    lease: MessageLease,
}

pub(super) struct History<'a> {
    backend: &'a dyn Backend,
    time: &'a dyn TimeTravel,
    dice: Dice,
    model: Model,
    held: Vec<Held>,
    /// When the history began by the clock of the database, as the first delivery tells.
    began: Option<Timestamp>,
    /// Leases that are gone, whose holders do not know it yet.
    lost: Vec<MessageLease>,
    /// What happened so far, for whoever has to find out why.
    pub(super) told: Vec<String>,
}

impl<'a> History<'a> {
    pub(super) fn new(backend: &'a dyn Backend, time: &'a dyn TimeTravel, kind: Kind, seed: u64) -> Self {
        let (dice, model) = (Dice::new(seed), Model::new(kind));
        Self { backend, time, dice, model, held: Vec::new(), began: None, lost: Vec::new(), told: Vec::new() }
    }

    /// So many steps at random, and then everything is brought to its end.
    pub(super) async fn run(&mut self, steps: u64) -> Checked {
        let created = self.backend.queues().create_queue(QUEUE, options(self.model.kind)).await.unwrap();
        assert!(created.created);
        for _ in 0..steps {
            match self.dice.roll(20) {
                0..4 => self.push().await,
                4..9 => self.claim().await?,
                9..15 => self.settle().await?,
                15 => self.settle_late().await?,
                16 => self.die().await?,
                17 => {
                    let ticks = 1 + self.dice.roll(4);
                    self.pass(ticks).await;
                }
                18 => self.unblock().await,
                _ => self.cancel().await,
            }
            self.counts().await?;
        }
        self.end().await
    }

    fn tell(&mut self, what: String) {
        self.told.push(format!("{:>5} s: {what}", self.model.now));
    }

    async fn push(&mut self) {
        let (kind, first) = (self.model.kind, self.model.messages.len());
        // Those of one push have one priority and one delay: whether the first or the best of them is admitted, and which
        // of them is older, is nobody's promise.
        let priority = [0, 0, 5][self.dice.index(3)];
        let delay = if self.dice.once_in(5) { SOON } else { 0 };
        let mut batch = Vec::new();
        for n in first..first + 1 + self.dice.index(4) {
            let gates = if kind == Kind::Keys { 3 } else { 4 };
            let gate = Some(self.dice.index(gates)).filter(|gate| *gate < LIMITS.len());
            // The messages of a key all have the same priority, so that its order is that of the pushes.
            let priority = if kind == Kind::Keys { [0, 5, 0][gate.unwrap_or(0)] } else { priority };
            let tier = if kind == Kind::Tiers { self.dice.index(TIERS.len()) } else { gate.unwrap_or(0) };
            self.model.push(gate, tier, priority, delay);
            let available = if delay > 0 { Available::After(secs(delay)) } else { Available::Now };
            batch.push(NewMessage { priority: Some(priority), available, ..message_at(kind, n, gate, tier) });
            self.tell(format!("push {n} at {gate:?}, tier {tier}, priority {priority}, after {delay} s"));
        }
        if self.dice.once_in(2) {
            self.backend.queue().push(batch).await.unwrap();
        } else {
            let pushed = self.backend.queues().push_each(batch).await.unwrap();
            assert!(pushed.iter().all(|pushed| !pushed.duplicate));
        }
    }

    /// Upkeep first, so that all that is due is there.
    async fn claim(&mut self) -> Checked {
        self.maintain().await?;
        let (holder, max) = (self.dice.index(HOLDERS), 1 + self.dice.index(6));
        self.claim_as(holder, max).await.map(drop)
    }

    async fn claim_as(&mut self, holder: usize, max: usize) -> Result<usize, String> {
        let request = ClaimRequest::new(QUEUE, worker(&format!("w{holder}")), secs(LEASE), max as u32);
        let deliveries = self.backend.queue().claim(request).await.unwrap().deliveries;
        let number = |data: &serde_json::Value| data["n"].as_u64().unwrap() as usize;
        let numbers: Vec<usize> = deliveries.iter().map(|delivery| number(&delivery.message.data)).collect();
        self.tell(format!("w{holder} claims {max} and gets {numbers:?}"));
        self.model.claim(&numbers, max)?;
        for (n, delivery) in numbers.iter().zip(deliveries) {
            let pushed = secs(self.model.messages[*n].pushed);
            self.began.get_or_insert_with(|| delivery.created_at - pushed);
            self.held.push(Held { n: *n, holder, lease: delivery.lease });
        }
        Ok(numbers.len())
    }

    /// Settles up to three of those that are held, by whomever, in one batch.
    async fn settle(&mut self) -> Checked {
        let mut batch = Vec::new();
        for _ in 0..1 + self.dice.index(3) {
            if self.held.is_empty() {
                break;
            }
            let held = self.held.swap_remove(self.dice.index(self.held.len()));
            let verdict = match self.dice.roll(12) {
                roll @ 0..6 => Verdict::ALL[roll as usize],
                _ => Verdict::Done,
            };
            batch.push((held, verdict));
        }
        self.settle_these(batch).await
    }

    async fn settle_these(&mut self, batch: Vec<(Held, Verdict)>) -> Checked {
        let settles =
            batch.iter().map(|(held, verdict)| Settle::new(held.lease.clone(), self.settlement(*verdict)));
        let results = self.backend.queue().settle(settles.collect()).await.unwrap();
        for ((held, verdict), result) in batch.into_iter().zip(results) {
            self.tell(format!("w{} settles {}: {verdict:?}", held.holder, held.n));
            result.map_err(|error| format!("the lease on message {} was held: {error}", held.n))?;
            self.model.settle(held.n, verdict);
            self.lost.push(held.lease);
        }
        Ok(())
    }

    fn settlement(&self, verdict: Verdict) -> Settlement {
        let error = Failure::new("BOOM", "it failed");
        match verdict {
            Verdict::Done => Settlement::Done,
            Verdict::Retry => Settlement::Retry { error },
            Verdict::RetrySoon => Settlement::RetryAfter { delay: secs(SOON), error },
            Verdict::Snooze => {
                let began = self.began.unwrap_or_else(|| self.backend.now());
                Settlement::SnoozeUntil(began + secs(self.model.now + SOON))
            }
            Verdict::Dead => Settlement::DeadLetter(error),
            Verdict::PutBack => Settlement::PutBack,
        }
    }

    /// A zombie, or somebody who settles twice.
    async fn settle_late(&mut self) -> Checked {
        if self.lost.is_empty() {
            return Ok(());
        }
        let lease = self.lost[self.dice.index(self.lost.len())].clone();
        let verdict = Verdict::ALL[self.dice.index(Verdict::ALL.len())];
        self.tell(format!("a late {verdict:?} for number {} with token {}", lease.seq, lease.token));
        let settle = Settle::new(lease, self.settlement(verdict));
        match self.backend.queue().settle(vec![settle]).await.unwrap().remove(0) {
            Err(error) if error.is_fenced() => Ok(()),
            other => Err(format!("a late settlement was answered with {other:?}")),
        }
    }

    /// A holder is found dead, and what it held is taken back.
    async fn die(&mut self) -> Checked {
        let holder = self.dice.index(HOLDERS);
        self.tell(format!("w{holder} dies"));
        let short = std::time::Duration::from_millis(100);
        self.backend.queue().register(&worker(&format!("w{holder}")), short).await.unwrap();
        self.model.now += TICK;
        self.time.advance(secs(TICK)).await;
        for held in self.held.extract_if(.., |held| held.holder == holder) {
            self.model.lose(held.n);
            self.model.messages[held.n].lost += 1;
            self.lost.push(held.lease);
        }
        self.maintain().await
    }

    async fn pass(&mut self, ticks: u64) {
        self.tell(format!("{} s pass", ticks * TICK));
        self.model.now += ticks * TICK;
        self.time.advance(secs(ticks * TICK)).await;
    }

    async fn maintain(&mut self) -> Checked {
        let late = self.model.expire();
        let timed_out = self.backend.queue().maintain().await.unwrap().timed_out;
        if timed_out != late.len() as u64 {
            return Err(format!("{timed_out} tries were too long, not {late:?}"));
        }
        for held in self.held.extract_if(.., |held| late.contains(&held.n)) {
            self.lost.push(held.lease);
        }
        if !late.is_empty() {
            self.tell(format!("too long: {late:?}"));
        }
        Ok(())
    }

    /// One that was given up runs again, or is deleted.
    async fn unblock(&mut self) {
        let dead = self.model.in_state(|state| state == State::Dead);
        let Some(n) = dead.get(self.dice.index(dead.len())).copied() else { return };
        let id = MessageId::new(format!("m{n}")).unwrap();
        if self.dice.once_in(2) {
            self.tell(format!("{n} is retried"));
            let revived = self.backend.queues().retry_messages(QUEUE, vec![id.clone()]).await.unwrap();
            assert_eq!(revived, [id]);
            self.model.revive(n);
        } else {
            self.tell(format!("{n} is deleted"));
            let gone = self.backend.queues().delete_messages(QUEUE, Which::Ids(vec![id])).await.unwrap();
            assert_eq!(gone, 1);
            self.model.end(n);
        }
    }

    /// Whoever holds it finds out late.
    async fn cancel(&mut self) {
        let open = self.model.in_state(|state| !matches!(state, State::Dead | State::Ended));
        let Some(n) = open.get(self.dice.index(open.len())).copied() else { return };
        self.tell(format!("{n} is cancelled"));
        let id = MessageId::new(format!("m{n}")).unwrap();
        let cancelled = self.backend.queues().cancel_messages(QUEUE, vec![id.clone()]).await.unwrap();
        assert_eq!(cancelled, [id]);
        self.model.end(n);
        for held in self.held.extract_if(.., |held| held.n == n) {
            self.lost.push(held.lease);
        }
    }

    /// Every message is where the model says.
    async fn counts(&self) -> Checked {
        let stats = self.backend.queue().stats(QUEUE).await.unwrap();
        let count = |wanted: fn(State) -> bool| self.model.in_state(wanted).len() as u64;
        let expected = (
            count(|state| matches!(state, State::Waiting { .. })),
            count(|state| matches!(state, State::Running { .. })),
            count(|state| state == State::Dead),
        );
        match (stats.ready + stats.deferred + stats.held, stats.claimed, stats.dead) == expected {
            true => Ok(()),
            false => Err(format!("waiting, running, dead are {expected:?}, and the queue says {stats:?}")),
        }
    }

    /// Everybody finishes what they have, those that were given up run again, and nothing is left.
    async fn end(&mut self) -> Checked {
        self.tell("the end begins".into());
        loop {
            self.maintain().await?;
            let all: Vec<_> = self.held.drain(..).map(|held| (held, Verdict::Done)).collect();
            self.settle_these(all).await?;
            while !self.model.in_state(|state| state == State::Dead).is_empty() {
                self.unblock().await;
            }
            if self.model.in_state(|state| state != State::Ended).is_empty() {
                break;
            }
            if self.claim_as(0, 100).await? == 0 {
                self.pass(4).await; // all others wait for their time
            }
        }
        let stats = self.backend.queue().stats(QUEUE).await.unwrap();
        let problems = self.backend.queues().check_queues().await.unwrap();
        match stats == QueueStats::default() && problems.is_empty() {
            true => Ok(()),
            false => Err(format!("all have ended, and the queue says {stats:?}, {problems:?}")),
        }
    }
}
