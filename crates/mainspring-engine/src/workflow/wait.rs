//! Waiting: for a time, for a signal, for whoever has a token.

use std::{future::IntoFuture, marker::PhantomData, time::Duration};

use mainspring_core::{
    BoxFuture, Failure, NewEvent, NewToken, Timestamp, TokenOptions, TokenSecret, TokenWrite, event::kind,
    flow::code,
};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use super::{
    Cx,
    error::{Halt, StepError},
    inbox,
    journal::End,
    live::Go,
    state::Wait,
    step::decode,
};

/// In the metadata of a token: it stays good after its first payload.
pub(crate) const MANY: &str = "mainspring.many";

#[derive(Debug, Clone, Copy)]
pub(crate) enum Alarm {
    After(Duration),
    At(Timestamp),
}

/// A sleep; await it. It has no error.
#[must_use = "nobody sleeps until this is awaited"]
pub struct Sleep {
    cx: Cx,
    key: String,
    alarm: Alarm,
}

impl Sleep {
    pub(crate) fn new(cx: Cx, name: &str, alarm: Alarm) -> Self {
        let key = cx.key(name);
        Self { cx, key, alarm }
    }
}

impl IntoFuture for Sleep {
    type Output = ();
    type IntoFuture = BoxFuture<'static, ()>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(async move {
            let live = &*self.cx.live;
            let (note, loose) = match live.turn(&self.key).await {
                Go::Return(_) => return,
                Go::Work { note, loose } => (note, loose),
            };
            let until = note.until.unwrap_or_else(|| match self.alarm {
                Alarm::After(duration) => live.backend.now() + duration,
                Alarm::At(at) => at,
            });
            if note.until.is_none() {
                live.record(waiting(&self.key, &json!({"until": until})), false);
            }
            live.wait(&self.key, Wait::Until(until)).await;
            live.record_end(kind::STEP_COMPLETED, &self.key, &End::Completed(Value::Null), loose, None);
        })
    }
}

fn waiting(key: &str, data: &Value) -> NewEvent {
    NewEvent::new(kind::STEP_WAITING, data.clone()).about(key)
}

/// Waits for the next payload under `key`, for so long.
async fn receive<T: DeserializeOwned>(
    cx: &Cx,
    key: &str,
    name: String,
    longest: Option<Duration>,
) -> Result<T, Halt> {
    let live = &*cx.live;
    let end = match live.turn(key).await {
        Go::Return(end) => end,
        Go::Work { note, loose } => {
            let early = live.lock().inbox.take(&name);
            let payload = match early {
                Some(payload) => Some(payload),
                None => {
                    let until = note.until.or_else(|| longest.map(|longest| live.backend.now() + longest));
                    if !note.waits {
                        let mut data = json!({"for": name});
                        if let Some(until) = until {
                            data["until"] = json!(until);
                        }
                        live.record(waiting(key, &data), false);
                    }
                    live.wait(key, Wait::Inbox(name.clone(), until)).await
                }
            };
            match payload {
                Some((payload, position)) => {
                    let end = End::Completed(payload);
                    live.record_end(kind::STEP_COMPLETED, key, &end, loose, Some(position));
                    end
                }
                None => {
                    let longest = longest.unwrap_or_default();
                    let message = format!("waited for {name} for longer than {longest:?}");
                    let end = End::Broken(Failure::new(code::TIMEOUT, message));
                    live.record_end(kind::STEP_FAILED, key, &end, loose, None);
                    end
                }
            }
        }
    };
    let failed = matches!(end, End::Broken(_));
    decode::<T, Value>(key, end).map_err(|error| match error {
        StepError::Halted(halt) if failed => halt,
        StepError::Halted(halt) => {
            Halt::new(Failure::new(super::PAYLOAD, format!("`{key}`: {}", halt.failure().message)))
        }
        StepError::App(error) => Halt::new(Failure::new(super::PAYLOAD, error.to_string())),
    })
}

/// A signal that is waited for; await it.
#[must_use = "nobody waits until this is awaited"]
pub struct SignalWait<T> {
    cx: Cx,
    key: String,
    name: String,
    timeout: Option<Duration>,
    types: PhantomData<fn() -> T>,
}

