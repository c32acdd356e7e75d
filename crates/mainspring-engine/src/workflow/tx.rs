//! The seam of `cx.tx`: a step whose effect is in the same database, committed together with its record.
//!
//! The step borrows the execution from its driver, which commits nothing meanwhile. What it gives back is what the driver
//! goes on with. A step that is dropped half-way gives back what it got: if its commit was on the way and arrives, the driver's
//! next one is a conflict, and the driver reads again.

use std::{future::poll_fn, task::Poll};

use mainspring_core::{BoxFuture, Changes, Committed, Error, Execution, Failure, MessageId, event::kind};
use serde::{Serialize, de::DeserializeOwned};
use serde_json::{Map, Value};

use super::{
    Cx, StepError,
    error::Halt,
    journal::End,
    lend::is_new,
    live::{Go, Live},
    park::{Then, changes_of},
    state::{Batch, Loan},
    step::{decode, keep},
};

/// Why nothing was committed.
#[derive(Debug)]
pub enum TxError<E> {
    /// The application's own error: it is the step's, and is recorded.
    App(E),
    /// The database's. Passing ones are tried again; others are the step's failure.
    Database(Error),
}

impl<E> From<Error> for TxError<E> {
    fn from(error: Error) -> Self {
        Self::Database(error)
    }
}

/// `Err` with an error of the application's own, for the body of a `cx.tx`: the transaction is rolled back.
///
/// # Errors
/// Always.
pub fn abort<T, E>(error: E) -> Result<T, TxError<E>> {
    Err(TxError::App(error))
}

/// What makes the result of a step, and all that was recorded before it, durable: to be committed in the transaction of the
/// step's own effect.
pub type Record<'r, T> = dyn Fn(&T) -> mainspring_core::Result<Changes> + Send + Sync + 'r;

/// How a backend runs an effect and commits it together with its record, over and over while that passes.
pub trait Together<T, E>: Send + Sync {
    /// Runs the effect once, commits what `record` says of its result in the same transaction.
    fn commit<'a>(&'a self, record: &'a Record<'a, T>) -> BoxFuture<'a, Result<(T, Committed), TxError<E>>>;
}

/// The execution as its driver lends it.
pub(crate) struct Lent {
    pub(crate) execution: Execution,
    pub(crate) driver: Option<MessageId>,
    pub(crate) context: Map<String, Value>,
    pub(crate) batch: Batch,
    pub(crate) recorded: u64,
}

impl Cx {
    /// A step that commits its own effect together with its record: for crates that know a backend's transactions. The face
    /// for applications is `CxTx::tx` of the crate `mainspring`.
    pub async fn together<T, E>(&self, name: &str, how: &dyn Together<T, E>) -> Result<T, StepError<E>>
    where
        T: Serialize + DeserializeOwned + Send,
        E: Serialize + DeserializeOwned + Send,
    {
        let key = self.key(name);
        let live = &*self.live;
        let loose = match live.turn(&key).await {
            Go::Return(end) => return decode(&key, end),
            Go::Work { loose, .. } => loose,
        };
        let active = live.activate();
        let mut loan = borrow(live).await;
        let record = |value: &T| {
            let Some(lent) = &loan.lent else { return Err(Error::internal("the loan is over")) };
            let (stored, _) =
                keep(value).map_err(|failure| Error::invalid("step.result", failure.message))?;
            let event = Live::end_event(kind::STEP_COMPLETED, &key, &End::Completed(stored), loose, None);
            let mut batch = lent.batch.clone();
            batch.steps += 1;
            batch.last = Some(key.clone());
            batch.events.push(event);
            let (execution, context) = (lent.execution.clone(), lent.context.clone());
            let now = live.backend.now();
            let changes =
                changes_of(execution, batch, context, Then::Run, false, lent.driver.clone(), None, now);
            changes.check()?;
            Ok(changes)
        };
        let committed = how.commit(&record).await;
        let broken = match committed {
            Ok((value, committed)) => {
                let changes = record(&value).ok();
                if let Some(event) = changes.as_ref().and_then(|done| done.executions.first()?.events.last())
                {
                    live.lock().note(event);
                }
                loan.repay(changes.map(|changes| (changes, committed)));
                drop(active);
                return match keep(&value) {
                    Ok((_, value)) => Ok(value),
                    Err(failure) => Err(StepError::Halted(Halt::new(failure))),
                };
            }
            Err(TxError::App(error)) => {
                loan.give_back();
                drop(active);
                let (end, error) = match keep(&error) {
                    Ok((stored, error)) => (End::App(stored), StepError::App(error)),
                    Err(failure) => (End::Broken(failure.clone()), StepError::Halted(Halt::new(failure))),
                };
                live.record_end(kind::STEP_FAILED, &key, &end, loose, None);
                return Err(error);
            }
            Err(TxError::Database(error)) => error,
        };
        // Whether it happened, or someone else took over: the row says how to go on.
        if broken.is_conflict() || broken.is_fenced() || broken.is_commit_unknown() || broken.is_retryable() {
            loan.repay(None);
            return std::future::pending().await;
        }
        loan.give_back();
        drop(active);
        let failure = Failure::new(broken.code().to_uppercase(), broken.chain());
        live.record_end(kind::STEP_FAILED, &key, &End::Broken(failure.clone()), loose, None);
        Err(StepError::Halted(Halt::new(failure)))
    }
}

