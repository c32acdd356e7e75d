//! `mainspring keygen`: a secret for both sides of a world's calls.

use std::process::ExitCode;

use mainspring::world::http::Secret;
use serde_json::json;

use crate::{Context, Outcome};

/// Prints a new one, which is nowhere else.
pub(crate) fn run(context: &Context) -> Outcome {
    let secret = Secret::generate()?;
    context.output.done(secret.reveal(), json!({"secret": secret.reveal()}))?;
    Ok(ExitCode::SUCCESS)
}
