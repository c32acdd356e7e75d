//! [W3C trace context](https://www.w3.org/TR/trace-context/): which span something was written in. It goes with every message
//! and event, in their headers and metadata, so that whoever handles them goes on with the same trace.
//!
//! What is written gets the context of the present span; without one, as when nothing exports spans, that of the delivery
//! in whose handling it is written, untouched. What has one of its own keeps it. A context that is none is ignored.
//!
//! ```
//! use mainspring_core::trace::TraceContext;
//!
//! let context = TraceContext::parse("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01", None).unwrap();
//! assert!(context.is_sampled());
//! assert_eq!(TraceContext::parse("00-0af7651916cd43dd8448eb211c80319c-0000000000000000-01", None), None);
//! ```

use std::{
    cell::RefCell,
    fmt,
    future::poll_fn,
    pin::pin,
    sync::{Arc, OnceLock},
};

use serde_json::{Map, Value};

/// The header, and the key of the metadata, of a context.
pub const TRACEPARENT: &str = "traceparent";
/// The same for what the vendors of tracing systems put beside it.
pub const TRACESTATE: &str = "tracestate";
/// The header that says of a message that is tried again in which span it was tried last.
pub const TRIED: &str = "mainspring-tried";

/// Most bytes of a `tracestate`; a longer one is dropped.
const MAX_STATE: usize = 512;
const LENGTH: usize = 55;

/// A span, as others are told of it.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct TraceContext {
    trace_id: u128,
    span_id: u64,
    flags: u8,
    state: Option<Arc<str>>,
}

impl TraceContext {
    /// From its ids, of which none may be 0, its flags and its state. `None` when it names no span.
    pub fn new(trace_id: u128, span_id: u64, flags: u8, state: Option<&str>) -> Option<Self> {
        let state = state.filter(|state| {
            let printable = state.bytes().all(|byte| matches!(byte, b' '..=b'~'));
            !state.is_empty() && state.len() <= MAX_STATE && printable
        });
        (trace_id != 0 && span_id != 0).then(|| Self {
            trace_id,
            span_id,
            flags,
            state: state.map(Arc::from),
        })
    }

    /// From the headers `traceparent` and `tracestate`. `None` for what is no context; a state that is none is dropped.
    pub fn parse(parent: &str, state: Option<&str>) -> Option<Self> {
        let (known, rest) = parent.split_at_checked(LENGTH)?;
        let mut parts = known.split('-');
        let mut part = |length| {
            let text = parts.next().filter(|text| text.len() == length)?;
            let digits = text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
            digits.then(|| u128::from_str_radix(text, 16).ok()).flatten()
        };
        let (version, trace_id, span_id, flags) = (part(2)?, part(32)?, part(16)?, part(2)?);
        // Later versions may say more behind another dash.
        let whole = if version == 0 { rest.is_empty() } else { rest.is_empty() || rest.starts_with('-') };
        if !whole || version == 0xff {
            return None;
        }
        Self::new(trace_id, u64::try_from(span_id).ok()?, u8::try_from(flags).ok()?, state)
    }

    /// That of headers or metadata.
    pub fn of(headers: &Map<String, Value>) -> Option<Self> {
        let parent = headers.get(TRACEPARENT)?.as_str()?;
        Self::parse(parent, headers.get(TRACESTATE).and_then(Value::as_str))
    }

    /// Says it in headers or metadata that have none.
    pub fn stamp(&self, headers: &mut Map<String, Value>) {
        if Self::of(headers).is_none() {
            headers.remove(TRACESTATE);
            headers.insert(TRACEPARENT.to_owned(), Value::String(self.to_string()));
            if let Some(state) = self.state() {
                headers.insert(TRACESTATE.to_owned(), Value::String(state.to_owned()));
            }
        }
    }

    /// The trace.
    pub fn trace_id(&self) -> u128 {
        self.trace_id
    }

    /// The span.
    pub fn span_id(&self) -> u64 {
        self.span_id
    }

    /// The flags.
    pub fn flags(&self) -> u8 {
        self.flags
    }

    /// Whether the span may have been exported.
    pub fn is_sampled(&self) -> bool {
        self.flags & 1 == 1
    }

    /// The header `tracestate`.
    pub fn state(&self) -> Option<&str> {
        self.state.as_deref()
    }
}

/// The header `traceparent`.
impl fmt::Display for TraceContext {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "00-{:032x}-{:016x}-{:02x}", self.trace_id, self.span_id, self.flags)
    }
}

static SPANS: OnceLock<fn() -> Option<TraceContext>> = OnceLock::new();

thread_local! {
    static INHERITED: RefCell<Option<Arc<TraceContext>>> = const { RefCell::new(None) };
}

