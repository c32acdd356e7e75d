//! What every [`OutputStore`](mainspring_core::OutputStore) does.

use bytes::Bytes;
use futures_util::{StreamExt, TryStreamExt, future::join_all};
use mainspring_core::{
    Backend, ChunkQuery, OutputInfo, OutputStream,
    output::{MAX_CHUNK, MAX_CHUNKS},
};

use super::{
    make::{created, id, secs},
    on, on_time,
};
use crate::TimeTravel;

/// All cases.
pub async fn suite<B: Backend, T: TimeTravel>(fresh: impl AsyncFn() -> (B, T)) {
    on(&fresh, what_was_written_comes_back_in_order).await;
    on(&fresh, streams_are_apart_and_listed_by_their_execution).await;
    on(&fresh, a_stream_ends_once_and_what_comes_later_is_ignored).await;
    on(&fresh, readers_before_during_and_after_see_the_same).await;
    on(&fresh, a_negative_start_counts_from_the_end).await;
    on(&fresh, pages_are_bounded_and_say_whether_there_is_more).await;
    on(&fresh, an_empty_stream_has_no_tail).await;
    on(&fresh, writers_at_the_same_time_leave_no_gap).await;
    on(&fresh, a_stream_goes_with_its_execution).await;
    on(&fresh, readers_of_a_deleted_stream_are_told).await;
    on(&fresh, what_can_never_be_stored_is_refused).await;
    on_time(&fresh, old_closed_streams_are_deleted).await;
}

fn bytes(text: &'static str) -> Bytes {
    Bytes::from_static(text.as_bytes())
}

async fn all(backend: &dyn Backend, stream: &OutputStream, start: i64) -> Vec<Bytes> {
    backend.outputs().read(stream, start).map_ok(|chunk| chunk.data).try_collect().await.unwrap()
}

/// W38: text, binary, NUL, nothing, JSON.
pub async fn what_was_written_comes_back_in_order(backend: &dyn Backend) {
    let stream = OutputStream::named("s");
    let every_byte: Bytes = (0..=255).collect::<Vec<u8>>().into();
    let written = [
        bytes("text ü"),
        bytes("a\0b"),
        every_byte,
        Bytes::new(),
        bytes("{\"a\": [1, null]}"),
        vec![7; MAX_CHUNK].into(),
    ];
    let outputs = backend.outputs();
    assert_eq!(outputs.write(&stream, written[0].clone()).await.unwrap(), Some(0));
    assert_eq!(outputs.write_many(&stream, written[1..].to_vec()).await.unwrap(), Some(1));
    assert_eq!(outputs.write_many(&stream, vec![]).await.unwrap(), Some(6));
    assert!(outputs.close(&stream).await.unwrap());
    assert_eq!(all(backend, &stream, 0).await, written);
}

/// W38: by name, and by run.
pub async fn streams_are_apart_and_listed_by_their_execution(backend: &dyn Backend) {
    created(backend, "e1").await;
    created(backend, "e2").await;
    let outputs = backend.outputs();
    let streams = [
        OutputStream::of(&id("e1"), "b"),
        OutputStream::of(&id("e1"), "a"),
        OutputStream::of(&id("e2"), "a"),
        OutputStream::named("a"),
    ];
    for (n, stream) in streams.iter().enumerate() {
        assert_eq!(outputs.write(stream, n.to_string().into()).await.unwrap(), Some(0));
        outputs.close(stream).await.unwrap();
    }
    for (n, stream) in streams.iter().enumerate() {
        assert_eq!(all(backend, stream, 0).await, [n.to_string()]);
    }
    assert_eq!(outputs.list(&id("e1"), None).await.unwrap(), ["a", "b"]);
    assert_eq!(outputs.list(&id("e1"), Some("a")).await.unwrap(), ["b"]);
    assert_eq!(outputs.list(&id("nobody"), None).await.unwrap(), Vec::<String>::new());
    let orphan = outputs.write(&OutputStream::of(&id("nobody"), "a"), bytes("x")).await.unwrap_err();
    assert!(orphan.is_not_found(), "{orphan:?}");
}

/// Weakness 9: to close twice is fine, and readers never see what came after the end.
pub async fn a_stream_ends_once_and_what_comes_later_is_ignored(backend: &dyn Backend) {
    let stream = OutputStream::named("s");
    let outputs = backend.outputs();
    outputs.write(&stream, bytes("last")).await.unwrap();
    assert!(outputs.close(&stream).await.unwrap());
    assert!(!outputs.close(&stream).await.unwrap());
    assert_eq!(outputs.write(&stream, bytes("late")).await.unwrap(), None);
    assert_eq!(outputs.write_many(&stream, vec![]).await.unwrap(), None);
    assert_eq!(all(backend, &stream, 0).await, ["last"]);
    assert_eq!(outputs.info(&stream).await.unwrap(), OutputInfo { tail_index: 0, done: true });
    assert_eq!(all(backend, &stream, 5).await, Vec::<Bytes>::new());
}

