//! Watching the orders, and killing one of the workers when it has its hands full.
//!
//! ```text
//! waiting ── a third has ended, and the victim holds some orders ──► killed ── its lease runs out ──► taken over
//! ```

use std::time::{Duration, Instant};

use mainspring::{ExecutionStatus, PgStores};
use tokio::time::sleep;

use super::{
    Result,
    progress::{Counts, Progress},
    worker::Process,
};

/// The pause between two counts of the orders, for each order: 10 ms to 1 s in all.
const LOOK: Duration = Duration::from_micros(100);
/// What the victim should hold at least. After two thirds of the orders, anything will do.
const HANDFUL: usize = 4;

pub(super) struct Watch<'a> {
    stores: &'a PgStores<'static>,
    ids: &'a [String],
    workers: Vec<Process>,
    patience: Duration,
    act: Act,
    progress: Progress,
}

/// Where the drama stands.
enum Act {
    Waiting,
    Killed { holder: String, at: Instant },
    TakenOver,
}

/// What was seen.
pub(super) struct Watched {
    /// From the first worker to the last end.
    pub(super) wall: Duration,
    /// Whether all orders ended.
    pub(super) all_ended: bool,
    /// The orders that the victim held when it was killed: the ids of their executions. `None` when nobody was killed.
    pub(super) in_hands: Option<Vec<String>>,
}

impl<'a> Watch<'a> {
    pub(super) fn new(
        stores: &'a PgStores<'static>,
        ids: &'a [String],
        workers: Vec<Process>,
        progress: Progress,
        patience: Duration,
    ) -> Self {
        Self { stores, ids, workers, patience, act: Act::Waiting, progress }
    }

    /// Watches until nothing is left to see.
    ///
    /// # Errors
    /// Those of the database; when a worker ends that was not killed.
    pub(super) async fn until_all_ended(mut self) -> Result<Watched> {
        let mut watched = Watched { wall: Duration::ZERO, all_ended: false, in_hands: None };
        let (mut before, mut moved) = (Counts::default(), Instant::now());
        loop {
            let counts = self.count().await?;
            self.progress.show(&counts);
            watched.wall = self.progress.elapsed();
            watched.all_ended = counts.ended() == self.ids.len() as u64;
            if counts != before {
                (before, moved) = (counts.clone(), Instant::now());
            }
            if watched.all_ended || moved.elapsed() > self.patience {
                break;
            }
            for worker in &mut self.workers {
                if let Some(status) = worker.ended()? {
                    return Err(format!("worker {} ended by itself: {status}", worker.number).into());
                }
            }
            self.play(&counts, &mut watched).await?;
            sleep(LOOK * u32::try_from(self.ids.len()).unwrap_or(u32::MAX).clamp(100, 10_000)).await;
        }
        match (&watched.in_hands, watched.all_ended) {
            (_, false) => {
                self.progress
                    .say(format_args!("gives up: nothing has moved for {} s", self.patience.as_secs()));
            }
            (None, true) => {
                self.progress.say("nobody was killed: worker 2 was never caught with an order in its hands")
            }
            (Some(_), true) => {}
        }
        for worker in self.workers.drain(..) {
            worker.stop().await;
        }
        Ok(watched)
    }

    async fn play(&mut self, counts: &Counts, watched: &mut Watched) -> Result<()> {
        match &self.act {
            Act::Waiting => {
                let (ended, total) = (counts.ended(), self.ids.len() as u64);
                let enough = if ended * 3 > total * 2 { 1 } else { HANDFUL.min(self.ids.len() / 12).max(1) };
                if ended * 3 >= total && self.hands_of_victim().await?.len() >= enough {
                    watched.in_hands = self.kill().await?;
                }
            }
            Act::Killed { holder, at } => {
                let left: i64 = self.stores.db().one(LEFT, &[holder]).await?.try_get(0)?;
                if left == 0 {
                    let seconds = at.elapsed().as_secs_f64();
                    self.progress.say(format_args!(
                        "worker 2's lease is over after {seconds:.1} s: worker 1 takes over"
                    ));
                    self.act = Act::TakenOver;
                }
            }
            Act::TakenOver => {}
        }
        Ok(())
    }

    async fn kill(&mut self) -> Result<Option<Vec<String>>> {
        let Some(mut victim) = self.workers.pop() else { return Ok(None) };
        victim.kill().await?;
        let at = Instant::now();
        // What it held now stays in its hands: nobody but itself could have let go of it before its lease is over.
        let hands = self.hands(&victim.holder).await?;
        self.progress.say(format_args!(
            "worker {} (process {}) was killed (SIGKILL) with {} {} in its hands",
            victim.number,
            victim.pid,
            hands.len(),
            if hands.len() == 1 { "order" } else { "orders" }
        ));
        self.act = Act::Killed { holder: victim.holder.clone(), at };
        Ok(Some(hands))
    }

    async fn hands_of_victim(&self) -> Result<Vec<String>> {
        match self.workers.last() {
            Some(victim) => self.hands(&victim.holder).await,
            None => Ok(Vec::new()),
        }
    }

    async fn hands(&self, holder: &String) -> Result<Vec<String>> {
        let rows = self.stores.db().all(HANDS, &[holder]).await?;
        Ok(rows.iter().map(|row| row.try_get(0)).collect::<std::result::Result<_, _>>()?)
    }

    async fn count(&self) -> Result<Counts> {
        let mut counts = Counts::default();
        for row in self.stores.db().all(COUNT, &[&self.ids]).await? {
            let (status, count): (String, i64) = (row.try_get(0)?, row.try_get(1)?);
            counts.0.insert(status.parse::<ExecutionStatus>()?, u64::try_from(count).unwrap_or(0));
        }
        Ok(counts)
    }
}

const COUNT: &str = "SELECT status, count(*) FROM {executions} WHERE id = ANY($1) GROUP BY status";

const LEFT: &str = "SELECT count(*) FROM {messages} WHERE holder = $1";

/// The orders that a worker holds, be it by a sub-flow or a job of theirs.
const HANDS: &str = "SELECT DISTINCT e.root_execution_id FROM {messages} m
  LEFT JOIN {jobs} j ON m.type = 'job.run' AND j.id = m.subject
  JOIN {executions} e ON e.id = coalesce(j.execution_id, m.subject)
  WHERE m.holder = $1";
