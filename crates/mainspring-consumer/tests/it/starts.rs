//! Where processors begin, what they are shown, and what stops them from starting.

use mainspring_consumer::{Activity, Consumer, Processor, Processors, StartFrom};
use mainspring_events::GlobalFilter;
use mainspring_pg::Settings;

use crate::ground::{Ground, Heard, PATIENCE, noting};

#[tokio::test]
async fn it_cannot_start_without_a_processor_or_with_options_out_of_range() {
    // E20
    let ground = Ground::new().await;
    let error = ground.consumer().start().await.err().unwrap();
    assert!(error.is_invalid() && error.to_string().contains("without a processor"), "{error}");
    let one = || ground.consumer().projector("p", noting("p"));
    for (consumer, field) in [
        (one().projector("p", noting("p")), "processors"),
        (one().batch_size(0), "batch_size"),
        (one().batch_size(1_001), "batch_size"),
        (one().shard(2, 2), "shard"),
        (one().shard(0, 0), "shards"),
        (one().lease(std::time::Duration::from_millis(1)), "lease"),
        (one().processor(Processor::projector("", noting("p"))), "processor.name"),
        (one().processor(Processor::projector("q", noting("p")).version(0)), "processor.version"),
        (
            one().processor(Processor::projector("q", noting("p")).start_from(StartFrom::After(-1))),
            "start_from",
        ),
    ] {
        let error = consumer.start().await.err().unwrap();
        assert!(error.is_invalid() && error.to_string().contains(field), "{error}");
    }
    // A database that is not there.
    let settings = Settings::parse(&ground.test.url().replace(ground.test.name(), "nowhere")).unwrap();
    let db = mainspring_pg::Db::new(mainspring_pg::pool(&settings, 2).unwrap(), ground.test.names().clone());
    assert!(Consumer::new(&db, "test").projector("p", noting("p")).start().await.is_err());
}

#[tokio::test]
async fn it_handles_what_was_there_and_what_comes() {
    // E21, E35
    let ground = Ground::new().await;
    ground.append(1..=5).await;
    let running = ground.consumer().projector("p", noting("p")).start().await.unwrap();
    running.when_caught_up(PATIENCE).await.unwrap();
    assert_eq!(ground.seen("p").await, [1, 2, 3, 4, 5]);
    ground.append(6..=7).await;
    running.when_processed("p", 7, PATIENCE).await.unwrap();
    assert_eq!(ground.seen("p").await, [1, 2, 3, 4, 5, 6, 7]);
    // Reached already: at once. Never: a clear error.
    running.when_processed("p", 7, std::time::Duration::ZERO).await.unwrap();
    let late = running.when_processed("p", 8, std::time::Duration::from_millis(10)).await.unwrap_err();
    assert!(late.is_retryable() && late.to_string().contains("position 8 in time"), "{late}");
    assert!(running.when_processed("nobody", 1, PATIENCE).await.unwrap_err().is_not_found());
    assert_eq!(running.progress("p").unwrap().activity, Activity::Running);
    running.stop().await.unwrap();
    let state = Processors::new(&ground.db).named("p").await.unwrap().remove(0);
    assert_eq!((state.position, state.behind, state.holder, state.late), (7, 0, None, None));
}

#[tokio::test]
async fn a_start_goes_by_the_checkpoint_or_by_what_is_asked_for() {
    // E21, E22, E23
    let ground = Ground::new().await;
    let run = async |start: StartFrom, name: &'static str| {
        let processor = Processor::projector(name, noting(name)).start_from(start);
        ground.run_to_end(ground.consumer().processor(processor)).await;
    };
    run(StartFrom::End, "end").await; // of an empty log
    ground.append(1..=3).await;
    run(StartFrom::Current, "current").await;
    run(StartFrom::After(2), "after").await;
    run(StartFrom::End, "late").await;
    ground.append(4..=5).await;
    for name in ["current", "late", "end"] {
        run(if name == "current" { StartFrom::Current } else { StartFrom::End }, name).await;
    }
    run(StartFrom::Beginning, "after").await;
    assert_eq!(ground.seen("current").await, [1, 2, 3, 4, 5]);
    assert_eq!(ground.seen("after").await, [3, 1, 2, 3, 4, 5]);
    assert_eq!(ground.seen("late").await, [4, 5], "goes on where it was");
    assert_eq!(ground.seen("end").await, [1, 2, 3, 4, 5]);
}

