//! Upkeep: one process at a time, fenced, adaptive, and not to be stopped by errors.

use std::{sync::Arc, time::Duration};

use mainspring_core::{
    Available, ClaimRequest, MessageQuery, QueueDriver, QueueOptions, QueueStore, Settle, Settlement,
    WorkerId,
};
use mainspring_pg::Hints;
use mainspring_queue::{
    PgQueue,
    schedule::{PgSchedules, Schedule, Timing},
    stats::{PgStats, Thresholds, WarningKind},
    upkeep::{OnEvent, Part, QueueUpkeep, UpkeepEvent, UpkeepOptions},
};
use mainspring_retention::{Kind, RetentionPolicy, Rule};
use mainspring_testing::TestDb;
use tokio::sync::mpsc;

use super::{DAY, HOUR, MINUTE, message, ready};

fn options() -> UpkeepOptions {
    // the clock of a test jumps; nobody wants to hear of that
    let thresholds = Thresholds { clock_skew: DAY * 1_000, ..Thresholds::default() };
    UpkeepOptions { lease: Duration::from_secs(30), thresholds, ..UpkeepOptions::default() }
}

fn upkeep(test: &TestDb, options: UpkeepOptions) -> QueueUpkeep {
    QueueUpkeep::new(&test.db(), options).unwrap()
}

fn told() -> (OnEvent, mpsc::UnboundedReceiver<String>) {
    let (sender, receiver) = mpsc::unbounded_channel();
    let tell = move |event: &UpkeepEvent| {
        let text = match event {
            UpkeepEvent::Elected(term) => format!("elected {term}"),
            UpkeepEvent::Deposed(term) => format!("deposed {term}"),
            UpkeepEvent::Failed { part, .. } => format!("failed {part:?}"),
            UpkeepEvent::Warning(warning) => warning.to_string(),
            _ => "?".to_owned(),
        };
        drop(sender.send(text));
    };
    (Arc::new(tell), receiver)
}

#[tokio::test]
async fn one_process_does_it_until_its_lease_is_over() {
    let test = TestDb::new().await;
    let (on_event, mut events) = told();
    let first = upkeep(&test, UpkeepOptions { on_event: Some(on_event), ..options() });
    let second = upkeep(&test, options());
    assert_eq!(first.round().await.term, Some(1));
    let follower = second.round().await;
    assert_eq!(follower.term, None);
    assert!((Duration::from_secs(25)..=Duration::from_secs(30)).contains(&follower.rest), "{follower:?}");
    test.advance(Duration::from_secs(20)).await;
    assert_eq!(first.round().await.term, Some(1)); // renews
    test.advance(Duration::from_secs(20)).await;
    assert_eq!(second.round().await.term, None);
    test.advance(Duration::from_secs(31)).await;
    assert_eq!(second.round().await.term, Some(2));
    assert_eq!(first.round().await.term, None);
    assert_eq!(events.recv().await.unwrap(), "elected 1");
    assert_eq!(events.recv().await.unwrap(), "deposed 1");
    // who comes back in time keeps its term
    test.advance(Duration::from_secs(31)).await;
    assert_eq!(second.round().await.term, Some(2));
}

#[tokio::test]
async fn a_dead_process_is_followed_also_when_the_clock_went_back() {
    // fault F43
    let test = TestDb::new().await;
    let (dead, heir) = (upkeep(&test, options()), upkeep(&test, options()));
    assert_eq!(dead.round().await.term, Some(1));
    test.set_back(HOUR).await;
    assert_eq!(heir.round().await.term, Some(2));
    assert_eq!(dead.round().await.term, None, "should it not be dead, it is fenced");
}

#[tokio::test]
async fn an_election_of_many_has_one_winner() {
    let test = TestDb::with_pool(20).await;
    for term in 1..=5 {
        let candidates: Vec<_> = (0..8).map(|_| Arc::new(upkeep(&test, options()))).collect();
        let rounds =
            candidates.iter().cloned().map(|one| tokio::spawn(async move { one.round().await.term }));
        let mut terms = Vec::new();
        for round in rounds.collect::<Vec<_>>() {
            terms.extend(round.await.unwrap());
        }
        assert_eq!(terms, [term]);
        test.advance(MINUTE).await;
    }
}

