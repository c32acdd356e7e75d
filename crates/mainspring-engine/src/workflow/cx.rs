//! The explicit handle of a running workflow: everything durable is made with it.

use std::{future::IntoFuture, sync::Arc, time::Duration};

use mainspring_core::{Attribute, Backend, ExecutionId, Failure, Timestamp};
use serde::{Serialize, de::DeserializeOwned};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use tokio_util::sync::CancellationToken;

use super::{
    Body, BodyOf, BodyWith, ChildCall, Either, Hook, MapItems, RemoteStep, Saga, SignalWait, Sleep, Step,
    StepRun, Workflow, WorkflowResult, key::Scope, live::Live, state::Stop,
};

/// What a workflow's code does durable things with. Cheap to clone, owned, and the same execution wherever it goes.
///
/// The names of steps are counted within a scope, in the order in which the steps are *made*. Code that makes steps in
/// branches of its own, say with `futures::join!` over async blocks, may give each branch a [`scope`](Self::scope);
/// [`map`](Self::map) does so by itself.
#[derive(Clone)]
pub struct Cx {
    pub(crate) live: Arc<Live>,
    pub(crate) scope: Arc<Scope>,
}

impl Cx {
    pub(crate) fn new(live: Arc<Live>) -> Self {
        Self { live, scope: Arc::default() }
    }

    /// The key of the next step of this name; what is no name ends the execution.
    pub(crate) fn key(&self, name: &str) -> String {
        match self.scope.key(name) {
            Ok(key) => {
                let mut state = self.live.lock();
                state.journal.mention(&key);
                state.loops.made(&key);
                drop(state);
                key
            }
            Err(error) => {
                self.live.refuse(Failure::new(super::INVALID_STEP, error.to_string()));
                String::new()
            }
        }
    }

    pub(crate) fn within(&self, key: &str) -> Self {
        Self { live: Arc::clone(&self.live), scope: Arc::new(Scope::within(key)) }
    }

    /// A part of the workflow in which names are counted anew: its steps are `name/…`.
    pub fn scope(&self, name: &str) -> Self {
        self.within(&self.key(name))
    }

    /// The execution.
    pub fn id(&self) -> &ExecutionId {
        &self.live.facts.id
    }

    /// What the engine runs on.
    pub fn backend(&self) -> &Arc<dyn Backend> {
        &self.live.backend
    }

    /// Fires when the execution is cancelled, or handed over to another worker: what is still done then does not count.
    pub fn cancelled(&self) -> CancellationToken {
        self.live.cancel.clone()
    }

    /// A side effect whose result is written down: `cx.step("charge", async || gateway.charge(&order).await).await?`. The body
    /// runs at least once, and once more only when the process dies before its result is durable; what it returned is the
    /// same at every replay.
    pub fn step<'a, T, E, F>(&self, name: &str, body: F) -> Step<'a, T, E>
    where
        F: Body<Result<T, E>, Fut: Send + 'a> + Send + Sync + 'a,
    {
        Step::new(self.clone(), name, Box::new(move |_run| Box::pin(body())))
    }

    /// [`step`](Self::step), for a body that wants to know its idempotency key, its attempt, or whether it still counts.
    pub fn step_with<'a, T, E, F>(&self, name: &str, body: F) -> Step<'a, T, E>
    where
        F: BodyWith<StepRun, Result<T, E>, Fut: Send + 'a> + Send + Sync + 'a,
    {
        Step::new(self.clone(), name, Box::new(move |run| Box::pin(body(run))))
    }

    /// A step that is done elsewhere, by the step handler of this name: `let sum: u32 = cx.call("add", &(1, 2)).await?`. The
    /// record of it and the message that asks for it are one commit; nothing is held until its result is there. It is run
    /// again when its worker dies, and its result counts once.
    pub fn call<T>(&self, handler: &str, input: &impl Serialize) -> RemoteStep<T> {
        RemoteStep::new(self.clone(), handler, input)
    }

    /// A value that is computed once and the same at every replay. No commit of its own: durable with the next one. `None`
    /// when what is recorded is not of this type, or the value cannot be stored.
    pub fn pure<T: Serialize + DeserializeOwned>(
        &self,
        name: &str,
        compute: impl FnOnce() -> T,
    ) -> Option<T> {
        let key = self.key(name);
        let value = self.live.mark(&key, |_| serde_json::to_value(compute()).ok())?;
        serde_json::from_value(value).ok()
    }

    /// The time, the same at every replay. Whole microseconds, by the database's clock.
    pub fn now(&self) -> Timestamp {
        let backend = &self.live.backend;
        let at = self.live.mark(&self.key("now"), |_| Some(json!(backend.now())));
        at.and_then(|at| serde_json::from_value(at).ok()).unwrap_or(self.live.facts.seed.1)
    }

    /// A random number, the same at every replay: it follows from the execution's id, or from that of the one it was forked from, and the place of the call. No secret.
    pub fn random(&self) -> u64 {
        self.random_bytes("random").iter().take(8).fold(0, |sum, byte| (sum << 8) | u64::from(*byte))
    }

