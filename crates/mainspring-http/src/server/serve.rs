//! Serves a router with limits on connections and headers.

use std::{pin::pin, sync::Arc, time::Duration};

use axum::Router;
use hyper::server::conn::http1;
use hyper_util::{
    rt::{TokioIo, TokioTimer},
    server::graceful::GracefulShutdown,
    service::TowerToHyperService,
};
use tokio::{net::TcpListener, sync::Semaphore, task::JoinSet, time};

/// Limits on connections.
#[derive(Debug, Clone)]
pub struct ServeOptions {
    /// For the headers of a request to arrive. Defaults to 10 s.
    pub header_deadline: Duration,
    /// Most bytes of the headers of a request; 8 KiB at least. Defaults to 64 KiB.
    pub header_bytes: usize,
    /// Connections at a time; others wait to be accepted. Defaults to 1,024.
    pub connections: usize,
    /// For requests under way to end after `stop`; then they are cut. Defaults to 10 s.
    pub drain: Duration,
}

impl Default for ServeOptions {
    fn default() -> Self {
        let seconds = Duration::from_secs;
        Self { header_deadline: seconds(10), header_bytes: 64 * 1024, connections: 1_024, drain: seconds(10) }
    }
}

/// Serves HTTP/1 until `stop` is done, then lets what is under way end.
pub async fn serve(
    listener: TcpListener,
    router: Router,
    options: ServeOptions,
    stop: impl Future<Output = ()>,
) {
    let mut http = http1::Builder::new();
    http.timer(TokioTimer::new())
        .header_read_timeout(options.header_deadline)
        .max_buf_size(options.header_bytes.max(8 * 1024));
    let (graceful, places) = (GracefulShutdown::new(), Arc::new(Semaphore::new(options.connections.max(1))));
    let mut connections = JoinSet::new(); // cut when this ends
    let mut stop = pin!(stop);
    loop {
        let next = async {
            let place = Arc::clone(&places).acquire_owned().await;
            (place, listener.accept().await)
        };
        let accepted = tokio::select! {
            () = &mut stop => break,
            accepted = next => accepted,
        };
        match accepted {
            (place, Ok((stream, _))) => {
                let service = TowerToHyperService::new(router.clone());
                let connection = http.serve_connection(TokioIo::new(stream), service);
                let connection = graceful.watch(connection);
                connections.spawn(async move {
                    if let Err(error) = connection.await {
                        tracing::debug!(%error, "a connection broke off");
                    }
                    drop(place);
                });
            }
            // Out of file descriptors, as a rule: those that end give some back.
            (_, Err(error)) => {
                tracing::warn!(%error, "no connection accepted");
                time::sleep(Duration::from_millis(50)).await;
            }
        }
        while connections.try_join_next().is_some() {}
    }
    drop(listener);
    if time::timeout(options.drain, graceful.shutdown()).await.is_err() {
        tracing::warn!("requests under way were cut");
    }
}
