//! Hosts whose name nobody knows, now or for a while (fault F40): said so, tried again with pauses, and used as soon as they are there.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    time::{Duration, Instant},
};

use mainspring::{
    ErrorKind, NewMessage, PgStoreOptions, PgStores, QueueDriver, Settlement, Verdict, Worker, WorkerEvent,
    WorkerHandle, deliver_fn,
    redis::{Redis, RedisOptions},
};
use mainspring_testing::TestDb;
use serde_json::json;
use tokio::{
    io::copy_bidirectional,
    net::{TcpListener, TcpStream},
    time::{sleep, timeout},
};

const PATIENCE: Duration = Duration::from_secs(60);

fn options(db: &TestDb) -> PgStoreOptions {
    PgStoreOptions {
        table_prefix: db.names().prefix().to_owned(),
        schema: db.names().schema().to_owned(),
        ..PgStoreOptions::default()
    }
}

/// A worker on these stores; what it handled, and how often claiming failed.
fn works(stores: &PgStores<'static>) -> (WorkerHandle, Arc<AtomicU32>, Arc<AtomicU32>) {
    let (handled, failures) = (Arc::<AtomicU32>::default(), Arc::<AtomicU32>::default());
    let (done, failed) = (Arc::clone(&handled), Arc::clone(&failures));
    let handler = deliver_fn(move |_, _| {
        done.fetch_add(1, Ordering::SeqCst);
        std::future::ready(Verdict::Settle(Settlement::Done))
    });
    let worker = Worker::new(Arc::new(stores.queue.clone()), Arc::new(handler)).queue("q");
    let worker = worker.on_event(move |event| {
        if let WorkerEvent::Failing { error, .. } = event {
            assert!(error.is_retryable(), "{}", error.chain());
            failed.fetch_add(1, Ordering::SeqCst);
        }
    });
    (worker.start().unwrap(), handled, failures)
}

async fn reaches(count: &AtomicU32, number: u32) {
    let reached = async {
        while count.load(Ordering::SeqCst) < number {
            sleep(Duration::from_millis(5)).await;
        }
    };
    timeout(PATIENCE, reached).await.expect("it goes on");
}

async fn push(stores: &PgStores<'static>) {
    stores.queue.push(vec![NewMessage::new("q", "work", json!({}))]).await.unwrap();
}

#[tokio::test]
async fn a_database_whose_name_nobody_knows_is_waited_for() {
    // fault F40
    let db = TestDb::new().await;
    let (host, port) = db.address().unwrap();
    let own = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let hosts = |hosts: &str, ports: &str| {
        let settings = db.settings().clone().with("host", hosts).unwrap().with("port", ports).unwrap();
        settings.with("sslmode", "disable").unwrap().with("password", "canary").unwrap()
    };
    let lost = PgStores::connect_with(hosts("nowhere.invalid", "5432"), options(&db)).unwrap();
    let error = lost.queue.stats("q").await.unwrap_err();
    assert_eq!((error.kind(), error.is_retryable()), (ErrorKind::Unavailable, true));
    let alone = hosts("nowhere.invalid", "5432").connect().await.err().unwrap();
    assert!(alone.to_string().contains("nowhere.invalid"), "{alone}");
    for text in [error.chain(), alone.chain()] {
        assert!(text.contains("lookup") && !text.contains("canary"), "{text}");
    }

    // The next one in the list is not there yet either.
    let settings = hosts("nowhere.invalid,127.0.0.1", &format!("5432,{}", own.port()));
    let stores = PgStores::connect_with(settings, options(&db)).unwrap();
    let begin = Instant::now();
    let (worker, handled, failures) = works(&stores);
    reaches(&failures, 16).await;
    assert!(begin.elapsed() > Duration::from_millis(500), "it pauses between its tries");
    let listener = TcpListener::bind(own).await.unwrap();
    tokio::spawn(async move {
        while let Ok((mut near, _)) = listener.accept().await {
            let mut far = TcpStream::connect((host.as_str(), port)).await.unwrap();
            tokio::spawn(async move { drop(copy_bidirectional(&mut near, &mut far).await) });
        }
    });
    push(&PgStores::connect_with(db.settings().clone(), options(&db)).unwrap()).await;
    reaches(&handled, 1).await;
    worker.stop().await.unwrap();
}

#[tokio::test]
async fn a_redis_whose_name_nobody_knows_is_done_without() {
    // fault F40
    let db = TestDb::new().await;
    let redis = Redis::new(RedisOptions::parse("redis://:canary@nowhere.invalid").unwrap()).unwrap();
    let carrier = Some(Arc::new(redis.clone()) as _);
    let settings = db.settings().clone();
    let stores = PgStores::connect_with(settings, PgStoreOptions { carrier, ..options(&db) }).unwrap();
    let (worker, handled, failures) = works(&stores);
    for n in 1..=3 {
        push(&stores).await;
        reaches(&handled, n).await;
    }
    worker.stop().await.unwrap();
    assert_eq!(failures.load(Ordering::SeqCst), 0, "no claim needs it");
    assert!(!redis.health().up && !redis.health().listening);
    let error = redis.settings().await.unwrap_err();
    assert_eq!((error.kind(), error.is_retryable()), (ErrorKind::Unavailable, true));
    let text = error.chain();
    assert!(text.contains("lookup") && !text.contains("canary"), "{text}");
}
