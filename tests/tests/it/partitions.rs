//! The way to the database carries nothing, or only in one direction (faults F94, F95).

use mainspring_testing::Proxy;
use mainspring_tests::{Lab, until, worker};

#[tokio::test(flavor = "multi_thread")]
async fn where_requests_arrive_and_answers_are_lost_others_go_on_and_nothing_happens_twice() {
    // fault F95
    let lab = Lab::new().await;
    let proxy = Proxy::before(lab.db()).await.unwrap();
    let (far, near) = (lab.engine_on(lab.stores_by(proxy.settings(), 4)), lab.engine());
    near.publish().await.unwrap();
    let ids = lab.create(&near, 20).await;
    let deaf = worker(&far).start().unwrap();
    until("work has begun", async || lab.ledger.len() >= 10).await;
    proxy.mute(true);
    let second = worker(&near).start().unwrap();
    lab.over(&ids).await;
    second.stop().await.unwrap();

    proxy.mute(false);
    let fresh = lab.create(&near, 1).await;
    lab.over(&fresh).await; // by the worker that heard nothing: there is no other
    deaf.stop().await.unwrap();
    lab.all_completed(&[ids, fresh].concat()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn where_every_worker_is_cut_off_for_longer_than_its_lease_all_go_on_when_it_is_over() {
    // fault F94: what was on its way all the time arrives then, from workers that count as dead by now
    const ALIVE: &str = "SELECT count(*) FROM ms_workers WHERE expires_at > ms_now()";
    let lab = Lab::new().await;
    let ways = [Proxy::before(lab.db()).await.unwrap(), Proxy::before(lab.db()).await.unwrap()];
    let engines = ways.each_ref().map(|way| lab.engine_on(lab.stores_by(way.settings(), 4)));
    engines[0].publish().await.unwrap();
    let ids = lab.create(&lab.engine(), 40).await;
    let workers = engines.each_ref().map(|engine| worker(engine).start().unwrap());
    until("work has begun", async || lab.ledger.len() >= 20).await;
    let client = lab.client().await;
    let alive = async || client.query_one(ALIVE, &[]).await.unwrap().get::<_, i64>(0);
    assert!(alive().await > 0);
    ways.iter().for_each(|way| way.black_hole(true));
    until("all leases are over", async || alive().await == 0).await;
    ways.iter().for_each(|way| way.black_hole(false));
    lab.all_completed(&ids).await;
    for worker in workers {
        worker.stop().await.unwrap();
    }
}
