//! The built-in handlers, by the names they have in flow definitions.
//!
//! | type | what it does |
//! |---|---|
//! | `conditional` | goes on with the step of the first condition that holds |
//! | `switch` | goes on with the step of a value |
//! | `delay` | waits |
//! | `transform` | its output is its input, as its selector made it |
//! | `http` | makes a request (feature `http`) |
//! | `batch` | calls another handler for every item |
//! | `sub-flow` | starts a child execution |

#[cfg(feature = "http")]
mod access;
mod batch;
mod conditional;
mod delay;
#[cfg(feature = "http")]
mod http;
mod sub_flow;
mod switch;
mod transform;

use mainspring_core::Result;

use crate::{Handler, HandlerRegistry};

#[cfg(feature = "http")]
pub use access::HttpAccess;

/// The category of those that choose where to go.
const CONTROL: &str = "control";
/// The category of those that make data of data.
const DATA: &str = "data";

/// What the built-in handlers are told.
#[derive(Default)]
pub(crate) struct Settings {
    #[cfg(feature = "http")]
    pub(crate) http: HttpAccess,
}

/// Adds all of them whose names are not taken.
#[cfg_attr(not(feature = "http"), expect(unused_variables, reason = "nobody needs telling"))]
pub(crate) fn register(handlers: &mut HandlerRegistry, settings: Settings) -> Result<()> {
    add(handlers, conditional::Conditional)?;
    add(handlers, switch::Switch)?;
    add(handlers, delay::Delay)?;
    add(handlers, transform::Transform)?;
    add(handlers, batch::Batch)?;
    add(handlers, sub_flow::SubFlow)?;
    #[cfg(feature = "http")]
    add(handlers, http::Http::new(settings.http))?;
    Ok(())
}

fn add<H: Handler>(handlers: &mut HandlerRegistry, handler: H) -> Result<()> {
    if handlers.contains(H::NAME) { Ok(()) } else { handlers.register(handler) }
}
