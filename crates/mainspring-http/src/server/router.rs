//! All routes of an application, to be mounted beside its own.

use std::sync::Arc;

use axum::{
    Router,
    extract::{Request, State},
    response::Response,
    routing::{any, get, post},
};
use mainspring_core::Result;
use tokio::sync::Semaphore;

use super::{
    OpsOptions, Parts, RouterOptions,
    body::{presented, read, refuse, respond},
    ops::probes,
    outputs, webhook,
};
use crate::{Endpoint, Entrypoint, Guard, door::Door};

/// What every route knows.
pub(super) struct App {
    pub(super) door: Door,
    pub(super) options: RouterOptions,
    /// Readers of output streams.
    pub(super) readers: Arc<Semaphore>,
}

/// The routes of an application:
///
/// | route | who may | answer |
/// |---|---|---|
/// | `POST /.well-known/workflow/v1/flow` and `/step` | who presents the credential | a [`Reply`](crate::Reply) |
/// | `/.well-known/workflow/v1/webhook/{token}` | who has the token | what [`Endpoint::webhook`] answers |
/// | `GET /.well-known/workflow/v1/stream/{name}` | see [`OutputAccess`](super::OutputAccess) | server-sent events |
/// | `GET /livez`, `/readyz`, `/startupz` | everybody | as [`ops_router`](super::ops_router) |
///
/// The work of a call is dropped when its caller hangs up. For limits on headers and connections see [`serve`](super::serve).
///
/// # Errors
/// Invalid, when a secret of `guard` is insecure and [`RouterOptions::bind`] is not of this machine.
pub fn router(endpoint: Arc<dyn Endpoint>, guard: Guard, options: RouterOptions) -> Result<Router> {
    options.check(guard.is_insecure())?;
    let clients = options.outputs.as_ref().map_or(0, |access| access.clients);
    let mut router = Router::new()
        .route(Entrypoint::Flow.path(), post(flow))
        .route(Entrypoint::Step.path(), post(step))
        .route(webhook::WEBHOOK_PATH, any(webhook::webhook));
    if options.outputs.is_some() {
        router = router.route(outputs::STREAM_PATH, get(outputs::stream));
    }
    let probes =
        options.probes.then(|| probes(OpsOptions { parts: parts(&options), ..OpsOptions::default() }));
    let readers = Arc::new(Semaphore::new(clients));
    let router = router.with_state(Arc::new(App { door: Door { endpoint, guard }, options, readers }));
    Ok(match probes {
        Some(probes) => router.merge(probes),
        None => router,
    })
}

/// What `/readyz` looks at: the application as a whole.
fn parts(options: &RouterOptions) -> Option<Parts> {
    let check = Arc::clone(options.ready.as_ref()?);
    Some(Arc::new(move || {
        let check = check();
        Box::pin(async move { vec![("application", check.await)] })
    }))
}

async fn flow(State(app): State<Arc<App>>, request: Request) -> Response {
    app.deliver(Entrypoint::Flow, request).await
}

async fn step(State(app): State<Arc<App>>, request: Request) -> Response {
    app.deliver(Entrypoint::Step, request).await
}

impl App {
    /// Who presents no credential is not even listened to.
    async fn deliver(&self, entrypoint: Entrypoint, request: Request) -> Response {
        let (parts, body) = request.into_parts();
        let presented = presented(&parts.headers);
        if let Some(answer) = self.door.stops(&presented) {
            return respond(&answer);
        }
        match read(body, self.options.most_bytes, self.options.body_deadline).await {
            Ok(bytes) => respond(&self.door.enter(entrypoint, &presented, &bytes).await),
            Err((status, error)) => refuse(status, &error),
        }
    }
}
