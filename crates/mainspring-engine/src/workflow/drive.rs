//! Driving a workflow: poll the code, make durable what it decided, park it, end it.
//!
//! The code is polled here, in its driver, with everything it borrows. While one commit is under way the code goes on; what it
//! decides meanwhile is the next one. Whoever loses a commit has lost the execution, drops the code, and looks again.

use std::{
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, Waker},
};

use mainspring_core::{
    BoxFuture, Changes, Committed, Error, Execution, ExecutionStatus, Failure, NewEvent, Result, Timestamp,
};
use mainspring_worker::{Panic, caught};
use serde_json::{Map, Value, json};
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;
use tracing::Instrument;

use super::{
    Cx, Drift, FOREIGN_AWAIT, INPUT, NON_DETERMINISM,
    cleanup::{clean_up, replay},
    flag::Flag,
    kept::Standing,
    live::{Facts, Live},
    park::{Then, changes},
    recorded::History,
    register::{Code, Returned},
    start_deadline::START_BY,
    state::Task,
    verify::apart,
};
use crate::{
    drive::{Driven, Seat},
    engine::Inner,
    meter,
    running::{Entry, Work},
    spans,
};

/// Polls of the code in a row before others get a turn.
const MOST_POLLS: u32 = 64;

/// Why a drive ended.
pub(crate) enum Drove {
    /// The execution is parked or over, and the message settled.
    Rests(Execution),
    /// It is parked as it was: nothing was committed.
    Asleep(Execution),
    Changed,
    Stopped,
    Fenced,
    /// There is no code for it here.
    Unknown(Execution),
}

pub(super) type Running = Pin<Box<dyn Future<Output = std::result::Result<Returned, Panic>> + Send>>;
type Commit<'d> = BoxFuture<'d, (Changes, u64, u64, Result<Committed>)>;

/// What happened.
enum Seen {
    /// The code was polled and waits.
    Polled,
    Returned(Returned),
    Committed(Box<(Changes, u64, u64, Result<Committed>)>),
    /// Something may have come in, or a time may have come.
    Attention,
    Stopped,
}

impl Inner {
    /// Drives a workflow in this process, without a message, until it is parked or over.
    pub(crate) async fn drive_workflow_here(
        &self,
        execution: Execution,
        cancel: &CancellationToken,
    ) -> Result<Driven> {
        let span = spans::drive(&execution);
        Ok(
            match Box::pin(self.drive_workflow(execution, Vec::new(), None, cancel).instrument(span)).await? {
                Drove::Rests(execution) | Drove::Asleep(execution) => Driven::Rests(execution),
                Drove::Changed => Driven::Changed,
                Drove::Stopped => Driven::Stopped,
                Drove::Fenced => Driven::Fenced,
                Drove::Unknown(execution) => {
                    let what = format!("{} {}", execution.flow_id, execution.flow_version);
                    return Err(Error::not_found("the code of workflow", what));
                }
            },
        )
    }

    /// `before` are events of the wake that led here.
    ///
    /// # Errors
    /// Those of the backend that did not go away in time. Nothing is half done then.
    pub(crate) async fn drive_workflow(
        &self,
        mut execution: Execution,
        before: Vec<NewEvent>,
        seat: Option<&Seat>,
        cancel: &CancellationToken,
    ) -> Result<Drove> {
        let Some(code) = self.workflows.code(&execution) else { return Ok(Drove::Unknown(execution)) };
        if self.was_parked_since(&execution).await? {
            return Ok(Drove::Changed);
        }
        let cleaning = execution.status == ExecutionStatus::Cancelling;
        if cleaning {
            self.finish_cancel(&execution.id).await?; // of its family, should whoever began it be gone
        }
        let context = std::mem::take(&mut execution.context);
        let policy = code.drift();
        let Standing { code: mut running, live, flag } = match self.workflows.kept.take(&execution) {
            Some(standing) => {
                standing.live.reopen(execution.position);
                standing
            }
            None => self.begin(code, &execution, context, seat).await?,
        };
        before.into_iter().for_each(|event| live.record(event, false));
        self.workflows.enter(&live);
        let stop = live.cancel.clone();
        let entry = self.running.enter(&execution.id, Work::Step(execution.revision), &stop);
        let mut driver = Driver {
            inner: self,
            live: Arc::clone(&live),
            execution,
            seat,
            stop,
            outer: cancel.clone(),
            policy,
            entry: Some(entry),
            flag: Arc::clone(&flag),
            committing: None,
            looked: 0,
            parked: false,
        };
        let drove = driver.run(&mut running).await;
        let parked = driver.parked;
        drop(driver);
        live.close(false);
        self.workflows.leave(&live);
        if let Ok(Drove::Rests(execution) | Drove::Asleep(execution)) = &drove
            && parked
            && seat.is_some()
            && execution.status == ExecutionStatus::Waiting
        {
            self.workflows.kept.keep(execution, Standing { code: running, live, flag });
        }
        if let Ok(Drove::Rests(execution)) = &drove
            && execution.status == ExecutionStatus::Cancelled
        {
            self.clean_up(std::slice::from_ref(execution)).await;
        }
        match drove {
            // Not a cancel of this execution: the whole driver is to stop.
            Ok(Drove::Changed) if cancel.is_cancelled() => Ok(Drove::Stopped),
            drove => drove,
        }
    }

