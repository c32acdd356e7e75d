//! E19: the log emptied together with checkpoints, parked events and documents.

use mainspring_consumer::{Documents, OldDocuments, OnError, Processor, Processors, Then, reactor_fn};
use mainspring_events::Positions;
use serde_json::{Value, json};

use crate::ground::{Ground, PATIENCE, noting};

#[tokio::test]
async fn what_follows_an_emptied_log_begins_anew_or_goes_on() {
    let ground = Ground::new().await;
    let processors = Processors::new(&ground.db);
    let documents = Documents::<Value>::new(&ground.db, "things").unwrap();
    documents.put("a", &json!(1)).await.unwrap();
    ground.append([1, 2]).await;
    let fails = Processor::reactor("bad", reactor_fn(|_| async { Err::<(), _>("never".into()) }));
    let fails = fails.on_error(OnError::then(Then::Park).attempts(1));
    ground.run_to_end(ground.consumer().projector("p", noting("p")).processor(fails)).await;
    assert_eq!(processors.parked("bad", 9).await.unwrap().len(), 2);

    processors.empty_log(Positions::GoOn, OldDocuments::Keep).await.unwrap();
    assert!(processors.parked("bad", 9).await.unwrap().is_empty());
    assert_eq!(processors.named("p").await.unwrap()[0].position, 2);
    assert_eq!(documents.count().await.unwrap(), 1);
    let running = ground.consumer().projector("p", noting("p")).start().await.unwrap();
    ground.append([3]).await;
    running.when_caught_up(PATIENCE).await.unwrap();
    let refused = processors.empty_log(Positions::Restart, OldDocuments::Delete).await.unwrap_err();
    assert!(refused.is_conflict() && refused.to_string().contains("`p`"), "{refused}");
    running.stop().await.unwrap();

    processors.empty_log(Positions::Restart, OldDocuments::Delete).await.unwrap();
    assert_eq!(documents.count().await.unwrap(), 0);
    ground.append([4]).await;
    ground.run_to_end(ground.consumer().projector("p", noting("p"))).await;
    assert_eq!(ground.seen("p").await, [1, 2, 3, 4]);
    assert_eq!(processors.named("p").await.unwrap()[0].position, 1);
}
