//! A runner takes what waits, calls the handler, and hands the verdict on. A panic, a time that is over or a handler that is
//! stuck is the trouble of that delivery only.

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    sync::Arc,
    time::Duration,
};

use mainspring_core::{BoxFuture, Delivery, Failure, MessageId};
use tokio::time::{Instant, timeout};
use tokio_util::sync::CancellationToken;

use crate::{
    Verdict,
    crew::{Item, Post},
    flight::Plan,
    panic::{Panic, caught},
    shared::Shared,
    spans::Try,
};

/// How long a handler whose time is over may take to notice.
pub(crate) const LAST_WORDS: Duration = Duration::from_secs(1);

/// Starts as many runners as there is work for.
pub(crate) fn start(shared: &Arc<Shared>) {
    let more = shared.crew.call(shared.options.batch_size, shared.options.concurrency);
    start_more(shared, more);
}

pub(crate) fn start_more(shared: &Arc<Shared>, more: usize) {
    let mut tasks = shared.tasks();
    for _ in 0..more {
        let duty = Duty { shared: Arc::clone(shared), post: Arc::default(), flight: None };
        let post = Arc::clone(&duty.post);
        post.runs_as(tasks.spawn(duty.run()));
    }
}

/// A runner at work; when its task ends in whatever way, its place in the crew is free.
struct Duty {
    shared: Arc<Shared>,
    post: Arc<Post>,
    flight: Option<u64>,
}

impl Drop for Duty {
    fn drop(&mut self) {
        self.post.relieve(&self.shared.crew);
        // Only when something outside the handler's call panicked, such as what it left behind while it was dropped.
        let flight = self.flight.take().and_then(|number| self.shared.flights.end(number));
        if let Some(flight) = flight.filter(|_| std::thread::panicking()) {
            let failure = Failure::new(Panic::CODE, "the handler panicked while it was dropped");
            let verdicts = vec![Verdict::Failed(failure); flight.parts.len()];
            flight.land(&self.shared, verdicts);
        }
    }
}

impl Duty {
    async fn run(mut self) {
        let shared = Arc::clone(&self.shared);
        while let Some(items) = shared.crew.next(shared.options.batch_size) {
            let items = still_held(&shared, items);
            if !items.is_empty() && !self.fly(items).await {
                return;
            }
            tokio::task::consume_budget().await;
        }
        self.post.left();
    }

    /// False when it took so long that this runner was replaced.
    async fn fly(&mut self, items: Vec<Item>) -> bool {
        let shared = Arc::clone(&self.shared);
        let Some(term) = items.first().map(|item| Arc::clone(&item.slot.held.0)) else { return true };
        let limit = shared.options.timeout;
        let cancel = term.cancel.child_token();
        let listened = !shared.listeners.is_empty();
        let give_up = give_up(limit, shared.options.stuck_after);
        let this = Try::of(&shared.options.queue, items.iter().map(|item| &*item.delivery));
        let flight = Plan {
            listened,
            cancel: cancel.clone(),
            post: Arc::clone(&self.post),
            give_up,
            tried: this.tried.clone(),
        };
        let (number, deliveries) = shared.flights.begin(items, flight);
        self.flight = Some(number);
        let ids: Vec<MessageId> = deliveries.iter().map(|delivery| delivery.message.id.clone()).collect();
        let (busy, begin) = (shared.meter.work(), Instant::now());
        let call = this.run(call(&shared, deliveries, cancel.clone()));
        let verdicts = in_time(call, ids.len(), limit, &cancel).await;
        this.ended(&verdicts);
        shared.meter.duration.record(begin.elapsed());
        drop(busy);
        self.flight = None;
        let Some(flight) = shared.flights.end(number) else {
            tracing::warn!("a delivery that had been given up as stuck has ended; its verdict is dropped");
            return false;
        };
        if flight.is_lost() {
            tracing::debug!("a delivery whose lease was lost has ended");
        }
        flight.land(&shared, verdicts);
        true
    }
}

/// Those whose leases were lost while they waited are not begun.
fn still_held(shared: &Shared, items: Vec<Item>) -> Vec<Item> {
    let is_lost = |item: &Item| item.slot.held.0.is_lost();
    if !items.iter().any(is_lost) {
        return items;
    }
    let (lost, held): (Vec<Item>, Vec<Item>) = items.into_iter().partition(is_lost);
    for item in lost {
        shared.lost_unbegun(&item.delivery);
    }
    held
}

/// When a handler is replaced that does not end: a while after its time is over, or when it counts as stuck.
fn give_up(limit: Option<Duration>, stuck: Option<Duration>) -> Option<(Duration, &'static str)> {
    let late = limit.map(|limit| (limit + 2 * LAST_WORDS, "TIMEOUT"));
    let stuck = stuck.map(|stuck| (stuck, "STUCK"));
    late.into_iter().chain(stuck).min()
}

/// Calls the handler; the verdicts are in the order of the deliveries. In a box, since whoever awaits it has it moved a few times.
fn call(
    shared: &Shared,
    deliveries: Vec<Delivery>,
    cancel: CancellationToken,
) -> BoxFuture<'_, Vec<Verdict>> {
    Box::pin(async move {
        if deliveries.len() > 1 && !deliveries.iter().any(|delivery| is_worn_out(shared, delivery)) {
            let ids: Vec<MessageId> = deliveries.iter().map(|delivery| delivery.message.id.clone()).collect();
            return shared.deliver.deliver_batch(deliveries, cancel).await.spread(&ids);
        }
        let mut verdicts = Vec::with_capacity(deliveries.len());
        for delivery in deliveries {
            verdicts.push(call_one(shared, delivery, cancel.clone()).await);
        }
        verdicts
    })
}

/// Whether it has cost so many workers that it is not worth another one.
fn is_worn_out(shared: &Shared, delivery: &Delivery) -> bool {
    delivery.lost >= shared.options.max_lost
}

fn call_one(shared: &Shared, delivery: Delivery, cancel: CancellationToken) -> BoxFuture<'_, Verdict> {
    if is_worn_out(shared, &delivery) {
        shared.meter.poison.increment(1);
        return shared.deliver.lost(delivery);
    }
    shared.deliver.deliver(delivery, cancel)
}

/// Awaits the call for as long as it may take. Then it is cancelled, has a moment to notice, and is dropped; whatever it says
/// by then does not count, unless it has settled the delivery itself.
async fn in_time(
    call: impl Future<Output = Vec<Verdict>> + Send,
    count: usize,
    limit: Option<Duration>,
    cancel: &CancellationToken,
) -> Vec<Verdict> {
    let mut call = Box::pin(caught(call));
    let ended = match limit {
        None => Some(call.as_mut().await),
        Some(limit) => timeout(limit, call.as_mut()).await.ok(),
    };
    if let Some(ended) = ended {
        return ended.unwrap_or_else(|panic| {
            tracing::error!(%panic, "a handler panicked");
            vec![Verdict::Failed(panic.into()); count]
        });
    }
    cancel.cancel();
    let last = timeout(LAST_WORDS, call.as_mut()).await;
    if last.is_err() && catch_unwind(AssertUnwindSafe(|| drop(call))).is_err() {
        tracing::error!("a handler panicked while it was dropped");
    }
    let said = last.ok().and_then(Result::ok).unwrap_or_default();
    let late = || {
        Verdict::Failed(Failure::new("TIMEOUT", format!("not done within {:?}", limit.unwrap_or_default())))
    };
    let own = |verdict: Verdict| if verdict == Verdict::Committed { verdict } else { late() };
    said.into_iter().map(own).chain(std::iter::repeat_with(late)).take(count).collect()
}
