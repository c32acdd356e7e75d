//! The server of all test databases of this process.

use std::sync::OnceLock;

use mainspring_core::{Error, ErrorKind, Result};
use mainspring_embedded as embedded;
use mainspring_pg::Settings;

/// Names a server to use instead of one of our own.
const VARIABLE: &str = "TEST_DATABASE_URL";

pub(super) struct Server {
    url: String,
    settings: Settings,
    /// It ends with this run, or forgets everything when its machine does.
    pub(super) throwaway: bool,
    // never dropped, as it is in a static: its guard stops it when this process has ended
    _server: embedded::Server,
}

/// Starts it at the first call.
pub(super) async fn get() -> Result<&'static Server> {
    static SERVER: OnceLock<Result<Server, String>> = OnceLock::new();
    if SERVER.get().is_none() {
        let start = || SERVER.get_or_init(|| start().map_err(|error| error.chain())).is_ok();
        let started = tokio::task::spawn_blocking(start).await;
        started.map_err(|error| Error::internal("starting the server").with_source(error))?;
    }
    match SERVER.get() {
        Some(Ok(server)) => Ok(server),
        Some(Err(problem)) => Err(Error::new(ErrorKind::Unavailable, problem.clone())),
        None => Err(Error::internal("the server was not started")),
    }
}

fn start() -> Result<Server> {
    let server = embedded::Server::from_env(VARIABLE, embedded::Options::throwaway())
        .map_err(|error| Error::new(ErrorKind::Unavailable, "no server for tests").with_source(error))?;
    let url = server.url();
    let settings = Settings::parse(&url).map_err(|error| Error::invalid(VARIABLE, error))?;
    let throwaway = server.cluster().is_some() || forgets(&settings)?;
    Ok(Server { url, settings, throwaway, _server: server })
}

/// A server that does not sync is nobody's treasure.
fn forgets(settings: &Settings) -> Result<bool> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|error| Error::internal("no runtime").with_source(error))?;
    runtime.block_on(async {
        let row = settings.connect().await?.query_one("SELECT current_setting('fsync')", &[]).await;
        let row = row.map_err(|error| Error::internal("asking the server").with_source(error))?;
        Ok(row.get::<_, &str>(0) == "off")
    })
}

impl Server {
    /// Of the database the server was named with, for what spans all databases.
    pub(super) fn settings(&self) -> &Settings {
        &self.settings
    }

    pub(super) fn settings_of(&self, database: &str) -> Result<Settings> {
        self.settings.clone().with("dbname", database)
    }

    pub(super) fn url_of(&self, database: &str) -> String {
        with_database(&self.url, database)
    }
}

/// The same address with another database.
fn with_database(url: &str, database: &str) -> String {
    let Some((scheme, rest)) = url.split_once("://") else { return format!("{url} dbname={database}") };
    let (place, options) =
        rest.split_once('?').map_or((rest, None), |(place, options)| (place, Some(options)));
    let host = place.split('/').next().unwrap_or_default();
    let options = options.map(|options| format!("?{options}")).unwrap_or_default();
    format!("{scheme}://{host}/{database}{options}")
}

/// Host and port, where the address is a URL that has them.
pub(super) fn address(url: &str) -> Option<(String, u16)> {
    let place = url.split_once("://")?.1.split(['/', '?']).next()?;
    let place = place.rsplit('@').next()?;
    let (host, port) = match place.rsplit_once(':') {
        Some((host, port)) if !port.ends_with(']') => (host, port.parse().ok()?),
        _ => (place, 5432),
    };
    let host = host.trim_start_matches('[').trim_end_matches(']');
    (!host.is_empty()).then(|| (host.to_owned(), port))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn another_database_of_the_same_server() {
        for (url, expected) in [
            ("postgres://u:p@h:1/db?sslmode=disable", "postgres://u:p@h:1/t?sslmode=disable"),
            ("postgres://h", "postgres://h/t"),
            ("postgres:///db?host=/tmp", "postgres:///t?host=/tmp"),
            ("host=h dbname=db", "host=h dbname=db dbname=t"),
        ] {
            assert_eq!(with_database(url, "t"), expected);
        }
    }

    #[test]
    fn host_and_port_of_a_url() {
        for (url, expected) in [
            ("postgres://u:p@h:1/db?sslmode=disable", Some(("h", 1))),
            ("postgres://h", Some(("h", 5432))),
            ("postgres://[::1]/db", Some(("::1", 5432))),
            ("postgres://[::1]:7/db", Some(("::1", 7))),
            ("postgres:///db?host=/tmp", None),
            ("host=h dbname=db", None),
        ] {
            assert_eq!(address(url), expected.map(|(host, port)| (host.to_owned(), port)), "{url}");
        }
    }
}