    /// The code from its beginning, with what is recorded; of an execution that was cancelled, what there is to clean up.
    async fn begin(
        &self,
        code: Arc<dyn Code>,
        execution: &Execution,
        mut context: Map<String, Value>,
        seat: Option<&Seat>,
    ) -> Result<Standing> {
        let cleaning = execution.status == ExecutionStatus::Cancelling;
        let claims = context.remove(START_BY).is_some() && execution.status == ExecutionStatus::Pending;
        let small_input = context.remove(INPUT);
        let fresh = execution.position <= 1;
        let History { journal, cleanup, input, seed } = match small_input {
            Some(input) if fresh => History { input, ..History::default() },
            _ => {
                let begin = Instant::now();
                let history = History::read(self.tail(execution).await?);
                meter::replay(&execution.flow_id, begin.elapsed());
                history
            }
        };
        let mine = match seat {
            Some(seat) => {
                execution.driver.as_ref() == Some(&seat.message)
                    && execution.status != ExecutionStatus::Waiting
                    && !claims
            }
            None => true,
        };
        let facts = Facts {
            id: execution.id.clone(),
            flow: execution.flow_id.clone(),
            root: execution.root.clone(),
            tenant: execution.tenant.clone(),
            queue: execution.queue.clone(),
            step_queue: self.options.step_queue.clone().unwrap_or_else(|| execution.queue.clone()),
            seed: seed.unwrap_or_else(|| (execution.id.clone(), execution.created_at)),
            metadata: execution.metadata.clone(),
        };
        let backend = Arc::clone(&self.backend);
        let cancel = CancellationToken::new();
        let live = Arc::new(Live::new(facts, backend, cancel, journal, context, mine));
        {
            let mut state = live.lock();
            state.frozen = cleaning;
            state.is_at(execution.position);
            state.attributes.clone_from(&execution.attributes);
        }
        let flag = Flag::new();
        let cx = Cx::new(Arc::clone(&live));
        let running = async move { code.begin(cx, input).await };
        let mut running: Running = Box::pin(caught(running));
        if cleaning {
            replay(&mut running, &flag).await;
            let cleanups = live.thaw(cleanup);
            running = Box::pin(caught(clean_up(Arc::clone(&live), cleanups)));
            std::task::Wake::wake_by_ref(&flag);
        }
        Ok(Standing { code: running, live, flag })
    }
}

pub(super) struct Driver<'d> {
    pub(super) inner: &'d Inner,
    pub(super) live: Arc<Live>,
    /// The row as this driver last wrote or read it, without its context.
    pub(super) execution: Execution,
    pub(super) seat: Option<&'d Seat>,
    /// Fires when it is cancelled or taken over.
    pub(super) stop: CancellationToken,
    /// Fires when the whole driver is to stop.
    outer: CancellationToken,
    pub(super) policy: Drift,
    pub(super) entry: Option<Entry>,
    flag: Arc<Flag>,
    pub(super) committing: Option<Commit<'d>>,
    /// Knocks that were there at the last look.
    pub(super) looked: u64,
    /// Whether the code stands where it may go on later.
    parked: bool,
}

impl<'d> Driver<'d> {
    async fn run(&mut self, code: &mut Running) -> Result<Drove> {
        loop {
            let seen = self.watch(code).await;
            match seen {
                Seen::Polled => {}
                Seen::Attention => self.live.wake_waits(),
                Seen::Committed(done) => {
                    if let Some(drove) = self.after(*done)? {
                        return Ok(drove);
                    }
                }
                Seen::Returned(returned) => return self.conclude(returned).await,
                Seen::Stopped => return self.hand_over(code).await,
            }
            if let Some(drove) = self.attend().await? {
                return Ok(drove);
            }
        }
    }

