//! The two ways to an application: in the same process, and over HTTP. What holds of one holds of the other, so every scenario
//! of the world runs over both.

use std::sync::Arc;

use mainspring_core::{Backend, BoxFuture};
use mainspring_embedded::RedisServer;
use mainspring_http::{
    Call, Credential, Endpoint, Entrypoint, FunctionInvoker, Guard, HttpInvoker, HttpOptions, Invoker,
    MessageData, QueueName, Reply, RouterOptions, Secret, ServeOptions, serve,
};
use mainspring_world::World;
use serde_json::json;
use tokio::net::TcpListener;

use crate::ground::{self, Ground};

/// Runs each of these scenarios over both: on memory with these attributes of `tokio::test`, on Postgres, and there with Redis
/// beside it (R02).
macro_rules! over_both {
    ($(#[$test:meta] $($case:ident)*)*) => {
        mod function {
            $($(#[$test]
            async fn $case() {
                super::$case(crate::way::Way::FUNCTION).await;
            })*)*
        }
        mod http {
            $($(#[$test]
            async fn $case() {
                super::$case(crate::way::Way::HTTP).await;
            })*)*
        }
        mod on_postgres {
            $($(#[tokio::test]
            async fn $case() {
                for way in crate::way::Way::both(crate::way::Place::Postgres) {
                    super::$case(way).await;
                }
            })*)*
        }
        mod on_hybrid {
            $($(#[tokio::test]
            async fn $case() {
                let Some(redis) = crate::ground::redis() else { return };
                for way in crate::way::Way::both(crate::way::Place::Hybrid(redis)) {
                    super::$case(way).await;
                }
            })*)*
        }
    };
}
pub(crate) use over_both;

/// A way to an application, and where both sides stand.
#[derive(Clone)]
pub(crate) struct Way {
    http: bool,
    place: Place,
}

/// Where a world stands.
#[derive(Clone)]
pub(crate) enum Place {
    Memory,
    Postgres,
    /// With this Redis beside Postgres.
    Hybrid(Arc<RedisServer>),
}

impl Way {
    pub(crate) const FUNCTION: Self = Self { http: false, place: Place::Memory };
    pub(crate) const HTTP: Self = Self { http: true, place: Place::Memory };

    pub(crate) fn both(place: Place) -> [Self; 2] {
        [Self { http: false, place: place.clone() }, Self { http: true, place }]
    }

    pub(crate) fn is_memory(&self) -> bool {
        matches!(self.place, Place::Memory)
    }

    /// An empty ground there.
    pub(crate) async fn ground(&self) -> Ground {
        match &self.place {
            Place::Memory => ground::memory(),
            Place::Postgres => ground::postgres().await,
            Place::Hybrid(redis) => ground::hybrid(Arc::clone(redis)).await,
        }
    }

    /// How a worker reaches an application that stands on this backend.
    pub(crate) async fn to(
        &self,
        app: impl Endpoint + 'static,
        backend: impl Into<Arc<dyn Backend>>,
    ) -> Arc<dyn Invoker> {
        let secret = Secret::generate().unwrap();
        self.with(app, backend, Guard::secret(secret.clone()), Credential::secret(secret)).await
    }

    /// The same with what the application lets in, and what the worker presents.
    pub(crate) async fn with(
        &self,
        app: impl Endpoint + 'static,
        backend: impl Into<Arc<dyn Backend>>,
        guard: Guard,
        credential: Credential,
    ) -> Arc<dyn Invoker> {
        let side = World::builder(backend).build().unwrap();
        let app = Arc::new(app);
        match self.http {
            false => Arc::new(FunctionInvoker::with(side.endpoint(app), guard, credential)),
            true => {
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
