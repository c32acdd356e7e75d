//! Whatever becomes of Redis under load, each message is done once: 20,000 of them in every storm (R13, R15).

use std::time::Duration;

use mainspring_pg::{Carrier, Hint};
use tokio::time::{sleep, timeout};

use crate::{fleet::Fleet, redis, say, server, wall::Wall};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_emptied_redis_loses_nothing() {
    // fault F62
    let Some(server) = server(&[]) else { return };
    let fleet = Fleet::at(server.url()).await;
    fleet.storm(async |_| drop(say(server.url(), &["FLUSHALL"]).await.unwrap())).await;
    fleet.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_killed_redis_that_kept_nothing_loses_nothing() {
    // fault F63: what is pushed while it is away is done too.
    let Some(mut server) = server(&[]).filter(|server| server.pid().is_some()) else { return };
    let fleet = Fleet::at(server.url()).await;
    fleet
        .storm(async |n| {
            if n % 2 == 0 {
                server.kill9().unwrap();
            } else {
                server.restart().unwrap();
            }
        })
        .await;
    server.restart().unwrap();
    fleet.until_up(true).await;
    fleet.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn work_goes_on_without_any_redis() {
    let Some(mut server) = server(&[]).filter(|server| server.pid().is_some()) else { return };
    server.kill9().unwrap();
    let fleet = Fleet::at(server.url()).await;
    fleet.push(100).await;
    fleet.all_done(100).await;
    assert!(fleet.redis.iter().all(|redis| !redis.health().up));
    fleet.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tickets_of_a_worker_that_dies_before_it_claims_are_messages_all_the_same() {
    // fault F64: what it took from Redis is gone, what it meant is not.
    let Some(server) = server(&[]) else { return };
    let fleet = Fleet::at(server.url()).await;
    let thief = redis(server.url(), &fleet.db);
    fleet.storm(async |_| _ = thief.take("q", 10_000).await.unwrap()).await;
    fleet.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tickets_for_what_was_never_committed_are_counted_and_do_nothing() {
    // fault F65
    let Some(server) = server(&[]) else { return };
    let fleet = Fleet::at(server.url()).await;
    let liar = redis(server.url(), &fleet.db);
    let lie = || vec![Hint { name: "q".into(), look: false, tickets: 50 }];
    fleet.storm(async |_| liar.send(lie()).await.unwrap()).await;
    liar.send(lie()).await.unwrap();
    let ghosts = || fleet.redis.iter().map(|redis| redis.health().tally.ghosts).sum::<u64>();
    let counted = async {
        while ghosts() == 0 {
            sleep(Duration::from_millis(5)).await;
        }
    };
    timeout(Duration::from_secs(30), counted).await.unwrap();
    fleet.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_redis_without_memory_loses_nothing_and_says_so() {
    // fault F66: once it throws keys away, once it refuses to write.
    for policy in ["allkeys-lru", "noeviction"] {
        let settings = ["--maxmemory", "3mb", "--maxmemory-policy", policy];
        let Some(server) = server(&settings).filter(|server| server.pid().is_some()) else { return };
        let fleet = Fleet::at(server.url()).await;
        let warning = fleet.redis[0].eviction_policy_warning().await.unwrap();
        assert_eq!(warning.is_some_and(|warning| warning.contains(policy)), policy == "allkeys-lru");
        let filling = "x".repeat(100_000);
        fleet
            .storm(async |round| {
                for n in 0..30 {
                    drop(say(server.url(), &["SET", &format!("other:{round}:{n}"), &filling]).await);
                }
            })
            .await;
        fleet.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_redis_that_forgets_scripts_and_cuts_connections_loses_nothing() {
    // fault F67
    let Some(server) = server(&[]) else { return };
    let fleet = Fleet::at(server.url()).await;
    fleet
        .storm(async |n| {
            say(server.url(), &["SCRIPT", "FLUSH"]).await.unwrap();
            let kind = if n % 2 == 0 { "pubsub" } else { "normal" };
            drop(say(server.url(), &["CLIENT", "KILL", "TYPE", kind]).await);
        })
        .await;
    fleet.until_up(true).await;
    assert!(fleet.redis[0].health().tally.sent > 0);
    fleet.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_frozen_redis_keeps_nobody_waiting() {
    // fault F68: connections stay open and nothing answers.
    let Some(mut server) = server(&[]).filter(|server| server.pid().is_some()) else { return };
    let fleet = Fleet::at(server.url()).await;
    fleet
        .storm(async |n| {
            if n % 2 == 0 {
                server.pause().unwrap();
            } else {
                server.resume().unwrap();
            }
        })
        .await;
    server.resume().unwrap();
    fleet.until_up(true).await;
    fleet.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_half_open_way_to_redis_is_found_and_left() {
    // fault F68, as a network that swallows everything.
    let Some(server) = server(&[]) else { return };
    let wall = Wall::before(server.url()).await;
    let fleet = Fleet::at(&wall.url).await;
    fleet.storm(async |n| wall.set_open(n % 2 == 1)).await;
    wall.set_open(true);
    fleet.until_up(true).await;
    fleet.stop().await;
}
