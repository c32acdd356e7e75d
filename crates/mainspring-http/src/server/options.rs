//! What the router lets in, and what it offers.

use std::{fmt, net::SocketAddr, sync::Arc, time::Duration};

use axum::http::HeaderMap;
use mainspring_core::{BoxFuture, Error, OutputStore, OutputStream, Result, limits};

/// Whether the application can do its work: `Err` says no.
pub type ReadyCheck = Arc<dyn Fn() -> BoxFuture<'static, Result<()>> + Send + Sync>;
pub(super) type Allow = Arc<dyn Fn(&HeaderMap, &OutputStream) -> bool + Send + Sync>;

/// What the router lets in, and what it offers.
#[derive(Clone)]
pub struct RouterOptions {
    /// Most bytes of a message. Defaults to 2 MiB, which is room for a payload of 1 MiB in base64.
    pub most_bytes: usize,
    /// Most bytes of a request to a webhook. Defaults to 1 MiB.
    pub webhook_bytes: usize,
    /// For a body to arrive. Defaults to 30 s.
    pub body_deadline: Duration,
    /// For a webhook to answer; it is answered 504 then. Defaults to 60 s.
    pub webhook_deadline: Duration,
    /// Where it will be bound, which must be this machine for an insecure secret. Defaults to `None`: anywhere.
    pub bind: Option<SocketAddr>,
    /// See [`ready`](Self::ready()). Defaults to `None`.
    pub ready: Option<ReadyCheck>,
    /// Whether it answers `/livez`, `/readyz` and `/startupz`, as [`ops_router`](super::ops_router) does: say no where both are parts
    /// of one router. Defaults to yes.
    pub probes: bool,
    /// See [`outputs`](Self::outputs()). Defaults to `None`.
    pub outputs: Option<OutputAccess>,
}

impl Default for RouterOptions {
    fn default() -> Self {
        Self {
            most_bytes: 2 * limits::MAX_PAYLOAD,
            webhook_bytes: limits::MAX_PAYLOAD,
            body_deadline: Duration::from_secs(30),
            webhook_deadline: Duration::from_secs(60),
            bind: None,
            ready: None,
            probes: true,
            outputs: None,
        }
    }
}

impl RouterOptions {
    /// What `/readyz` asks, such as whether the database answers; it has a second. Without it the application is always ready.
    #[must_use]
    pub fn ready(
        mut self,
        check: impl Fn() -> BoxFuture<'static, Result<()>> + Send + Sync + 'static,
    ) -> Self {
        self.ready = Some(Arc::new(check));
        self
    }

    /// Offers output streams as server-sent events at [`STREAM_PATH`](super::STREAM_PATH).
    #[must_use]
    pub fn outputs(mut self, access: OutputAccess) -> Self {
        self.outputs = Some(access);
        self
    }

    pub(super) fn check(&self, insecure: bool) -> Result<()> {
        if insecure && !self.bind.is_some_and(|address| address.ip().is_loopback()) {
            return Err(Error::invalid("secret", "an insecure one is only for an address of this machine"));
        }
        Ok(())
    }
}

impl fmt::Debug for RouterOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RouterOptions")
            .field("most_bytes", &self.most_bytes)
            .field("webhook_bytes", &self.webhook_bytes)
            .field("body_deadline", &self.body_deadline)
            .field("webhook_deadline", &self.webhook_deadline)
            .field("bind", &self.bind)
            .field("ready", &self.ready.is_some())
            .field("probes", &self.probes)
            .field("outputs", &self.outputs.is_some())
            .finish()
    }
}

/// Which output streams are offered to whom.
#[derive(Clone)]
pub struct OutputAccess {
    pub(super) store: Arc<dyn OutputStore>,
    pub(super) allow: Option<Allow>,
    pub(super) heartbeat: Duration,
    pub(super) clients: usize,
}

impl OutputAccess {
    /// To those who present the credential of the router: 100 readers at a time, a heartbeat every 15 s.
    pub fn new(store: Arc<dyn OutputStore>) -> Self {
        Self { store, allow: None, heartbeat: Duration::from_secs(15), clients: 100 }
    }

    /// To those whose headers `allow` says yes to, in place of the credential: for browsers, which have a session. It must not
    /// block.
    #[must_use]
    pub fn allow(
        mut self,
        allow: impl Fn(&HeaderMap, &OutputStream) -> bool + Send + Sync + 'static,
    ) -> Self {
        self.allow = Some(Arc::new(allow));
        self
    }

    /// Another heartbeat, which shows that the connection is alive.
    #[must_use]
    pub fn heartbeat(mut self, every: Duration) -> Self {
        self.heartbeat = every;
        self
    }

    /// Another number of readers at a time.
    #[must_use]
    pub fn clients(mut self, most: usize) -> Self {
        self.clients = most;
        self
    }
}
