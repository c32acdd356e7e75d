//! A cluster, sentinels, accounts and TLS.

use std::{
    fs,
    net::TcpListener,
    process::{Child, Command, Stdio},
    time::Duration,
};

use mainspring::{ClaimRequest, NewMessage, QueueDriver, WorkerId};
use mainspring_testing::TestDb;
use serde_json::json;
use tokio::time::{sleep, timeout};

use crate::{process, say, server};

const LONG: Duration = Duration::from_secs(30);

/// A message goes from one process to another that waits, by way of this Redis.
async fn carries(url: &str) {
    let db = TestDb::new().await;
    let ((pusher, _), (worker, redis)) = (process(url, &db), process(url, &db));
    let request = || ClaimRequest::new("q", WorkerId::generate(), LONG, 1);
    worker.queue.claim(request()).await.unwrap();
    let called = async {
        while redis.health().tally.taken == 0 {
            pusher.queue.push(vec![NewMessage::new("q", "work", json!({}))]).await.unwrap();
            worker.queue.wait("q", Duration::from_secs(1)).await;
            drop(worker.queue.claim(request()).await.unwrap());
        }
    };
    assert!(timeout(LONG, called).await.is_ok(), "{:?}", redis.health());
    assert!(redis.health().up && redis.health().listening);
    assert_eq!(redis.eviction_policy_warning().await.unwrap(), None);
}

#[tokio::test]
async fn a_cluster_carries_hints() {
    let Some(server) = server(&["--cluster-enabled", "yes"]).filter(|server| server.pid().is_some()) else {
        return;
    };
    // Redis 6, which is what is fetched, knows no ranges of slots.
    let slots: Vec<String> = (0..16_384).map(|slot| slot.to_string()).collect();
    let add: Vec<&str> =
        ["CLUSTER", "ADDSLOTS"].into_iter().chain(slots.iter().map(String::as_str)).collect();
    say(server.url(), &add).await.unwrap();
    let info = async || format!("{:?}", say(server.url(), &["CLUSTER", "INFO"]).await.unwrap());
    while !info().await.contains("cluster_state:ok") {
        sleep(Duration::from_millis(20)).await;
    }
    carries(&server.url().replace("redis://", "redis-cluster://")).await;
}

/// Ends with the test.
struct Sentinel(Child);

impl Drop for Sentinel {
    fn drop(&mut self) {
        drop((self.0.kill(), self.0.wait()));
    }
}

#[tokio::test]
async fn sentinels_say_where_the_master_is() {
    let Some(master) = server(&[]) else { return };
    let Some(program) = master.program() else { return };
    let (_, port) = master.url().trim_end_matches('/').rsplit_once(':').unwrap();
    let own = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let folder = tempfile::tempdir().unwrap();
    let settings = folder.path().join("sentinel.conf");
    fs::write(&settings, format!("port {own}\nsentinel monitor main 127.0.0.1 {port} 1\n")).unwrap();
    let mut command = Command::new(program);
    command.arg(&settings).arg("--sentinel").stdout(Stdio::null()).current_dir(folder.path());
    let _sentinel = Sentinel(command.spawn().unwrap());
    let address = format!("redis://127.0.0.1:{own}");
    while say(&address, &["SENTINEL", "GET-MASTER-ADDR-BY-NAME", "main"]).await.is_err() {
        sleep(Duration::from_millis(20)).await;
    }
    carries(&format!("redis-sentinel://127.0.0.1:{own}#main")).await;
}

#[tokio::test]
async fn a_server_asks_who_is_there() {
    let Some(server) = server(&[]).filter(|server| server.pid().is_some()) else { return };
    let user = ["ACL", "SETUSER", "ada", "on", ">s@cret", "~*", "&*", "+@all"];
    say(server.url(), &user).await.unwrap();
    say(server.url(), &["ACL", "SETUSER", "default", "off"]).await.unwrap();
    let place = server.url().trim_start_matches("redis://").trim_end_matches('/');
    carries(&format!("redis://ada:s%40cret@{place}/3")).await;
    let (_, stranger) = process(&format!("redis://ada:hush@{place}"), &TestDb::new().await);
    let refused = stranger.eviction_policy_warning().await.unwrap_err();
    assert!(!refused.chain().contains("hush") && !stranger.health().up, "{}", refused.chain());
}

#[tokio::test]
async fn a_server_without_tls_is_away_for_who_wants_it() {
    let Some(server) = server(&[]) else { return };
    let db = TestDb::new().await;
    let (stores, redis) = process(&server.url().replace("redis://", "rediss://"), &db);
    stores.queue.push(vec![NewMessage::new("q", "work", json!({}))]).await.unwrap();
    let request = ClaimRequest::new("q", WorkerId::generate(), LONG, 1);
    stores.queue.wait("q", Duration::from_secs(1)).await;
    assert_eq!(stores.queue.claim(request).await.unwrap().deliveries.len(), 1);
    assert!(redis.eviction_policy_warning().await.is_err() && !redis.health().up);
}