#[tokio::test]
async fn who_lost_its_term_in_the_middle_writes_nothing() {
    // fault F51: the term is taken by another while a round is under way, before each of its writes
    let test = TestDb::new().await;
    let schedules = PgSchedules::new(&test.db());
    schedules.put(&Schedule::new("k", Timing::cron("* * * * *"), message("mail"))).await.unwrap();
    test.advance(HOUR).await;
    let old = upkeep(&test, options());
    // when the old one has renewed, the row goes to another at once: no check of its term holds
    let depose = format!(
        "CREATE FUNCTION depose() RETURNS trigger LANGUAGE plpgsql AS
           $$ BEGIN NEW.holder := 'other'; NEW.term := NEW.term + 1; RETURN NEW; END $$;
         CREATE TRIGGER depose BEFORE INSERT OR UPDATE ON {} FOR EACH ROW EXECUTE FUNCTION depose()",
        test.names().table("upkeep")
    );
    test.client().await.batch_execute(&depose).await.unwrap();
    let round = old.round().await;
    assert!(round.term.is_some());
    assert_eq!((round.ticked.fired, round.forgotten, round.counted, round.failed), (0, 0, false, 0));
    assert!(schedules.history("mail", "k", 10).await.unwrap().is_empty());
    assert!(PgStats::new(&test.db()).latest().await.unwrap().is_empty());
    assert!(ready(&test, "mail").await.is_empty());
}

#[tokio::test]
async fn a_takeover_waits_for_what_is_being_written() {
    // fault F51
    let test = TestDb::new().await;
    let old = upkeep(&test, options());
    assert_eq!(old.round().await.term, Some(1));
    let mut client = test.client().await;
    let tx = client.transaction().await.unwrap();
    let hold = format!("SELECT term FROM {} WHERE term = 1 FOR SHARE", test.names().table("upkeep"));
    tx.query_one(&hold, &[]).await.unwrap();
    test.advance(HOUR).await;
    let new = Arc::new(upkeep(&test, options()));
    let takeover = tokio::spawn({
        let new = Arc::clone(&new);
        async move { new.round().await.term }
    });
    let waiting = "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = current_database()";
    let watch = test.client().await;
    while watch.query_one(waiting, &[]).await.unwrap().get::<_, i64>(0) == 0 {
        assert!(!takeover.is_finished(), "it did not wait");
        tokio::task::yield_now().await;
    }
    tx.commit().await.unwrap();
    assert_eq!(takeover.await.unwrap(), Some(2));
}

#[tokio::test]
async fn a_round_fires_promotes_reclaims_counts_and_forgets() {
    // Q41 for records; of messages their queue says how long they are kept
    let test = TestDb::new().await;
    let (db, queue) = (test.db(), PgQueue::new(&test.db()));
    let schedules = PgSchedules::new(&db);
    schedules.put(&Schedule::new("k", Timing::Every(HOUR), message("mail"))).await.unwrap();
    let mut later = message("later");
    later.available = Available::After(HOUR);
    queue.push(vec![later, message("lost")]).await.unwrap();
    let request = ClaimRequest::new("lost", WorkerId::generate(), MINUTE, 1);
    assert_eq!(queue.claim(request).await.unwrap().deliveries.len(), 1);
    let upkeep = upkeep(&test, options());
    upkeep.round().await;
    test.advance(HOUR).await;
    let round = upkeep.round().await;
    assert_eq!((round.ticked.fired, round.messages.promoted, round.messages.reclaimed), (1, 1, 1));
    assert!(round.counted && round.failed == 0);
    let counts = PgStats::new(&db).latest().await.unwrap();
    assert_eq!(counts.iter().map(|c| (c.queue.as_str(), c.ready)).collect::<Vec<_>>(), {
        [("later", 1), ("lost", 1), ("mail", 1)]
    });
    assert!(!upkeep.round().await.counted, "it counts again at once");
    test.advance(DAY * 8).await;
    let round = upkeep.round().await;
    assert_eq!(round.forgotten, 3, "the fire, and the count of two queues before the latest: {round:?}");
    assert!(
        schedules
            .history("mail", "k", 9)
            .await
            .unwrap()
            .iter()
            .all(|fire| fire.fired_at > counts[0].at + DAY)
    );
}

#[tokio::test]
async fn it_forgets_messages_as_their_queue_says() {
    // Q41
    let test = TestDb::new().await;
    let queue = PgQueue::new(&test.db());
    for (name, keep_finished, keep_queued) in [("long", DAY * 30, DAY * 30), ("short", DAY * 2, DAY * 2)] {
        queue
            .create_queue(name, QueueOptions { keep_finished, keep_queued, ..QueueOptions::default() })
            .await
            .unwrap();
        queue.push(vec![message(name), message(name)]).await.unwrap();
        let request = ClaimRequest::new(name, WorkerId::generate(), HOUR, 1);
        let lease = queue.claim(request).await.unwrap().deliveries.remove(0).lease;
        queue.settle(vec![Settle::new(lease, Settlement::Done)]).await.unwrap();
    }
    let upkeep = queue.upkeep(options()).unwrap();
    upkeep.round().await;
    let there = async |name: &'static str| {
        let query = MessageQuery::default();
        queue.find_messages(name, query).await.unwrap().len()
    };
    assert_eq!((there("long").await, there("short").await), (2, 2));
    test.advance(DAY * 3).await;
    assert_eq!(upkeep.round().await.failed, 0);
    assert_eq!((there("long").await, there("short").await), (2, 0));
}

