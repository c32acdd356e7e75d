//! Terms: the name a worker claims under, for as long as it is believed alive.
//!
//! ```text
//! current ──found dead, or silent too long──► lost: everything in flight is cancelled, a new term begins
//!    │ └──an answer was lost while others are in flight──► retiring ──last one settled──► released
//!    └────an answer was lost, nothing in flight──► cleared before the next claim
//! ```
//!
//! A claim whose answer was lost may have brought messages that this worker does not know of. They would stay claimed for as
//! long as the term lives, so such a term is given back as a whole as soon as it holds nothing else.

use std::sync::{
    Arc, Mutex, PoisonError,
    atomic::{AtomicBool, AtomicUsize, Ordering},
};

use mainspring_core::WorkerId;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

pub(crate) struct Term {
    pub(crate) holder: WorkerId,
    /// Fires when the leases are lost, and when the worker gives up waiting at its end.
    pub(crate) cancel: CancellationToken,
    lost: AtomicBool,
    limbo: AtomicBool,
    registered: AtomicBool,
    flights: AtomicUsize,
    alive_at: Mutex<Instant>,
}

impl Term {
    fn new(parent: &CancellationToken) -> Arc<Self> {
        Arc::new(Self {
            holder: WorkerId::generate(),
            cancel: parent.child_token(),
            lost: AtomicBool::new(false),
            limbo: AtomicBool::new(false),
            registered: AtomicBool::new(false),
            flights: AtomicUsize::new(0),
            alive_at: Mutex::new(Instant::now()),
        })
    }

    pub(crate) fn is_lost(&self) -> bool {
        self.lost.load(Ordering::Acquire)
    }

    /// Whether it may hold messages that nobody here knows of.
    pub(crate) fn is_limbo(&self) -> bool {
        self.limbo.load(Ordering::Acquire)
    }

    /// It was released: nothing is left that nobody knows of.
    pub(crate) fn clear_limbo(&self) {
        self.limbo.store(false, Ordering::Release);
        self.registered.store(false, Ordering::Release);
    }

    pub(crate) fn is_registered(&self) -> bool {
        self.registered.load(Ordering::Acquire)
    }

    /// It was known to be alive at `at`.
    pub(crate) fn alive(&self, at: Instant) {
        self.registered.store(true, Ordering::Release);
        *self.alive_at.lock().unwrap_or_else(PoisonError::into_inner) = at;
    }

    pub(crate) fn alive_at(&self) -> Instant {
        *self.alive_at.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn flights(&self) -> usize {
        self.flights.load(Ordering::Acquire)
    }
}

/// Counts one message of a term from claim to settlement.
pub(crate) struct Held(pub(crate) Arc<Term>);

impl Held {
    pub(crate) fn new(term: &Arc<Term>) -> Self {
        term.flights.fetch_add(1, Ordering::AcqRel);
        Self(Arc::clone(term))
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.0.flights.fetch_sub(1, Ordering::AcqRel);
    }
}

/// The present term and those that are being given back.
pub(crate) struct Terms {
    parent: CancellationToken,
    inner: Mutex<Inner>,
}

struct Inner {
    current: Arc<Term>,
    retiring: Vec<Arc<Term>>,
}

impl Terms {
    pub(crate) fn new() -> Self {
        let parent = CancellationToken::new();
        let current = Term::new(&parent);
        Self { parent, inner: Mutex::new(Inner { current, retiring: Vec::new() }) }
    }

    fn inner(&self) -> std::sync::MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn current(&self) -> Arc<Term> {
        Arc::clone(&self.inner().current)
    }

    /// Those whose leases must be kept: the present one first.
    pub(crate) fn all(&self) -> Vec<Arc<Term>> {
        let inner = self.inner();
        std::iter::once(&inner.current).chain(&inner.retiring).cloned().collect()
    }

    /// Its leases are gone: everything in flight under it is cancelled.
    pub(crate) fn lose(&self, term: &Arc<Term>) {
        term.lost.store(true, Ordering::Release);
        term.cancel.cancel();
        let mut inner = self.inner();
        inner.retiring.retain(|t| t.holder != term.holder);
        if inner.current.holder == term.holder {
            inner.current = Term::new(&self.parent);
        }
    }

    /// It may hold messages that nobody here knows of: to be released once it holds nothing else.
    pub(crate) fn retire(&self, term: &Arc<Term>) {
        term.limbo.store(true, Ordering::Release);
        let mut inner = self.inner();
        if inner.current.holder == term.holder {
            if term.flights() == 0 && !term.is_lost() {
                return; // the claim loop clears it before it claims again
            }
            inner.current = Term::new(&self.parent);
        }
        if inner.retiring.iter().all(|t| t.holder != term.holder) {
            inner.retiring.push(Arc::clone(term));
        }
    }

    /// A retiring term was released.
    pub(crate) fn forget(&self, term: &Term) {
        self.inner().retiring.retain(|t| t.holder != term.holder);
    }

    /// Cancels everything in flight, without losing any lease.
    pub(crate) fn cancel_all(&self) {
        self.parent.cancel();
    }
}
