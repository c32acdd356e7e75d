//! Webhooks: anybody who has the token may call.

use std::{panic::AssertUnwindSafe, sync::Arc};

use axum::{
    body::Body,
    extract::{Path, Request, State},
    http::{HeaderName, HeaderValue, StatusCode},
    response::{IntoResponse, Response},
};
use futures_util::FutureExt;

use super::{
    body::{read, refuse},
    router::App,
};
use crate::{WebhookReply, WebhookRequest};

/// Where webhooks are; `{token}` is the secret of one.
pub const WEBHOOK_PATH: &str = "/.well-known/workflow/v1/webhook/{token}";

/// Most bytes of a token; a longer one is none.
const LONGEST: usize = 255;

pub(super) async fn webhook(
    State(app): State<Arc<App>>,
    Path(token): Path<String>,
    request: Request,
) -> Response {
    if token.len() > LONGEST {
        return respond(WebhookReply::not_found());
    }
    let (parts, body) = request.into_parts();
    let body = match read(body, app.options.webhook_bytes, app.options.body_deadline).await {
        Ok(body) => body,
        Err((status, error)) => return refuse(status, &error),
    };
    let text = |(name, value): (&HeaderName, &HeaderValue)| {
        Some((name.as_str().to_owned(), value.to_str().ok()?.to_owned()))
    };
    let request = WebhookRequest {
        token,
        method: parts.method.as_str().to_owned(),
        query: parts.uri.query().map(str::to_owned),
        headers: parts.headers.iter().filter_map(text).collect(),
        body,
    };
    let answer = AssertUnwindSafe(app.door.endpoint.webhook(request)).catch_unwind();
    match tokio::time::timeout(app.options.webhook_deadline, answer).await {
        Ok(Ok(reply)) => respond(reply),
        Ok(Err(_)) => refuse(StatusCode::INTERNAL_SERVER_ERROR, "the handler panicked"),
        Err(_) => refuse(StatusCode::GATEWAY_TIMEOUT, "no answer in time"),
    }
}

/// What cannot be said in HTTP is left out.
fn respond(reply: WebhookReply) -> Response {
    let status = StatusCode::from_u16(reply.status).ok().filter(|status| status.as_u16() >= 200);
    let mut response =
        (status.unwrap_or(StatusCode::INTERNAL_SERVER_ERROR), Body::from(reply.body)).into_response();
    for (name, value) in reply.headers {
        if let (Ok(name), Ok(value)) = (name.parse::<HeaderName>(), HeaderValue::from_str(&value)) {
            response.headers_mut().append(name, value);
        }
    }
    response
}
