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
    pin::{Pin, pin},
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

/// Awaits code of the application. A panic of what is dropped with it before its end is logged.
///
/// # Errors
/// Its panic.
pub async fn caught<F: Future>(code: F) -> Result<F::Output, Panic> {
    watch();
    let mut code = Dropped(pin!(Some(code)));
    std::future::poll_fn(|cx| match watched(|| code.0.as_mut().as_pin_mut().map(|code| code.poll(cx))) {
        Ok(Some(polled)) => polled.map(Ok),
        Ok(None) => Poll::Pending,
        Err(panic) => Poll::Ready(Err(panic)),
    })
    .await
}

fn watched<T>(code: impl FnOnce() -> T) -> Result<T, Panic> {
    LOCATION.set(None);
    let outer = WATCHED.replace(true);
    let ran = catch_unwind(AssertUnwindSafe(code));
    WATCHED.set(outer);
    ran.map_err(|panic| Panic::of(panic.as_ref()))
}

/// Code that may be dropped where it stands, by whoever gives it up: what that says is no affair of theirs.
struct Dropped<'c, F>(Pin<&'c mut Option<F>>);

impl<F> Drop for Dropped<'_, F> {
    fn drop(&mut self) {
        // It may be dropped by a panic around it, whose place is remembered already.
        let around = LOCATION.take();
        if let Err(panic) = watched(|| self.0.set(None)) {
            tracing::error!(%panic, "code panicked when it was dropped");
        }
        LOCATION.set(around);
    }
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

    /// Panics when it is dropped, and not a second time.
    struct Bomb;

    impl Drop for Bomb {
        fn drop(&mut self) {
            assert!(std::thread::panicking(), "in drop");
        }
    }

    #[tokio::test]
    async fn what_panics_when_it_is_dropped_with_its_code_is_heard_of_by_nobody() {
        // fault F82
        let hang = || {
            caught(async {
                let _bomb = Bomb;
                std::future::pending::<()>().await;
            })
        };
        let mut hanging = Box::pin(hang());
        assert!(futures_util::poll!(&mut hanging).is_pending());
        drop(hanging);
        let line = line!() + 5;
        let around = caught(async {
            let mut hanging = Box::pin(hang());
            let pending = futures_util::poll!(&mut hanging).is_pending();
            if pending {
                panic!("around it");
            }
        });
        let place = format!("around it ({}:{line}:17)", file!());
        assert_eq!(around.await.unwrap_err().to_string(), place);
    }
}