#[tokio::test]
async fn what_is_to_be_kept_is_kept_for_ever() {
    let test = TestDb::new().await;
    let schedules = PgSchedules::new(&test.db());
    schedules.put(&Schedule::new("k", Timing::Every(HOUR), message("mail"))).await.unwrap();
    schedules.run_now("mail", "k").await.unwrap();
    let mut retention = RetentionPolicy::default();
    for kind in [Kind::Fires, Kind::Stats, Kind::Warnings, Kind::Outputs] {
        retention = retention.with(kind, Rule::Keep);
    }
    let upkeep = upkeep(&test, UpkeepOptions { retention, ..options() });
    upkeep.round().await;
    test.advance(DAY * 1_000).await;
    assert_eq!(upkeep.round().await.forgotten, 0);
}

#[tokio::test]
async fn it_sleeps_until_the_next_thing_is_due() {
    let test = TestDb::new().await;
    let upkeep = upkeep(&test, options());
    assert_eq!(upkeep.round().await.rest, options().pause);
    let mut soon = message("q");
    soon.available = Available::After(Duration::from_millis(700));
    PgQueue::new(&test.db()).push(vec![soon]).await.unwrap();
    assert!(upkeep.round().await.rest < options().pause);
}

#[tokio::test]
async fn the_loop_survives_errors_and_tells_them() {
    // Q46
    let test = TestDb::new().await;
    let (on_event, mut events) = told();
    let pause = Duration::from_millis(10);
    let upkeep = Arc::new(upkeep(&test, UpkeepOptions { on_event: Some(on_event), pause, ..options() }));
    let client = test.client().await;
    let rename = async |from: &str, to: &str| {
        let sql = format!("ALTER TABLE {} RENAME TO {}{to}", test.names().table(from), test.names().prefix());
        client.batch_execute(&sql).await.unwrap();
    };
    let running = upkeep.start();
    assert_eq!(events.recv().await.unwrap(), "elected 1");
    for (table, part) in
        [("schedules", Part::Schedules), ("upkeep", Part::Election), ("deferred", Part::Messages)]
    {
        rename(table, "away").await;
        let failed = format!("failed {part:?}");
        while events.recv().await.unwrap() != failed {}
        rename("away", table).await;
    }
    let schedules = PgSchedules::new(&test.db());
    schedules
        .put(&Schedule::new("k", Timing::Once(mainspring_core::Timestamp::MIN), message("mail")))
        .await
        .unwrap();
    while schedules.history("mail", "k", 1).await.unwrap().is_empty() {
        tokio::task::yield_now().await;
    }
    running.stop().await.unwrap();
}

#[tokio::test]
async fn a_stop_hands_over_at_once_and_it_can_be_started_again() {
    // Q45
    let test = TestDb::new().await;
    let (on_event, mut events) = told();
    let first = Arc::new(upkeep(&test, UpkeepOptions { on_event: Some(on_event), ..options() }));
    let second = upkeep(&test, options());
    for term in [1, 3] {
        let running = first.start();
        assert_eq!(events.recv().await.unwrap(), format!("elected {term}"));
        assert_eq!(second.round().await.term, None);
        running.stop().await.unwrap();
        assert_eq!(events.recv().await.unwrap(), format!("deposed {term}"));
        assert_eq!(second.round().await.term, Some(term + 1));
        test.advance(MINUTE).await;
    }
}