/// W39: the last chunk is there although the end follows at once.
pub async fn readers_before_during_and_after_see_the_same(backend: &dyn Backend) {
    let stream = OutputStream::named("s");
    let outputs = backend.outputs();
    let read = || outputs.read(&stream, 0).map_ok(|chunk| chunk.index).try_collect::<Vec<i64>>();
    let write = async {
        for n in 0..150 {
            outputs.write(&stream, n.to_string().into()).await.unwrap();
        }
        outputs.close(&stream).await.unwrap();
    };
    let during = async {
        while outputs.info(&stream).await.unwrap().tail_index < 70 {
            tokio::task::yield_now().await;
        }
        read().await
    };
    let (before, during, ()) = tokio::join!(read(), during, write);
    let expected: Vec<i64> = (0..150).collect();
    assert_eq!(before.unwrap(), expected);
    assert_eq!(during.unwrap(), expected);
    assert_eq!(read().await.unwrap(), expected);
}

/// W39
pub async fn a_negative_start_counts_from_the_end(backend: &dyn Backend) {
    let stream = OutputStream::named("s");
    let outputs = backend.outputs();
    outputs.write_many(&stream, vec![bytes("a"), bytes("b"), bytes("c")]).await.unwrap();
    let mut tail = outputs.read(&stream, -1);
    assert_eq!(tail.next().await.unwrap().unwrap().data, "c");
    outputs.write(&stream, bytes("d")).await.unwrap();
    outputs.close(&stream).await.unwrap();
    assert_eq!(tail.next().await.unwrap().unwrap().data, "d");
    assert!(tail.next().await.is_none());
    for (start, expected) in [(-2, &["c", "d"][..]), (-9, &["a", "b", "c", "d"]), (3, &["d"]), (4, &[])] {
        assert_eq!(all(backend, &stream, start).await, expected, "{start}");
    }
}

/// W40
pub async fn pages_are_bounded_and_say_whether_there_is_more(backend: &dyn Backend) {
    let stream = OutputStream::named("s");
    let outputs = backend.outputs();
    for n in 0..3_i64 {
        let chunks = (0..50).map(|m| (n * 50 + m).to_string().into()).collect();
        outputs.write_many(&stream, chunks).await.unwrap();
    }
    let page = async |from, limit| {
        let page = outputs.get_chunks(ChunkQuery { from, limit, ..ChunkQuery::of(stream.clone()) });
        let page = page.await.unwrap();
        let indexes: Vec<i64> = page.chunks.iter().map(|chunk| chunk.index).collect();
        assert!(page.chunks.iter().all(|chunk| chunk.data == chunk.index.to_string()));
        (indexes, page.cursor, page.has_more, page.done)
    };
    assert_eq!(page(0, 100).await, ((0..100).collect(), 100, true, false));
    assert_eq!(page(100, 50).await, ((100..150).collect(), 150, false, false));
    outputs.close(&stream).await.unwrap();
    assert_eq!(page(100, 100).await, ((100..150).collect(), 150, false, true));
    assert_eq!(page(0, 1).await, (vec![0], 1, true, true));
    assert_eq!(page(150, 10).await, (vec![], 150, false, true));
    assert_eq!(page(-2, 10).await, (vec![148, 149], 150, false, true));
    // As many bytes as fit, but one chunk at least.
    let large = OutputStream::named("large");
    outputs.write_many(&large, vec![vec![1; MAX_CHUNK].into(); 4]).await.unwrap();
    let page = outputs.get_chunks(ChunkQuery::of(large)).await.unwrap();
    assert_eq!((page.chunks.len(), page.cursor, page.has_more, page.tail_index), (2, 2, true, 3));
}

/// W40
pub async fn an_empty_stream_has_no_tail(backend: &dyn Backend) {
    let outputs = backend.outputs();
    let stream = OutputStream::named("s");
    assert_eq!(outputs.info(&stream).await.unwrap(), OutputInfo { tail_index: -1, done: false });
    let page = outputs.get_chunks(ChunkQuery::of(stream.clone())).await.unwrap();
    assert_eq!((page.chunks.len(), page.cursor, page.has_more, page.done), (0, 0, false, false));
    assert!(outputs.close(&stream).await.unwrap());
    assert_eq!(outputs.info(&stream).await.unwrap(), OutputInfo { tail_index: -1, done: true });
    assert_eq!(all(backend, &stream, 0).await, Vec::<Bytes>::new());
    assert_eq!(all(backend, &stream, -3).await, Vec::<Bytes>::new());
}

