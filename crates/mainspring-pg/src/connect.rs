//! Connections: a pool of them, or one of its own.

use std::{
    ops::{Deref, DerefMut},
    time::Duration,
};

use deadpool_postgres::{Connect, Manager, ManagerConfig, Pool, QueueMode, RecyclingMethod, Runtime};
use mainspring_core::{BoxFuture, Error, ErrorKind, Result};
use tokio::{task::JoinHandle, time::timeout};
use tokio_postgres::{Client, Config, Connection, Error as PgError, Socket, tls::MakeTlsConnect};
use tokio_postgres_rustls::MakeRustlsConnect;

use crate::{db::Deadlines, error::failed, settings::Settings, tls};

/// The half of a connection that moves the bytes.
pub(crate) type Wire = Connection<Socket, <MakeRustlsConnect as MakeTlsConnect<Socket>>::Stream>;

/// A pool of at most `size` connections. Nothing is connected yet; the certificates of the authorities are read.
///
/// The connection that was used last is used next: the server's process behind it still has at hand what a statement needs.
/// Taken in turns, each of them ran a commit as if it were its first one, in twice the time.
///
/// # Errors
/// [`Invalid`](ErrorKind::Invalid) for settings that can never connect, or a size of 0.
pub fn pool(settings: &Settings, size: usize) -> Result<Pool> {
    let mut deadlines = Deadlines::default();
    deadlines.create = deadlines.create.max(settings.connect_timeout());
    pool_with(settings, size, &deadlines)
}

/// The same, waiting no longer than `deadlines` say for a free connection, a new one, and the check of a used one.
///
/// # Errors
/// As [`pool`].
pub fn pool_with(settings: &Settings, size: usize, deadlines: &Deadlines) -> Result<Pool> {
    if size == 0 {
        return Err(Error::invalid("pool size", "must be at least 1"));
    }
    let dial = Dial { tls: tls::connector(settings)?, session: settings.session };
    let checks = ManagerConfig { recycling_method: RecyclingMethod::Fast };
    Pool::builder(Manager::from_connect(settings.config()?, dial, checks))
        .max_size(size)
        .queue_mode(QueueMode::Lifo)
        .wait_timeout(Some(deadlines.wait))
        .create_timeout(Some(deadlines.create))
        .recycle_timeout(Some(deadlines.recycle))
        .runtime(Runtime::Tokio1)
        .build()
        .map_err(|error| Error::internal("the pool cannot be built").with_source(error))
}

struct Dial {
    tls: MakeRustlsConnect,
    session: bool,
}

impl Connect for Dial {
    fn connect(&self, config: &Config) -> BoxFuture<'_, Result<(Client, JoinHandle<()>), PgError>> {
        let config = config.clone();
        Box::pin(async move {
            let (client, wire) = config.connect(self.tls.clone()).await?;
            let checks = self.session && can_check(&wire);
            let driver = tokio::spawn(drive(wire));
            if checks {
                watch_client(&client).await;
            }
            Ok((client, driver))
        })
    }
}

async fn drive(wire: Wire) {
    if let Err(error) = wire.await {
        tracing::debug!(error = %failed("connection", error), "connection ended");
    }
}

fn can_check(wire: &Wire) -> bool {
    let version = wire.parameter("server_version").unwrap_or_default();
    let major = version.split(|c: char| !c.is_ascii_digit()).next().unwrap_or_default();
    major.parse::<u32>().is_ok_and(|major| major >= 14)
}

/// Lets the server notice within a second that the client of a running statement is gone, and free its locks (T9).
async fn watch_client(client: &Client) {
    const WATCH: &str = "SET client_connection_check_interval = '1s'";
    // Some platforms of the server cannot. A connection that broke here breaks again at its first use.
    if let Err(error) = client.batch_execute(WATCH).await {
        tracing::debug!(error = %failed("client_connection_check_interval", error), "not set");
    }
}

/// A connection of its own, outside every pool: for what needs a session, such as session locks and LISTEN. Closed when
/// dropped.
pub struct Session {
    client: Client,
    driver: JoinHandle<()>,
}

impl Settings {
    /// Connects.
    ///
    /// # Errors
    /// [`Unavailable`](ErrorKind::Unavailable) when there is no server, it is silent or it refuses the credentials,
    /// [`Busy`](ErrorKind::Busy) when it has no connection left, [`Invalid`](ErrorKind::Invalid) for unusable settings.
    pub async fn connect(&self) -> Result<Session> {
        let (client, wire) = self.open().await?;
        let checks = self.session && can_check(&wire);
        let session = Session { client, driver: tokio::spawn(drive(wire)) };
        if checks {
            let limit = self.connect_timeout();
            if timeout(limit, watch_client(&session.client)).await.is_err() {
                return Err(late(limit));
            }
        }
        Ok(session)
    }

    /// Both halves of a new connection.
    pub(crate) async fn open(&self) -> Result<(Client, Wire)> {
        let (config, tls) = (self.config()?, tls::connector(self)?);
        let limit = self.connect_timeout();
        match timeout(limit, config.connect(tls)).await {
            Ok(Ok(halves)) => Ok(halves),
            Ok(Err(error)) => Err(failed(format_args!("connecting to {}", self.hosts().join(", ")), error)),
            Err(_) => Err(late(limit)),
        }
    }
}

fn late(limit: Duration) -> Error {
    Error::new(ErrorKind::Unavailable, format!("connecting took longer than {limit:?}"))
}

impl Deref for Session {
    type Target = Client;
    fn deref(&self) -> &Client {
        &self.client
    }
}

impl DerefMut for Session {
    fn deref_mut(&mut self) -> &mut Client {
        &mut self.client
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        self.driver.abort();
    }
}
