//! The SQL door: the same push and the same checks, for programs that are not written in Rust.

use std::time::Duration;

use mainspring_core::{NewMessage, Policy, QueueDriver, QueueOptions, QueueStore, limits};
use mainspring_pg::Hints;
use mainspring_queue::PgQueue;
use mainspring_testing::TestDb;
use serde_json::{Map, Value, json};

use super::{HOUR, ready};

/// `SELECT ms_push(…)` as psql would send it.
async fn push(test: &TestDb, arguments: &str) -> Result<String, String> {
    let sql = format!("SELECT {}({arguments})", test.names().table("push"));
    match test.client().await.query_one(&sql, &[]).await {
        Ok(row) => Ok(row.get(0)),
        Err(error) => {
            let error = error.as_db_error().unwrap();
            assert_eq!(error.code().code(), "22023", "{error}");
            Err(error.message().to_owned())
        }
    }
}

#[tokio::test]
async fn a_push_from_sql_is_as_one_from_rust() {
    // Q48
    let test = TestDb::new().await;
    let id = push(&test, r#"'mail', 'welcome', '{"to": "ada"}'"#).await.unwrap();
    let all = r#"'mail', 'welcome', '[1, null]', priority => 7, max_attempts => 9, headers => '{"trace": "t"}', id => 'm-1',
        tenant => 'acme', source => 'crm', subject => 'exec_1', recipient => 'ada', wake => true"#;
    assert_eq!(push(&test, all).await.unwrap(), "m-1");
    let claimed = ready(&test, "mail").await;
    let plain = NewMessage::new("mail", "welcome", json!({"to": "ada"}));
    let rust = PgQueue::new(&test.db());
    rust.push(vec![plain]).await.unwrap();
    let mut expected = ready(&test, "mail").await.remove(0).message;
    expected.id = claimed[1].message.id.clone();
    assert_eq!(expected.id.as_str(), id);
    (expected.priority, expected.max_attempts) = (Some(0), Some(3));
    assert_eq!(claimed[1].message, expected);
    let mut special = NewMessage::new("mail", "welcome", json!([1, null]));
    special.id = claimed[0].message.id.clone();
    special.available = claimed[0].message.available;
    special.priority = Some(7);
    special.max_attempts = Some(9);
    special.headers.insert("trace".to_owned(), json!("t"));
    special.tenant = "acme".to_owned();
    special.source = Some("crm".to_owned());
    special.subject = Some("exec_1".to_owned());
    special.to = Some("ada".to_owned());
    assert_eq!(special.id.as_str(), "m-1");
    assert_eq!(claimed[0].message, special);
}

#[tokio::test]
async fn it_is_there_with_the_transaction_of_the_caller_or_not_at_all() {
    // Q48
    let test = TestDb::new().await;
    let queue = PgQueue::new(&test.db());
    let client = test.client().await;
    let name = test.names().table("push");
    for (end, expected) in [("ROLLBACK", 0), ("COMMIT", 2)] {
        let begin = format!("BEGIN; SELECT {name}('q', 't', '1'); SELECT {name}('q', 't', '2')");
        client.batch_execute(&begin).await.unwrap();
        assert_eq!(queue.stats("q").await.unwrap().ready, 0);
        client.batch_execute(end).await.unwrap();
        assert_eq!(queue.stats("q").await.unwrap().ready, expected);
    }
}

#[tokio::test]
async fn it_can_be_put_off() {
    // Q02
    let test = TestDb::new().await;
    push(&test, "'q', 't', '1', delay => '30 minutes'").await.unwrap();
    push(&test, "'q', 't', '2', at => now() + interval '2 hours'").await.unwrap();
    push(&test, "'q', 't', '3', delay => '0'").await.unwrap();
    push(&test, "'q', 't', '4', at => '1999-12-31'").await.unwrap();
    let mut all = Vec::new();
    for expected in [2, 1, 1] {
        let now = ready(&test, "q").await;
        assert_eq!(now.len(), expected);
        all.extend(now.into_iter().map(|d| d.message.data));
        test.advance(HOUR).await;
    }
    assert_eq!(all[2..], [json!(1), json!(2)]);
}

#[tokio::test]
async fn bad_input_is_refused_with_the_field_and_the_limit() {
    let test = TestDb::new().await;
    let long = "x".repeat(256);
    let cases = [
        ("'', 't', '1'".to_owned(), "message.queue: must not be empty"),
        ("NULL, 't', '1'".to_owned(), "message.queue: must not be empty"),
        (format!("'{}', 't', '1'", "é".repeat(65)), "message.queue: 130 bytes, at most 128 are allowed"),
        ("'q', E'a\\nb', '1'".to_owned(), "message.type: has control characters"),
        ("'q', E'a\\u0085b', '1'".to_owned(), "message.type: has control characters"),
        ("'q', 't', NULL".to_owned(), "message.data: must not be NULL; null as JSON is allowed"),
        (format!("'q', 't', '1', id => '{long}'"), "message.id: 256 bytes, at most 255 are allowed"),
        (format!("'q', 't', '1', tenant => '{long}'"), "message.tenant: 256 bytes, at most 255 are allowed"),
        ("'q', 't', '1', recipient => ''".to_owned(), "message.to: must not be empty"),
        (
            "'q', 't', '1', priority => 40000".to_owned(),
            "message.priority: 40000 is not within -32768 to 32767",
        ),
        ("'q', 't', '1', max_attempts => 0".to_owned(), "message.max_attempts: 0 is not within 1 to 1000"),
        ("'q', 't', '1', headers => '[]'".to_owned(), "message.headers: is not an object"),
        (
            "'q', 't', '1', delay => '-1 s'".to_owned(),
            "message.available: -00:00:01 is not within 0 to 36500 days",
        ),
        (
            "'q', 't', '1', delay => '101 years'".to_owned(),
            "message.available: 101 years is not within 0 to 36500 days",
        ),
        (
            "'q', 't', '1', at => 'infinity'".to_owned(),
            "message.available: infinity is not within the years 1970 to 9999",
        ),
        (
            "'q', 't', '1', delay => '1 s', at => now()".to_owned(),
            "message.available: either a delay or a time",
        ),
        ("'q', 't', '1e400'".to_owned(), "message.data: has a number larger than 1.8e308"),
    ];
    for (arguments, expected) in cases {
        assert_eq!(push(&test, &arguments).await.unwrap_err(), expected, "{arguments}");
    }
    assert_eq!(PgQueue::new(&test.db()).stats("q").await.unwrap(), Default::default());
}

#[tokio::test]
async fn sizes_are_measured_as_in_rust() {
    // scenario F28: at the limit and one over it, both doors agree
    let test = TestDb::new().await;
    let text = |n: usize| json!("é\"".repeat(n / 3) + &"x".repeat(n % 3));
    let nested = |levels: usize| (0..levels).fold(json!(1), |inner, _| json!([inner]));
    let keys = |n: usize| Value::Object((0..n).map(|i| (i.to_string(), json!(true))).collect::<Map<_, _>>());
    let numbers = |n: usize| json!(vec![1; n]);
    // an array of n numbers counts 9 n + 2
    let most = limits::MAX_PAYLOAD;
    let values = [
        text(most - 2),
        text(most - 1),
        nested(limits::MAX_DEPTH),
        nested(limits::MAX_DEPTH + 1),
        keys(limits::MAX_KEYS),
        keys(limits::MAX_KEYS + 1),
        numbers((most - 2) / 9),
        numbers((most - 2) / 9 + 1),
        json!({"a": [1, "b", {"c": null, "d": [true, false, 1.5e300]}]}),
    ];
    let mut accepted = 0;
    for value in values {
        let quoted = value.to_string().replace('\'', "''");
        let sql = push(&test, &format!("'q', 't', '{quoted}'")).await;
        let rust = NewMessage::new("q", "t", value).check();
        assert_eq!(sql.as_ref().err().cloned(), rust.err().map(|e| e.to_string()));
        accepted += usize::from(sql.is_ok());
    }
    assert_eq!(accepted, 5);
    for (n, fits) in [(16_384 - 2 - 5 - 2, true), (16_384 - 2 - 5 - 1, false)] {
        let headers = json!({"a": "x".repeat(n)});
        let sql = push(&test, &format!("'q', 't', '1', headers => '{headers}'")).await;
        let mut message = NewMessage::new("q", "t", json!(1));
        message.headers.insert("a".to_owned(), json!("x".repeat(n)));
        assert_eq!(sql.err(), message.check().err().map(|e| e.to_string()));
        assert_eq!(message.check().is_ok(), fits);
    }
    assert_eq!(ready(&test, "q").await.len(), 6);
}

#[tokio::test]
async fn a_queue_that_was_created_is_treated_as_it_says() {
    // Q16, Q19, Q22
    let test = TestDb::new().await;
    let queue = PgQueue::new(&test.db());
    let options = QueueOptions { policy: Policy::Exclusive, delay: HOUR, ..QueueOptions::default() };
    queue.create_queue("one", options).await.unwrap();
    queue.create_queue("any", QueueOptions::default()).await.unwrap();
    let first = push(&test, "'one', 't', '1', key => 'k'").await.unwrap();
    assert_eq!(push(&test, "'one', 't', '2', key => 'k'").await.unwrap(), first);
    assert_ne!(push(&test, "'one', 't', '3', key => 'other'").await.unwrap(), first);
    assert_eq!(queue.stats("one").await.unwrap().deferred, 2, "not with the delay of the queue");
    let throttled = "'any', 't', '1', key => 'k', unique_by => 'throttle', unique_for => '50 years'";
    let first = push(&test, throttled).await.unwrap();
    assert_eq!(push(&test, throttled).await.unwrap(), first);
    push(&test, "'any', 't', '1', group_id => 'acme', tier => 'gold'").await.unwrap();
    assert_eq!(ready(&test, "any").await.len(), 2);
    let refused = [
        ("'never', 't', '1', key => 'k'", "a queue that was created, and `never` was not"),
        ("'any', 't', '1', tier => 'gold'", "message.group.tier: is the tier of a group, and there is none"),
        ("'any', 't', '1', unique_by => 'often'", "message.unique: `often` is not"),
        ("'any', 't', '1', unique_by => 'for'", "message.unique: for, throttle and debounce need unique_for"),
        (
            "'any', 't', '1', unique_for => '1 h'",
            "message.unique: for, throttle and debounce need unique_for",
        ),
        (
            "'any', 't', '1', unique_by => 'for', unique_for => '0'",
            "message.unique: 00:00:00 is not within 1 ms",
        ),
    ];
    for (arguments, expected) in refused {
        let error = push(&test, arguments).await.unwrap_err();
        assert!(error.contains(expected), "{arguments}: {error}");
    }
}

#[tokio::test]
async fn it_wakes_a_waiting_worker_when_it_is_told_to() {
    // Q47
    let test = TestDb::new().await;
    let hints = Hints::new(None, Some(test.settings().clone()), test.names().clone());
    let mut waiting = hints.subscribe("q");
    let minute = Duration::from_secs(60);
    assert!(waiting.wait(minute).await, "everybody is woken once the connection listens");
    push(&test, "'q', 't', '1'").await.unwrap();
    push(&test, "'q', 't', '2', wake => true").await.unwrap();
    assert!(waiting.wait(minute).await);
}
