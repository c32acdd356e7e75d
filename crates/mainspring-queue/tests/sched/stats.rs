//! Counts, their history, and warnings.

use std::time::Duration;

use mainspring_core::{
    Available, ClaimRequest, Failure, NewMessage, Policy, QueueDriver, QueueOptions, QueueStore, Settle,
    Settlement, WorkerId,
};
use mainspring_queue::{
    PgQueue,
    stats::{Aggregate, HistoryQuery, PgStats, QueueCount, Thresholds, WarningKind, Watch},
};
use mainspring_testing::TestDb;

use super::{HOUR, MINUTE, message};

async fn push(test: &TestDb, queue: &str, n: usize) {
    let messages: Vec<NewMessage> = (0..n).map(|_| message(queue)).collect();
    PgQueue::new(&test.db()).push(messages).await.unwrap();
}

async fn claim(test: &TestDb, queue: &str, max: u32) -> Vec<Settle> {
    let request = ClaimRequest::new(queue, WorkerId::generate(), HOUR, max);
    let claimed = PgQueue::new(&test.db()).claim(request).await.unwrap().deliveries;
    claimed.into_iter().map(|d| Settle::new(d.lease, Settlement::Done)).collect()
}

async fn count(test: &TestDb) {
    PgStats::new(&test.db()).count(&Thresholds::default()).await.unwrap();
}

fn numbers(count: &QueueCount) -> [u64; 7] {
    [count.ready, count.claimed, count.deferred, count.held, count.dead, count.queued(), count.total()]
}

#[tokio::test]
async fn counts_are_exact_after_a_count_and_zero_when_all_is_gone() {
    // Q42
    let test = TestDb::new().await;
    let (stats, queue) = (PgStats::new(&test.db()), PgQueue::new(&test.db()));
    assert!(stats.age().await.unwrap().is_none());
    push(&test, "a", 10).await;
    push(&test, "b", 1).await;
    let mut later = message("a");
    later.available = Available::After(HOUR);
    queue.push(vec![later]).await.unwrap();
    let mut claimed = claim(&test, "a", 4).await;
    let mut first = claimed.remove(0);
    first.settlement = Settlement::DeadLetter(Failure::new("E", "broken"));
    queue.settle(vec![first]).await.unwrap();
    test.advance(MINUTE).await;
    count(&test).await;
    let latest = stats.latest().await.unwrap();
    assert_eq!(latest.iter().map(|c| c.queue.as_str()).collect::<Vec<_>>(), ["a", "b"]);
    assert_eq!(numbers(&latest[0]), [6, 3, 1, 0, 1, 7, 11]); // deferred is not in ready
    assert!((MINUTE..MINUTE * 2).contains(&latest[0].oldest), "{latest:?}");
    assert_eq!(stats.latest_of("b").await.unwrap().as_ref(), Some(&latest[1]));
    assert!(stats.age().await.unwrap().unwrap() < MINUTE);

    queue.settle(claimed).await.unwrap();
    let rest = claim(&test, "a", 100).await;
    queue.settle(rest).await.unwrap();
    let delete = format!(
        "DELETE FROM {}; DELETE FROM {}",
        test.names().table("deferred"),
        test.names().table("dead_letters")
    );
    test.client().await.batch_execute(&delete).await.unwrap();
    test.advance(MINUTE).await;
    count(&test).await;
    assert_eq!(numbers(&stats.latest_of("a").await.unwrap().unwrap()), [0; 7]);
    test.advance(MINUTE).await;
    count(&test).await;
    assert!(stats.latest_of("a").await.unwrap().is_none(), "an empty queue is written down for ever");
    assert_eq!(stats.latest().await.unwrap().len(), 1);
}

#[tokio::test]
async fn what_is_held_back_is_counted_apart_and_a_created_queue_is_always_there() {
    // Q42
    let test = TestDb::new().await;
    let (stats, queue) = (PgStats::new(&test.db()), PgQueue::new(&test.db()));
    let options = QueueOptions { policy: Policy::Singleton, ..QueueOptions::default() };
    queue.create_queue("one", options).await.unwrap();
    count(&test).await;
    assert_eq!(numbers(&stats.latest_of("one").await.unwrap().unwrap()), [0; 7]);
    push(&test, "one", 3).await;
    assert_eq!(claim(&test, "one", 10).await.len(), 1);
    test.advance(MINUTE).await;
    count(&test).await;
    assert_eq!(numbers(&stats.latest_of("one").await.unwrap().unwrap()), [0, 1, 0, 2, 0, 2, 3]);
}

