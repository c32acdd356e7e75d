//! Output streams on Postgres (W38 to W40, weakness 9): what only it can do wrong.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test ends in a panic when it fails")]

use std::{collections::HashMap, time::Duration};

use bytes::Bytes;
use futures_util::{StreamExt, TryStreamExt, future::join_all};
use mainspring_core::{ChunkQuery, OutputStore, OutputStream};
use mainspring_output::{PgOutputStore, output_hint};
use mainspring_pg::Hints;
use mainspring_testing::{Proxy, TestDb};
use tokio::task::JoinSet;

fn named(n: usize) -> OutputStream {
    OutputStream::named(format!("s{n}"))
}

/// A process of its own, as far as hints go.
fn process(test: &TestDb, proxy: Option<&Proxy>) -> PgOutputStore<'static> {
    let settings = proxy.map_or(test.settings(), Proxy::settings).clone();
    let hints = Hints::new(Some(test.db()), Some(settings), test.names().clone());
    PgOutputStore::new(&test.db()).with_hints(hints).with_shared_writes()
}

/// Readers tail streams while writers write and the LISTEN connection is cut twice: every reader sees every chunk once, in
/// order. `MAINSPRING_LONG=1` makes it the long one.
#[tokio::test(flavor = "multi_thread")]
async fn every_reader_sees_every_chunk_once_in_order_while_listening_breaks() {
    let long = std::env::var_os("MAINSPRING_LONG").is_some();
    let (readers, streams, writers, each) = if long { (50, 20, 10, 10_000) } else { (20, 8, 4, 600) };
    let test = TestDb::with_pool(16).await;
    let proxy = Proxy::before(&test).await.unwrap();
    let (writing, reading) = (process(&test, None), process(&test, Some(&proxy)));
    let mut tasks = JoinSet::new();
    for reader in 0..readers {
        let reading = reading.clone();
        tasks.spawn(async move {
            // Each chunk says who wrote it and which of its it is.
            let mut next: HashMap<String, usize> = HashMap::new();
            let mut index = 0;
            let mut chunks = reading.read(&named(reader % streams), 0);
            while let Some(chunk) = chunks.next().await {
                let chunk = chunk.unwrap();
                assert_eq!(chunk.index, index);
                index += 1;
                let text = String::from_utf8(chunk.data.to_vec()).unwrap();
                let (writer, n) = text.split_once('.').unwrap();
                let expected = next.entry(writer.to_owned()).or_default();
                assert_eq!(n.parse::<usize>().unwrap(), *expected, "{writer}");
                *expected += 1;
            }
            assert_eq!(next.values().sum::<usize>() as i64, index);
            (reader % streams, index)
        });
    }
    let mut writes = JoinSet::new();
    for writer in 0..writers {
        let writing = writing.clone();
        writes.spawn(async move {
            let mut counts = vec![0_usize; streams];
            for n in 0..each {
                let stream = (n * 7 + writer) % streams;
                let chunk = Bytes::from(format!("{writer}.{}", counts[stream]));
                counts[stream] += 1;
                assert!(writing.write(&named(stream), chunk).await.unwrap().is_some());
            }
            counts
        });
    }
    let cuts = async {
        for cut in 1..=2 {
            while total(&test).await < (writers * each * cut / 3) as i64 {
                tokio::task::yield_now().await;
            }
            proxy.refuse(true);
            test.client().await.batch_execute(CUT).await.unwrap();
            proxy.refuse(false);
        }
    };
    let (written, ()) = tokio::join!(writes.join_all(), cuts);
    let mut counts = vec![0; streams];
    for (stream, count) in written.iter().flat_map(|counts| counts.iter().enumerate()) {
        counts[stream] += *count as i64;
    }
    for stream in 0..streams {
        assert!(writing.close(&named(stream)).await.unwrap());
    }
    for (stream, seen) in tasks.join_all().await {
        assert_eq!(seen, counts[stream]);
    }
}

/// The sessions that listen.
const CUT: &str = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity
  WHERE datname = current_database() AND pid <> pg_backend_pid() AND (query ILIKE 'LISTEN%' OR query = 'SELECT 1')";

