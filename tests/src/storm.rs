//! Everything at once: worker processes are killed and stopped at random, Postgres is killed and restarted, connections are
//! cut. The same seed makes the same decisions.

use std::{collections::BTreeMap, env, time::Duration};

use mainspring::{Migrator, Names, Settings};
use mainspring_testing::{ChildWorker, Cluster, ClusterOptions, Dice};
use tokio::{
    task::block_in_place,
    time::{Instant, sleep},
};

use crate::{ChildPlan, LEASE, Lab, PATIENCE};

const CHILDREN: usize = 3;

/// A number from the environment.
///
/// # Panics
/// When it is none.
pub fn number(variable: &str, default: u64) -> u64 {
    env::var(variable).map_or(default, |text| text.parse().expect("a number"))
}

/// What happens.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Blow {
    /// A worker is killed and another one started.
    KillWorker,
    /// A worker is stopped for longer than its lease.
    PauseWorker,
    /// Postgres is killed and restarted.
    KillPostgres,
    /// All connections are cut.
    CutConnections,
}

const BLOWS: [Blow; 4] = [Blow::KillWorker, Blow::PauseWorker, Blow::KillPostgres, Blow::CutConnections];

/// A cluster and worker processes to be struck.
pub struct Storm {
    /// What the decisions follow from: `CHAOS_SEED`, or a random one.
    pub seed: u64,
    /// How long it lasts: `CHAOS_SECONDS`, or 20 seconds.
    pub time: Duration,
    /// What has happened, and how often.
    pub blows: BTreeMap<Blow, u32>,
    cluster: Cluster,
    children: Vec<ChildWorker>,
}

impl Storm {
    /// A storm to come, and a lab on its cluster.
    ///
    /// # Panics
    /// When there is no cluster.
    #[allow(clippy::print_stderr, reason = "for whoever repeats the run")]
    pub async fn prepare() -> (Self, Lab) {
        let seed = number("CHAOS_SEED", Dice::any_seed());
        let seconds = number("CHAOS_SECONDS", 20);
        eprintln!("chaos: CHAOS_SEED={seed} CHAOS_SECONDS={seconds}");
        // What was acknowledged is with the kernel, as a throwaway cluster does not do by itself.
        let options = ClusterOptions::throwaway().setting("synchronous_commit", "on");
        let cluster = block_in_place(|| Cluster::start(options)).expect("a cluster");
        let url = cluster.url("postgres");
        let settings = Settings::parse(&url).expect("an address");
        Migrator::new(settings.clone(), Names::default()).up().await.expect("migrated");
        let (blows, children) = (BTreeMap::new(), Vec::new());
        let time = Duration::from_secs(seconds);
        (Self { seed, time, blows, cluster, children }, Lab::at(&url, settings))
    }

    /// Starts the workers and strikes until the time is over.
    ///
    /// # Panics
    /// When a blow misses.
    pub async fn rage(&mut self, lab: &Lab, plan: impl Fn() -> ChildPlan) {
        let mut dice = Dice::new(self.seed);
        self.children = (0..CHILDREN).map(|_| plan().spawn()).collect();
        let begin = Instant::now();
        while begin.elapsed() < self.time {
            sleep(Duration::from_millis(200 + dice.roll(800))).await;
            // Each once, then as the dice fall, workers most of all.
            let next = BLOWS.into_iter().find(|blow| !self.blows.contains_key(blow));
            let blow = next.unwrap_or_else(|| BLOWS[[0, 0, 0, 1, 2, 3, 3][dice.index(7)]]);
            *self.blows.entry(blow).or_default() += 1;
            let which = dice.index(CHILDREN);
            match blow {
                Blow::KillWorker => {
                    self.children[which].kill9().expect("killed");
                    self.children[which] = plan().spawn();
                }
                Blow::PauseWorker => {
                    self.children[which].stop().expect("stopped");
                    sleep(LEASE * 2).await;
                    self.children[which].cont().expect("continued");
                }
                Blow::KillPostgres => {
                    block_in_place(|| self.cluster.kill9()).expect("killed");
                    sleep(Duration::from_millis(dice.roll(1_500))).await;
                    block_in_place(|| self.cluster.restart()).expect("restarted");
                }
                Blow::CutConnections => {
                    const CUT: &str = "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity
                        WHERE datname = current_database() AND pid <> pg_backend_pid()";
                    let cut: i64 = lab.client().await.query_one(CUT, &[]).await.expect("cut").get(0);
                    assert!(cut > 0, "nobody was connected");
                }
            }
        }
    }

    /// Ends the workers as one ends them in peace.
    ///
    /// # Panics
    /// When one does not end.
    pub async fn calm(&mut self) {
        for child in &mut self.children {
            child.terminate().expect("asked to end");
            assert!(child.exit(PATIENCE).await.expect("it ends").success());
        }
    }
}
