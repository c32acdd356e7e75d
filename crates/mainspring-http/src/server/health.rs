//! `/health`: the process answers. `/ready`: it can do its work.

use std::{sync::Arc, time::Duration};

use axum::{extract::State, http::StatusCode, response::Response};
use serde_json::json;

use super::{body::json_response, router::App};

/// For the check of `/ready`.
const LIMIT: Duration = Duration::from_secs(5);

pub(super) async fn health() -> Response {
    json_response(StatusCode::OK, &json!({"ok": true}))
}

/// Who asks needs no credential, so it is told whether and not why.
pub(super) async fn ready(State(app): State<Arc<App>>) -> Response {
    let Some(check) = &app.options.ready else { return health().await };
    match tokio::time::timeout(LIMIT, check()).await {
        Ok(Ok(())) => return health().await,
        Ok(Err(error)) => tracing::warn!(error = %error.chain(), "not ready"),
        Err(_) => tracing::warn!("not ready: the check took too long"),
    }
    json_response(StatusCode::SERVICE_UNAVAILABLE, &json!({"ok": false}))
}
