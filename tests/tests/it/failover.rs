//! Another server takes over, and a server that cannot be written to (faults F17, F18).

use std::time::Duration;

use mainspring::{
    ClaimRequest, ErrorKind, ExecutionStore as _, LeaseStore, NewMessage, QueueDriver, Settings, Settle,
    Settlement, WorkerId,
};
use mainspring_testing::Proxy;
use mainspring_tests::{LEASE, Pair, Replication, until, worker};
use serde_json::json;
use tokio_util::sync::CancellationToken;

use crate::postgres::{all_done, crowd};

#[tokio::test(flavor = "multi_thread")]
async fn a_standby_that_was_waited_for_takes_over_and_nothing_is_lost() {
    // fault F17: under load; who created, who works and who looks goes over by itself
    let mut pair = Pair::start(Replication::Synchronous).await;
    let lab = pair.lab();
    let engines = [lab.engine(), lab.engine()];
    let workers = engines.each_ref().map(|engine| worker(engine).start().unwrap());
    let (calm, caller) = (CancellationToken::new(), lab.engine());
    let crowd = crowd(&caller, &calm);
    until("the load is there", async || lab.ledger.len() >= 100).await;
    pair.fail_over();
    let before = lab.ledger.len();
    until("the load goes on", async || lab.ledger.len() >= before + 100).await;
    calm.cancel();
    all_done(&lab, crowd, workers).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_standby_that_was_behind_takes_over_and_nothing_contradicts_itself() {
    // fault F17: what was acknowledged last is gone, as it is with such a standby; nobody who still has it in hand brings it back
    let mut pair = Pair::start(Replication::Asynchronous).await;
    let lab = pair.lab();
    let engine = lab.engine();
    let mut ids = lab.create(&engine, 3).await;
    let queue = &lab.near().queue;
    let leases = &lab.near().leases;
    queue.push(vec![NewMessage::new("fence", "t", json!(1))]).await.unwrap();
    pair.caught_up().await;
    pair.wire.black_hole(true);
    let keyed = || engine.create("order", json!({})).idempotency_key("lost");
    let lost = keyed().await.unwrap().execution.id;
    // So many claims that the numbers they get are handed out again.
    let mut claims = Vec::new();
    for _ in 0..50 {
        let request = ClaimRequest::new("fence", WorkerId::generate(), LEASE, 1);
        let lease = queue.claim(request).await.unwrap().deliveries.remove(0).lease;
        queue.settle(vec![Settle::new(lease.clone(), Settlement::PutBack)]).await.unwrap();
        claims.push(lease);
    }
    let (mut held, minute) = (Vec::new(), Duration::from_secs(60));
    for _ in 0..50 {
        let lease = leases.acquire("fence", "of the lost time", minute).await.unwrap().unwrap();
        leases.release(&lease).await.unwrap();
        held.push(lease);
    }
    pair.fail_over();

    let gone = async || Some(lab.near().executions.get(&lost).await.ok()?.is_none());
    assert!(
        mainspring_tests::eventually("the second answers", gone).await,
        "a commit the second cannot have"
    );
    let again = keyed().await.unwrap();
    assert!(again.created && again.execution.id != lost, "the key is as free as it looks: {again:?}");
    ids.push(again.execution.id);
    let request = ClaimRequest::new("fence", WorkerId::generate(), Duration::from_secs(60), 1);
    let delivery = queue.claim(request).await.unwrap().deliveries.remove(0);
    let now = leases.acquire("fence", "now", minute).await.unwrap().unwrap();
    for lease in claims {
        let settled =
            queue.settle(vec![Settle::new(lease.clone(), Settlement::Done)]).await.unwrap().remove(0);
        assert!(settled.unwrap_err().is_fenced(), "{lease:?} beside {:?}", delivery.lease);
    }
    for lease in held {
        assert!(!leases.release(&lease).await.unwrap(), "{lease:?} beside {now:?}");
    }
    queue.settle(vec![Settle::new(delivery.lease, Settlement::Done)]).await.unwrap().remove(0).unwrap();
    let running = worker(&engine).start().unwrap();
    lab.all_completed(&ids).await;
    running.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn after_a_switch_over_the_first_host_is_read_only_and_the_other_is_used() {
    // fault F18: the address names the same hosts in the same order as before
    let mut pair = Pair::start(Replication::Asynchronous).await;
    let lab = pair.lab();
    let engine = lab.engine();
    let running = worker(&engine).start().unwrap();
    let mut ids = lab.create(&engine, 3).await;
    lab.over(&ids).await;
    pair.switch_over();
    ids.extend(lab.create(&lab.engine(), 3).await); // by somebody who connects now
    for n in 0..3 {
        let create = async || {
            let create = engine.create("order", json!({})).idempotency_key(format!("after {n}"));
            Some(create.await.ok()?.execution.id)
        };
        ids.push(mainspring_tests::eventually("the writer is found", create).await);
    }
    lab.all_completed(&ids).await;
    running.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_is_read_only_is_named_and_not_asked_all_the_time() {
    // fault F18
    let mut pair = Pair::start(Replication::Asynchronous).await;
    let lab = pair.lab();
    let engine = lab.engine();
    engine.publish().await.unwrap();
    let standby = Settings::parse(&pair.second.url("postgres")).unwrap();
    let way = Proxy::start("127.0.0.1", pair.second.port(), &standby).await.unwrap();

    let there = lab.stores_by(way.settings(), 2);
    let error = there.queue.push(vec![NewMessage::new("q", "t", json!(1))]).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable, "nothing was changed: {error:?}");
    let text = error.to_string();
    assert!(text.contains("25006") && text.contains("this node is read-only"), "{text}");
    let only = way.settings().clone().with("target_session_attrs", "read-write").unwrap();
    let error = only.connect().await.err().expect("nobody there can be written to");
    assert!(error.is_retryable() && error.to_string().contains("this node is read-only"), "{error}");
    let any = Settings::parse(&pair.url("?target_session_attrs=any")).unwrap();
    let reversed = any.with("port", &format!("{},{}", pair.second.port(), pair.first.port())).unwrap();
    assert!(lab.stores_by(&reversed, 1).queue.push(vec![NewMessage::new("q", "t", json!(1))]).await.is_err());

    // A worker there tries again, less and less often, and works as soon as it can.
    let (before, begin) = (way.connections(), tokio::time::Instant::now());
    let far = lab.engine_on(lab.stores_by(way.settings(), 4));
    let running = worker(&far).start().unwrap();
    until("it has tried a few times", async || way.connections() >= before + 20).await;
    tokio::time::sleep(Duration::from_secs(1)).await; // in which a loop without a pause connects a thousand times
    let (connections, seconds) = (way.connections() - before, begin.elapsed().as_secs_f64());
    assert!((connections as f64) < 50.0 + 50.0 * seconds, "{connections} connections in {seconds} s");
    pair.fail_over();
    let ids = lab.create(&engine, 2).await;
    lab.all_completed(&ids).await;
    running.stop().await.unwrap();
}
