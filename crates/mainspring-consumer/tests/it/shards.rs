//! One processor over several instances, split by stream.

use mainspring_consumer::Processors;

use crate::ground::{Ground, PATIENCE, noting};

#[tokio::test]
async fn shards_share_the_streams_and_each_keeps_the_order_of_its_own() {
    let ground = Ground::new().await;
    for n in 1..=60 {
        ground.append_to(&format!("stream-{}", n % 12), "Added", n).await;
    }
    let names = ["shard0", "shard1", "shard2"];
    let mut all = Vec::new();
    let mut running = Vec::new();
    for (index, name) in (0..).zip(names) {
        let consumer = ground.consumer().shard(index, 3).projector("p", noting(name));
        running.push(consumer.start().await.unwrap());
    }
    for running in running {
        running.when_caught_up(PATIENCE).await.unwrap();
        running.stop().await.unwrap();
    }
    for name in names {
        let seen = ground.seen(name).await;
        assert!(!seen.is_empty(), "{name} has nothing to do");
        assert!(seen.is_sorted(), "{seen:?}");
        all.extend(seen);
    }
    all.sort_unstable();
    assert_eq!(all, (1..=60).collect::<Vec<_>>());

    // Split otherwise, positions of the shards mean nothing.
    let error = ground.consumer().shard(0, 2).projector("p", noting("p")).start().await.err().unwrap();
    assert!(error.is_conflict() && error.to_string().contains("3 shards"), "{error}");
    let rows = Processors::new(&ground.db).named("p").await.unwrap();
    assert_eq!(
        rows.iter().map(|row| (row.shard, row.shards, row.position)).collect::<Vec<_>>(),
        [(0, 3, 60), (1, 3, 60), (2, 3, 60)]
    );
}
