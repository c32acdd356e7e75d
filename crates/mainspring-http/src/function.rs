//! Calls an application in the same process.

use std::{fmt, sync::Arc, time::Duration};

use mainspring_core::{BoxFuture, Result};

use crate::{
    Call, Credential, Endpoint, Guard, Invoker, Reply, Secret, door::Door, guard::Presented, reply::Answer,
};

/// What a call is on its way: the same for every invoker.
pub(crate) struct Letter {
    pub(crate) headers: Vec<(&'static str, String)>,
    pub(crate) body: Vec<u8>,
}

impl Letter {
    /// # Errors
    /// Invalid, when no application could accept the message.
    pub(crate) fn of(call: &Call, credential: &Credential) -> Result<Self> {
        call.message.check()?;
        let body = serde_json::to_vec(&call.message).map_err(|e| {
            mainspring_core::Error::invalid("data", "cannot be written as JSON").with_source(e)
        })?;
        Ok(Self { headers: credential.headers(call, &body)?, body })
    }
}

/// Calls an [`Endpoint`] in the same process, by the same way in and with the same answers as over HTTP: the message is
/// written and read, the secret is checked, delays are whole seconds.
///
/// ```
/// use std::sync::Arc;
/// use mainspring_core::BoxFuture;
/// use mainspring_http::{Call, Endpoint, FunctionInvoker, Invoker, MessageData, Reply, Secret};
/// use serde_json::json;
///
/// struct Double;
/// impl Endpoint for Double {
///     fn call(&self, call: Call) -> BoxFuture<'_, Reply> {
///         Box::pin(async move { Reply::Ok(json!(call.message.data["n"].as_i64().unwrap_or(0) * 2)) })
///     }
/// }
///
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> mainspring_core::Result<()> {
/// let invoker = FunctionInvoker::new(Arc::new(Double), Secret::generate()?);
/// let message = MessageData::new("__wkf_step_double".parse()?, json!({"n": 21}));
/// assert_eq!(invoker.invoke(&Call::new(message)).await, Reply::Ok(json!(42)));
/// # Ok(()) }
/// ```
pub struct FunctionInvoker {
    door: Door,
    credential: Credential,
}

impl FunctionInvoker {
    /// Calls `endpoint` with a secret of both sides.
    pub fn new(endpoint: Arc<dyn Endpoint>, secret: Secret) -> Self {
        Self::with(endpoint, Guard::secret(secret.clone()), Credential::secret(secret))
    }

    /// Calls `endpoint` behind `guard`, presenting `credential`.
    pub fn with(endpoint: Arc<dyn Endpoint>, guard: Guard, credential: Credential) -> Self {
        Self { door: Door { endpoint, guard }, credential }
    }

    async fn deliver(&self, call: &Call) -> Reply {
        let letter = match Letter::of(call, &self.credential) {
            Ok(letter) => letter,
            Err(error) => return Reply::BadRequest(error.to_string()),
        };
        let header = |name: &str| {
            letter.headers.iter().find(|(known, _)| *known == name).map(|(_, value)| value.as_str())
        };
        let presented = Presented::new(header);
        let answer = match self.door.stops(&presented) {
            Some(answer) => answer,
            None => self.door.enter(call.entrypoint(), &presented, &letter.body).await,
        };
        Answer::read(answer.status, answer.retry_after.map(Duration::from_secs), Some(&answer.body))
    }
}

impl Invoker for FunctionInvoker {
    fn invoke<'a>(&'a self, call: &'a Call) -> BoxFuture<'a, Reply> {
        Box::pin(self.deliver(call))
    }
}

impl fmt::Debug for FunctionInvoker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "FunctionInvoker({:?})", self.credential)
    }
}