#[tokio::test]
async fn a_changed_schedule_wakes_it() {
    let test = TestDb::new().await;
    let hints = Hints::poll_only();
    let pause = Duration::from_secs(600);
    let options = UpkeepOptions { lease: HOUR, pause, ..options() };
    let upkeep = Arc::new(QueueUpkeep::new(&test.db(), options).unwrap().with_hints(hints.clone()));
    let running = upkeep.start();
    let schedules = PgSchedules::new(&test.db()).with_hints(hints);
    let stats = PgStats::new(&test.db());
    while stats.age().await.unwrap().is_none() && upkeep.skew().is_none() {
        tokio::task::yield_now().await;
    }
    for key in ["a", "b"] {
        let past = Timing::Once(mainspring_core::Timestamp::MIN);
        schedules.put(&Schedule::new(key, past, message("mail"))).await.unwrap();
        let fired = async {
            while schedules.history("mail", key, 1).await.unwrap().is_empty() {
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(MINUTE, fired).await.expect("it sleeps on");
    }
    running.stop().await.unwrap();
}

#[tokio::test]
async fn a_wrong_clock_is_told_and_changes_nothing() {
    // Q40, fault F42: to this process the database seems to be two hours ahead, as if its own clock were behind
    let test = TestDb::new().await;
    let thresholds = Thresholds { clock_skew: MINUTE, ..Thresholds::default() };
    let (on_event, mut events) = told();
    let options = UpkeepOptions { thresholds, on_event: Some(on_event), ..options() };
    let upkeep = upkeep(&test, options);
    upkeep.round().await;
    let right = upkeep.skew().unwrap();
    assert!(right.by < MINUTE, "{right:?}");
    assert_eq!(events.recv().await.unwrap(), "elected 1");
    let schedules = PgSchedules::new(&test.db());
    let next = schedules.put(&Schedule::new("k", Timing::Every(HOUR), message("mail"))).await.unwrap().next;
    test.advance(HOUR * 2).await;
    let round = upkeep.round().await;
    assert_eq!(round.ticked.fired, 1);
    assert_eq!(schedules.history("mail", "k", 1).await.unwrap()[0].tick, next.unwrap() + HOUR);
    let skew = upkeep.skew().unwrap();
    assert!(skew.database_is_ahead && skew.by > HOUR, "{skew:?}");
    assert!(events.recv().await.unwrap().contains("off the database's"));
    let warnings = PgStats::new(&test.db()).warnings(Some(WarningKind::ClockSkew), None, 10).await.unwrap();
    assert_eq!(warnings.len(), 1);
    // when the database does not answer, the last skew stays
    let client = test.client().await;
    let table = test.names().table("upkeep");
    client.batch_execute(&format!("ALTER TABLE {table} RENAME COLUMN term TO away")).await.unwrap();
    assert_eq!(upkeep.round().await.failed, 1);
    assert_eq!(upkeep.skew(), Some(skew));
}

#[tokio::test]
async fn a_slow_part_is_told() {
    // Q44: what takes any time at all takes too long here
    let test = TestDb::new().await;
    let thresholds = Thresholds { slow: Duration::ZERO, ..options().thresholds };
    let (on_event, mut events) = told();
    upkeep(&test, UpkeepOptions { thresholds, on_event: Some(on_event), ..options() }).round().await;
    assert_eq!(events.recv().await.unwrap(), "elected 1");
    for part in ["schedules", "messages", "retention", "stats"] {
        let told = events.recv().await.unwrap();
        assert!(told.starts_with(&format!("upkeep of {part} took")), "{told}");
    }
    let stored = PgStats::new(&test.db()).warnings(Some(WarningKind::Slow), None, 10).await.unwrap();
    assert_eq!(stored.len(), 4);
}

#[test]
fn bad_options_are_refused() {
    let pool =
        mainspring_pg::pool(&mainspring_pg::Settings::parse("postgres://nobody@localhost/x").unwrap(), 1);
    let db = mainspring_pg::Db::new(pool.unwrap(), mainspring_pg::Names::default());
    let seconds = Duration::from_secs;
    let bad = [
        ("lease", UpkeepOptions { lease: seconds(0), ..options() }),
        ("upkeep.lease", UpkeepOptions { lease: Duration::from_millis(500), ..options() }),
        ("upkeep.pause", UpkeepOptions { pause: seconds(11), ..options() }),
        ("upkeep.pause", UpkeepOptions { pause: seconds(0), ..options() }),
        ("upkeep.count_every", UpkeepOptions { count_every: seconds(0), ..options() }),
        ("upkeep.retain_every", UpkeepOptions { retain_every: DAY * 2, ..options() }),
        ("retention.fires", {
            UpkeepOptions {
                retention: RetentionPolicy::default().with(Kind::Fires, Rule::Delete(Duration::MAX)),
                ..options()
            }
        }),
        ("watch.backlog", {
            UpkeepOptions {
                thresholds: Thresholds { backlog: Some(0), ..Thresholds::default() },
                ..options()
            }
        }),
    ];
    for (field, options) in bad {
        let error = QueueUpkeep::new(&db, options).err().unwrap();
        assert!(error.is_invalid() && error.to_string().starts_with(field), "{field}: {error}");
    }
}