#[tokio::test]
async fn history_by_range_limit_buckets_and_aggregates() {
    // Q43
    let test = TestDb::new().await;
    let stats = PgStats::new(&test.db());
    for n in 1..=10 {
        push(&test, "q", 1).await;
        count(&test).await;
        assert_eq!(stats.latest_of("q").await.unwrap().unwrap().ready, n);
        test.advance(MINUTE).await;
    }
    let history = async |query: HistoryQuery| {
        let points = stats.history("q", &query).await.unwrap();
        assert!(points.windows(2).all(|pair| pair[0].at < pair[1].at));
        points
    };
    let ready = |points: Vec<QueueCount>| points.iter().map(|p| p.ready).collect::<Vec<_>>();
    let all = history(HistoryQuery::default()).await;
    assert_eq!(ready(all.clone()), (1..=10).collect::<Vec<_>>());
    assert_eq!(ready(history(HistoryQuery { limit: 3, ..Default::default() }).await), [8, 9, 10]);
    let some = HistoryQuery { from: Some(all[2].at), to: Some(all[5].at), ..Default::default() };
    assert_eq!(ready(history(some).await), [3, 4, 5]);
    for (aggregate, pick) in [(Aggregate::Max, 0), (Aggregate::Min, 1), (Aggregate::Avg, 2)] {
        let bucket = Some(MINUTE * 3);
        let points = history(HistoryQuery { bucket, aggregate, ..Default::default() }).await;
        let width = 180_000_000;
        for point in &points {
            assert_eq!(point.at.as_micros() % width, 0);
            let within: Vec<u64> = all
                .iter()
                .filter(|one| one.at.as_micros().div_euclid(width) == point.at.as_micros() / width)
                .map(|one| one.ready)
                .collect();
            let (max, min) = (*within.iter().max().unwrap(), *within.iter().min().unwrap());
            let avg = (within.iter().sum::<u64>() as f64 / within.len() as f64).round() as u64;
            assert_eq!(point.ready, [max, min, avg][pick], "{within:?}");
        }
        assert!((4..=5).contains(&points.len()));
    }
    for most in [1, 2, 4, 1_000] {
        let from = Some(all[0].at);
        let points = history(HistoryQuery { max_points: Some(most), from, ..Default::default() }).await;
        assert!((1..=most as usize).contains(&points.len()));
        assert_eq!(points.iter().map(|p| p.ready).max(), Some(10));
    }
    assert!(history(HistoryQuery { to: Some(all[0].at), ..Default::default() }).await.is_empty());
    assert!(stats.history("", &HistoryQuery::default()).await.unwrap_err().is_invalid());
    let bad = HistoryQuery { limit: 100_000, ..Default::default() };
    assert!(stats.history("q", &bad).await.unwrap_err().is_invalid());
}

#[tokio::test]
async fn a_backlog_is_warned_of_once_by_the_thresholds_of_its_queue() {
    // Q44, Q54
    let test = TestDb::new().await;
    let stats = PgStats::new(&test.db());
    for (queue, n) in [("few", 3), ("many", 6), ("watched", 3), ("ignored", 9)] {
        push(&test, queue, n).await;
    }
    let watch = |backlog| Watch { backlog, oldest: None };
    stats.watch("watched", watch(Some(2))).await.unwrap();
    stats.watch("ignored", watch(None)).await.unwrap();
    let all = Thresholds { backlog: Some(5), ..Thresholds::default() };
    let mut warned = stats.count(&all).await.unwrap();
    warned.sort_by(|a, b| a.subject.cmp(&b.subject));
    let said: Vec<_> = warned.iter().map(|w| (w.kind, w.subject.as_str(), w.value, w.most)).collect();
    assert_eq!(said, [(WarningKind::Backlog, "many", 6, 5), (WarningKind::Backlog, "watched", 3, 2)]);
    test.advance(MINUTE).await;
    assert!(stats.count(&all).await.unwrap().is_empty(), "it nags");
    test.advance(HOUR).await;
    assert_eq!(stats.count(&all).await.unwrap().len(), 2);
    assert_eq!(stats.warnings(None, None, 100).await.unwrap().len(), 4);
    let since = Some(warned[0].at + MINUTE);
    assert_eq!(stats.warnings(Some(WarningKind::Backlog), since, 100).await.unwrap().len(), 2);
    assert!(stats.warnings(Some(WarningKind::Oldest), None, 100).await.unwrap().is_empty());
    // what one queue is watched for is not said of another
    assert_eq!(stats.watch_of("watched").await.unwrap(), Some(watch(Some(2))));
    assert_eq!(stats.watch_of("few").await.unwrap(), None);
    assert!(stats.unwatch("watched").await.unwrap() && !stats.unwatch("watched").await.unwrap());
    test.advance(HOUR * 2).await;
    assert_eq!(stats.count(&all).await.unwrap()[0].subject, "many");
}

#[tokio::test]
async fn an_old_message_is_warned_of() {
    // Q44
    let test = TestDb::new().await;
    let stats = PgStats::new(&test.db());
    push(&test, "q", 1).await;
    let thresholds = Thresholds { oldest: Some(MINUTE * 10), ..Thresholds::default() };
    assert!(stats.count(&thresholds).await.unwrap().is_empty());
    test.advance(MINUTE * 11).await;
    let warned = stats.count(&thresholds).await.unwrap();
    assert_eq!((warned.len(), warned[0].kind), (1, WarningKind::Oldest));
    let zero = Watch { oldest: Some(Duration::ZERO), backlog: None };
    assert!(stats.watch("q", zero).await.unwrap_err().is_invalid());
}