    /// Polls the code as often as it is woken, and otherwise waits for whatever comes first.
    async fn watch(&mut self, code: &mut Running) -> Seen {
        let Self { flag, committing, live, stop, outer, inner, .. } = self;
        let waker = Waker::from(Arc::clone(flag));
        let pause = live.next_time().map(|at| at.since(inner.backend.now()));
        let mut timer = pause.map(|pause| Box::pin(sleep(pause)));
        let mut attention = std::pin::pin!(live.attention.notified());
        let mut stopped = std::pin::pin!(stop.cancelled());
        let mut outer_stopped = std::pin::pin!(outer.cancelled());
        std::future::poll_fn(|cx| {
            flag.outer.register(cx.waker());
            if outer_stopped.as_mut().poll(cx).is_ready() {
                stop.cancel();
            }
            if stopped.as_mut().poll(cx).is_ready() {
                return Poll::Ready(Seen::Stopped);
            }
            let mut polls = 0;
            while flag.take() {
                match code.as_mut().poll(&mut Context::from_waker(&waker)) {
                    Poll::Ready(Ok(returned)) => return Poll::Ready(Seen::Returned(returned)),
                    Poll::Ready(Err(panic)) => {
                        tracing::error!(execution = %live.facts.id, %panic, "a workflow panicked");
                        return Poll::Ready(Seen::Returned(Returned::Broken(panic.into())));
                    }
                    Poll::Pending => polls += 1,
                }
                if polls == MOST_POLLS {
                    break;
                }
            }
            if polls == MOST_POLLS {
                cx.waker().wake_by_ref();
                return Poll::Pending;
            }
            if polls > 0 {
                return Poll::Ready(Seen::Polled);
            }
            if let Some(commit) = committing
                && let Poll::Ready(done) = commit.as_mut().poll(cx)
            {
                *committing = None;
                return Poll::Ready(Seen::Committed(Box::new(done)));
            }
            let due = timer.as_mut().is_some_and(|timer| timer.as_mut().poll(cx).is_ready());
            if due || attention.as_mut().poll(cx).is_ready() {
                return Poll::Ready(Seen::Attention);
            }
            Poll::Pending
        })
        .await
    }

    /// Does what there is to do.
    async fn attend(&mut self) -> Result<Option<Drove>> {
        match self.live.assess(self.committing.is_some()) {
            Task::Wait | Task::Poll => Ok(None),
            Task::Foreign if self.inner.options.detect_foreign_awaits => self.stalled().await,
            Task::Foreign => Ok(None),
            Task::Commit => {
                self.begin_commit();
                Ok(None)
            }
            Task::Look => self.look().await.map(|()| None),
            // What was just woken is polled first: it may be about to do something, however long the rest waits.
            Task::Park | Task::Drifted { .. } if self.flag.is_set() => Ok(None),
            Task::Park => {
                let until = self.live.next_time();
                if self.live.close(true).is_none() {
                    return self.look().await.map(|()| None);
                }
                self.parked = true;
                self.park(until, None).await.map(Some)
            }
            Task::Drifted { expected, got } => self.drifted(expected, got).await,
            Task::Lend => {
                self.lend();
                Ok(None)
            }
            Task::TakeBack => Ok(self.take_back()),
            Task::Stop => self.stopped().await.map(Some),
        }
    }

    pub(super) fn changes(&self, then: Then) -> (Changes, u64) {
        let (mut batch, recorded) = self.live.take_batch();
        self.start(&mut batch);
        let (context, has_tokens) = {
            let state = self.live.lock();
            (state.context.clone(), state.has_tokens())
        };
        let (execution, now) = (self.execution.clone(), self.inner.backend.now());
        (changes(execution, batch, context, then, has_tokens, self.seat, now), recorded)
    }

    fn begin_commit(&mut self) {
        let (changes, recorded) = self.changes(Then::Run);
        // A heartbeat that looks now must not take our own commit for another's.
        self.entry = None;
        let (inner, looked) = (self.inner, self.looked);
        self.committing = Some(Box::pin(async move {
            let result = inner.commit(&changes).await;
            (changes, recorded, looked, result)
        }));
        self.flag.outer.wake();
    }