    /// A ULID with the time of the execution's creation, the same at every replay.
    pub fn ulid(&self) -> String {
        let low = self.random_bytes("ulid").into_iter().take(10);
        let random = low.fold(0_u128, |sum, byte| (sum << 8) | u128::from(byte));
        let millis = self.live.facts.seed.1.as_micros() / 1_000;
        let number = (u128::try_from(millis).unwrap_or(0) << 80) | random;
        let digit = |n: u32| {
            let at = usize::try_from((number >> (5 * n)) & 31).unwrap_or(0);
            char::from(*b"0123456789ABCDEFGHJKMNPQRSTVWXYZ".get(at).unwrap_or(&b'0'))
        };
        (0..26).rev().map(digit).collect()
    }

    fn random_bytes(&self, name: &str) -> [u8; 32] {
        let key = self.key(name);
        Sha256::digest(format!("{}/{key}", self.live.facts.seed.0)).into()
    }

    /// Nothing for so long, from the first time the code comes here. Nothing is held meanwhile: no memory, no connection, no
    /// slot.
    pub fn sleep(&self, duration: Duration) -> Sleep {
        Sleep::new(self.clone(), "sleep", super::Alarm::After(duration))
    }

    /// Nothing until this time.
    pub fn sleep_until(&self, at: Timestamp) -> Sleep {
        Sleep::new(self.clone(), "sleep", super::Alarm::At(at))
    }

    /// A payload from outside, brought by whoever has the hook's token: `let hook = cx.hook::<Approval>("approval");`, then
    /// [`token`](Hook::token) in a step that hands it out, and `hook.await?`.
    pub fn hook<T>(&self, name: &str) -> Hook<T> {
        Hook::new(self.clone(), name)
    }

    /// The next signal of this name: `let paid: Payment = cx.signal("paid").await?`. Signals that came before anybody waited
    /// are kept, in order.
    pub fn signal<T>(&self, name: &str) -> SignalWait<T> {
        SignalWait::new(self.clone(), name)
    }

    /// Another workflow as a child of this one: its result, or its error as it is. Cancelled together with this one.
    pub fn child<I: Serialize, O, E>(&self, workflow: Workflow<I, O, E>, input: &I) -> ChildCall<O, E> {
        ChildCall::new(self.clone(), workflow, input)
    }

    /// Both, at the same time. Steps that end together share a commit.
    pub async fn join<A: IntoFuture, B: IntoFuture>(&self, a: A, b: B) -> (A::Output, B::Output) {
        futures_util::future::join(a.into_future(), b.into_future()).await
    }

    /// Whichever is ready first; the other is dropped. A replay has the same winner.
    pub async fn race<A: IntoFuture, B: IntoFuture>(&self, a: A, b: B) -> Either<A::Output, B::Output> {
        let (a, b) = (Box::pin(a.into_future()), Box::pin(b.into_future()));
        match futures_util::future::select(a, b).await {
            futures_util::future::Either::Left((a, _)) => Either::Left(a),
            futures_util::future::Either::Right((b, _)) => Either::Right(b),
        }
    }

    /// The same for every item, at most so many at a time (see [`MapItems::concurrency`]), results in the order of the items.
    /// Item 3 has the scope `name[3]/`.
    pub fn map<'a, A, T: 'a, E: 'a, F>(&self, name: &str, items: &'a [A], each: F) -> MapItems<'a, T, E>
    where
        A: Sync,
        F: BodyOf<Self, &'a A, WorkflowResult<T, E>, Fut: Send + 'a> + Send + Sync + 'a,
    {
        MapItems::new(self.clone(), name, items, each)
    }

    /// Steps that can be undone; see [`Saga`].
    pub fn saga<'a, E>(&self) -> Saga<'a, E>
    where
        E: Serialize + DeserializeOwned + Send + 'a,
    {
        Saga::new(self.clone())
    }

    /// What the execution is doing, in words of its own: [`WorkflowHandle::custom_status`](crate::WorkflowHandle::custom_status)
    /// shows it. Durable with the next commit.
    pub fn set_status(&self, status: impl Into<Value>) {
        self.live.show("status", None, status.into());
    }

    /// A value others can ask for by key, with [`WorkflowHandle::event`](crate::WorkflowHandle::event). Durable with the next
    /// commit.
    pub fn set_event(&self, key: &str, value: impl Into<Value>) {
        self.live.show("events", Some(key), value.into());
    }

    /// A search attribute, in place of an earlier value: [`ExecutionFilter::with`](mainspring_core::ExecutionFilter::with) finds
    /// executions by it. At most 32 of one execution. Durable with the next commit.
    pub fn set_attribute(&self, name: &str, value: impl Into<Attribute>) {
        self.live.set_attribute(name, value.into());
    }

    /// Whether an execution takes the new way at a place where the code was changed: yes for those that come here for the
    /// first time, no for those that were beyond it already. Stays so for each of them.
    pub fn patched(&self, name: &str) -> bool {
        let key = self.key(name);
        let mark = self.live.mark(&key, |state| state.journal.is_exhausted().then_some(json!(true)));
        mark.is_some()
    }

    /// Ends this execution and goes on as a new one with this input and an empty history. Whoever waits for the result gets
    /// that of the new one. Never returns.
    pub async fn continue_as_new<T>(&self, input: &impl Serialize) -> T {
        match serde_json::to_value(input) {
            Ok(input) => {
                self.live.lock().stop.get_or_insert(Stop::Again(input));
                self.live.attention.notify_one();
            }
            Err(error) => self.live.refuse(Failure::new(super::UNSTORABLE, error.to_string())),
        }
        std::future::pending().await
    }
}

impl std::fmt::Debug for Cx {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Cx({})", self.live.facts.id)
    }
}
