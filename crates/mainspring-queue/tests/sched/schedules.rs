//! Schedules as rows: put, list, pause, resume, preview, run by hand, remove.

use std::time::Duration;

use mainspring_core::{NewMessage, Timestamp};
use mainspring_queue::schedule::{
    FireFilter, FireOutcome, Missed, PgSchedules, Schedule, ScheduleFilter, Timing,
};
use mainspring_testing::TestDb;
use serde_json::json;

use super::{DAY, HOUR, MINUTE, message, ready};

fn minutely(key: &str, queue: &str) -> Schedule {
    Schedule::new(key, Timing::cron("* * * * *"), message(queue))
}

#[tokio::test]
async fn several_schedules_of_a_queue_are_told_apart_by_their_key() {
    // Q39
    let test = TestDb::new().await;
    let schedules = PgSchedules::new(&test.db());
    for (key, queue) in [("a", "mail"), ("b", "mail"), ("a", "sms")] {
        schedules.put(&minutely(key, queue)).await.unwrap();
    }
    let names = async |queue: Option<&str>, key: Option<&str>| {
        let filter = ScheduleFilter {
            queue: queue.map(Into::into),
            key: key.map(Into::into),
            ..ScheduleFilter::default()
        };
        let found = schedules.list(&filter, 100).await.unwrap();
        found
            .into_iter()
            .map(|s| format!("{}/{}", s.schedule.message.queue, s.schedule.key))
            .collect::<Vec<_>>()
    };
    assert_eq!(names(None, None).await, ["mail/a", "mail/b", "sms/a"]);
    assert_eq!(names(Some("mail"), None).await, ["mail/a", "mail/b"]);
    assert_eq!(names(None, Some("a")).await, ["mail/a", "sms/a"]);
    assert_eq!(names(Some("sms"), Some("b")).await, [""; 0]);
    assert!(schedules.remove("mail", "a").await.unwrap());
    assert!(!schedules.remove("mail", "a").await.unwrap());
    assert_eq!(names(None, None).await, ["mail/b", "sms/a"]);
    schedules.put(&minutely("c", "mail")).await.unwrap();
    assert_eq!(schedules.remove_all("mail").await.unwrap(), 2);
    assert_eq!(names(None, None).await, ["sms/a"]);
    assert!(schedules.list(&ScheduleFilter::default(), 10_001).await.unwrap_err().is_invalid());
}

#[tokio::test]
async fn what_is_put_is_read_back_and_putting_it_again_keeps_its_next_tick() {
    let test = TestDb::new().await;
    let schedules = PgSchedules::new(&test.db());
    let mut template = message("mail");
    template.tenant = "acme".to_owned();
    template.headers.insert("trace".to_owned(), json!("t-1"));
    let schedule = Schedule {
        missed: Missed::All { limit: 7 },
        jitter: MINUTE,
        ends_at: Some("2100-01-01T00:00:00Z".parse().unwrap()),
        ..Schedule::new("k", Timing::Every(HOUR), template)
    };
    let first = schedules.put(&schedule).await.unwrap();
    let stored = schedules.get("mail", "k").await.unwrap().unwrap();
    assert_eq!((stored.next, stored.revision, stored.created_at), (first.next, 1, first.created_at));
    let without_id = |s: &Schedule| Schedule {
        message: NewMessage { id: schedule.message.id.clone(), ..s.message.clone() },
        ..s.clone()
    };
    assert_eq!(without_id(&stored.schedule), schedule);

    test.advance(MINUTE * 10).await;
    let mut other = schedule.clone();
    other.message.data = json!({"of": "today"});
    let again = schedules.put(&other).await.unwrap();
    assert_eq!((again.next, again.revision), (first.next, 2));
    assert_eq!(again.schedule.message.data, json!({"of": "today"}));
    // another timing begins now
    other.timing = Timing::Every(HOUR * 2);
    let moved = schedules.put(&other).await.unwrap();
    assert!(moved.next.unwrap() >= first.next.unwrap() + HOUR + MINUTE * 9, "{moved:?}");
}