impl<T> SignalWait<T> {
    pub(crate) fn new(cx: Cx, name: &str) -> Self {
        let key = cx.key(name);
        Self { cx, key, name: name.to_owned(), timeout: None, types: PhantomData }
    }

    /// How long to wait, from the first time the code comes here; a [`Halt`] with the code `TIMEOUT` then. Defaults to for ever.
    pub fn timeout(mut self, longest: Duration) -> Self {
        self.timeout = Some(longest);
        self
    }
}

impl<T: DeserializeOwned + Send + 'static> IntoFuture for SignalWait<T> {
    type Output = Result<T, Halt>;
    type IntoFuture = BoxFuture<'static, Self::Output>;

    /// The payload; a [`Halt`] with the code `PAYLOAD` when it is not of this type, `TIMEOUT` when none came in time.
    fn into_future(self) -> Self::IntoFuture {
        Box::pin(async move { receive(&self.cx, &self.key, inbox::signal(&self.name), self.timeout).await })
    }
}

/// A place where payloads come in from whoever has its token. Await it for one payload, or take [`next`](Self::next) as often
/// as one likes. Payloads that come early are kept, in order.
pub struct Hook<T> {
    cx: Cx,
    key: String,
    inner: Cx,
    expires_in: Option<Duration>,
    timeout: Option<Duration>,
    many: bool,
    types: PhantomData<fn() -> T>,
}

impl<T> Hook<T> {
    pub(crate) fn new(cx: Cx, name: &str) -> Self {
        let key = cx.key(name);
        let inner = cx.within(&key);
        Self { cx, key, inner, expires_in: None, timeout: None, many: false, types: PhantomData }
    }

    /// Its tokens stay good after the first payload. Defaults to one payload a token.
    #[must_use]
    pub fn many(mut self) -> Self {
        self.many = true;
        self
    }

    /// How long its tokens work. Defaults to for ever, that is until the execution is over.
    #[must_use]
    pub fn expires_in(mut self, time: Duration) -> Self {
        self.expires_in = Some(time);
        self
    }

    /// How long to wait for each payload; a [`Halt`] with the code `TIMEOUT` then. Its tokens work on. Defaults to for ever.
    #[must_use]
    pub fn timeout(mut self, longest: Duration) -> Self {
        self.timeout = Some(longest);
        self
    }

    /// A token to hand out, durable when this returns. Only its hash is stored, so every call makes a new one, which works
    /// beside the earlier ones: call it inside the step that hands it out, and a replay makes none.
    ///
    /// # Errors
    /// The system has no random numbers.
    pub async fn token(&self) -> mainspring_core::Result<TokenSecret> {
        let live = &*self.cx.live;
        let mut options = TokenOptions { expires_in: self.expires_in, ..TokenOptions::default() };
        if self.many {
            options.metadata.insert(MANY.to_owned(), json!(true));
        }
        let (secret, token) = NewToken::generate(live.facts.id.clone(), &*self.key, options)?;
        token.check()?;
        let event = NewEvent::new(kind::TOKEN_CREATED, json!({"tokenId": token.id})).about(&*self.key);
        live.record(event, false);
        live.lock().batch.tokens.push(TokenWrite::Create(Box::new(token)));
        live.gate().await;
        Ok(secret)
    }
}

impl<T: DeserializeOwned> Hook<T> {
    /// The next payload.
    ///
    /// # Errors
    /// A [`Halt`] with the code `PAYLOAD` when it is not of this type, `TIMEOUT` when none came in time.
    pub async fn next(&self) -> Result<T, Halt> {
        let key = self.inner.key("payload");
        receive(&self.cx, &key, inbox::hook(&self.key), self.timeout).await
    }
}

impl<T: DeserializeOwned + Send + 'static> IntoFuture for Hook<T> {
    type Output = Result<T, Halt>;
    type IntoFuture = BoxFuture<'static, Self::Output>;

    /// The first payload.
    fn into_future(self) -> Self::IntoFuture {
        Box::pin(async move { self.next().await })
    }
}
