//! The application's side of a world: what is called is done by the application, what only needs the world is done here.

use std::sync::Arc;

use mainspring_core::BoxFuture;
use mainspring_http::{Call, Endpoint, HealthCheck, Reply, WebhookReply, WebhookRequest};

use super::World;

impl World {
    /// An application with everything the world can do for it: `app` runs what is called, webhooks reach
    /// [hooks](Self::resume_hook), and a [health check](Self::check_health) is answered in a stream. For
    /// [`FunctionInvoker`](mainspring_http::FunctionInvoker), and what `World::router` serves.
    ///
    /// A webhook answers 202 as soon as its payload is durable, unless the `metadata` of its hook says otherwise in
    /// `respondWith`: an answer such as `{"status": 200, "headers": {…}, "body": "thanks"}`, or `"manual"`, and then whoever
    /// gets the payload [answers](Self::respond) where its `respondTo` says. The payload is
    /// `{method, query?, headers, body, bodyEncoding?, respondTo?}`; a body that is no text is in base64.
    pub fn endpoint(&self, app: Arc<dyn Endpoint>) -> Arc<dyn Endpoint> {
        Arc::new(App { world: self.clone(), app })
    }
}

struct App {
    world: World,
    app: Arc<dyn Endpoint>,
}

impl Endpoint for App {
    fn call(&self, call: Call) -> BoxFuture<'_, Reply> {
        self.app.call(call)
    }

    fn health(&self, check: HealthCheck) -> BoxFuture<'_, Reply> {
        Box::pin(self.world.answer_health(check))
    }

    fn webhook(&self, request: WebhookRequest) -> BoxFuture<'_, WebhookReply> {
        Box::pin(self.world.webhook(request))
    }
}
