//! The worker's side over HTTP.

mod breaker;
mod invoker;
mod options;
mod retry_after;

pub use invoker::HttpInvoker;
pub use options::HttpOptions;
