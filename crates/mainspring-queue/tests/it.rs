//! What is special to the queue on Postgres: plans, concurrency, the caller's transaction. The semantics are in the
//! conformance suite, which the facade runs.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

use std::{collections::HashSet, time::Duration};

use mainspring_core::{
    ClaimRequest, MessageLease, NewMessage, QueueDriver, QueueOptions, QueueStore, Settle, Settlement,
    WorkerId,
};
use mainspring_pg::{Db, Hints, Settings, pool};
use mainspring_queue::PgQueue;
use mainspring_testing::TestDb;
use serde_json::json;

fn messages(n: usize) -> Vec<NewMessage> {
    (0..n).map(|i| NewMessage::new("q", "t", json!({"i": i}))).collect()
}

fn request(max: u32) -> ClaimRequest {
    ClaimRequest::new("q", WorkerId::generate(), Duration::from_secs(30), max)
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_claimed_while_its_holder_was_found_dead_is_taken_back() {
    // invariant I2, fault F05: a worker that was stopped between its claim and the commit of it, for longer than its lease, goes on
    // at the moment at which the sweep has begun and has not locked its row yet. The clock stops the sweep there.
    const GATE: &str =
        "CREATE OR REPLACE FUNCTION {now}() RETURNS timestamptz LANGUAGE plpgsql STABLE AS $$ BEGIN
        IF pg_catalog.current_setting('application_name') = 'sweep' THEN
          PERFORM pg_catalog.pg_advisory_xact_lock(7);
          RETURN pg_catalog.clock_timestamp() + interval '1 hour';
        END IF;
        RETURN pg_catalog.clock_timestamp(); END $$";
    const WAITS: &str = "SELECT FROM pg_locks WHERE locktype = 'advisory' AND objid = 7 AND NOT granted
        AND database = (SELECT oid FROM pg_database WHERE datname = current_database())";
    let db = TestDb::with_pool(4).await;
    let queue = PgQueue::new(&db.db());
    queue.push(messages(1)).await.unwrap();
    let holder = WorkerId::generate();
    queue.register(&holder, Duration::from_secs(30)).await.unwrap();
    let mut client = db.client().await;
    let claiming = client.transaction().await.unwrap();
    let request = ClaimRequest::new("q", holder, Duration::from_secs(30), 1);
    assert_eq!(queue.on(&claiming).claim(request).await.unwrap().deliveries.len(), 1);

    let gate = db.client().await;
    gate.batch_execute(&db.names().render(GATE)).await.unwrap();
    gate.execute("SELECT pg_advisory_lock(7)", &[]).await.unwrap();
    let only = Db::new(pool(db.settings(), 1).unwrap(), db.names().clone());
    only.exec("SELECT set_config('application_name', 'sweep', false)", &[]).await.unwrap();
    let sweep = tokio::spawn(async move { PgQueue::new(&only).maintain().await });
    while gate.query_opt(WAITS, &[]).await.unwrap().is_none() {}
    claiming.commit().await.unwrap();
    gate.execute("SELECT pg_advisory_unlock(7)", &[]).await.unwrap();
    let upkeep = sweep.await.unwrap().unwrap();
    assert_eq!((upkeep.dead_holders, upkeep.reclaimed), (1, 1));
    assert_eq!(queue.stats("q").await.unwrap().ready, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_claim_under_way_when_its_holder_leaves_is_given_back() {
    // invariant I2: its answer is waited for by nobody any more, such as that of a worker that stops
    const WAITS: &str =
        "SELECT FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'";
    let db = TestDb::with_pool(4).await;
    let queue = PgQueue::new(&db.db());
    queue.push(messages(1)).await.unwrap();
    let holder = WorkerId::generate();
    queue.register(&holder, Duration::from_secs(30)).await.unwrap();
    let mut client = db.client().await;
    let claiming = client.transaction().await.unwrap();
    let request = ClaimRequest::new("q", holder.clone(), Duration::from_secs(30), 1);
    assert_eq!(queue.on(&claiming).claim(request).await.unwrap().deliveries.len(), 1);
    let leaving = queue.clone();
    let leaving = tokio::spawn(async move { leaving.release(&holder).await });
    let looking = db.client().await;
    while looking.query_opt(WAITS, &[]).await.unwrap().is_none() {}
    claiming.commit().await.unwrap();
    assert_eq!(leaving.await.unwrap().unwrap(), 1);
    assert_eq!(queue.stats("q").await.unwrap().ready, 1);
}

#[tokio::test]
async fn a_claim_never_brings_more_than_its_limit_whatever_the_plan() {
    // T10: the planner may run a limited subquery once per row.
    let db = TestDb::with_pool(1).await;
    let queue = PgQueue::new(&db.db());
    queue.push(messages(2_000)).await.unwrap();
    let off = [
        "enable_hashjoin",
        "enable_mergejoin",
        "enable_seqscan",
        "enable_tidscan",
        "enable_indexscan",
        "enable_material",
    ];
    for setting in off {
        db.db().exec("SELECT set_config($1, 'off', false)", &[&setting]).await.unwrap();
        for _ in 0..7 {
            assert_eq!(
                queue.claim(request(10)).await.unwrap().deliveries.len(),
                10,
                "{setting} and those before it off"
            );
        }
    }
    assert_eq!(queue.stats("q").await.unwrap().claimed, 10 * 7 * off.len() as u64);
}

#[tokio::test]
async fn of_a_batch_each_is_fenced_by_its_own_token() {
    // X2: the tokens of two claims, each with the message of the other one.
    let db = TestDb::new().await;
    let queue = PgQueue::new(&db.db());
    queue.push(messages(2)).await.unwrap();
    let first = queue.claim(request(1)).await.unwrap().deliveries.remove(0).lease;
    let second = queue.claim(request(1)).await.unwrap().deliveries.remove(0).lease;
    assert_ne!(first.token, second.token);
    let done = |seq, token| Settle::new(MessageLease { seq, token, ..first.clone() }, Settlement::Done);
    let crossed = vec![done(first.seq, second.token), done(second.seq, first.token)];
    for refused in queue.settle(crossed).await.unwrap() {
        assert!(refused.unwrap_err().is_fenced());
    }
    let own =
        vec![done(first.seq, first.token), done(first.seq, second.token), done(second.seq, second.token)];
    let settled: Vec<bool> = queue.settle(own).await.unwrap().iter().map(Result::is_ok).collect();
    assert_eq!(settled, [true, false, true]);
}

#[tokio::test]
async fn f72_a_message_is_there_although_nobody_can_be_told() {
    let db = TestDb::new().await;
    let nowhere = Settings::parse("postgres://127.0.0.1:1/none").unwrap();
    let names = db.db().names().clone();
    let hints = Hints::new(Some(Db::new(pool(&nowhere, 1).unwrap(), names.clone())), Some(nowhere), names);
    let queue = PgQueue::new(&db.db()).with_hints(hints);
    for _ in 0..50 {
        queue.push(messages(2)).await.unwrap();
    }
    assert_eq!(queue.claim(request(200)).await.unwrap().deliveries.len(), 100);
}

#[tokio::test]
async fn concurrent_consumers_take_every_message_once() {
    // fault F47, Q49, Q58
    let db = TestDb::new().await;
    let queue = PgQueue::new(&db.db());
    queue.push(messages(1_000)).await.unwrap();
    let consumers = (0..6).map(|_| {
        let queue = queue.clone();
        tokio::spawn(async move {
            let mut seen = Vec::new();
            loop {
                let deliveries = queue.claim(request(20)).await.unwrap().deliveries;
                if deliveries.is_empty() {
                    return seen;
                }
                seen.extend(deliveries.iter().map(|d| d.message.id.clone()));
                let done = |lease| Settle::new(lease, Settlement::Done);
                let settles = deliveries.into_iter().map(|d| done(d.lease)).collect();
                assert!(queue.settle(settles).await.unwrap().iter().all(Result::is_ok));
            }
        })
    });
    let mut all = Vec::new();
    for consumer in consumers.collect::<Vec<_>>() {
        all.extend(consumer.await.unwrap());
    }
    assert_eq!(all.len(), 1_000);
    assert_eq!(all.into_iter().collect::<HashSet<_>>().len(), 1_000);
}

#[tokio::test]
async fn the_hot_statements_stay_on_their_index_with_many_rows_and_no_statistics() {
    let db = TestDb::with_pool(1).await;
    let queue = PgQueue::new(&db.db());
    for _ in 0..10 {
        queue.push(messages(1_000)).await.unwrap();
    }
    let client = db.client().await;
    client
        .batch_execute("SET enable_sort = off; SET enable_bitmapscan = off; SET enable_seqscan = off")
        .await
        .unwrap();
    let plan = format!(
        "EXPLAIN SELECT ctid FROM {} WHERE queue = 'q' AND holder IS NULL ORDER BY priority DESC, seq LIMIT 100 FOR UPDATE SKIP LOCKED",
        db.names().table("messages")
    );
    let lines: Vec<String> = client.query(&plan, &[]).await.unwrap().iter().map(|row| row.get(0)).collect();
    let text = lines.join("\n");
    assert!(
        text.contains("messages_order") && !text.contains("Sort") && !text.contains("Seq Scan"),
        "{text}"
    );
}

#[tokio::test]
async fn a_push_in_a_transaction_is_there_with_it_or_not_at_all() {
    let db = TestDb::new().await;
    let queue = PgQueue::new(&db.db());
    let mut client = db.client().await;
    for (commits, ready) in [(false, 0), (true, 3)] {
        let tx = client.transaction().await.unwrap();
        queue.on(&tx).push(messages(3)).await.unwrap();
        assert_eq!(queue.stats("q").await.unwrap().ready, 0);
        if commits {
            tx.commit().await.unwrap();
        } else {
            tx.rollback().await.unwrap();
        }
        assert_eq!(queue.stats("q").await.unwrap().ready, ready);
    }
}

#[tokio::test]
async fn a_claim_does_not_wait_for_one_that_is_under_way() {
    // fault F60: and takes none of its messages
    let db = TestDb::new().await;
    let queue = PgQueue::new(&db.db());
    queue.push(messages(20)).await.unwrap();
    let (mut client, all) = (db.client().await, db.db());
    let tx = client.transaction().await.unwrap();
    let slow = PgQueue::new(&all).on(&tx).claim(request(10)).await.unwrap().deliveries;
    let fast = queue.claim(request(20)).await.unwrap().deliveries;
    let ids: HashSet<_> = slow.iter().chain(&fast).map(|delivery| delivery.message.id.clone()).collect();
    assert_eq!((slow.len(), fast.len(), ids.len()), (10, 10, 20));
    tx.rollback().await.unwrap();
    assert_eq!(
        queue.claim(request(20)).await.unwrap().deliveries.len(),
        10,
        "what was given up is there again"
    );
}

#[tokio::test]
async fn a_message_that_cannot_be_read_is_given_up_and_the_others_go_on() {
    // fault F86, T16: what Postgres stores and nobody else can read, written past all checks
    let db = TestDb::new().await;
    let queue = PgQueue::new(&db.db());
    queue.push(messages(6)).await.unwrap();
    let client = db.client().await;
    let table = db.names().table("messages");
    let poison = [("data", "'1e400'", 1), ("headers", "'[1]'", 2), ("lost", "-1", 3), ("failures", "-1", 4)];
    for (column, value, n) in poison {
        let sql =
            format!("UPDATE {table} SET {column} = {value} WHERE seq = (SELECT min(seq) + {n} FROM {table})");
        client.batch_execute(&sql).await.unwrap();
    }
    let claimed = queue.claim(request(10)).await.unwrap().deliveries;
    assert_eq!(claimed.iter().map(|d| d.message.data["i"].clone()).collect::<Vec<_>>(), [json!(0), json!(5)]);
    let dead = queue.dead_letters("q", 10).await.unwrap();
    assert!(dead.iter().all(|dead| dead.reason.code == "UNREADABLE" && dead.message.message_type == "t"));
    let stats = queue.stats("q").await.unwrap();
    assert_eq!((dead.len(), stats.ready, stats.claimed, stats.dead), (4, 0, 2, 4));
}

#[tokio::test]
async fn the_reason_of_an_unreadable_message_quotes_nothing_of_it() {
    let db = TestDb::new().await;
    let queue = PgQueue::new(&db.db());
    queue.create_queue("q", QueueOptions::default()).await.unwrap();
    queue.push(messages(1)).await.unwrap();
    let table = db.names().table("messages");
    let poison = format!("UPDATE {table} SET options = jsonb_build_object('origin', 'canary')");
    db.client().await.batch_execute(&poison).await.unwrap();
    assert!(queue.claim(request(10)).await.unwrap().deliveries.is_empty());
    let dead = queue.dead_letters("q", 10).await.unwrap();
    assert_eq!(dead.len(), 1);
    let reason = &dead[0].reason.message;
    assert!(reason.contains("options") && !reason.contains("canary"), "{reason}");
}

/// Polls a future so often, then drops it; whether it had ended before.
async fn polled<T>(future: impl Future<Output = T>, times: usize) -> Option<T> {
    let mut future = std::pin::pin!(future);
    let mut left = times;
    std::future::poll_fn(|context| match left {
        0 => std::task::Poll::Ready(None),
        _ => {
            left -= 1;
            let polled = future.as_mut().poll(context).map(Some);
            if left == 0 && polled.is_pending() {
                context.waker().wake_by_ref();
            }
            polled
        }
    })
    .await
}

/// Waits until the server has done, or given up, what a dropped call had sent: its connection is gone then.
async fn settled_down(db: &TestDb, watch: &mainspring_pg::Session) {
    const LIVE: &str = "SELECT count(*), count(*) FILTER (WHERE state <> 'idle') FROM pg_stat_activity
        WHERE datname = current_database() AND pid <> pg_backend_pid() AND backend_type = 'client backend'";
    loop {
        let row = watch.query_one(LIVE, &[]).await.unwrap();
        let (live, busy): (i64, i64) = (row.get(0), row.get(1));
        if live <= db.pool().status().size as i64 && busy == 0 {
            return;
        }
        tokio::task::yield_now().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn dropped_at_any_moment_a_call_is_whole_or_not_at_all_and_leaves_a_clean_connection() {
    // fault F34, I10: push, claim and settle, of a plain queue and of one whose messages are held back
    use mainspring_core::{Policy, QueueOptions, QueueStore};
    let db = TestDb::with_pool(1).await;
    let (queue, watch) = (PgQueue::new(&db.db()), db.client().await);
    let options = QueueOptions { policy: Policy::KeyStrictFifo, ..QueueOptions::default() };
    queue.create_queue("keys", options).await.unwrap();
    for name in ["q", "keys"] {
        let batch = |n: u64| -> Vec<NewMessage> {
            let key = (name == "keys").then(|| "k".to_owned());
            (0..3)
                .map(|i| NewMessage { key: key.clone(), ..NewMessage::new(name, "t", json!([n, i])) })
                .collect()
        };
        let mut ended = [false; 3];
        let mut times = 1;
        while ended != [true; 3] {
            assert!(times < 200, "{name}: {ended:?}");
            let before = queue.stats(name).await.unwrap();
            ended[0] = polled(queue.push(batch(times as u64)), times).await.is_some();
            settled_down(&db, &watch).await;
            let here = db.db();
            let clean = here
                .one("SELECT pg_current_xact_id_if_assigned() IS NULL, now() = statement_timestamp()", &[]);
            let clean = clean.await.unwrap();
            assert!(
                mainspring_pg::row::get::<bool>(&clean, 0).unwrap(),
                "in a transaction after {times} polls"
            );
            let after = queue.stats(name).await.unwrap();
            let stored = (after.ready + after.held) - (before.ready + before.held);
            assert!(stored == 0 || stored == 3, "{name}, {times} polls: {stored} of 3");

            let holder = WorkerId::generate();
            let ask = ClaimRequest::new(name, holder.clone(), Duration::from_secs(30), 2);
            ended[1] = polled(queue.claim(ask), times).await.is_some();
            settled_down(&db, &watch).await;
            queue.release(&holder).await.unwrap();
            assert_eq!(
                queue.stats(name).await.unwrap(),
                after,
                "{name}, {times} polls: claimed and released"
            );

            let ask = ClaimRequest::new(name, holder.clone(), Duration::from_secs(30), 1);
            if let Some(held) = queue.claim(ask).await.unwrap().deliveries.pop() {
                let settle = || vec![Settle::new(held.lease.clone(), Settlement::Done)];
                ended[2] = polled(queue.settle(settle()), times).await.is_some();
                settled_down(&db, &watch).await;
                let left = queue.stats(name).await.unwrap();
                let gone = left.claimed == 0;
                let again = queue.settle(settle()).await.unwrap().remove(0);
                assert_eq!(again.is_ok(), !gone, "{name}, {times} polls: the lease is gone with the message");
            }
            assert!(queue.check_queues().await.unwrap().is_empty(), "{name}, {times} polls");
            times += 1;
        }
    }
}

#[tokio::test]
async fn what_lies_before_where_claims_begin_is_found_and_a_better_priority_at_once() {
    // a transaction that is open for long, and a process that claims all the while and remembers how far it has come
    let db = TestDb::new().await;
    let queue = PgQueue::new(&db.db());
    let mut client = db.client().await;
    let tx = client.transaction().await.unwrap();
    queue.on(&tx).push(vec![NewMessage::new("q", "t", json!({"i": "late"}))]).await.unwrap();
    for _ in 0..4 {
        queue.push(messages(1_000)).await.unwrap();
    }
    let mut open = Some(tx);
    let mut seen = Vec::new();
    loop {
        if seen.len() == 2_000 {
            open.take().unwrap().commit().await.unwrap();
        }
        let urgent = seen.len() % 500 == 0;
        if urgent {
            let message =
                NewMessage { priority: Some(5), ..NewMessage::new("q", "t", json!({"i": "urgent"})) };
            queue.push(vec![message]).await.unwrap();
        }
        let held = queue.claim(request(10)).await.unwrap().deliveries;
        if held.is_empty() {
            break;
        }
        assert_eq!(held[0].message.data["i"] == json!("urgent"), urgent, "after {}", seen.len());
        let kept = held.iter().filter(|d| d.message.data["i"] != json!("urgent"));
        seen.extend(kept.map(|d| d.message.data["i"].to_string()));
        let done = |lease| Settle::new(lease, Settlement::Done);
        queue.settle(held.into_iter().map(|d| done(d.lease)).collect()).await.unwrap();
        if urgent && open.is_some() {
            // the nine beside it: in steps of ten again
            let rest = queue.claim(request(1)).await.unwrap().deliveries;
            seen.extend(rest.iter().map(|d| d.message.data["i"].to_string()));
            queue.settle(rest.into_iter().map(|d| done(d.lease)).collect()).await.unwrap();
        }
    }
    assert_eq!((seen.len(), seen.iter().filter(|i| *i == "\"late\"").count()), (4_001, 1));
}

#[tokio::test]
async fn after_a_thousand_failures_a_message_still_waits_an_hour_at_most() {
    // fault F87: in both statements that settle
    use mainspring_core::{Failure, QueueOptions, QueueStore};
    let db = TestDb::new().await;
    let queue = PgQueue::new(&db.db());
    queue.create_queue("made", QueueOptions::default()).await.unwrap();
    let storm = |name: &str| (0..500).map(|_| NewMessage::new(name, "t", json!(1))).collect();
    for name in ["q", "made"] {
        queue.push(storm(name)).await.unwrap();
        let sql = format!(
            "UPDATE {} SET failures = 1000000000, max_attempts = 2000000000",
            db.names().table("messages")
        );
        db.client().await.batch_execute(&sql).await.unwrap();
        let ask = || ClaimRequest::new(name, WorkerId::generate(), Duration::from_secs(30), 1_000);
        let held = queue.claim(ask()).await.unwrap().deliveries;
        let again =
            |lease| Settle::new(lease, Settlement::Retry { error: Failure::new("BOOM", "it failed") });
        let settled = queue.settle(held.into_iter().map(|d| again(d.lease)).collect()).await.unwrap();
        assert!(settled.len() == 500 && settled.iter().all(Result::is_ok), "{name}");
        let spread = "SELECT count(*), max(available_at) - now() <= interval '1 hour',
            max(available_at) - min(available_at) > interval '10 minutes' FROM {deferred} WHERE queue = $1";
        let row = db.db().one(spread, &[&name]).await.unwrap();
        let read = |n| mainspring_pg::row::get::<bool>(&row, n).unwrap();
        assert!(read(1) && read(2), "{name}: capped, and not all at once");
    }
}

#[tokio::test]
async fn a_hint_between_a_claim_and_the_wait_is_not_lost() {
    // Q47
    let db = TestDb::new().await;
    let queue = PgQueue::new(&db.db()).with_hints(mainspring_pg::Hints::poll_only());
    for _ in 0..2 {
        assert!(queue.claim(request(1)).await.unwrap().deliveries.is_empty());
        queue.push(messages(1)).await.unwrap();
        let (limit, poll) = (Duration::from_secs(20), Duration::from_secs(60));
        assert!(tokio::time::timeout(limit, queue.wait("q", poll)).await.is_ok());
        assert_eq!(queue.claim(request(1)).await.unwrap().deliveries.len(), 1);
    }
    let nothing = tokio::time::timeout(Duration::from_millis(50), queue.wait("q", Duration::from_secs(60)));
    assert!(nothing.await.is_err(), "a claim has seen what came before it");
}

#[tokio::test]
async fn what_is_wrong_with_the_database_is_told_by_a_claim() {
    // Q06: not as a queue with nothing in it
    let db = TestDb::new().await;
    let queue = PgQueue::new(&db.db());
    queue.push(messages(1)).await.unwrap();
    let rename = |from: &str, to: &str| format!("ALTER TABLE {} RENAME TO {to}", db.names().table(from));
    let prefix = db.names().prefix().to_owned();
    let client = db.client().await;
    client.batch_execute(&rename("workers", &format!("{prefix}gone"))).await.unwrap();
    assert_eq!(queue.claim(request(1)).await.unwrap_err().kind(), mainspring_core::ErrorKind::Schema);
    client.batch_execute(&rename("gone", &format!("{prefix}workers"))).await.unwrap();
    assert_eq!(queue.claim(request(1)).await.unwrap().deliveries.len(), 1);
}

#[tokio::test]
async fn what_a_gate_lets_through_is_found_by_its_index() {
    // a comparison of two collations goes by no index of the other one: a key was as slow as all messages that were held
    let db = TestDb::new().await;
    let client = db.client().await;
    let (held, gates) = (db.names().table("held"), db.names().table("gates"));
    client
        .batch_execute("SET enable_seqscan = off; SET enable_bitmapscan = off; SET enable_hashjoin = off")
        .await
        .unwrap();
    let plan = format!(
        "EXPLAIN SELECT h.seq FROM {gates} g CROSS JOIN LATERAL (SELECT h.seq FROM {held} h
           WHERE h.queue = g.queue AND h.gate = g.gate ORDER BY h.priority DESC, h.seq LIMIT 1) h"
    );
    let lines: Vec<String> = client.query(&plan, &[]).await.unwrap().iter().map(|row| row.get(0)).collect();
    let text = lines.join("\n");
    assert!(
        text.contains("held_next") && text.contains("(gate = g.gate)") && !text.contains("Sort"),
        "{text}"
    );
}
