//! Readers of streams are called through Redis, and read from Postgres.

use std::time::Duration;

use futures_util::StreamExt;
use mainspring::{OutputStore, OutputStream};
use mainspring_testing::TestDb;
use tokio::time::timeout;

use crate::{process, server};

const LONG: Duration = Duration::from_secs(30);

#[tokio::test]
async fn a_chunk_calls_readers_elsewhere_and_a_lost_call_loses_no_chunk() {
    // fault F67: the reader polls once in an hour, so what it reads it was called for.
    let Some(mut server) = server(&[]).filter(|server| server.pid().is_some()) else { return };
    let db = TestDb::new().await;
    let ((writer, of_writer), (reader, of_reader)) = (process(server.url(), &db), process(server.url(), &db));
    let stream = OutputStream::named("answer");
    let outputs = reader.outputs.clone().with_poll(Duration::from_secs(3600));
    let mut chunks = outputs.read(&stream, 0);
    let mut next = async || timeout(LONG, chunks.next()).await.unwrap().unwrap().unwrap().data;
    for text in ["a", "b", "c"] {
        writer.outputs.write(&stream, text.into()).await.unwrap();
        assert_eq!(next().await, text.as_bytes());
    }
    server.kill9().unwrap();
    writer.outputs.write(&stream, "nobody is called".into()).await.unwrap();
    while of_reader.health().listening || of_writer.health().tally.lost == 0 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    server.restart().unwrap();
    assert_eq!(next().await, "nobody is called".as_bytes(), "who listens again looks for what was missed");
    writer.outputs.close(&stream).await.unwrap();
}
