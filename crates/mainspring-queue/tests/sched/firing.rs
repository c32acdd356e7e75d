//! Each tick exactly once: over outages, races, dead processes and changed definitions.

use std::{collections::HashSet, time::Duration};

use mainspring_core::{NewMessage, Policy, QueueDriver, QueueOptions, QueueStore, Timestamp};
use mainspring_queue::{
    PgQueue,
    schedule::{FireOutcome, Missed, PgSchedules, Schedule, Timing},
};
use mainspring_testing::TestDb;
use serde_json::json;

use super::{DAY, HOUR, MINUTE, message, ready};

fn minutely(key: &str) -> Schedule {
    Schedule::new(key, Timing::cron("* * * * *"), message("mail"))
}

#[tokio::test]
async fn a_schedule_fires_every_minute_with_an_id_of_its_tick() {
    // Q38
    let test = TestDb::new().await;
    let schedules = PgSchedules::new(&test.db());
    schedules.put(&minutely("k")).await.unwrap();
    assert_eq!(schedules.tick().await.unwrap().fired, 0);
    let mut ids = HashSet::new();
    for _ in 0..3 {
        test.advance(MINUTE).await;
        let tick = schedules.get("mail", "k").await.unwrap().unwrap().next.unwrap();
        let ticked = schedules.tick().await.unwrap();
        assert_eq!((ticked.fired, ticked.next_due), (1, Some(tick + MINUTE)));
        assert_eq!(schedules.tick().await.unwrap().fired, 0);
        let pushed = ready(&test, "mail").await.remove(0).message;
        assert_eq!(pushed.id.as_str(), format!("fire_mail/k@{tick}"));
        assert_eq!(pushed.headers["schedule"], json!({"key": "k", "tick": tick, "missed": 0}));
        assert_eq!(pushed.data, json!({"of": "yesterday"}));
        ids.insert(pushed.id);
    }
    assert_eq!(ids.len(), 3);
}

#[tokio::test]
async fn a_zone_decides_when_it_is_half_past_two() {
    // Q38
    let test = TestDb::new().await;
    let schedules = PgSchedules::new(&test.db());
    let zones = ["UTC", "Asia/Kolkata", "America/New_York"];
    for zone in zones {
        let timing = Timing::cron("30 2 * * *").in_zone(zone);
        schedules.put(&Schedule::new(zone, timing, message("mail"))).await.unwrap();
    }
    test.advance(DAY).await;
    assert_eq!(schedules.tick().await.unwrap().fired, 3);
    for zone in zones {
        let tick = schedules.history("mail", zone, 1).await.unwrap()[0].tick;
        let of_day = (tick.as_micros() / 1_000_000).rem_euclid(86_400);
        let expected: &[i64] = match zone {
            "UTC" => &[9_000],
            "Asia/Kolkata" => &[75_600],
            _ => &[9_000 + 4 * 3_600, 9_000 + 5 * 3_600],
        };
        assert!(expected.contains(&of_day), "{zone}: {tick}");
    }
}

#[tokio::test]
async fn after_an_outage_ticks_are_lost_coalesced_or_caught_up_as_the_schedule_says() {
    // Q38, W17, fault F50
    let test = TestDb::new().await;
    let schedules = PgSchedules::new(&test.db());
    let policies = [
        ("skip", Missed::Skip { grace: Duration::ZERO }),
        ("once", Missed::Once),
        ("all", Missed::All { limit: 1_000 }),
        ("some", Missed::All { limit: 5 }),
    ];
    for (key, missed) in policies {
        schedules.put(&Schedule { missed, ..minutely(key) }).await.unwrap();
    }
    test.advance(HOUR * 2).await;
    schedules.tick().await.unwrap();
    let history = async |key: &str| schedules.history("mail", key, 1_000).await.unwrap();
    let skipped = history("skip").await;
    assert_eq!((skipped.len(), skipped[0].outcome), (1, FireOutcome::Skipped));
    assert!((119..=121).contains(&skipped[0].missed) && skipped[0].message_id.is_none(), "{skipped:?}");
    let once = history("once").await;
    assert_eq!((once.len(), once[0].missed + 1, once[0].tick), (1, skipped[0].missed, skipped[0].tick));
    let all = history("all").await;
    assert_eq!(all.len(), once[0].missed as usize + 1);
    assert!(all.windows(2).all(|pair| pair[0].tick == pair[1].tick + MINUTE), "not each tick once");
    let some = history("some").await;
    assert_eq!(some.iter().map(|fire| fire.tick).collect::<Vec<_>>(), {
        all[..5].iter().map(|fire| fire.tick).collect::<Vec<_>>()
    });
    assert_eq!(some[4].missed as usize, all.len() - 5);
    let pushed = ready(&test, "mail").await;
    assert_eq!(pushed.len(), 1 + all.len() + 5);
    // and then they go on as if nothing had happened
    test.advance(MINUTE).await;
    assert_eq!(schedules.tick().await.unwrap().fired, 3); // a tick is late by definition for who skips without grace
}

