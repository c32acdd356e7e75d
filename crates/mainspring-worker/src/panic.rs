//! A panic of the application's code, caught with the place where it happened.
//!
//! Only a panic hook is told the place. The one that is set here, at the first call, remembers it for the thread that is in a
//! call and passes everything on to the hook that was set before, so the application sees its panics as it did. A hook that
//! is set later replaces it: then the place is not known, and nothing else changes.

use std::{
    any::Any,
    cell::{Cell, RefCell},
    fmt,
    panic::{AssertUnwindSafe, PanicHookInfo, catch_unwind, set_hook, take_hook},
    pin::pin,
    sync::Once,
    task::Poll,
};

use mainspring_core::Failure;
use serde_json::{Value, json};

/// A panic that was caught.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Panic {
    /// What it said.
    pub message: String,
    /// File, line and column, when they are known.
    pub location: Option<String>,
}

/// What it said, and then where.
impl fmt::Display for Panic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)?;
        self.location.as_ref().map_or(Ok(()), |location| write!(f, " ({location})"))
    }
}

impl From<Panic> for Failure {
    /// With the code [`Panic::CODE`], and the place in its details: `{"location": "src/charge.rs:12:9"}`.
    fn from(panic: Panic) -> Self {
        let details = panic.location.map_or(Value::Null, |location| json!({"location": location}));
        Self { details, ..Self::new(Panic::CODE, panic.message) }
    }
}

thread_local! {
    static WATCHED: Cell<bool> = const { Cell::new(false) };
    static LOCATION: RefCell<Option<String>> = const { RefCell::new(None) };
}

/// Awaits code of the application.
///
/// # Errors
/// Its panic.
pub async fn caught<F: Future>(code: F) -> Result<F::Output, Panic> {
    watch();
    let mut code = pin!(code);
    std::future::poll_fn(|cx| {
        LOCATION.set(None);
        let outer = WATCHED.replace(true);
        let polled = catch_unwind(AssertUnwindSafe(|| code.as_mut().poll(cx)));
        WATCHED.set(outer);
        match polled {
            Ok(polled) => polled.map(Ok),
            Err(panic) => Poll::Ready(Err(Panic::of(panic.as_ref()))),
        }
    })
    .await
}

impl Panic {
    /// The code of a failure that was a panic.
    pub const CODE: &str = "PANIC";

    fn of(panic: &(dyn Any + Send)) -> Self {
        let text = panic
            .downcast_ref::<&str>()
            .copied()
            .or_else(|| panic.downcast_ref::<String>().map(String::as_str));
        Self {
            message: text.unwrap_or("a panic without a text").to_owned(),
            location: LOCATION.with_borrow_mut(Option::take),
        }
    }
}

fn watch() {
    static HOOK: Once = Once::new();
    // A thread that panics may not set a hook; another one will.
    if HOOK.is_completed() || std::thread::panicking() {
        return;
    }
    HOOK.call_once(|| {
        let before = take_hook();
        set_hook(Box::new(move |info| {
            remember(info);
            before(info);
        }));
    });
}

fn remember(info: &PanicHookInfo<'_>) {
    if WATCHED.get() {
        LOCATION.set(info.location().map(ToString::to_string));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_panic_says_what_and_where_and_the_hook_of_the_application_hears_of_it() {
        assert_eq!(caught(async { 7 }).await, Ok(7));
        let line = line!() + 1;
        let panic = caught(async { panic!("two is {}", 3) }).await.map(|(): ()| ()).unwrap_err();
        assert_eq!(panic.message, "two is 3");
        assert_eq!(panic.to_string(), format!("two is 3 ({}:{line}:36)", file!()));
        let failure = Failure::from(panic);
        assert_eq!((failure.code.as_str(), failure.message.as_str()), ("PANIC", "two is 3"));
        assert_eq!(failure.details, json!({"location": format!("{}:{line}:36", file!())}));
        // One that no hook hears of has no place, whatever happened here before.
        let silent = caught(async { std::panic::resume_unwind(Box::new("silent")) }).await;
        let silent = silent.map(|(): ()| ()).unwrap_err();
        assert_eq!(silent, Panic { message: "silent".to_owned(), location: None });
    }
}
