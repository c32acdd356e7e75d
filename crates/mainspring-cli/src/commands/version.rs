//! `mainspring version`: which version this is.

use std::process::ExitCode;

use serde_json::json;

use crate::{Context, Outcome};

/// Of the crates, all of which have the same one.
const VERSION: &str = env!("CARGO_PKG_VERSION");

pub(crate) fn run(context: &Context) -> Outcome {
    let with_otel = cfg!(feature = "otel");
    let target = format!("{}-{}", std::env::consts::ARCH, std::env::consts::OS);
    let told = format!("mainspring {VERSION} ({target}{})", if with_otel { ", otel" } else { "" });
    context.output.done(&told, json!({"version": VERSION, "target": target, "otel": with_otel}))?;
    Ok(ExitCode::SUCCESS)
}
