//! `http`: makes a request.
//!
//! `{"url": "https://api.example.com/orders", "method": "POST", "headers": {"x-team": "blue"}, "body": {"n": 1},
//! "timeout": 10000}`. Without a `body` a POST, PUT or PATCH sends the step's input as JSON. Every request carries the step's
//! idempotency key, so that a server that knows the header does a repeated request once.
//!
//! The output is `{"status", "statusText", "headers", "body"}`, the body parsed when it says it is JSON. Redirects are not
//! followed and proxies of the environment not used; a status of 300 or more is the failure `HTTP_<status>`, anything else
//! that goes wrong `HTTP_ERROR`, a body over 1 MiB `HTTP_BODY_TOO_LARGE`. A host that may not be talked to is
//! `HTTP_HOST_REFUSED`, which no retry can help; see [`HttpAccess`].

use std::{error::Error as _, net::IpAddr, str::FromStr, sync::OnceLock, time::Duration};

use reqwest::{
    Client, Method, Response, Url,
    dns::{Addrs, Name, Resolve, Resolving},
    header::{CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue},
    redirect::Policy,
};
use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::access::{HttpAccess, Refused, plain};
use crate::{Handler, HandlerError, Invocation, Outcome};

const MOST_BYTES: usize = mainspring_core::limits::MAX_PAYLOAD;
const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");

/// Makes its client when the first step needs one.
pub(crate) struct Http {
    client: OnceLock<Client>,
    access: HttpAccess,
}

#[derive(Deserialize)]
struct Config {
    url: String,
    method: Option<String>,
    #[serde(default)]
    headers: Map<String, Value>,
    body: Option<Value>,
    #[serde(default = "half_a_minute")]
    timeout: u64,
}

fn half_a_minute() -> u64 {
    30_000
}

impl Http {
    pub(crate) fn new(access: HttpAccess) -> Self {
        Self { client: OnceLock::new(), access }
    }

    /// Checks a host that is an address: nobody resolves it. Names are checked by whoever resolves them.
    fn check(&self, url: &str) -> Result<(), HandlerError> {
        let host = Url::parse(url).ok().and_then(|url| url.host_str().map(plain)).unwrap_or_default();
        match host.parse::<IpAddr>() {
            Ok(address) => self.access.check(&host, &[address]).map_err(|refused| forbidden(&refused)),
            Err(_) => Ok(()),
        }
    }

    fn client(&self) -> Result<&Client, HandlerError> {
        if let Some(client) = self.client.get() {
            return Ok(client);
        }
        // Only the first installation in a process counts; whoever was first has chosen.
        drop(rustls::crypto::ring::default_provider().install_default());
        let client = Client::builder()
            .redirect(Policy::none())
            .no_proxy()
            .dns_resolver(Checking(self.access.clone()))
            .user_agent(concat!("mainspring/", env!("CARGO_PKG_VERSION")))
            .build()
            .map_err(failed)?;
        Ok(self.client.get_or_init(|| client))
    }
}

impl Handler for Http {
    const NAME: &'static str = "http";
    const CATEGORY: &'static str = "external";
    const DESCRIPTION: &'static str = "Makes an HTTP request";
    type Input = Value;
    type Output = Value;

    async fn handle(&self, call: Invocation, input: Value) -> Result<Outcome, HandlerError> {
        let config: Config = call.config_as()?;
        let method = method(config.method.as_deref())?;
        self.check(&config.url)?;
        let mut request = self
            .client()?
            .request(method.clone(), &config.url)
            .headers(headers(&config.headers, &call)?)
            .timeout(Duration::from_millis(config.timeout));
        let with_input = [Method::POST, Method::PUT, Method::PATCH].contains(&method);
        request = match config.body {
            Some(Value::String(text)) => request.body(text),
            Some(body) => request.json(&body),
            None if with_input => request.json(&input),
            None => request,
        };
        let response = request.send().await.map_err(failed)?;
        let status = response.status();
        let answered = read(response).await?;
        if status.is_success() {
            return Ok(answered.into());
        }
        let code = format!("HTTP_{}", status.as_u16());
        Err(HandlerError::new(code, format!("{method} was answered {status}")).details(answered))
    }
}

