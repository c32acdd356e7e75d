//! The application's side over HTTP.

mod body;
mod ops;
mod options;
mod outputs;
mod router;
mod serve;
mod webhook;

pub use ops::{Drain, OpsOptions, Parts, Render, ops_router};
pub use options::{OutputAccess, ReadyCheck, RouterOptions};
pub use outputs::STREAM_PATH;
pub use router::router;
pub use serve::{ServeOptions, serve};
pub use webhook::WEBHOOK_PATH;