    /// Takes in what became of a commit; the end of the drive when it was lost.
    pub(super) fn after(&mut self, done: (Changes, u64, u64, Result<Committed>)) -> Result<Option<Drove>> {
        let (changes, recorded, looked, result) = done;
        match result {
            Ok(committed) => {
                self.applied(changes, committed.at);
                let work = Work::Step(self.execution.revision);
                self.entry = Some(self.inner.running.enter(&self.execution.id, work, &self.stop));
                self.live.committed(recorded, self.execution.position);
                self.live.cover(looked);
                Ok(None)
            }
            Err(error) => lost(error).map(Some),
        }
    }

    fn applied(&mut self, mut changes: Changes, at: Timestamp) {
        self.execution = changes.executions.swap_remove(0).applied(at);
        self.execution.context.clear();
    }

    /// A commit that ends the drive.
    pub(super) async fn last(&mut self, then: Then) -> Result<Drove> {
        let (changes, _) = self.changes(then);
        self.offer(changes).await
    }

    pub(super) async fn offer(&mut self, changes: Changes) -> Result<Drove> {
        self.entry = None;
        match self.inner.commit(&changes).await {
            Ok(committed) => {
                let context = changes.executions.first().map(|write| write.execution.context.clone());
                self.applied(changes, committed.at);
                self.execution.context = context.unwrap_or_default();
                self.live.cover(self.looked);
                Ok(Drove::Rests(self.execution.clone()))
            }
            Err(error) if error.is_invalid() => Err(error),
            Err(error) => lost(error),
        }
    }

    async fn park(&mut self, until: Option<Timestamp>, error: Option<Failure>) -> Result<Drove> {
        let (reason, news) = {
            let state = self.live.lock();
            (state.reason(), state.has_news())
        };
        let parked = self.execution.status == ExecutionStatus::Waiting && self.execution.wake_at == until;
        if parked && !news && self.execution.error == error {
            self.live.cover(self.looked);
            return Ok(Drove::Asleep(self.execution.clone()));
        }
        let reason = error.as_ref().map_or(reason, ToString::to_string);
        self.last(Then::Park { until, reason, error }).await
    }

    async fn drifted(&mut self, expected: String, got: String) -> Result<Option<Drove>> {
        let id = &self.execution.id;
        meter::drifted(&self.execution.flow_id);
        match self.policy {
            Drift::Warn => {
                tracing::warn!(execution = %id, %expected, %got, "the code has drifted from the history");
            }
            Drift::Allow => {}
            Drift::Fail => {
                tracing::error!(execution = %id, %expected, %got, "the code has drifted from the history; parked");
                self.live.close(false);
                return self.park_drifted(&expected, &got).await.map(Some);
            }
        }
        self.live.accept_drift();
        Ok(None)
    }

    /// The code waits for nothing of ours.
    async fn stalled(&mut self) -> Result<Option<Drove>> {
        // What has only given way to others is woken by now.
        tokio::task::yield_now().await;
        if self.flag.is_set() {
            return Ok(None);
        }
        self.live.close(false);
        let failure = self.foreign();
        tracing::error!(execution = %self.execution.id, %failure, "parked");
        self.park(None, Some(failure)).await.map(Some)
    }

    /// The code awaits something that is not recorded.
    fn foreign(&self) -> Failure {
        let last = self.live.lock().last.clone();
        let after =
            last.as_deref().map_or("at its beginning".to_owned(), |key| format!("after step `{key}`"));
        let message = format!("the code awaits something that is not recorded, {after}: put it into a step");
        let mut failure = Failure::new(FOREIGN_AWAIT, message);
        failure.details = json!({"after": last});
        failure.step_id = last;
        failure
    }

    pub(super) async fn park_drifted(&mut self, expected: &str, got: &str) -> Result<Drove> {
        let mut failure = Failure::new(NON_DETERMINISM, apart(expected, got));
        failure.step_id = Some(got.to_owned());
        failure.details = json!({"expected": expected, "got": got});
        self.park_apart(failure).await
    }

    /// Parks what does not fit its history, until someone lets it look again.
    pub(super) async fn park_apart(&mut self, failure: Failure) -> Result<Drove> {
        // What was decided since the last commit was decided by code that does not fit.
        drop(self.live.take_batch());
        self.park(None, Some(failure)).await
    }
}

fn lost(error: Error) -> Result<Drove> {
    if error.is_fenced() {
        return Ok(Drove::Fenced);
    }
    // Perhaps it happened: the row says how to go on.
    if error.is_conflict() || error.is_commit_unknown() { Ok(Drove::Changed) } else { Err(error) }
}