#[tokio::test]
async fn processors_of_one_consumer_go_each_from_their_own_checkpoint() {
    // E24, E29
    let ground = Ground::new().await;
    ground.append(1..=4).await;
    ground.run_to_end(ground.consumer().projector("old", noting("old"))).await;
    ground.append(5..=6).await;
    let end = |name| Processor::projector(name, noting(name)).start_from(StartFrom::End);
    let consumer = ground.consumer().projector("old", noting("old")).projector("new", noting("new"));
    let running = consumer.processor(end("end")).processor(end("end2")).start().await.unwrap();
    running.when_caught_up(PATIENCE).await.unwrap();
    ground.append([7]).await;
    running.when_caught_up(PATIENCE).await.unwrap();
    running.stop().await.unwrap();
    assert_eq!(ground.seen("old").await, [1, 2, 3, 4, 5, 6, 7]);
    assert_eq!(ground.seen("new").await, [1, 2, 3, 4, 5, 6, 7]);
    assert_eq!((ground.seen("end").await, ground.seen("end2").await), (vec![7], vec![7]));
}

#[tokio::test]
async fn types_partitions_and_tenants_are_filtered_and_what_is_left_out_is_passed() {
    // E18 (partition-specific), E26
    let ground = Ground::new().await;
    for n in 1..=9 {
        ground.append_to("s", ["Added", "Removed", "Moved"][(n % 3) as usize], n).await;
    }
    let only = |name, types: &[&str]| {
        Processor::projector(name, noting(name)).event_types(types.iter().map(|name| (*name).to_owned()))
    };
    let consumer =
        ground.consumer().processor(only("added", &["Added"])).processor(only("two", &["Moved", "Removed"]));
    ground.run_to_end(consumer.batch_size(2)).await;
    assert_eq!(ground.seen("added").await, [3, 6, 9]);
    assert_eq!(ground.seen("two").await, [1, 2, 4, 5, 7, 8]);
    let filter = GlobalFilter { partitions: vec!["executions".into()], ..GlobalFilter::default() };
    ground.run_to_end(ground.consumer().only(filter).projector("added", noting("added"))).await;
    let tenant = GlobalFilter { tenant: Some("acme".into()), ..GlobalFilter::default() };
    ground.run_to_end(ground.consumer().only(tenant).projector("added", noting("added"))).await;
    assert_eq!(ground.seen("added").await, [3, 6, 9]);
    let rows = Processors::new(&ground.db).named("added").await.unwrap();
    let rows: Vec<_> =
        rows.iter().map(|row| (row.partition.as_deref(), row.tenant.as_deref(), row.position)).collect();
    assert_eq!(rows, [(None, None, 9), (None, Some("acme"), 9), (Some("executions"), None, 9)]);
}

#[tokio::test]
async fn versions_of_a_processor_are_independent() {
    // E18
    let ground = Ground::new().await;
    ground.append(1..=2).await;
    ground.run_to_end(ground.consumer().projector("p", noting("v1"))).await;
    ground.append([3]).await;
    let second = || Processor::projector("p", noting("v2")).version(2);
    ground.run_to_end(ground.consumer().processor(second())).await;
    let rows = Processors::new(&ground.db).named("p").await.unwrap();
    assert_eq!(rows.iter().map(|row| (row.version, row.position)).collect::<Vec<_>>(), [(1, 2), (2, 3)]);
    assert_eq!((ground.seen("v1").await, ground.seen("v2").await), (vec![1, 2], vec![1, 2, 3]));
}

#[tokio::test]
async fn without_a_checkpoint_everything_comes_at_each_start() {
    // E25
    let ground = Ground::new().await;
    ground.append(1..=2).await;
    let heard = Heard::default();
    for _ in 0..2 {
        let projector = Processor::projector("p", noting("p")).ephemeral();
        let reactor = Processor::reactor("r", heard.reactor()).ephemeral();
        ground.run_to_end(ground.consumer().processor(projector).processor(reactor)).await;
    }
    assert_eq!(ground.seen("p").await, [1, 2, 1, 2]);
    assert_eq!(heard.all(), [1, 2, 1, 2]);
    assert_eq!(Processors::new(&ground.db).list().await.unwrap(), []);
}

#[tokio::test]
async fn a_processor_is_set_back_only_while_nobody_runs_it() {
    // E18 (replay to an older position)
    let ground = Ground::new().await;
    ground.append(1..=3).await;
    let processors = Processors::new(&ground.db);
    let running = ground.consumer().projector("p", noting("p")).start().await.unwrap();
    running.when_caught_up(PATIENCE).await.unwrap();
    let id = processors.named("p").await.unwrap()[0].id;
    assert!(processors.reset(id, 1).await.unwrap_err().is_conflict());
    assert!(processors.delete(id).await.unwrap_err().is_conflict());
    running.stop().await.unwrap();
    processors.reset(id, 1).await.unwrap();
    assert!(processors.reset(id, -1).await.unwrap_err().is_invalid());
    ground.run_to_end(ground.consumer().projector("p", noting("p"))).await;
    assert_eq!(ground.seen("p").await, [1, 2, 3, 2, 3]);
    processors.delete(id).await.unwrap();
    assert!(processors.reset(id, 1).await.unwrap_err().is_not_found());
}