/// Resolves names, and gives only addresses that were checked.
struct Checking(HttpAccess);

impl Resolve for Checking {
    fn resolve(&self, name: Name) -> Resolving {
        let access = self.0.clone();
        Box::pin(async move {
            let found: Vec<_> = tokio::net::lookup_host((name.as_str(), 0)).await?.collect();
            let addresses: Vec<IpAddr> = found.iter().map(std::net::SocketAddr::ip).collect();
            access.check(name.as_str(), &addresses)?;
            Ok(Box::new(found.into_iter()) as Addrs)
        })
    }
}

fn forbidden(refused: &Refused) -> HandlerError {
    HandlerError::terminal("HTTP_HOST_REFUSED", refused.to_string())
}

fn method(name: Option<&str>) -> Result<Method, HandlerError> {
    let name = name.unwrap_or("GET").to_ascii_uppercase();
    let known = ["GET", "POST", "PUT", "PATCH", "DELETE", "HEAD", "OPTIONS"].contains(&name.as_str());
    match Method::from_str(&name) {
        Ok(method) if known => Ok(method),
        _ => Err(HandlerError::terminal("INPUT_ERROR", format!("`{name}` is no method of a request"))),
    }
}

fn headers(config: &Map<String, Value>, call: &Invocation) -> Result<HeaderMap, HandlerError> {
    let refuse =
        |name: &str| HandlerError::terminal("INPUT_ERROR", format!("header `{name}` cannot be sent"));
    let mut headers = HeaderMap::new();
    if let Ok(key) = HeaderValue::from_str(&call.idempotency_key()) {
        headers.insert(IDEMPOTENCY_KEY, key);
    }
    for (name, value) in config {
        let text = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
        let key = HeaderName::from_str(name).map_err(|_| refuse(name))?;
        headers.insert(key, HeaderValue::from_str(&text).map_err(|_| refuse(name))?);
    }
    Ok(headers)
}

async fn read(mut response: Response) -> Result<Value, HandlerError> {
    let status = response.status();
    let headers: Map<String, Value> = response
        .headers()
        .iter()
        .map(|(name, value)| (name.to_string(), json!(String::from_utf8_lossy(value.as_bytes()))))
        .collect();
    let is_json = response.headers().get(CONTENT_TYPE).is_some_and(|kind| {
        kind.to_str().is_ok_and(|kind| kind.starts_with("application/") && kind.contains("json"))
    });
    let mut bytes = Vec::new();
    while let Some(chunk) = response.chunk().await.map_err(failed)? {
        if bytes.len() + chunk.len() > MOST_BYTES {
            let message = format!("the body has more than {MOST_BYTES} bytes");
            return Err(HandlerError::terminal("HTTP_BODY_TOO_LARGE", message));
        }
        bytes.extend_from_slice(&chunk);
    }
    let parsed = if is_json { serde_json::from_slice(&bytes).ok() } else { None };
    let body = parsed.unwrap_or_else(|| json!(String::from_utf8_lossy(&bytes)));
    let text = status.canonical_reason().unwrap_or_default();
    Ok(json!({"status": status.as_u16(), "statusText": text, "headers": headers, "body": body}))
}

/// The request did not get an answer. Its text names the host and the causes, but not the whole URL, which may hold secrets.
fn failed(error: reqwest::Error) -> HandlerError {
    let mut source = error.source();
    while let Some(cause) = source {
        if let Some(refused) = cause.downcast_ref::<Refused>() {
            return forbidden(refused);
        }
        source = cause.source();
    }
    let host = error.url().and_then(|url| url.host_str()).unwrap_or_default().to_owned();
    let error = error.without_url();
    let mut message = format!("{host}: {error}");
    let mut cause = error.source();
    while let Some(error) = cause {
        message = format!("{message}: {error}");
        cause = error.source();
    }
    HandlerError::new("HTTP_ERROR", message)
}
