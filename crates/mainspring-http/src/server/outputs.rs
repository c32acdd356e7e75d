//! Output streams as server-sent events.
//!
//! ```text
//! id: 0
//! event: chunk
//! data: <base64>
//!                       … a comment as heartbeat … and at last
//! event: end
//! data: {}
//! ```
//! Who comes back with `Last-Event-ID` goes on behind it.

use std::sync::Arc;

use axum::{
    body::{Body, Bytes},
    extract::{Path, Query, State},
    http::{HeaderMap, StatusCode, header},
    response::{IntoResponse, Response},
};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use futures_util::{StreamExt, stream};
use mainspring_core::{Chunk, ExecutionId, OutputStream, Result};
use serde::Deserialize;
use tokio::sync::OwnedSemaphorePermit;

use super::{
    body::{presented, refuse},
    options::OutputAccess,
    router::App,
};
use crate::guard::Admission;

/// Where output streams are: `?execution=<id>` for one of an execution, `&start=<n>` to begin elsewhere than at 0; negative
/// counts from the end.
pub const STREAM_PATH: &str = "/.well-known/workflow/v1/stream/{name}";

#[derive(Deserialize)]
pub(super) struct Which {
    execution: Option<String>,
    #[serde(default)]
    start: i64,
}

pub(super) async fn stream(
    State(app): State<Arc<App>>,
    Path(name): Path<String>,
    Query(which): Query<Which>,
    headers: HeaderMap,
) -> Response {
    let Some(access) = &app.options.outputs else { return refuse(StatusCode::NOT_FOUND, "no such route") };
    let stream = match named(name, which.execution) {
        Ok(stream) => stream,
        Err(error) => return refuse(StatusCode::BAD_REQUEST, &error.to_string()),
    };
    if !app.may_read(access, &headers, &stream) {
        return refuse(StatusCode::UNAUTHORIZED, "Unauthorized: Invalid or missing secret key");
    }
    let Ok(permit) = Arc::clone(&app.readers).try_acquire_owned() else {
        let mut response = refuse(StatusCode::SERVICE_UNAVAILABLE, "too many readers");
        response.headers_mut().insert(header::RETRY_AFTER, 5.into());
        return response;
    };
    let last = headers.get("last-event-id").and_then(|id| id.to_str().ok()?.parse::<i64>().ok());
    let start = last.filter(|last| *last >= 0).map_or(which.start, |last| last.saturating_add(1));
    events(access, &stream, start, permit)
}

impl App {
    fn may_read(&self, access: &OutputAccess, headers: &HeaderMap, stream: &OutputStream) -> bool {
        match &access.allow {
            Some(allow) => allow(headers, stream),
            None => {
                let presented = presented(headers);
                self.door.stops(&presented).is_none()
                    && matches!(self.door.guard.admits_body(&presented, b""), Admission::Granted)
            }
        }
    }
}

fn named(name: String, execution: Option<String>) -> Result<OutputStream> {
    let stream = OutputStream { execution: execution.map(ExecutionId::new).transpose()?, name };
    stream.check()?;
    Ok(stream)
}

/// A page is read when the connection has taken the last one, so a slow reader costs no more than a fast one.
fn events(
    access: &OutputAccess,
    stream: &OutputStream,
    start: i64,
    permit: OwnedSemaphorePermit,
) -> Response {
    let chunks = access.store.read(stream, start);
    let heartbeat = access.heartbeat;
    let events = stream::unfold((chunks, Some(permit)), move |(mut chunks, permit)| async move {
        let permit = permit?;
        let (text, permit) = match tokio::time::timeout(heartbeat, chunks.next()).await {
            Ok(Some(Ok(chunk))) => (event(&chunk), Some(permit)),
            Ok(Some(Err(error))) => {
                tracing::debug!(error = %error.chain(), "an output stream broke off");
                // The reader comes back by itself, and goes on behind what it has.
                (format!("event: error\ndata: {}\n\n", error.code()), None)
            }
            Ok(None) => ("event: end\ndata: {}\n\n".to_owned(), None),
            Err(_) => (": alive\n\n".to_owned(), Some(permit)),
        };
        Some((Ok::<_, std::convert::Infallible>(Bytes::from(text)), (chunks, permit)))
    });
    let headers = [
        (header::CONTENT_TYPE, "text/event-stream"),
        (header::CACHE_CONTROL, "no-store"),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    ];
    (headers, Body::from_stream(events)).into_response()
}

fn event(chunk: &Chunk) -> String {
    format!("id: {}\nevent: chunk\ndata: {}\n\n", chunk.index, STANDARD.encode(&chunk.data))
}