/// A borrowed execution.
struct Borrowed<'l> {
    live: &'l Live,
    lent: Option<Lent>,
}

async fn borrow(live: &Live) -> Borrowed<'_> {
    let mut request = Request { live, open: false };
    poll_fn(|cx| {
        let mut state = live.lock();
        if !request.open && matches!(state.loan, Loan::None) {
            request.open = true;
            state.loan = Loan::Wanted(cx.waker().clone());
        } else if !request.open {
            state.borrowers.push(cx.waker().clone());
        } else {
            match std::mem::replace(&mut state.loan, Loan::Out) {
                Loan::Ready(lent) => {
                    request.open = false;
                    return Poll::Ready(Borrowed { live, lent: Some(*lent) });
                }
                Loan::Wanted(_) => state.loan = Loan::Wanted(cx.waker().clone()),
                other => {
                    state.loan = other;
                    state.borrowers.push(cx.waker().clone());
                }
            }
        }
        Poll::Pending
    })
    .await
}

/// A loan that was asked for. Who stops waiting takes it back, since the driver commits nothing until it is over.
struct Request<'l> {
    live: &'l Live,
    open: bool,
}

impl Drop for Request<'_> {
    fn drop(&mut self) {
        if !self.open {
            return;
        }
        let mut state = self.live.lock();
        let lent = match std::mem::replace(&mut state.loan, Loan::None) {
            Loan::Wanted(_) => None,
            Loan::Ready(lent) => Some(*lent),
            other => {
                state.loan = other;
                return;
            }
        };
        drop(state);
        Borrowed { live: self.live, lent }.give_back();
    }
}

impl Borrowed<'_> {
    /// What was committed; `None` when nobody knows.
    fn repay(&mut self, done: Option<(Changes, Committed)>) {
        let lent = self.lent.take();
        let recorded = lent.map_or(0, |lent| lent.recorded);
        self.live.lock().loan =
            Loan::Repaid(done.map(|(changes, committed)| Box::new((changes, committed, recorded))));
        self.live.attention.notify_one();
    }

    /// Nothing was committed.
    fn give_back(&mut self) {
        let mut state = self.live.lock();
        if let Some(mut lent) = self.lent.take() {
            // The driver says for itself that the execution has started.
            if is_new(&lent.execution) {
                lent.batch.events.remove(0);
            }
            state.put_back(lent.batch);
        }
        state.loan = Loan::None;
        state.borrowers.drain(..).for_each(std::task::Waker::wake);
        drop(state);
        self.live.attention.notify_one();
    }
}

impl Drop for Borrowed<'_> {
    fn drop(&mut self) {
        if self.lent.is_some() {
            self.give_back();
        }
    }
}
