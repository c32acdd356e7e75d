//! A private Redis.

use crate::runs;
use mainspring_embedded::{Error, RedisServer};
use std::{
    io::{Read, Write},
    net::TcpStream,
    time::Duration,
};

fn started(settings: &[&str]) -> Option<RedisServer> {
    match RedisServer::start_with(settings) {
        Err(error @ Error::NoRedis { .. }) if std::env::var_os("CI").is_none() => {
            eprintln!("skipped: {error}");
            None
        }
        started => Some(started.unwrap()),
    }
}

/// What it answers, so many bytes.
fn said(redis: &RedisServer, command: &str, bytes: usize) -> std::io::Result<String> {
    let address = redis.url().trim_start_matches("redis://").trim_end_matches('/');
    let mut stream = TcpStream::connect(address)?;
    stream.set_read_timeout(Some(Duration::from_millis(200)))?;
    stream.write_all(format!("{command}\r\n").as_bytes())?;
    let mut answer = vec![0; bytes];
    stream.read_exact(&mut answer)?;
    Ok(String::from_utf8_lossy(&answer).into_owned())
}

#[test]
fn a_private_redis_answers_and_ends() {
    let Some(redis) = started(&[]) else { return };
    let Some(pid) = redis.pid() else { return }; // TEST_REDIS_URL names somebody else's
    assert_eq!(said(&redis, "PING", 7).unwrap(), "+PONG\r\n");
    drop(redis);
    assert!(!runs(pid));
}

#[test]
fn a_private_redis_is_frozen_killed_and_started_again_empty() {
    let Some(mut redis) = started(&["--maxmemory", "5mb"]) else { return };
    let Some(pid) = redis.pid() else { return };
    assert_eq!(said(&redis, "SET a b", 5).unwrap(), "+OK\r\n");
    assert_eq!(said(&redis, "CONFIG GET maxmemory", 32).unwrap().lines().last(), Some("5242880"));
    redis.pause().unwrap();
    assert!(said(&redis, "PING", 7).is_err(), "it answers although it is frozen");
    redis.resume().unwrap();
    assert_eq!(said(&redis, "EXISTS a", 4).unwrap(), ":1\r\n");
    let url = redis.url().to_owned();
    redis.kill9().unwrap();
    assert!(!runs(pid) && said(&redis, "PING", 7).is_err());
    redis.restart().unwrap();
    assert_eq!(redis.url(), url);
    assert_eq!(said(&redis, "EXISTS a", 4).unwrap(), ":0\r\n");
}