/// Says for the rest of the process where to find the context of the present span; whether nobody had said so before.
pub fn set_spans(spans: fn() -> Option<TraceContext>) -> bool {
    SPANS.set(spans).is_ok()
}

/// The context of the present span, when spans are exported here.
pub fn span() -> Option<TraceContext> {
    SPANS.get().and_then(|spans| spans())
}

/// What [`within`] says.
pub fn inherited() -> Option<TraceContext> {
    INHERITED.with_borrow(|inherited| inherited.as_deref().cloned())
}

/// What is to be written now belongs to this: the present span, or what is inherited.
pub fn current() -> Option<TraceContext> {
    span().or_else(inherited)
}

/// Says the current context in those headers of messages and metadata of events that have none.
pub fn stamp<'h>(all: impl IntoIterator<Item = &'h mut Map<String, Value>>) {
    if let Some(context) = current() {
        all.into_iter().for_each(|headers| context.stamp(headers));
    }
}

/// Does `work` in a context that came from elsewhere; with none, in that around it. Tasks that it spawns are not in it.
pub async fn within<T>(context: Option<TraceContext>, work: impl Future<Output = T>) -> T {
    let Some(context) = context.map(Arc::new) else { return work.await };
    let mut work = pin!(work);
    poll_fn(|cx| {
        let _entered = Entered(INHERITED.replace(Some(Arc::clone(&context))));
        work.as_mut().poll(cx)
    })
    .await
}

/// Leaves the context when it is dropped, for the one it was entered from.
struct Entered(Option<Arc<TraceContext>>);

impl Drop for Entered {
    fn drop(&mut self) {
        INHERITED.set(self.0.take());
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use std::task::{Context, Poll, Waker};

    use super::*;

    const PARENT: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

    #[test]
    fn only_what_names_a_span_is_a_context() {
        let context = TraceContext::parse(PARENT, Some("a=1,b=2")).unwrap();
        assert_eq!((context.to_string().as_str(), context.state()), (PARENT, Some("a=1,b=2")));
        assert_eq!(context.span_id(), 0xb7ad_6b71_6920_3331);
        let later = format!("cc{}-what-follows", &PARENT[2..]);
        assert_eq!(
            TraceContext::parse(&later, None).unwrap().to_string(),
            PARENT,
            "is passed on as version 0"
        );
        for wrong in [
            "",
            "00-1-1-01",
            &PARENT[..54],
            &format!("{PARENT}-more"),
            &format!("cc{}more", &PARENT[2..]),
            &format!("ff{}", &PARENT[2..]),
            &PARENT.to_uppercase(),
            &PARENT.replace("b7ad6b7169203331", "0000000000000000"),
            &PARENT.replace("0af7651916cd43dd8448eb211c80319c", "00000000000000000000000000000000"),
            &PARENT.replace("0af7", "+af7"),
            &PARENT.replace('-', "_"),
            &"ä".repeat(28),
        ] {
            assert_eq!(TraceContext::parse(wrong, None), None, "{wrong}");
        }
        for wrong in ["", "line\nbreak", &"x".repeat(513)] {
            assert_eq!(TraceContext::parse(PARENT, Some(wrong)).unwrap().state(), None, "{wrong}");
        }
    }

    #[test]
    fn headers_keep_a_context_of_their_own() {
        let context = TraceContext::parse(PARENT, None).unwrap();
        let other = PARENT.replace("b7ad", "b7ae");
        let mut own = headers(json!({"traceparent": other, "tracestate": "a=1"}));
        context.stamp(&mut own);
        assert_eq!(TraceContext::of(&own), TraceContext::parse(&other, Some("a=1")));
        let mut wrong = headers(json!({"traceparent": "00-1-1-01", "tracestate": "a=1", "mine": 1}));
        context.stamp(&mut wrong);
        assert_eq!(Value::Object(wrong), json!({"traceparent": PARENT, "mine": 1}));
    }

    #[test]
    fn work_is_within_its_context_at_every_turn_and_nothing_else_is() {
        let (first, second) = (TraceContext::parse(PARENT, None), TraceContext::new(7, 9, 0, None));
        let mut turns = 0;
        let seen = poll_fn(|_| {
            turns += 1;
            if turns < 3 { Poll::Pending } else { Poll::Ready(current()) }
        });
        let work = async { (within(second.clone(), seen).await, current()) };
        let mut work = pin!(within(first.clone(), work));
        for _ in 0..2 {
            assert!(work.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_pending());
            assert_eq!(current(), None);
        }
        let done = work.as_mut().poll(&mut Context::from_waker(Waker::noop()));
        assert_eq!(done, Poll::Ready((second.clone(), first.clone())));
        assert_eq!(current(), None);
    }

    fn headers(value: Value) -> Map<String, Value> {
        value.as_object().cloned().unwrap_or_default()
    }
}