/// Gap-free indexes, whoever writes; what one call writes stays together.
pub async fn writers_at_the_same_time_leave_no_gap(backend: &dyn Backend) {
    let stream = OutputStream::named("s");
    let writes = (0..40_usize).map(|n| {
        let chunks = (0..=n % 4).map(|m| format!("{n}.{m}").into()).collect();
        backend.outputs().write_many(&stream, chunks)
    });
    let firsts: Vec<i64> = join_all(writes).await.into_iter().map(|first| first.unwrap().unwrap()).collect();
    backend.outputs().close(&stream).await.unwrap();
    let written = all(backend, &stream, 0).await;
    assert_eq!(written.len(), 100);
    for (n, first) in firsts.into_iter().enumerate() {
        for m in 0..=n % 4 {
            assert_eq!(written[first as usize + m], format!("{n}.{m}"));
        }
    }
}

/// Deleted with its execution; those of others stay.
pub async fn a_stream_goes_with_its_execution(backend: &dyn Backend) {
    created(backend, "e").await;
    let outputs = backend.outputs();
    let (own, other) = (OutputStream::of(&id("e"), "s"), OutputStream::named("s"));
    for stream in [&own, &other] {
        outputs.write(stream, bytes("x")).await.unwrap();
    }
    backend.executions().delete(&id("e")).await.unwrap();
    assert_eq!(outputs.info(&own).await.unwrap().tail_index, -1);
    assert_eq!(outputs.get_chunks(ChunkQuery::of(own.clone())).await.unwrap().chunks, []);
    assert_eq!(outputs.info(&other).await.unwrap().tail_index, 0);
    assert!(outputs.write(&own, bytes("x")).await.unwrap_err().is_not_found());
}

/// Instead of a wait without an end.
pub async fn readers_of_a_deleted_stream_are_told(backend: &dyn Backend) {
    let stream = OutputStream::named("s");
    let outputs = backend.outputs();
    outputs.write(&stream, bytes("x")).await.unwrap();
    let mut reader = outputs.read(&stream, 0);
    reader.next().await.unwrap().unwrap();
    assert!(outputs.delete(&stream).await.unwrap());
    assert!(!outputs.delete(&stream).await.unwrap());
    assert!(reader.next().await.unwrap().unwrap_err().is_expired());
    assert!(reader.next().await.is_none());
    // It may begin again, at 0.
    assert_eq!(outputs.write(&stream, bytes("new")).await.unwrap(), Some(0));
}

/// Bad input list.
pub async fn what_can_never_be_stored_is_refused(backend: &dyn Backend) {
    let outputs = backend.outputs();
    let stream = OutputStream::named("s");
    for chunks in [
        vec![vec![0; MAX_CHUNK + 1].into()],
        vec![Bytes::new(); MAX_CHUNKS + 1],
        vec![vec![0; MAX_CHUNK].into(); 9],
    ] {
        assert!(outputs.write_many(&stream, chunks).await.unwrap_err().is_invalid());
    }
    for name in ["", "a\0", &"x".repeat(256)] {
        let stream = OutputStream::named(name);
        assert!(outputs.write(&stream, bytes("x")).await.unwrap_err().is_invalid());
        assert!(outputs.close(&stream).await.unwrap_err().is_invalid());
        assert!(outputs.info(&stream).await.unwrap_err().is_invalid());
        assert!(outputs.read(&stream, 0).next().await.unwrap().unwrap_err().is_invalid());
    }
    for limit in [0, 1_001] {
        let query = ChunkQuery { limit, ..ChunkQuery::of(stream.clone()) };
        assert!(outputs.get_chunks(query).await.unwrap_err().is_invalid());
    }
    assert_eq!(outputs.info(&stream).await.unwrap().tail_index, -1);
}

/// Retention of streams of nobody.
pub async fn old_closed_streams_are_deleted(backend: &dyn Backend, time: &dyn TimeTravel) {
    let outputs = backend.outputs();
    for name in ["old", "open", "new"] {
        outputs.write(&OutputStream::named(name), bytes("x")).await.unwrap();
    }
    created(backend, "e").await;
    let of_execution = OutputStream::of(&id("e"), "old");
    outputs.write(&of_execution, bytes("x")).await.unwrap();
    for stream in [&OutputStream::named("old"), &of_execution] {
        outputs.close(stream).await.unwrap();
    }
    time.advance(secs(3600)).await;
    outputs.close(&OutputStream::named("new")).await.unwrap();
    created(backend, "later").await;
    let then = backend.executions().get(&id("later")).await.unwrap().unwrap().created_at - secs(1800);
    assert_eq!(outputs.delete_old(then).await.unwrap(), 1);
    assert_eq!(outputs.delete_old(then).await.unwrap(), 0);
    for (name, tail_index) in [("old", -1), ("open", 0), ("new", 0)] {
        assert_eq!(outputs.info(&OutputStream::named(name)).await.unwrap().tail_index, tail_index, "{name}");
    }
    assert_eq!(outputs.info(&of_execution).await.unwrap().tail_index, 0);
}