#[tokio::test]
async fn bad_schedules_are_refused_before_any_sql() {
    let test = TestDb::new().await;
    let schedules = PgSchedules::new(&test.db());
    let good = minutely("k", "mail");
    let at = |text: &str| Some(text.parse::<Timestamp>().unwrap());
    let cases = [
        ("schedule.key", Schedule { key: String::new(), ..good.clone() }),
        ("schedule.key", Schedule { key: "x".repeat(65), ..good.clone() }),
        ("schedule.cron", Schedule { timing: Timing::cron("0 0 30 2 *"), ..good.clone() }),
        ("schedule.cron", Schedule { timing: Timing::cron("whenever"), ..good.clone() }),
        ("schedule.zone", Schedule { timing: Timing::cron("@daily").in_zone("Europe/Bonn"), ..good.clone() }),
        ("schedule.every", Schedule { timing: Timing::Every(Duration::from_millis(999)), ..good.clone() }),
        ("schedule.missed", Schedule { missed: Missed::All { limit: 0 }, ..good.clone() }),
        ("schedule.missed", Schedule { missed: Missed::Skip { grace: DAY * 2 }, ..good.clone() }),
        ("schedule.jitter", Schedule { jitter: DAY * 2, ..good.clone() }),
        ("schedule.timing", Schedule { ends_at: at("2001-01-01T00:00:00Z"), ..good.clone() }),
        ("schedule.ends_at", {
            let (starts_at, ends_at) = (at("2101-01-01T00:00:00Z"), at("2100-01-01T00:00:00Z"));
            Schedule { starts_at, ends_at, ..good.clone() }
        }),
        ("message.queue", Schedule { message: message(""), ..good.clone() }),
        ("message.available", {
            let mut late = good.clone();
            late.message.available = mainspring_core::Available::After(MINUTE);
            late
        }),
        ("message.headers", {
            let mut forged = good.clone();
            forged.message.headers.insert("schedule".to_owned(), json!(1));
            forged
        }),
    ];
    for (field, schedule) in cases {
        let error = schedules.put(&schedule).await.unwrap_err();
        assert!(error.is_invalid() && error.to_string().starts_with(field), "{field}: {error}");
    }
    for error in [
        schedules.pause("mail", "k").await.unwrap_err(),
        schedules.resume("mail", "k").await.unwrap_err(),
        schedules.run_now("mail", "k").await.unwrap_err(),
        schedules.preview("mail", "k", 1).await.unwrap_err(),
    ] {
        assert!(error.is_not_found(), "{error}");
    }
}

#[tokio::test]
async fn a_paused_schedule_rests_and_goes_on_with_the_next_tick() {
    let test = TestDb::new().await;
    let schedules = PgSchedules::new(&test.db());
    schedules.put(&Schedule { missed: Missed::All { limit: 100 }, ..minutely("k", "mail") }).await.unwrap();
    let paused = schedules.pause("mail", "k").await.unwrap();
    let again = schedules.pause("mail", "k").await.unwrap();
    assert_eq!((paused.next, again.paused_at, again.revision), (None, paused.paused_at, paused.revision));
    test.advance(HOUR).await;
    assert_eq!(schedules.tick().await.unwrap().fired, 0);
    // a new definition does not wake it
    assert!(schedules.put(&minutely("k", "mail")).await.unwrap().paused_at.is_some());
    assert_eq!(schedules.tick().await.unwrap().fired, 0);
    let resumed = schedules.resume("mail", "k").await.unwrap();
    assert!(resumed.paused_at.is_none() && resumed.next > paused.paused_at.map(|at| at + HOUR));
    let again = schedules.resume("mail", "k").await.unwrap();
    assert_eq!((again.next, again.revision), (resumed.next, resumed.revision));
    assert_eq!(schedules.tick().await.unwrap().fired, 0, "an hour of ticks was caught up with");
    test.advance(MINUTE).await;
    assert_eq!(schedules.tick().await.unwrap().fired, 1);
}

#[tokio::test]
async fn a_preview_shows_what_will_fire() {
    let test = TestDb::new().await;
    let schedules = PgSchedules::new(&test.db());
    schedules.put(&minutely("k", "mail")).await.unwrap();
    let preview = schedules.preview("mail", "k", 3).await.unwrap();
    assert_eq!(preview.len(), 3);
    for tick in &preview {
        test.advance(MINUTE).await;
        schedules.tick().await.unwrap();
        assert_eq!(schedules.history("mail", "k", 1).await.unwrap()[0].tick, *tick);
    }
    schedules.pause("mail", "k").await.unwrap();
    assert_eq!(schedules.preview("mail", "k", 2).await.unwrap()[0], preview[2] + MINUTE);
    assert!(schedules.preview("mail", "k", 10_001).await.unwrap_err().is_invalid());
}