async fn total(test: &TestDb) -> i64 {
    let sql = "SELECT coalesce(sum(chunks), 0)::bigint FROM {output_streams}";
    test.db().one(sql, &[]).await.unwrap().get(0)
}

/// A reader of another process that would look by itself only after an hour.
#[tokio::test]
async fn a_commit_wakes_the_reader_of_another_process() {
    let test = TestDb::new().await;
    let (here, there) = (process(&test, None), process(&test, None).with_poll(Duration::from_secs(3_600)));
    let mut reader = there.read(&named(0), 0);
    for n in 0..20_i64 {
        // It waits already, or looks after this: both must find it.
        let write = async {
            tokio::task::yield_now().await;
            here.write(&named(0), n.to_string().into()).await
        };
        let (chunk, _) = tokio::join!(reader.next(), write);
        assert_eq!(chunk.unwrap().unwrap().index, n);
    }
    let (end, _) = tokio::join!(reader.next(), async { here.close(&named(0)).await });
    assert!(end.is_none());
}

#[tokio::test]
async fn a_reader_that_hears_nothing_looks_by_itself() {
    let test = TestDb::new().await;
    let deaf = PgOutputStore::new(&test.db()).with_poll(Duration::from_millis(20));
    let other = PgOutputStore::new(&test.db());
    let readers = (0..3).map(|_| deaf.read(&named(0), 0).try_collect::<Vec<_>>());
    let write = async {
        for n in 0..3 {
            other.write(&named(0), n.to_string().into()).await.unwrap();
        }
        other.close(&named(0)).await.unwrap();
    };
    let (read, ()) = tokio::join!(join_all(readers), write);
    for chunks in read {
        assert_eq!(chunks.unwrap().len(), 3);
    }
}

/// Readers of one stream share what one of them reads.
#[tokio::test]
async fn many_readers_of_a_stream_cost_about_as_much_as_one() {
    let test = TestDb::new().await;
    let store = PgOutputStore::new(&test.db()).with_poll(Duration::from_secs(3_600));
    let chunks: Vec<Bytes> = (0..1_000).map(|n| n.to_string().into()).collect();
    store.write_many(&named(0), chunks).await.unwrap();
    store.close(&named(0)).await.unwrap();
    let before = scans(&test).await;
    let mut readers: Vec<_> = (0..50).map(|_| store.read(&named(0), 0)).collect();
    for index in 0..1_000_i64 {
        for reader in &mut readers {
            assert_eq!(reader.next().await.unwrap().unwrap().index, index);
        }
    }
    let cost = scans(&test).await - before;
    assert!(cost < 50, "{cost} pages read from the table by 50 readers of 10 pages");
}

/// Those who were woken by the same hint share a look, also one that finds nothing.
#[tokio::test]
async fn many_readers_at_the_tail_cost_about_as_much_as_one() {
    let test = TestDb::new().await;
    let hints = Hints::poll_only();
    let store = PgOutputStore::new(&test.db()).with_hints(hints.clone());
    let store = store.with_poll(Duration::from_secs(3_600));
    store.write(&named(0), "before".into()).await.unwrap();
    let before = scans(&test).await;
    let read = join_all((0..50).map(|_| store.read(&named(0), 1).try_collect::<Vec<_>>()));
    let wake = async {
        for _ in 0..20 {
            hints.notify([&*output_hint(&named(0))]);
            // As long as all of them would need, one after the other.
            for _ in 0..50 {
                store.info(&named(0)).await.unwrap();
            }
        }
        store.write(&named(0), "x".into()).await.unwrap();
        store.close(&named(0)).await.unwrap();
    };
    let (read, ()) = tokio::join!(read, wake);
    assert!(read.into_iter().all(|chunks| chunks.unwrap().len() == 1));
    let cost = scans(&test).await - before;
    assert!(cost < 200, "{cost} looks of 50 readers that were woken 20 times");
}

/// How often the table of chunks was looked into.
async fn scans(test: &TestDb) -> i64 {
    test.db().exec("SELECT pg_stat_force_next_flush()", &[]).await.unwrap();
    let sql = "SELECT coalesce(idx_scan, 0) FROM pg_stat_user_tables WHERE relname = 'ms_output_chunks'";
    test.client().await.query_one(sql, &[]).await.unwrap().get(0)
}

