//! Calls an application over HTTP.

use std::{
    error::Error as _,
    fmt,
    net::IpAddr,
    sync::{Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use mainspring_core::{BoxFuture, Error, Result, metric};
use reqwest::{
    Client, Response, Url,
    header::{CONTENT_TYPE, RETRY_AFTER},
    redirect::Policy,
};
use serde_json::Value;

use super::{HttpOptions, breaker::Breaker, retry_after};
use crate::{Call, Credential, Entrypoint, Invoker, Reply, function::Letter, reply::Answer};

/// Calls the application at a base address. Redirects are not followed, proxies of the environment not used, and every wait
/// has a deadline. When the application cannot be reached several times in a row, nothing is sent for a while; see
/// [`HttpOptions`]. One for each application, shared in an `Arc`.
///
/// ```
/// use mainspring_http::{Credential, HttpInvoker, HttpOptions, Secret};
///
/// let credential = Credential::signed(Secret::generate()?);
/// let invoker = HttpInvoker::new("https://app.example.com/api", credential, HttpOptions::default())?;
/// assert_eq!(format!("{invoker:?}"), "HttpInvoker(https://app.example.com/api, Credential(signed))");
/// # Ok::<(), mainspring_core::Error>(())
/// ```
pub struct HttpInvoker {
    client: Client,
    base: String,
    credential: Credential,
    breaker: Mutex<Breaker>,
    most_bytes: usize,
}

impl HttpInvoker {
    /// Calls `{base}/.well-known/workflow/v1/flow` and `/step`.
    ///
    /// # Errors
    /// Invalid: no address over http or https, one with a user, query or fragment, an insecure secret for another machine, or
    /// a secret that would go there without TLS; or an option out of range.
    pub fn new(base: &str, credential: Credential, options: HttpOptions) -> Result<Self> {
        options.check()?;
        let url = base_of(base)?;
        let here = is_loopback(&url);
        if credential.is_insecure() && !here {
            return Err(Error::invalid("secret", "an insecure one is only for this machine"));
        }
        if url.scheme() == "http" && !here && credential.is_secret() && !options.plaintext {
            return Err(Error::invalid("base", "would send the secret to another machine without TLS"));
        }
        // Only the first installation in a process counts; whoever was first has chosen.
        drop(rustls::crypto::ring::default_provider().install_default());
        let client = Client::builder()
            .redirect(Policy::none())
            .no_proxy()
            .connect_timeout(options.connect)
            .timeout(options.deadline)
            .user_agent(concat!("mainspring/", env!("CARGO_PKG_VERSION")))
            .build()
            .map_err(|e| Error::internal("no HTTP client").with_source(e))?;
        let base = url.as_str().trim_end_matches('/').to_owned();
        let breaker = Mutex::new(Breaker::new(&options));
        Ok(Self { client, base, credential, breaker, most_bytes: options.most_bytes })
    }

    async fn deliver(&self, call: &Call) -> Reply {
        let letter = match Letter::of(call, &self.credential) {
            Ok(letter) => letter,
            Err(error) => return Reply::BadRequest(error.to_string()),
        };
        if let Err(pause) = self.breaker().ask(Instant::now()) {
            let error = "the application could not be reached lately".to_owned();
            return Reply::Unavailable { error, retry_after: Some(pause) };
        }
        let reply = self.send(call.entrypoint(), letter).await.unwrap_or_else(|error| unreachable(&error));
        match reply {
            Reply::Unavailable { .. } => self.breaker().missed(Instant::now()),
            _ => self.breaker().reached(),
        }
        reply
    }

    async fn send(&self, entrypoint: Entrypoint, letter: Letter) -> Result<Reply, reqwest::Error> {
        let mut request = self.client.post(format!("{}{}", self.base, entrypoint.path()));
        request = request.header(CONTENT_TYPE, "application/json").body(letter.body);
        for (name, value) in letter.headers {
            request = request.header(name, value);
        }
        let begin = Instant::now();
        let sent = request.send().await;
        let code = sent.as_ref().map_or("none".to_owned(), |response| response.status().as_u16().to_string());
        metrics::histogram!(metric::HTTP_DISPATCH, "code" => code).record(begin.elapsed());
        let mut response = sent?;
        let status = response.status().as_u16();
        let retry_after = response.headers().get(RETRY_AFTER).and_then(|value| value.to_str().ok());
        let retry_after = retry_after.and_then(|text| retry_after::parse(text, jiff::Timestamp::now()));
        Ok(match self.body(&mut response).await? {
            Body::Json(body) => Answer::read(status, retry_after, Some(&body)),
            Body::TooLarge if response.status().is_success() => {
                Reply::fatal(format!("the reply has more than {} bytes", self.most_bytes))
            }
            Body::TooLarge | Body::Other => Answer::read(status, retry_after, None),
        })
    }

    /// Reads no more than is allowed.
    async fn body(&self, response: &mut Response) -> Result<Body, reqwest::Error> {
        let mut bytes = Vec::new();
        while let Some(chunk) = response.chunk().await? {
            if bytes.len() + chunk.len() > self.most_bytes {
                return Ok(Body::TooLarge);
            }
            bytes.extend_from_slice(&chunk);
        }
        if bytes.is_empty() {
            return Ok(Body::Json(Value::Null));
        }
        Ok(serde_json::from_slice(&bytes).map_or(Body::Other, Body::Json))
    }

    fn breaker(&self) -> MutexGuard<'_, Breaker> {
        self.breaker.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

enum Body {
    Json(Value),
    Other,
    TooLarge,
}

impl Invoker for HttpInvoker {
    fn invoke<'a>(&'a self, call: &'a Call) -> BoxFuture<'a, Reply> {
        Box::pin(self.deliver(call))
    }
}

impl fmt::Debug for HttpInvoker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "HttpInvoker({}, {:?})", self.base, self.credential)
    }
}

fn base_of(base: &str) -> Result<Url> {
    let refuse = |problem: &str| Err(Error::invalid("base", problem));
    let Ok(url) = Url::parse(base) else { return refuse("is no URL") };
    if !["http", "https"].contains(&url.scheme()) || url.host_str().is_none() {
        return refuse("is no http:// or https:// address");
    }
    if !url.username().is_empty()
        || url.password().is_some()
        || url.query().is_some()
        || url.fragment().is_some()
    {
        return refuse("has a user, a query or a fragment");
    }
    Ok(url)
}

fn is_loopback(url: &Url) -> bool {
    let host = url.host_str().unwrap_or_default().trim_start_matches('[').trim_end_matches(']');
    host == "localhost" || host.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
}

/// There was no answer. The text has the causes, but not the address.
fn unreachable(error: &reqwest::Error) -> Reply {
    let mut text = if error.is_timeout() { "no answer in time".to_owned() } else { "no answer".to_owned() };
    let mut cause = error.source();
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    Reply::Unavailable { error: text, retry_after: None::<Duration> }
}
