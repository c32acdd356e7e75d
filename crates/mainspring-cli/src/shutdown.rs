//! Being asked to stop: once in order, twice at once.

use std::process;

use tokio::signal;

/// Ready when somebody interrupts the program or asks it to terminate. A second time ends it on the spot, with 130.
pub(crate) async fn asked() {
    once().await;
    eprintln!("stopping; once more to stop at once");
    tokio::spawn(async {
        once().await;
        process::exit(130);
    });
}

#[cfg(unix)]
async fn once() {
    use signal::unix::{SignalKind, signal};
    match signal(SignalKind::terminate()) {
        Ok(mut terminate) => tokio::select! {
            _ = signal::ctrl_c() => {}
            _ = terminate.recv() => {}
        },
        Err(_) => drop(signal::ctrl_c().await),
    }
}

#[cfg(not(unix))]
async fn once() {
    drop(signal::ctrl_c().await);
}