/// What a transaction writes is there with its commit, or not at all, and nobody sees a gap.
#[tokio::test]
async fn a_transaction_of_the_caller_writes_or_does_not() {
    let test = TestDb::new().await;
    let store = PgOutputStore::new(&test.db()).with_shared_writes();
    let mut client = test.client().await;
    for (commits, first) in [(false, 0), (true, 0), (false, 2), (true, 2)] {
        let tx = client.transaction().await.unwrap();
        let here = store.on(&tx);
        assert_eq!(here.write(&named(0), "a".into()).await.unwrap(), Some(first));
        assert_eq!(here.write(&named(0), "b".into()).await.unwrap(), Some(first + 1));
        let inside = here.get_chunks(ChunkQuery::of(named(0))).await.unwrap();
        assert_eq!(inside.tail_index, first + 1);
        assert_eq!(store.info(&named(0)).await.unwrap().tail_index, first - 1);
        let refused = here.read(&named(0), 0).next().await.unwrap().unwrap_err();
        assert!(refused.is_invalid());
        if commits { tx.commit().await.unwrap() } else { tx.rollback().await.unwrap() }
    }
    assert_eq!(store.write(&named(0), "c".into()).await.unwrap(), Some(4));
}

/// A write whose statement is under way when its process is gone is there whole or not at all.
#[tokio::test]
async fn a_writer_killed_in_the_middle_leaves_no_part_and_no_gap() {
    let test = TestDb::new().await;
    let store = PgOutputStore::new(&test.db());
    let mut client = test.client().await;
    let tx = client.transaction().await.unwrap();
    let pid: i32 = tx.query_one("SELECT pg_backend_pid()", &[]).await.unwrap().get(0);
    store.on(&tx).write_many(&named(0), vec!["lost".into(), "lost".into()]).await.unwrap();
    let killer = test.client().await;
    let write = async { store.write(&named(0), "kept".into()).await };
    let kill = async { killer.query("SELECT pg_terminate_backend($1)", &[&pid]).await };
    let (first, killed) = tokio::join!(write, kill);
    killed.unwrap();
    assert_eq!(first.unwrap(), Some(0));
    let page = store.get_chunks(ChunkQuery::of(named(0))).await.unwrap();
    assert_eq!((page.chunks.len(), page.chunks[0].data.clone()), (1, Bytes::from("kept")));
}

/// One that the database refuses spares those of its batch.
#[tokio::test]
async fn writes_share_commits_and_each_has_its_own_answer() {
    use mainspring_core::ExecutionId;
    let test = TestDb::new().await;
    let store = PgOutputStore::new(&test.db()).with_shared_writes();
    let writes = (0..200_usize).map(|n| {
        let store = store.clone();
        async move { store.write(&named(n % 5), n.to_string().into()).await }
    });
    for answer in join_all(writes).await {
        answer.unwrap().unwrap();
    }
    let cost = "SELECT count(DISTINCT xmin::text) FROM {output_chunks}";
    let cost: i64 = test.db().one(cost, &[]).await.unwrap().get(0);
    assert!(cost < 100, "{cost} transactions for 200 writes wanted at once");
    let nobody = OutputStream::of(&ExecutionId::new("nobody").unwrap(), "s");
    let other = named(9);
    let (lost, kept) = tokio::join!(store.write(&nobody, "x".into()), store.write(&other, "y".into()));
    assert!(lost.unwrap_err().is_not_found());
    assert_eq!(kept.unwrap(), Some(0));
}

/// No chunk is left of a stream that is gone, and nobody is remembered who reads no longer.
#[tokio::test]
async fn a_deleted_stream_leaves_nothing() {
    let test = TestDb::new().await;
    let store = PgOutputStore::new(&test.db());
    store.write_many(&named(0), vec!["x".into(); 10]).await.unwrap();
    store.write(&named(1), "y".into()).await.unwrap();
    store.delete(&named(0)).await.unwrap();
    let left: i64 = test.db().one("SELECT count(*) FROM {output_chunks}", &[]).await.unwrap().get(0);
    assert_eq!(left, 1);
}
