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
        self.with(app, backend, Secret::generate().unwrap()).await
    }

    /// The same; the application expects this secret, the worker has it too.
    pub(crate) async fn with(
        self,
        app: impl Endpoint + 'static,
        backend: impl Into<Arc<dyn Backend>>,
        secret: Secret,
    ) -> Arc<dyn Invoker> {
        let side = World::builder(backend).build().unwrap();
        match self {
            Self::Function => Arc::new(FunctionInvoker::new(side.endpoint(Arc::new(app)), secret)),
            Self::Http => {
                let router = side
                    .router(Arc::new(app), Guard::secret(secret.clone()), RouterOptions::default())
                    .unwrap();
                let base = served(router).await;
                Arc::new(HttpInvoker::new(&base, Credential::secret(secret), HttpOptions::default()).unwrap())
            }
        }
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
