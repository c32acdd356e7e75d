//! Listeners: handlers that hear and say nothing.

use std::{future::Future, sync::Arc};

use mainspring_core::BoxFuture;

use crate::{Call, CloudEvent, Handler, HandlerError, Reaction};

type Hear = dyn Fn(CloudEvent) -> BoxFuture<'static, Result<(), HandlerError>> + Send + Sync;

/// A function as a handler. Its error brings the event again, as the queue says.
pub(crate) struct Listener {
    source: String,
    hear: Arc<Hear>,
}

impl Listener {
    pub(crate) fn new<F, Fut>(source: &str, hear: F) -> Self
    where
        F: Fn(CloudEvent) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<(), HandlerError>> + Send + 'static,
    {
        Self { source: source.to_owned(), hear: Arc::new(move |event| Box::pin(hear(event))) }
    }
}

impl Handler for Listener {
    fn source(&self) -> &str {
        &self.source
    }

    fn handle<'a>(&'a self, call: &'a Call<'a>) -> BoxFuture<'a, Result<Reaction, HandlerError>> {
        Box::pin(async move {
            (self.hear)(call.event.clone()).await?;
            Ok(Reaction::default())
        })
    }
}