#[tokio::test]
async fn a_run_by_hand_is_beside_the_ticks() {
    let test = TestDb::new().await;
    let schedules = PgSchedules::new(&test.db());
    let next = schedules.put(&minutely("k", "mail")).await.unwrap().next;
    let id = schedules.run_now("mail", "k").await.unwrap();
    schedules.pause("mail", "k").await.unwrap();
    schedules.run_now("mail", "k").await.unwrap();
    let pushed = ready(&test, "mail").await;
    assert_eq!(pushed.len(), 2);
    assert_eq!(pushed[0].message.id, id);
    assert_eq!(pushed[0].message.headers["schedule"]["key"], "k");
    let history = schedules.history("mail", "k", 10).await.unwrap();
    assert!(history.iter().all(|fire| fire.outcome == FireOutcome::RunNow));
    assert_eq!(history[1].message_id, Some(id));
    schedules.resume("mail", "k").await.unwrap();
    assert!(schedules.get("mail", "k").await.unwrap().unwrap().next >= next);
}

#[tokio::test]
async fn the_past_of_a_schedule_is_listed_in_pages_of_what_matches() {
    let test = TestDb::new().await;
    let schedules = PgSchedules::new(&test.db());
    schedules.put(&minutely("k", "mail")).await.unwrap();
    let at = |minute: i64| Timestamp::from_micros(1_700_000_000_000_000 + minute * 60_000_000);
    for (minute, outcome) in [(0, "fired"), (1, "skipped"), (2, "fired"), (2, "run_now"), (3, "fired")] {
        let sql = "INSERT INTO {schedule_fires} (queue, key, tick, outcome, missed, fired_at) VALUES ('mail', 'k', $1, $2, 0, $1)";
        test.db().exec(sql, &[&std::time::SystemTime::from(at(minute)), &outcome]).await.unwrap();
    }
    let found = async |filter: FireFilter, limit| {
        let fires = schedules.fires("mail", "k", &filter, limit).await.unwrap();
        fires.into_iter().map(|fire| (fire.tick, fire.outcome)).collect::<Vec<_>>()
    };
    let (mut after, mut pages) = (None, Vec::new());
    loop {
        let page = found(FireFilter { after, ..FireFilter::default() }, 2).await;
        let Some(last) = page.last() else { break };
        after = Some(*last);
        pages.push(page);
    }
    use FireOutcome::{Fired, RunNow, Skipped};
    let (first, second) = ([(at(3), Fired), (at(2), Fired)], [(at(2), RunNow), (at(1), Skipped)]);
    assert_eq!(pages, [first.to_vec(), second.to_vec(), vec![(at(0), Fired)]]);
    let fired = FireFilter { outcome: Some(Fired), ..FireFilter::default() };
    assert_eq!(found(FireFilter { after: Some((at(3), Fired)), ..fired }, 1).await, [(at(2), Fired)]);
    let since = FireFilter { since: Some(at(2)), ..FireFilter::default() };
    assert_eq!(found(since, 0).await, [(at(3), Fired), (at(2), Fired), (at(2), RunNow)]);
    let bad = schedules.fires("mail", "k", &FireFilter::default(), 10_001).await;
    assert!(bad.unwrap_err().is_invalid());
}

#[tokio::test]
async fn a_schedule_of_a_transaction_is_there_with_it_or_not_at_all() {
    let test = TestDb::new().await;
    let schedules = PgSchedules::new(&test.db());
    let mut client = test.client().await;
    for commits in [false, true] {
        let tx = client.transaction().await.unwrap();
        schedules.on(&tx).put(&minutely("k", "mail")).await.unwrap();
        assert!(schedules.get("mail", "k").await.unwrap().is_none());
        if commits {
            tx.commit().await.unwrap();
        } else {
            tx.rollback().await.unwrap();
        }
        assert_eq!(schedules.get("mail", "k").await.unwrap().is_some(), commits);
    }
}
