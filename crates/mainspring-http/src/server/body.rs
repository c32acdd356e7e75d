//! Reading what callers send, and writing what they are answered.

use std::time::Duration;

use axum::{
    body::{Body, Bytes},
    http::{HeaderMap, StatusCode, header},
    response::{IntoResponse, Response},
};
use futures_util::StreamExt;
use serde_json::json;

use crate::{guard::Presented, reply::Answer};

/// Why a body was not taken.
pub(super) type Refusal = (StatusCode, String);

/// The whole body, if it comes in time and is not too large. A slow one holds nothing but its connection.
pub(super) async fn read(body: Body, most: usize, deadline: Duration) -> Result<Bytes, Refusal> {
    let all = async {
        let mut chunks = body.into_data_stream();
        let mut bytes = Vec::new();
        while let Some(chunk) = chunks.next().await {
            let chunk = chunk.map_err(|_| (StatusCode::BAD_REQUEST, "the body broke off".to_owned()))?;
            if bytes.len() + chunk.len() > most {
                return Err((StatusCode::PAYLOAD_TOO_LARGE, format!("more than {most} bytes")));
            }
            bytes.extend_from_slice(&chunk);
        }
        Ok::<Bytes, Refusal>(bytes.into())
    };
    let late = |_| Err((StatusCode::REQUEST_TIMEOUT, "the body did not arrive in time".to_owned()));
    tokio::time::timeout(deadline, all).await.unwrap_or_else(late)
}

pub(super) fn refuse(status: StatusCode, error: &str) -> Response {
    json_response(status, &json!({"error": error}))
}

pub(super) fn json_response(status: StatusCode, body: &serde_json::Value) -> Response {
    (status, [(header::CONTENT_TYPE, "application/json")], body.to_string()).into_response()
}

pub(super) fn respond(answer: &Answer) -> Response {
    let status = StatusCode::from_u16(answer.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let mut response = json_response(status, &answer.body);
    if let Some(seconds) = answer.retry_after {
        response.headers_mut().insert(header::RETRY_AFTER, seconds.into());
    }
    response
}

/// A header that is there twice could be read in two ways, so it is not there.
pub(super) fn presented(headers: &HeaderMap) -> Presented<'_> {
    Presented::new(|name| {
        let mut values = headers.get_all(name).iter();
        match (values.next(), values.next()) {
            (Some(value), None) => value.to_str().ok(),
            _ => None,
        }
    })
}
