//! How a worker calls the application's workflows and steps: in the same process or over HTTP, with the same answers.
//!
//! ```text
//! worker ─► Invoker ─┬─ FunctionInvoker ──────────────────────────────┐
//!                    └─ HttpInvoker ── POST …/v1/flow | step ─► router ┴─► guard ─► message ─► Endpoint ─► Reply
//! ```
//!
//! A [`MessageData`] goes out, a [`Reply`] comes back. A delay is no failure; nor is an application that cannot be reached, or
//! that knows another secret. What is wrong with a message is said before it is run. [`Secret`]s have no default.
//!
//! | feature | brings |
//! |---|---|
//! | none | messages, replies, secrets, signatures, [`FunctionInvoker`] |
//! | `client` | `HttpInvoker`, and with it an HTTP client and TLS |
//! | `server` | `router` with webhooks, health and output streams, and `serve`, and with them axum |

mod call;
#[cfg(feature = "client")]
mod client;
mod door;
mod function;
mod guard;
mod message;
mod reply;
mod secret;
#[cfg(feature = "server")]
mod server;
mod signature;
mod spans;

pub use call::{Call, Endpoint, HealthCheck, Invoker, WebhookReply, WebhookRequest};
#[cfg(feature = "client")]
pub use client::{HttpInvoker, HttpOptions};
pub use function::FunctionInvoker;
pub use guard::{Credential, Guard, SECRET_HEADER};
pub use message::{Entrypoint, MessageData, QueueName};
pub use reply::Reply;
pub use secret::Secret;
#[cfg(feature = "server")]
pub use server::{
    Drain, OpsOptions, OutputAccess, Parts, ReadyCheck, Render, RouterOptions, STREAM_PATH, ServeOptions,
    WEBHOOK_PATH, ops_router, router, serve,
};
