//! Many at the same time: pushes, claims and settlements that overlap. A message counts as running from the answer of its
//! claim to the call of its settlement, which is less than it does, so whatever is found here is wrong.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Mutex, PoisonError},
};

use futures_util::future::join_all;
use mainspring_core::{Backend, ClaimRequest, Failure, Settle, Settlement};

use super::{
    super::super::make::{QUEUE, number, worker},
    history::{message_at, options},
    model::{Checked, Kind, LIMITS, TICK, secs},
};
use crate::{Dice, TimeTravel};

const TASKS: usize = 6;
const GATES: usize = 3;
const ROUNDS: usize = 12;

#[derive(Default)]
struct Book {
    /// The gate of every message, by its number.
    gates: BTreeMap<usize, usize>,
    running: BTreeSet<usize>,
    ended: BTreeSet<usize>,
    wrong: Vec<String>,
}

struct Crowd<'a> {
    backend: &'a dyn Backend,
    kind: Kind,
    book: Mutex<Book>,
}

impl Crowd<'_> {
    fn book<T>(&self, write: impl FnOnce(&mut Book) -> T) -> T {
        write(&mut self.book.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Each gate has its own task that pushes to it, so that the order of its pushes is known.
    async fn push(&self, task: usize, round: usize) {
        let first = (task * ROUNDS + round) * 5;
        let gate = task % GATES;
        let batch =
            (first..first + 5).map(|n| message_at(self.kind, n, Some(gate), n % LIMITS.len())).collect();
        self.book(|book| book.gates.extend((first..first + 5).map(|n| (n, gate))));
        self.backend.queue().push(batch).await.unwrap();
    }

    fn begin(&self, n: usize) {
        let kind = self.kind;
        let limit = |gate: usize| match kind {
            Kind::Tiers => LIMITS.into_iter().max().unwrap_or(0),
            Kind::Keys | Kind::Groups => LIMITS[gate],
        };
        self.book(|book| {
            let gate = book.gates[&n];
            let of_gate = |other: &&usize| book.gates[*other] == gate;
            let running = book.running.iter().filter(of_gate).count();
            if kind != Kind::Keys && running >= limit(gate) {
                book.wrong.push(format!("message {n} is one too many of group {gate}: {:?}", book.running));
            }
            let in_front = book
                .gates
                .iter()
                .find(|(other, of)| **of == gate && **other < n && !book.ended.contains(*other));
            if let Some((other, _)) = in_front.filter(|_| kind == Kind::Keys) {
                book.wrong.push(format!("message {n} of key {gate} began before {other} had ended"));
            }
            if !book.running.insert(n) || book.ended.contains(&n) {
                book.wrong.push(format!("message {n} runs twice"));
            }
        });
    }

    /// Claims and settles; now and then it dies with what it has and comes back under the same name.
    async fn work(&self, task: usize, time: &dyn TimeTravel, mut dice: Dice) {
        let name = worker(&format!("w{task}"));
        let pushes = task < GATES;
        for round in 0..ROUNDS * 4 {
            if pushes && round < ROUNDS {
                self.push(task, round).await;
            }
            let max = 1 + dice.roll(6) as u32;
            let request = ClaimRequest::new(QUEUE, name.clone(), secs(86_400), max);
            let held = self.backend.queue().claim(request).await.unwrap().deliveries;
            held.iter().for_each(|delivery| self.begin(number(delivery) as usize));
            tokio::task::yield_now().await;
            if dice.once_in(10) {
                self.book(|book| book.running.retain(|n| held.iter().all(|d| number(d) as usize != *n)));
                let short = std::time::Duration::from_millis(100);
                self.backend.queue().register(&name, short).await.unwrap();
                time.advance(secs(TICK)).await;
                self.backend.queue().maintain().await.unwrap();
                continue;
            }
            let mut batch = Vec::new();
            for delivery in held {
                let (n, done) = (number(&delivery) as usize, !dice.once_in(4));
                self.book(|book| {
                    book.running.remove(&n);
                    if done {
                        book.ended.insert(n);
                    }
                });
                let (delay, error) = (std::time::Duration::ZERO, Failure::new("BOOM", "it failed"));
                let again = match delivery.failures {
                    0 => Settlement::RetryAfter { delay, error },
                    _ => Settlement::PutBack,
                };
                let settlement = if done { Settlement::Done } else { again };
                batch.push(Settle::new(delivery.lease, settlement));
            }
            for result in self.backend.queue().settle(batch).await.unwrap() {
                result.unwrap();
            }
        }
    }
}

pub(super) async fn run(backend: &dyn Backend, time: &dyn TimeTravel, kind: Kind, seed: u64) -> Checked {
    let mut plan = options(kind);
    plan.timeout = None;
    assert!(backend.queues().create_queue(QUEUE, plan).await.unwrap().created);
    let crowd = Crowd { backend, kind, book: Mutex::default() };
    join_all((0..TASKS).map(|task| crowd.work(task, time, Dice::new(seed * 100 + task as u64)))).await;
    // Nobody is left but one, who finishes everything.
    let name = worker("last");
    loop {
        backend.queue().maintain().await.unwrap();
        let request = ClaimRequest::new(QUEUE, name.clone(), secs(86_400), 100);
        let held = backend.queue().claim(request).await.unwrap().deliveries;
        if held.is_empty() {
            break;
        }
        let mut batch = Vec::new();
        for delivery in held {
            let n = number(&delivery) as usize;
            crowd.begin(n);
            crowd.book(|book| book.running.remove(&n) && book.ended.insert(n));
            batch.push(Settle::new(delivery.lease, Settlement::Done));
        }
        for result in backend.queue().settle(batch).await.unwrap() {
            result.unwrap();
        }
    }
    let mut wrong = crowd.book(|book| std::mem::take(&mut book.wrong));
    wrong.extend(backend.queues().check_queues().await.unwrap());
    let (ended, pushed) = crowd.book(|book| (book.ended.len(), book.gates.len()));
    if ended != pushed {
        wrong.push(format!(
            "{ended} of {pushed} have ended: {:?}",
            backend.queue().stats(QUEUE).await.unwrap()
        ));
    }
    if wrong.is_empty() { Ok(()) } else { Err(wrong.join("; ")) }
}
