//! Spans of the calls, with the names and fields of the seed.

use mainspring_core::Result;
use tracing::{Instrument, Span};

/// The span of one call of a memory, when there are to be any.
macro_rules! span {
    ($memory:expr, $call:literal, $($fields:tt)*) => {
        if $memory.options.enable_otel {
            tracing::info_span!(
                concat!("PostgresMachineMemory.v1.", $call),
                otel.status_code = tracing::field::Empty,
                otel.status_description = tracing::field::Empty,
                $($fields)*
            )
        } else {
            tracing::Span::none()
        }
    };
}

/// Works within a span, which tells how that failed.
pub(super) async fn traced<T>(span: &Span, work: impl Future<Output = Result<T>>) -> Result<T> {
    let done = work.instrument(span.clone()).await;
    if let Err(error) = &done {
        span.record("otel.status_code", "error");
        span.record("otel.status_description", error.chain());
    }
    done
}
