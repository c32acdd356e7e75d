//! A private Redis.

use crate::runs;
use mainspring_embedded::{Error, RedisServer};
use std::{
    io::{Read, Write},
    net::TcpStream,
};

#[test]
fn a_private_redis_answers_and_ends() {
    let redis = match RedisServer::start() {
        Err(error @ Error::NoRedis { .. }) if std::env::var_os("CI").is_none() => {
            eprintln!("skipped: {error}");
            return;
        }
        started => started.unwrap(),
    };
    let Some(pid) = redis.pid() else { return }; // TEST_REDIS_URL names somebody else's
    let address = redis.url().trim_start_matches("redis://").trim_end_matches('/');
    let mut stream = TcpStream::connect(address).unwrap();
    stream.write_all(b"PING\r\n").unwrap();
    let mut pong = [0; 7];
    stream.read_exact(&mut pong).unwrap();
    assert_eq!(&pong, b"+PONG\r\n");
    drop(redis);
    assert!(!runs(pid));
}
