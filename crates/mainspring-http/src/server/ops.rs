//! What the tools of an operator ask: is it alive, is it ready, how is it doing.
//!
//! | route | answer |
//! |---|---|
//! | `GET /livez` | 200 as long as the process answers at all |
//! | `GET /startupz` | 200 when it has been ready once, 503 before |
//! | `GET /readyz` | 200, or 503 with the parts that are not ready |
//! | `GET /metrics` | Prometheus' text form, where one is given |
//! | `GET /version` | what this is |
//!
//! Nobody needs a credential, so nothing is said that helps a stranger: whether, not why; why is in the log. Mount it where only
//! operators reach it all the same.

use std::{
    fmt,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use axum::{
    Router,
    extract::State,
    http::{StatusCode, header},
    response::{IntoResponse, Response},
    routing::get,
};
use mainspring_core::{BoxFuture, Result};
use serde_json::{Map, Value, json};
use tokio::sync::watch;

use super::body::{json_response, refuse};

/// Most time for all parts of `/readyz`.
const LIMIT: Duration = Duration::from_secs(1);

/// What a process needs to do its work, each part with a name.
pub type Parts = Arc<dyn Fn() -> BoxFuture<'static, Vec<(&'static str, Result<()>)>> + Send + Sync>;
/// What `/metrics` answers.
pub type Render = Arc<dyn Fn() -> String + Send + Sync>;

/// Whether a process is on its way out. A clone is the same.
#[derive(Clone)]
pub struct Drain(watch::Sender<bool>);

impl Default for Drain {
    fn default() -> Self {
        Self(watch::Sender::new(false))
    }
}

impl Drain {
    /// From now on `/readyz` says no, so that nothing new is sent here. Then give those who ask a moment to notice, and stop.
    pub fn begin(&self) {
        self.0.send_replace(true);
    }

    /// Whether it has begun.
    pub fn has_begun(&self) -> bool {
        *self.0.borrow()
    }

    /// Waits until it begins.
    pub async fn begun(&self) {
        // The sender is ours, so it cannot be gone.
        drop(self.0.subscribe().wait_for(|begun| *begun).await);
    }
}

/// What [`ops_router`] tells.
#[derive(Clone, Default)]
pub struct OpsOptions {
    /// What `/readyz` looks at, for a second at most. Defaults to nothing: always ready.
    pub parts: Option<Parts>,
    /// What `/metrics` answers. Defaults to `None`: there is no such route.
    pub metrics: Option<Render>,
    /// What `/version` answers, beside the version of this library.
    pub version: Map<String, Value>,
    /// Whether the process is on its way out.
    pub drain: Drain,
}

impl fmt::Debug for OpsOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OpsOptions")
            .field("parts", &self.parts.is_some())
            .field("metrics", &self.metrics.is_some())
            .field("draining", &self.drain.has_begun())
            .finish_non_exhaustive()
    }
}

struct Ops {
    options: OpsOptions,
    started: AtomicBool,
}

/// The routes for operators; see the module.
pub fn ops_router(options: OpsOptions) -> Router {
    let probes = probes(options.clone());
    let mut router = Router::new().route("/version", get(version));
    if options.metrics.is_some() {
        router = router.route("/metrics", get(metrics));
    }
    router.with_state(Arc::new(options)).merge(probes)
}

/// Only the three that say how the process is.
pub(super) fn probes(options: OpsOptions) -> Router {
    Router::new()
        .route("/livez", get(async || json_response(StatusCode::OK, &json!({"ok": true}))))
        .route("/readyz", get(readyz))
        .route("/startupz", get(startupz))
        .with_state(Arc::new(Ops { options, started: AtomicBool::new(false) }))
}

async fn readyz(State(ops): State<Arc<Ops>>) -> Response {
    ops.ready().await
}

async fn startupz(State(ops): State<Arc<Ops>>) -> Response {
    if !ops.started.load(Ordering::Acquire) {
        return ops.ready().await;
    }
    json_response(StatusCode::OK, &json!({"ok": true}))
}

async fn version(State(options): State<Arc<OpsOptions>>) -> Response {
    let mut said = options.version.clone();
    said.insert("version".to_owned(), json!(env!("CARGO_PKG_VERSION")));
    json_response(StatusCode::OK, &Value::Object(said))
}

async fn metrics(State(options): State<Arc<OpsOptions>>) -> Response {
    let Some(render) = &options.metrics else { return refuse(StatusCode::NOT_FOUND, "no such route") };
    ([(header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], render()).into_response()
}

impl Ops {
    /// Draining comes first, and asks nobody.
    async fn ready(&self) -> Response {
        let mut parts = Map::new();
        let serving = !self.options.drain.has_begun();
        parts.insert("serving".to_owned(), json!(serving));
        let mut ok = serving;
        if let Some(look) = self.options.parts.as_ref().filter(|_| serving) {
            match tokio::time::timeout(LIMIT, look()).await {
                Ok(looked) => {
                    for (part, state) in looked {
                        if let Err(error) = &state {
                            tracing::warn!(part, error = %error.chain(), "not ready");
                        }
                        ok &= state.is_ok();
                        parts.insert(part.to_owned(), json!(state.is_ok()));
                    }
                }
                Err(_) => {
                    tracing::warn!(limit = ?LIMIT, "not ready: the look took too long");
                    parts.insert("in_time".to_owned(), json!(false));
                    ok = false;
                }
            }
        }
        self.started.fetch_or(ok, Ordering::AcqRel);
        let status = if ok { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
        json_response(status, &json!({"ok": ok, "parts": parts}))
    }
}
