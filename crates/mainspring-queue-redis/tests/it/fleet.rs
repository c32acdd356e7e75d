//! Workers of several processes, and a process that pushes and has no worker, so that all it says goes through Redis.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex},
    time::Duration,
};

use mainspring::{NewMessage, PgStores, QueueDriver, Settlement, Verdict, Worker, WorkerHandle, deliver_fn};
use mainspring_queue_redis::Redis;
use mainspring_testing::TestDb;
use serde_json::json;
use tokio::time::{Instant, sleep};

use crate::process;

const PROCESSES: usize = 3;
/// Messages of a storm, and of one push.
const MESSAGES: usize = 20_000;
const PUSH: usize = 100;
/// Pushes from one fault to the next.
const CALM: usize = 20;
const PATIENCE: Duration = Duration::from_secs(60);

pub(crate) struct Fleet {
    pub(crate) db: TestDb,
    pub(crate) pusher: PgStores<'static>,
    pub(crate) redis: Vec<Redis>,
    workers: Vec<WorkerHandle>,
    /// How often each message was handled.
    runs: Arc<Mutex<HashMap<String, u32>>>,
}

impl Fleet {
    pub(crate) async fn at(url: &str) -> Self {
        let db = TestDb::with_pool(16).await;
        let (pusher, redis) = process(url, &db);
        let mut fleet = Self { db, pusher, redis: vec![redis], workers: Vec::new(), runs: Arc::default() };
        for _ in 0..PROCESSES {
            fleet.join(url);
        }
        fleet
    }

    fn join(&mut self, url: &str) {
        let (stores, redis) = process(url, &self.db);
        let runs = Arc::clone(&self.runs);
        let handler = deliver_fn(move |delivery, _cancel| {
            *runs.lock().unwrap().entry(delivery.message.id.to_string()).or_default() += 1;
            std::future::ready(Verdict::Settle(Settlement::Done))
        });
        let worker = Worker::new(Arc::new(stores.queue.clone()), Arc::new(handler)).queue("q").prefetch(100);
        self.workers.push(worker.start().unwrap());
        self.redis.push(redis);
    }

    /// Pushes everything, with a fault after every so many pushes, and waits until all of it is done, each message once.
    pub(crate) async fn storm(&self, mut fault: impl AsyncFnMut(usize)) {
        for n in 0..MESSAGES / PUSH {
            self.push(PUSH).await;
            if n % CALM == 0 {
                fault(n / CALM).await;
            }
        }
        self.all_done(MESSAGES).await;
    }

    pub(crate) async fn push(&self, count: usize) {
        let messages = (0..count).map(|n| NewMessage::new("q", "work", json!(n))).collect();
        self.pusher.queue.push(messages).await.unwrap();
    }

    /// Waits until so many messages were handled, each once, and nothing is left.
    pub(crate) async fn all_done(&self, messages: usize) {
        let stop = Instant::now() + PATIENCE;
        loop {
            let stats = self.pusher.queue.stats("q").await.unwrap();
            let handled = self.runs.lock().unwrap().len();
            if handled == messages && stats == mainspring::QueueStats::default() {
                break;
            }
            assert!(Instant::now() < stop, "{handled} of {messages} were handled; there are {stats:?}");
            sleep(Duration::from_millis(5)).await;
        }
        assert!(self.runs.lock().unwrap().values().all(|runs| *runs == 1), "some were done twice");
    }

    /// Waits until all processes hear each other, or none does.
    pub(crate) async fn until_up(&self, up: bool) {
        let stop = Instant::now() + PATIENCE;
        while self.redis[1..].iter().any(|redis| (redis.health().up && redis.health().listening) != up) {
            assert!(Instant::now() < stop, "{:?}", self.redis.iter().map(Redis::health).collect::<Vec<_>>());
            sleep(Duration::from_millis(5)).await;
        }
    }

    pub(crate) async fn stop(self) {
        for worker in self.workers {
            worker.stop().await.unwrap();
        }
    }
}
