//! A Redis of a test's own.

use mainspring_embedded::{Error, RedisServer};

/// A Redis with these settings beside its own, such as `["--maxmemory", "3mb"]`; it stops when it is dropped. `None`, and a note
/// why, where there is none to be had: in CI there has to be one. One that `TEST_REDIS_URL` names has no pid and not these
/// settings.
///
/// # Panics
/// When it does not start.
#[allow(
    clippy::print_stderr,
    clippy::panic,
    reason = "whoever reads the tests should know what was left out"
)]
pub fn redis_server(settings: &[&str]) -> Option<RedisServer> {
    match RedisServer::start_with(settings) {
        Ok(server) => Some(server),
        Err(error @ Error::NoRedis { .. }) if std::env::var_os("CI").is_none() => {
            eprintln!("NOT TESTED: {error}");
            None
        }
        Err(error) => panic!("{error}"),
    }
}
