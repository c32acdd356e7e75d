//! The upkeep of everything: what only the stores together can do.

use std::time::Duration;

use mainspring::{
    OutputStore, OutputStream, PgStores, RetentionPolicy,
    retention::{Kind, Rule},
    upkeep::{QueueUpkeep, UpkeepOptions},
};

const DAY: Duration = Duration::from_secs(24 * 3_600);

fn upkeep(stores: &PgStores<'static>, outputs: Rule) -> QueueUpkeep {
    let retention = RetentionPolicy::default().with(Kind::Outputs, outputs).batch(100);
    stores.upkeep(UpkeepOptions { retention, ..UpkeepOptions::default() }).unwrap()
}

#[tokio::test]
async fn whoever_does_the_upkeep_deletes_output_streams_that_were_closed_long_ago() {
    let (stores, db) = crate::fresh().await;
    let outputs = &stores.outputs;
    let stream = |n: i64| OutputStream::named(format!("s{n}"));
    // More than one statement deletes.
    for n in 0..101 {
        outputs.write(&stream(n), "x".into()).await.unwrap();
        outputs.close(&stream(n)).await.unwrap();
    }
    outputs.write(&OutputStream::named("open"), "x".into()).await.unwrap();
    let (first, second) = (upkeep(&stores, Rule::Delete(DAY * 2)), upkeep(&stores, Rule::Delete(DAY * 2)));
    assert_eq!(first.round().await.forgotten, 0);
    db.advance(DAY * 3).await;
    // Only one of them does it, and whose lease is over does not.
    assert_eq!(second.round().await.forgotten, 101);
    let late = first.round().await;
    assert_eq!((late.term, late.forgotten), (None, 0));
    assert_eq!(outputs.info(&stream(0)).await.unwrap().tail_index, -1);
    assert_eq!(outputs.info(&OutputStream::named("open")).await.unwrap().tail_index, 0);
}

#[tokio::test]
async fn one_may_keep_output_streams_for_ever() {
    let (stores, db) = crate::fresh().await;
    let kept = OutputStream::named("kept");
    stores.outputs.close(&kept).await.unwrap();
    let upkeep = upkeep(&stores, Rule::Keep);
    upkeep.round().await;
    db.advance(DAY * 1_000).await;
    assert_eq!(upkeep.round().await.failed, 0);
    assert!(stores.outputs.info(&kept).await.unwrap().done);
}