#[tokio::test]
async fn a_tick_fires_once_however_many_processes_fire_and_die() {
    // Q38, fault F50: tasks with pools of their own race, some of them cut off in the middle, connections are killed
    let test = TestDb::new().await;
    let schedules = PgSchedules::new(&test.db());
    for i in 0..20 {
        let missed = Missed::All { limit: 1_000 };
        schedules.put(&Schedule { missed, ..minutely(&format!("k{i}")) }).await.unwrap();
    }
    let begin = schedules.get("mail", "k0").await.unwrap().unwrap().next.unwrap();
    for round in 0..10_u64 {
        test.advance(MINUTE * 3).await;
        let racers = (0..6_u64).map(|racer| {
            let pool = mainspring_pg::pool(test.settings(), 2).unwrap();
            let db = mainspring_pg::Db::new(pool, test.names().clone());
            tokio::spawn(async move {
                let schedules = PgSchedules::new(&db);
                // cut off after some polls, each at another await
                let work = schedules.tick();
                let patience = Duration::from_micros(500 * (racer * 7 + round * 13));
                if racer < 4 {
                    drop(tokio::time::timeout(patience, work).await);
                } else {
                    drop(work.await);
                }
            })
        });
        let racers: Vec<_> = racers.collect();
        let kill = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity
            WHERE datname = current_database() AND pid <> pg_backend_pid() AND state = 'idle in transaction'";
        drop(test.client().await.batch_execute(kill).await);
        for racer in racers {
            racer.await.unwrap();
        }
    }
    // whatever was cut off is done by the next
    let survivor = PgSchedules::new(&mainspring_pg::Db::new(
        mainspring_pg::pool(test.settings(), 2).unwrap(),
        test.names().clone(),
    ));
    let next = survivor.tick().await.unwrap().next_due.unwrap();
    let ticks = next.since(begin).as_secs() / 60;
    assert!(ticks >= 30);
    let pushed = ready(&test, "mail").await;
    let ids: HashSet<_> = pushed.iter().map(|delivery| delivery.message.id.to_string()).collect();
    assert_eq!((pushed.len() as u64, ids.len() as u64), (ticks * 20, ticks * 20));
    for i in 0..20 {
        let fires = survivor.history("mail", &format!("k{i}"), 1_000).await.unwrap();
        assert_eq!(fires.len() as u64, ticks);
    }
}

#[tokio::test]
async fn one_shots_intervals_and_ends_are_kept() {
    let test = TestDb::new().await;
    let schedules = PgSchedules::new(&test.db());
    let put = async |key: &str, timing: Timing| {
        schedules.put(&Schedule::new(key, timing, message(key))).await.unwrap()
    };
    let every = put("every", Timing::Every(HOUR)).await.next.unwrap();
    let soon = every + HOUR * 2;
    put("soon", Timing::Once(soon)).await;
    put("past", Timing::Once(Timestamp::from_micros(1))).await;
    let ends = Schedule {
        ends_at: Some(every + HOUR + MINUTE),
        ..Schedule::new("ends", Timing::Every(HOUR), message("ends"))
    };
    schedules.put(&ends).await.unwrap();
    assert_eq!(schedules.tick().await.unwrap().fired, 1); // the past one, at once
    for (hour, expected) in [(1, 2), (2, 2), (3, 2), (4, 1)] {
        test.advance(HOUR).await;
        assert_eq!(schedules.tick().await.unwrap().fired, expected, "hour {hour}");
    }
    let next = async |key: &str| schedules.get(key, key).await.unwrap().unwrap().next;
    assert_eq!((next("past").await, next("soon").await, next("ends").await), (None, None, None));
    assert_eq!(next("every").await, Some(every + HOUR * 4));
    assert_eq!(schedules.history("soon", "soon", 9).await.unwrap()[0].tick, soon);
}

