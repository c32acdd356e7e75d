//! One lane for each run: events of one run that are asked for at the same time are decided one after the other and are one
//! commit.
//!
//! A lane is a task that ends when nothing is left, so a caller that goes away stops nobody. It keeps the run as it knows it
//! for the next time; lanes that are idle are forgotten when there are too many of them.

use std::{
    collections::{HashMap, VecDeque},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
};

use mainspring_core::{Backend, Error, ErrorKind, ExecutionId, Result};
use tokio::sync::oneshot;

use super::{
    known::Known,
    plan::{Ask, Plan},
};
use crate::{Created, ids::is_world, state::Keep};

/// Most events of one commit.
const MOST_EVENTS: usize = 256;
/// How often a change is decided anew because others were faster.
const MOST_TRIES: u32 = 100;
/// Most runs that are remembered, and about how many bytes of them.
const MOST_RUNS: usize = 1_024;
const MOST_BYTES: usize = 64 * 1024 * 1024;

pub(crate) struct Lanes {
    backend: Arc<dyn Backend>,
    /// By which new runs are called.
    queue: Arc<str>,
    table: Mutex<HashMap<ExecutionId, Arc<Lane>>>,
    clock: AtomicU64,
}

struct Lane {
    id: ExecutionId,
    inbox: Mutex<Inbox>,
    known: tokio::sync::Mutex<Option<Known>>,
    used: AtomicU64,
    weight: AtomicUsize,
}

#[derive(Default)]
struct Inbox {
    pending: VecDeque<Request>,
    busy: bool,
}

struct Request {
    ask: Ask,
    answer: oneshot::Sender<Result<Created>>,
}

impl Lanes {
    pub(crate) fn new(backend: Arc<dyn Backend>, queue: &str) -> Self {
        Self { backend, queue: queue.into(), table: Mutex::default(), clock: AtomicU64::new(0) }
    }

    pub(crate) fn backend(&self) -> &Arc<dyn Backend> {
        &self.backend
    }

    fn table(&self) -> MutexGuard<'_, HashMap<ExecutionId, Arc<Lane>>> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn lane(&self, id: &ExecutionId) -> Arc<Lane> {
        let now = self.clock.fetch_add(1, Ordering::Relaxed);
        let mut table = self.table();
        let lane = table.entry(id.clone()).or_insert_with(|| {
            Arc::new(Lane {
                id: id.clone(),
                inbox: Mutex::default(),
                known: tokio::sync::Mutex::new(None),
                used: AtomicU64::new(0),
                weight: AtomicUsize::new(0),
            })
        });
        lane.used.store(now, Ordering::Relaxed);
        let lane = Arc::clone(lane);
        if table.len() > MOST_RUNS || table.values().map(|lane| lane.weight()).sum::<usize>() > MOST_BYTES {
            forget(&mut table);
        }
        lane
    }

    /// Asks for an event and waits until it has happened or was refused.
    pub(crate) async fn ask(&self, id: &ExecutionId, ask: Ask) -> Result<Created> {
        let lane = self.lane(id);
        let (answer, answered) = oneshot::channel();
        let begins = {
            let mut inbox = lane.inbox();
            inbox.pending.push_back(Request { ask, answer });
            !std::mem::replace(&mut inbox.busy, true)
        };
        if begins {
            tokio::spawn(run(Arc::clone(&lane), Arc::clone(&self.backend), Arc::clone(&self.queue)));
        }
        answered.await.unwrap_or_else(|_| {
            Err(Error::new(ErrorKind::CommitUnknown, "the runtime stopped while the event was under way"))
        })
    }

    /// What `of` says of a run as it is now; `None` when there is none.
    pub(crate) async fn view<T>(&self, id: &ExecutionId, of: impl FnOnce(&Known) -> T) -> Result<Option<T>> {
        let lane = self.lane(id);
        let mut known = lane.known.lock().await;
        match &mut *known {
            Some(known) => drop(known.refresh(&*self.backend).await?),
            None => *known = Known::load(&*self.backend, id, Keep::Open).await?,
        }
        lane.weigh(known.as_ref());
        Ok(known.as_ref().map(of))
    }
}

/// Forgets the older half of the lanes that nobody uses.
fn forget(table: &mut HashMap<ExecutionId, Arc<Lane>>) {
    let mut ages: Vec<u64> = table.values().map(|lane| lane.used.load(Ordering::Relaxed)).collect();
    ages.sort_unstable();
    let middle = ages.get(ages.len() / 2).copied().unwrap_or(0);
    // One that somebody has in hand is referred to from there, too.
    table.retain(|_, lane| lane.used.load(Ordering::Relaxed) > middle || Arc::strong_count(lane) > 1);
}

