//! Webhooks: a request becomes the payload of a hook, and what the hook says is answered.

use std::collections::BTreeMap;

use base64::{Engine as _, engine::general_purpose::STANDARD};
use bytes::Bytes;
use futures_util::StreamExt;
use mainspring_core::{Error, ErrorKind, ExecutionId, MessageId, OutputStream, Result, TokenSecret};
use mainspring_http::{WebhookReply, WebhookRequest};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::World;
use crate::Resolve;

/// In front of the names of the streams in which webhooks are answered.
const ANSWERS: &str = "__webhook__";
/// The value of `respondWith` of a hook whose users answer by themselves.
const MANUAL: &str = "manual";

/// An answer as JSON.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Answer {
    #[serde(default = "fine")]
    status: u16,
    #[serde(default)]
    headers: BTreeMap<String, String>,
    #[serde(flatten)]
    body: Body,
}

fn fine() -> u16 {
    200
}

/// Any bytes as JSON.
#[derive(Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Body {
    body: String,
    /// `base64` for what is no text.
    #[serde(skip_serializing_if = "Option::is_none")]
    body_encoding: Option<String>,
}

impl Body {
    fn of(bytes: &[u8]) -> Self {
        match std::str::from_utf8(bytes) {
            Ok(text) if !text.contains('\0') => Self { body: text.to_owned(), body_encoding: None },
            _ => Self { body: STANDARD.encode(bytes), body_encoding: Some("base64".to_owned()) },
        }
    }

    fn bytes(self) -> Result<Bytes> {
        match self.body_encoding {
            None => Ok(self.body.into()),
            Some(_) => {
                let decoded = STANDARD.decode(self.body).map(Bytes::from);
                decoded.map_err(|_| Error::invalid("body", "is not base64"))
            }
        }
    }
}

impl TryFrom<Value> for Answer {
    type Error = Error;

    fn try_from(value: Value) -> Result<Self> {
        serde_json::from_value(value).map_err(|error| Error::invalid("respondWith", error))
    }
}

impl Answer {
    fn reply(self) -> Result<WebhookReply> {
        let headers = self.headers.into_iter().collect();
        Ok(WebhookReply { status: self.status, headers, body: self.body.bytes()? })
    }
}

impl World {
    /// Answers the request of a webhook by hand. `respond_to` is of its payload, `run` the one that got it. The first answer
    /// counts; whether this is it.
    ///
    /// # Errors
    /// Not found when there is no such run.
    pub async fn respond(&self, run: &ExecutionId, respond_to: &str, reply: WebhookReply) -> Result<bool> {
        let answer = Answer {
            status: reply.status,
            headers: reply.headers.into_iter().collect(),
            body: Body::of(&reply.body),
        };
        let answer = serde_json::to_vec(&answer)
            .map_err(|error| Error::internal("an answer is no JSON").with_source(error))?;
        let (streams, stream) = (self.streamer(), OutputStream::of(run, respond_to));
        let written = streams.write(&stream, answer.into()).await?;
        streams.close(&stream).await?;
        Ok(written == Some(0))
    }

    /// Who has no token learns nothing: what is unknown, used or over is not found.
    pub(super) async fn webhook(&self, request: WebhookRequest) -> WebhookReply {
        match self.answered(request).await {
            Ok(reply) => reply,
            Err(error) => {
                tracing::debug!(error = %error.chain(), "a webhook was refused");
                match error.kind() {
                    ErrorKind::NotFound | ErrorKind::Expired | ErrorKind::Conflict => {
                        WebhookReply::not_found()
                    }
                    ErrorKind::Invalid => WebhookReply::status(400),
                    _ if error.is_retryable() || error.is_commit_unknown() => WebhookReply::status(503),
                    _ => WebhookReply::status(500),
                }
            }
        }
    }

    async fn answered(&self, request: WebhookRequest) -> Result<WebhookReply> {
        let mut payload = json!({
            "method": request.method,
            "headers": request.headers.into_iter().collect::<BTreeMap<_, _>>(),
        });
        if let Some(query) = request.query {
            payload["query"] = json!(query);
        }
        let body = Body::of(&request.body);
        payload["body"] = json!(body.body);
        if let Some(encoding) = body.body_encoding {
            payload["bodyEncoding"] = json!(encoding);
        }
        match self.respond_with(&request.token).await? {
            None => {
                self.resume_hook(&request.token, payload).await?;
                Ok(WebhookReply::accepted())
            }
            Some(manual) if manual == MANUAL => {
                let name = format!("{ANSWERS}{}", MessageId::generate());
                payload["respondTo"] = json!(name);
                let run = self.resume_hook(&request.token, payload).await?;
                self.manual(&OutputStream::of(&run, name)).await
            }
            Some(answer) => {
                let reply = Answer::try_from(answer)?.reply()?;
                self.resume_hook(&request.token, payload).await?;
                Ok(reply)
            }
        }
    }

    /// What the hook of this token says is to be answered.
    async fn respond_with(&self, token: &str) -> Result<Option<Value>> {
        if token.parse::<TokenSecret>().is_ok() {
            return Ok(None); // a hook of the engine
        }
        let hook = self.storage().hooks().get_by_token(token, Resolve::All).await?;
        if !hook.is_webhook {
            return Err(Error::new(ErrorKind::NotFound, "this hook is no webhook"));
        }
        let answer = hook.metadata.and_then(|mut metadata| metadata.get_mut("respondWith").map(Value::take));
        Ok(answer.filter(|answer| !answer.is_null()))
    }

    /// Waits for an answer; for how long is a matter of whoever waits for this.
    async fn manual(&self, stream: &OutputStream) -> Result<WebhookReply> {
        let first = self.streamer().read(stream, 0).next().await;
        let Some(chunk) = first else { return Ok(WebhookReply::accepted()) };
        let answer: Answer = serde_json::from_slice(&chunk?.data)
            .map_err(|error| Error::internal("the answer to a webhook is no JSON").with_source(error))?;
        answer.reply()
    }
}