#[tokio::test]
async fn jitter_puts_off_the_message_not_the_tick() {
    let test = TestDb::new().await;
    let schedules = PgSchedules::new(&test.db());
    for i in 0..20 {
        let key = format!("k{i}");
        schedules.put(&Schedule { jitter: MINUTE * 30, ..minutely(&key) }).await.unwrap();
    }
    test.advance(MINUTE).await;
    assert_eq!(schedules.tick().await.unwrap().fired, 20);
    let now = ready(&test, "mail").await.len();
    assert!(now < 10, "{now} of 20 were not put off");
    test.advance(MINUTE * 30).await;
    assert_eq!(ready(&test, "mail").await.len() + now, 20);
}

#[tokio::test]
async fn one_schedule_that_cannot_fire_stops_no_other() {
    let test = TestDb::new().await;
    let schedules = PgSchedules::new(&test.db());
    for key in ["a", "b", "c"] {
        schedules.put(&minutely(key)).await.unwrap();
    }
    // b's message cannot be pushed, c's zone is not known here
    let client = test.client().await;
    let break_them = format!(
        "UPDATE {0} SET message = message || '{{\"type\": \"\"}}' WHERE key = 'b';
         UPDATE {0} SET timing = '{{\"cron\": {{\"pattern\": \"* * * * *\", \"zone\": \"Mars/Olympus\"}}}}' WHERE key = 'c'",
        test.names().table("schedules")
    );
    client.batch_execute(&break_them).await.unwrap();
    test.advance(MINUTE).await;
    let ticked = schedules.tick().await.unwrap();
    assert_eq!((ticked.fired, ticked.failed), (1, 2));
    let state = async |key| schedules.get("mail", key).await.unwrap().unwrap();
    assert!(state("a").await.last_error.is_none());
    assert!(state("b").await.last_error.unwrap().contains("message.type"));
    assert!(state("c").await.last_error.unwrap().contains("schedule.zone"));
    // they wait before they are tried again, and a repaired one fires
    assert_eq!(schedules.tick().await.unwrap().failed, 0);
    schedules.put(&minutely("b")).await.unwrap();
    test.advance(MINUTE).await;
    let ticked = schedules.tick().await.unwrap();
    assert_eq!((ticked.fired, ticked.failed), (2, 1));
    assert!(state("b").await.last_error.is_none());
}

#[tokio::test]
async fn many_schedules_due_at_once_all_fire() {
    let test = TestDb::new().await;
    let schedules = PgSchedules::new(&test.db());
    for i in 0..250 {
        schedules.put(&minutely(&format!("k{i}"))).await.unwrap();
    }
    test.advance(MINUTE).await;
    assert_eq!(schedules.tick().await.unwrap().fired, 250);
    assert_eq!(PgQueue::new(&test.db()).stats("mail").await.unwrap().ready, 250);
}

#[tokio::test]
async fn a_policy_of_the_queue_keeps_runs_from_piling_up() {
    let test = TestDb::new().await;
    let queue = PgQueue::new(&test.db());
    let options = QueueOptions { policy: Policy::Exclusive, delay: HOUR, ..QueueOptions::default() };
    queue.create_queue("mail", options).await.unwrap();
    let mut keyed = minutely("k");
    keyed.message.key = Some("report".to_owned());
    queue.schedules().put(&keyed).await.unwrap();
    for _ in 0..3 {
        test.advance(MINUTE).await;
        assert_eq!(queue.schedules().tick().await.unwrap().failed, 0);
    }
    let pushed = ready(&test, "mail").await;
    assert_eq!((pushed.len(), pushed[0].message.key.as_deref()), (1, Some("report")));
    assert_eq!(queue.schedules().history("mail", "k", 9).await.unwrap().len(), 3);
}

#[tokio::test]
async fn a_fire_brings_all_that_its_message_says() {
    let test = TestDb::new().await;
    let schedules = PgSchedules::new(&test.db());
    let mut template = NewMessage::new("mail", "digest", json!([1, {"a": null}]));
    template.tenant = "acme".to_owned();
    template.source = Some("crm".to_owned());
    template.subject = Some("exec_1".to_owned());
    template.to = Some("ada".to_owned());
    template.headers.insert("trace".to_owned(), json!("t-1"));
    schedules.put(&Schedule::new("k", Timing::Every(HOUR), template.clone())).await.unwrap();
    schedules.run_now("mail", "k").await.unwrap();
    let mut pushed = ready(&test, "mail").await.remove(0).message;
    template.id = pushed.id.clone();
    template.available = pushed.available;
    template.priority = pushed.priority;
    template.max_attempts = pushed.max_attempts;
    pushed.headers.remove("schedule").unwrap();
    assert_eq!(pushed, template);
}
