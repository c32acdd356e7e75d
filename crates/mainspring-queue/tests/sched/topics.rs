//! Publish and subscribe: to nobody, to one, to many, all or none.

use mainspring_core::{NewMessage, QueueDriver};
use mainspring_queue::{PgQueue, topic::PgTopics};
use mainspring_testing::TestDb;
use serde_json::json;

use super::{message, ready};

#[tokio::test]
async fn a_publication_reaches_nobody_one_or_many() {
    // Q37
    let test = TestDb::new().await;
    let topics = PgTopics::new(&test.db());
    let paid = message("");
    assert_eq!(topics.publish("order.paid", &paid).await.unwrap(), [""; 0]);
    assert!(topics.subscribe("order.paid", "invoices").await.unwrap());
    assert!(!topics.subscribe("order.paid", "invoices").await.unwrap());
    assert_eq!(topics.publish("order.paid", &paid).await.unwrap(), ["invoices"]);
    assert_eq!(ready(&test, "invoices").await[0].message.id, paid.id);
    topics.subscribe("order.*", "audit").await.unwrap();
    topics.subscribe("order.#", "audit").await.unwrap(); // two patterns, one copy
    topics.subscribe("mail.#", "mail").await.unwrap();
    let again = message("");
    assert_eq!(topics.publish("order.paid", &again).await.unwrap(), ["audit", "invoices"]);
    let (audit, invoices) = (ready(&test, "audit").await, ready(&test, "invoices").await);
    assert_eq!((audit.len(), invoices.len(), ready(&test, "mail").await.len()), (1, 1, 0));
    assert_eq!(audit[0].message.data, again.data);
    assert_eq!(audit[0].message.id.as_str(), format!("{}.audit", again.id));
    assert!(topics.unsubscribe("order.paid", "invoices").await.unwrap());
    assert!(!topics.unsubscribe("order.paid", "invoices").await.unwrap());
    assert_eq!(topics.publish("order.paid", &message("")).await.unwrap(), ["audit"]);
    let list = topics.subscriptions(Some("audit"), 10).await.unwrap();
    assert_eq!(list.iter().map(|s| s.topic.as_str()).collect::<Vec<_>>(), ["order.#", "order.*"]);
    assert_eq!(topics.subscriptions(None, 10).await.unwrap().len(), 3);
}

#[tokio::test]
async fn missing_and_bad_arguments_are_refused() {
    // Q37
    let test = TestDb::new().await;
    let topics = PgTopics::new(&test.db());
    for pattern in ["", "a..b", ".a", "a.", "a*", "a.#b", "a\nb", &"x".repeat(129)] {
        assert!(topics.subscribe(pattern, "q").await.unwrap_err().is_invalid(), "{pattern}");
        assert!(topics.publish(pattern, &message("")).await.unwrap_err().is_invalid(), "{pattern}");
    }
    assert!(topics.subscribe("a", "").await.unwrap_err().is_invalid());
    assert!(topics.publish("a.*", &message("")).await.unwrap_err().is_invalid());
    // also when nobody would get it
    let untyped = NewMessage::new("", "", json!(1));
    assert!(topics.publish("a", &untyped).await.unwrap_err().is_invalid());
}

#[tokio::test]
async fn all_subscribers_get_their_copy_or_none_does() {
    let test = TestDb::new().await;
    let topics = PgTopics::new(&test.db());
    for queue in ["a", "b", "c"] {
        topics.subscribe("t", queue).await.unwrap();
    }
    let queue = PgQueue::new(&test.db());
    let counts = async || {
        let mut counts = Vec::new();
        for name in ["a", "b", "c"] {
            counts.push(queue.stats(name).await.unwrap().ready);
        }
        counts
    };
    // one queue refuses its copy
    let refuse = format!(
        "CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS
           $$ BEGIN IF NEW.queue = 'c' THEN RAISE 'full' USING ERRCODE = '23514'; END IF; RETURN NEW; END $$;
         CREATE TRIGGER refuse BEFORE INSERT ON {} FOR EACH ROW EXECUTE FUNCTION refuse()",
        test.names().table("messages")
    );
    let mut client = test.client().await;
    client.batch_execute(&refuse).await.unwrap();
    topics.publish("t", &message("")).await.unwrap_err();
    assert_eq!(counts().await, [0, 0, 0]);
    client.batch_execute("DROP FUNCTION refuse CASCADE").await.unwrap();
    // in the caller's transaction
    for (commits, expected) in [(false, 0), (true, 1)] {
        let tx = client.transaction().await.unwrap();
        assert_eq!(topics.on(&tx).publish("t", &message("")).await.unwrap().len(), 3);
        assert_eq!(counts().await, [0, 0, 0]);
        if commits {
            tx.commit().await.unwrap();
        } else {
            tx.rollback().await.unwrap();
        }
        assert_eq!(counts().await, [expected; 3]);
    }
}
