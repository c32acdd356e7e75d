//! The two ways to an application: in the same process, and over HTTP. What holds of one holds of the other, so every scenario
//! of the world runs over both.

use std::sync::Arc;

use mainspring_core::{Backend, BoxFuture};
use mainspring_http::{
    Call, Credential, Endpoint, Entrypoint, FunctionInvoker, Guard, HttpInvoker, HttpOptions, Invoker,
    MessageData, QueueName, Reply, RouterOptions, Secret, ServeOptions, serve,
};
use mainspring_world::World;
use serde_json::json;
use tokio::net::TcpListener;

use crate::ground::{self, Ground};

/// Runs each of these scenarios over both, with these attributes of `tokio::test`.
macro_rules! over_both {
    ($(#[$test:meta] $($case:ident)*)*) => {
        mod function {
            $($(#[$test]
            async fn $case() {
                super::$case(crate::way::Way::Function).await;
            })*)*
        }
        mod http {
            $($(#[$test]
            async fn $case() {
                super::$case(crate::way::Way::Http).await;
            })*)*
        }
    };
}
pub(crate) use over_both;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Way {
    Function,
    Http,
}

impl Way {
    /// How a worker reaches an application that stands on this backend.
    pub(crate) async fn to(
        self,
        app: impl Endpoint + 'static,
        backend: impl Into<Arc<dyn Backend>>,
    ) -> Arc<dyn Invoker> {
        let secret = Secret::generate().unwrap();
        self.with(app, backend, Guard::secret(secret.clone()), Credential::secret(secret)).await
    }

    /// The same with what the application lets in, and what the worker presents.
    pub(crate) async fn with(
        self,
        app: impl Endpoint + 'static,
        backend: impl Into<Arc<dyn Backend>>,
        guard: Guard,
        credential: Credential,
    ) -> Arc<dyn Invoker> {
        let side = World::builder(backend).build().unwrap();
        let app = Arc::new(app);
        match self {
            Self::Function => Arc::new(FunctionInvoker::with(side.endpoint(app), guard, credential)),
            Self::Http => {
                let base = served(side.router(app, guard, RouterOptions::default()).unwrap()).await;
                Arc::new(HttpInvoker::new(&base, credential, HttpOptions::default()).unwrap())
            }
        }
    }
}

/// Delivers everything twice at the same time, and forgets the first answer: nobody can tell a delivery whose reply was lost
/// from a second one.
pub(crate) struct Twice(pub(crate) Arc<dyn Invoker>);

impl Invoker for Twice {
    fn invoke<'a>(&'a self, call: &'a Call) -> BoxFuture<'a, Reply> {
        Box::pin(async { tokio::join!(self.0.invoke(call), self.0.invoke(call)).1 })
    }
}

/// Serves a router until the test is over; its address.
pub(crate) async fn served(router: axum::Router) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(serve(listener, router, ServeOptions::default(), std::future::pending()));
    format!("http://{address}")
}

/// A scenario of the storage as an application that is called plays it.
pub(crate) async fn played<F>(way: Way, scenario: fn(Ground) -> F)
where
    F: Future<Output = ()> + Send + 'static,
{
    struct Plays<F>(Ground, fn(Ground) -> F);

    impl<F: Future<Output = ()> + Send + 'static> Endpoint for Plays<F> {
        fn call(&self, _: Call) -> BoxFuture<'_, Reply> {
            Box::pin(async {
                self.1(self.0.clone()).await;
                Reply::Ok(json!("played"))
            })
        }
    }

    let ground = ground::memory();
    let invoker = way.to(Plays(ground.clone(), scenario), Arc::clone(&ground.backend)).await;
    let message = MessageData::new(QueueName::new(Entrypoint::Flow, "scenario").unwrap(), json!({}));
    assert_eq!(invoker.invoke(&Call::new(message)).await, Reply::Ok(json!("played")));
}