impl Lane {
    fn inbox(&self) -> MutexGuard<'_, Inbox> {
        self.inbox.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn weight(&self) -> usize {
        self.weight.load(Ordering::Relaxed)
    }

    fn weigh(&self, known: Option<&Known>) {
        self.weight.store(known.map_or(0, |known| known.state.weight), Ordering::Relaxed);
    }

    /// What is to be done next; `None` when that is nothing, and the lane is free.
    fn take(&self) -> Option<VecDeque<Request>> {
        let mut inbox = self.inbox();
        if inbox.pending.is_empty() {
            inbox.busy = false;
            return None;
        }
        let most = inbox.pending.len().min(MOST_EVENTS);
        Some(inbox.pending.drain(..most).collect())
    }
}

async fn run(lane: Arc<Lane>, backend: Arc<dyn Backend>, queue: Arc<str>) {
    // Let those come along who are about to ask, such as the siblings of whoever was first.
    tokio::task::yield_now().await;
    while let Some(requests) = lane.take() {
        let mut known = lane.known.lock().await;
        Round { lane: &lane, backend: &*backend, queue: &queue, fresh: false, alone: false, tries: 0 }
            .work(&mut known, requests)
            .await;
        lane.weigh(known.as_ref());
    }
}

struct Round<'l> {
    lane: &'l Lane,
    backend: &'l dyn Backend,
    queue: &'l str,
    /// Whether what is known was just read or written.
    fresh: bool,
    /// Whether each event is a commit of its own, because one of them cannot be committed.
    alone: bool,
    tries: u32,
}

impl Round<'_> {
    async fn work(mut self, known: &mut Option<Known>, mut requests: VecDeque<Request>) {
        while !requests.is_empty() {
            let (answers, count) = match self.step(known, &requests).await {
                Ok(None) => continue,
                Ok(Some(answers)) => {
                    let count = answers.len();
                    (answers, count)
                }
                Err(error) => {
                    *known = None;
                    let count = requests.len();
                    let same = || Err(Error::new(error.kind(), error.chain()));
                    ((0..count).map(|_| same()).collect(), count)
                }
            };
            for (request, answer) in requests.drain(..count).zip(answers) {
                // A caller that went away does not want to know.
                let _ = request.answer.send(answer);
            }
        }
    }

    /// Decides and commits as many as can be together; `None` when they have to be decided anew.
    async fn step(
        &mut self,
        known: &mut Option<Known>,
        requests: &VecDeque<Request>,
    ) -> Result<Option<Vec<Result<Created>>>> {
        let first = requests.front().map(|request| request.ask.event.fact.event_type());
        if known.is_none() && !self.fresh && first != Some(crate::EventType::RunCreated) {
            self.reload(known).await?;
        }
        if let Some(known) = known.as_ref().filter(|known| !is_world(&known.row)) {
            let problem = format!("run `{}` has code of the engine, which writes its events", known.row.id);
            return Ok(Some(requests.iter().map(|_| Err(Error::conflict(problem.clone()))).collect()));
        }
        let mut plan = Plan::new(self.queue);
        let most = if self.alone { 1 } else { requests.len() };
        for request in requests.iter().take(most) {
            if !plan.add(self.backend, &self.lane.id, known, &request.ask).await? {
                break;
            }
        }
        if plan.refuses() && !self.fresh {
            // Perhaps by a state that is no longer true.
            plan.take_back(known);
            self.reload(known).await?;
            return Ok(None);
        }
        if plan.is_empty() {
            return Ok(Some(plan.answers));
        }
        let Some(now_known) = known else { return Ok(Some(plan.answers)) };
        let changes = plan.changes(now_known, self.backend.now());
        match self.backend.commit(changes.clone()).await {
            Ok(committed) => {
                plan.committed(now_known, changes, committed.at);
                self.fresh = true;
                Ok(Some(plan.answers))
            }
            Err(error) => {
                let count = plan.answers.len();
                plan.take_back(known);
                if error.is_conflict() && self.tries < MOST_TRIES {
                    self.tries += 1;
                    self.reload(known).await?;
                    return Ok(None);
                }
                if error.is_conflict() {
                    let problem = format!("run `{}` is changed by others all the time", self.lane.id);
                    return Err(Error::new(ErrorKind::Busy, problem).with_source(error));
                }
                if error.is_invalid() && count > 1 {
                    self.alone = true;
                    return Ok(None);
                }
                if error.is_invalid() {
                    return Ok(Some(vec![Err(error)]));
                }
                Err(error)
            }
        }
    }

    async fn reload(&mut self, known: &mut Option<Known>) -> Result<()> {
        match known {
            Some(known) => drop(known.refresh(self.backend).await?),
            None => *known = Known::load(self.backend, &self.lane.id, Keep::Open).await?,
        }
        self.fresh = true;
        Ok(())
    }
}
