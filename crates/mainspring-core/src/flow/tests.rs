//! The interpreter, scenario by scenario: an execution, what its step returned, and what has to become of it.

use std::time::Duration;

use serde_json::{Value, json};

use super::*;
use crate::{
    Available, Changes, ContextLimits, Execution, ExecutionId, ExecutionStatus, Expect, Failure, JobWrite,
    MessageId, NewEvent, NewMessage, NewToken, Reply, Timestamp, TokenOptions, TokenWrite, WorkerId,
};

const NOW: Timestamp = Timestamp::MIN;

/// `a` keeps its output under `out.a` and goes to `b`, or to `c` when it fails. `chosen` is where only handlers go.
fn flow_with(a: impl FnOnce(Step) -> Step) -> Flow {
    let first = Step::new("a", "x").output_key("out.a").on_success("b").on_failure("c");
    Flow::builder("f", "1.0.0")
        .step(a(first))
        .step(Step::new("b", "x").config(json!({"mayGoTo": ["chosen"]})))
        .step(Step::new("c", "x"))
        .step(Step::new("chosen", "x"))
        .build()
        .unwrap()
}

fn flow() -> Flow {
    flow_with(|a| a)
}

fn ends_alone() -> Flow {
    Flow::builder("f", "1.0.0").step(Step::new("a", "x")).build().unwrap()
}

/// Running at `a` after one other step, driven by a message.
fn running() -> Execution {
    let mut execution = Execution::new(ExecutionId::new("e1").unwrap(), "f", "1.0.0", "a");
    execution.status = ExecutionStatus::Running;
    execution.driver = Some(MessageId::new("m1").unwrap());
    execution.revision = 7;
    execution.step_count = 1;
    execution
}

fn held() -> Execution {
    Execution { driver: None, holder: Some(WorkerId::new("w1").unwrap()), ..running() }
}

fn step(flow: &Flow, execution: Execution, result: StepResult) -> (Execution, Advance) {
    let advance = advance(flow, execution, Vec::new(), result, &ContextLimits::default(), NOW);
    advance.changes.check().unwrap();
    assert!(advance.changes.settle.is_none());
    (advance.changes.executions[0].execution.clone(), advance)
}

fn of(outcome: StepOutcome) -> StepResult {
    StepResult::new(outcome, NOW)
}

fn success() -> StepResult {
    of(StepOutcome::Success(json!(1)))
}

fn failure(code: &str) -> StepResult {
    of(StepOutcome::Failure(Failure::new(code, "broken")))
}

fn kinds(events: &[NewEvent]) -> Vec<&str> {
    events.iter().map(|e| e.event_type.as_str()).collect()
}

fn own(changes: &Changes) -> &[NewEvent] {
    &changes.executions[0].events
}

#[test]
fn a_success_stores_its_output_and_moves_on() {
    // scenarios F01, F18, F44
    let (after, advance) =
        step(&flow(), Execution { status: ExecutionStatus::Pending, step_count: 0, ..running() }, success());
    assert_eq!(
        (after.status, after.current_step.as_str(), after.step_count),
        (ExecutionStatus::Running, "b", 1)
    );
    assert_eq!(Value::Object(after.context), json!({"out": {"a": 1}}));
    assert_eq!((after.driver, advance.then), (running().driver, Then::Run));
    assert_eq!(advance.changes.executions[0].expect, Expect::Revision(7));
    assert_eq!(kinds(own(&advance.changes)), ["execution.started", "step.started", "step.completed"]);
    let events = own(&advance.changes);
    assert_eq!(events[1].data, json!({"attempt": 1, "startedAt": NOW}));
    assert_eq!(events[2].subject.as_deref(), Some("a"));
    assert_eq!(events[2].data, json!({"attempt": 1, "on": "success", "to": "b"}));
}

#[test]
fn what_stands_before_and_what_the_handler_says_keep_their_order() {
    // scenario F44
    let (_, token) = NewToken::generate(running().id, "a", TokenOptions::default()).unwrap();
    let result = StepResult {
        events: vec![NewEvent::new("mine", json!({}))],
        tokens: vec![token.clone()],
        messages: vec![NewMessage::new("other", "hello", json!({}))],
        context: vec![("k".to_owned(), Some(json!("v"))), ("gone".to_owned(), None)],
        ..success()
    };
    let mut execution = running();
    execution.context.insert("gone".to_owned(), json!(1));
    let before = vec![NewEvent::new("execution.resumed", json!({}))];
    let advance = advance(&flow(), execution, before, result, &ContextLimits::default(), NOW);
    assert_eq!(
        kinds(own(&advance.changes)),
        ["execution.resumed", "step.started", "mine", "step.completed", "token.created"]
    );
    let hidden = own(&advance.changes)[4].data.to_string();
    assert_eq!(hidden, json!({"tokenId": token.id}).to_string());
    let after = &advance.changes.executions[0].execution;
    assert_eq!(Value::Object(after.context.clone()), json!({"k": "v", "out": {"a": 1}}));
    assert_eq!(advance.changes.messages.len(), 1);
    assert_eq!(advance.changes.tokens, [TokenWrite::Create(Box::new(token))]);
}

#[test]
fn an_override_wins_and_one_that_leads_nowhere_fails() {
    // scenarios F02, F16
    let go = |next: Next| step(&flow(), running(), StepResult { next: Some(next), ..success() });
    assert_eq!(go(Next::Step("chosen".to_owned())).0.current_step, "chosen");
    let (ended, advance) = go(Next::End);
    assert_eq!((ended.status, advance.then), (ExecutionStatus::Completed, Then::Ended));
    let (lost, advance) = go(Next::Step("nowhere".to_owned()));
    let error = lost.error.unwrap();
    assert_eq!((lost.status, error.code.as_str()), (ExecutionStatus::Failed, "INVALID_TRANSITION"));
    assert_eq!(kinds(own(&advance.changes)), ["step.started", "step.completed", "execution.failed"]);
    let failed = StepResult { next: Some(Next::Step("chosen".to_owned())), ..failure("X") };
    assert_eq!(step(&flow(), running(), failed).0.current_step, "chosen");
}

#[test]
fn the_last_step_completes_the_execution_and_tells_who_waits() {
    // scenarios F18, F43
    let reply = Reply {
        message: MessageId::new("m9").unwrap(),
        to: ExecutionId::new("parent").unwrap(),
        queue: "elsewhere".to_owned(),
        inbox: None,
    };
    let (after, advance) = step(&ends_alone(), Execution { reply: Some(reply), ..running() }, success());
    assert_eq!((after.status, after.driver, after.holder), (ExecutionStatus::Completed, None, None));
    assert_eq!((advance.then, after.finished_at), (Then::Ended, None));
    assert_eq!(kinds(own(&advance.changes)), ["step.started", "step.completed", "execution.completed"]);
    let [message] = advance.changes.messages.as_slice() else { panic!("one message") };
    assert_eq!(
        (message.id.as_str(), message.queue.as_str(), message.message_type.as_str()),
        ("m9", "elsewhere", WAKE)
    );
    assert_eq!((message.subject.as_deref(), &message.data), (Some("parent"), &json!({"child": "e1"})));
}

#[test]
fn a_failure_takes_its_way_or_ends_the_execution() {
    // scenario F05
    let (after, advance) = step(&flow(), running(), failure("BROKEN"));
    assert_eq!((after.current_step.as_str(), after.error, advance.then), ("c", None, Then::Run));
    assert_eq!(kinds(own(&advance.changes)), ["step.started", "step.failed"]);
    let told = json!({"attempt": 1, "code": "BROKEN", "message": "broken", "on": "failure", "to": "c"});
    assert_eq!(own(&advance.changes)[1].data, told);

    let (after, advance) = step(&ends_alone(), running(), failure(""));
    let error = after.error.unwrap();
    assert_eq!(
        (error.code.as_str(), error.message.as_str(), error.step_id.as_deref()),
        ("STEP_FAILED", "broken", Some("a"))
    );
    assert_eq!(
        (error.timestamp, after.status, advance.then),
        (Some(NOW), ExecutionStatus::Failed, Then::Ended)
    );
    assert_eq!(kinds(own(&advance.changes)), ["step.started", "step.failed", "execution.failed"]);
    assert_eq!(
        own(&advance.changes)[2].data,
        json!({"code": "STEP_FAILED", "message": "broken", "stepId": "a"})
    );
}

#[test]
fn a_failure_that_cannot_be_stored_is_made_to_fit() {
    let wild = Failure {
        code: "a\0".to_owned(),
        message: "x\0".repeat(20_000),
        details: json!("\0"),
        ..Failure::new("", "")
    };
    let (after, _) = step(&ends_alone(), running(), of(StepOutcome::Failure(wild)));
    let error = after.error.unwrap();
    assert_eq!((error.code.as_str(), error.message.len()), ("STEP_FAILED", 8 * 1024));
    assert!(error.details.as_str().unwrap().starts_with("left out: "));
}

#[test]
fn retries_run_out() {
    // scenario F39
    let policy = RetryPolicy { max_attempts: 3, ..RetryPolicy::default() };
    for (flow, end) in [
        (flow_with(|a| a.retry(policy.clone())), ExecutionStatus::Running),
        (
            Flow::builder("f", "1.0.0").step(Step::new("a", "x").retry(policy)).build().unwrap(),
            ExecutionStatus::Failed,
        ),
    ] {
        let mut execution = running();
        for attempt in 1..=2 {
            let (after, advance) = step(&flow, execution, failure("BROKEN"));
            assert_eq!((after.current_step.as_str(), advance.then), ("a", Then::Run));
            assert_eq!(kinds(own(&advance.changes)), ["step.started", "step.retry"]);
            assert_eq!(
                (after.retries["a"], own(&advance.changes)[0].data["attempt"].clone()),
                (attempt, json!(attempt))
            );
            execution = after;
        }
        let (succeeded, _) = step(&flow, execution.clone(), success());
        assert!(succeeded.retries.is_empty());
        let (after, _) = step(&flow, execution, failure("BROKEN"));
        assert_eq!((after.status, after.step_count), (end, 4));
        assert!(after.retries.is_empty());
    }
}

#[test]
fn a_retry_with_backoff_parks_at_the_same_step() {
    // scenarios F39, F40
    let ms = Duration::from_millis;
    let policy = RetryPolicy {
        max_attempts: 4,
        backoff: ms(100),
        max_backoff: ms(150),
        retry_on: Some(vec!["BUSY".to_owned(), "TIMEOUT".to_owned()]),
        ..RetryPolicy::default()
    };
    let flow = flow_with(|a| a.retry(policy));
    let mut execution = running();
    for (reason, delay) in
        [("Retry 1/3 after 100ms", 100), ("Retry 2/3 after 150ms", 150), ("Retry 3/3 after 150ms", 150)]
    {
        let (after, advance) = step(&flow, execution, failure("BUSY"));
        let until = Some(NOW + ms(delay));
        assert_eq!(
            (after.wait_reason.as_deref(), after.wake_at, advance.then),
            (Some(reason), until, Then::Parked { until })
        );
        assert_eq!((after.current_step.as_str(), after.wait_started_at), ("a", Some(NOW)));
        assert_eq!(kinds(own(&advance.changes)), ["step.started", "step.retry", "execution.waiting"]);
        let (woken, events) = woken(after);
        assert_eq!(kinds(&events), ["execution.resumed"]);
        execution = woken;
    }
    assert_eq!(step(&flow, execution, failure("BUSY")).0.current_step, "c");
    assert_eq!(step(&flow, running(), failure("BROKEN")).0.current_step, "c");
    let (_, advance) = step(&flow, running(), failure("TIMEOUT"));
    assert_eq!(
        kinds(own(&advance.changes)),
        ["step.started", "step.timeout", "step.retry", "execution.waiting"]
    );
}

#[test]
fn a_wait_stands_at_the_step_after_it() {
    // scenarios F03, F04
    let wait = || of(StepOutcome::Wait { delay: Duration::from_secs(5), reason: "tea\0".to_owned() });
    let until = Some(NOW + Duration::from_secs(5));
    let (after, advance) = step(&flow_with(|a| a.on_resume("c")), running(), wait());
    assert_eq!((after.status, after.current_step.as_str()), (ExecutionStatus::Waiting, "c"));
    assert_eq!(
        (after.wake_at, after.wait_started_at, after.wait_reason.as_deref()),
        (until, Some(NOW), Some("tea"))
    );
    assert_eq!((after.driver, advance.then), (running().driver, Then::Parked { until }));
    assert!(advance.changes.messages.is_empty());
    assert_eq!(kinds(own(&advance.changes)), ["step.started", "step.waiting", "execution.waiting"]);
    assert_eq!(own(&advance.changes)[2].data, json!({"reason": "tea", "until": until}));

    assert_eq!(step(&flow(), running(), wait()).0.current_step, "b");
    let (again, advance) = step(&ends_alone(), running(), wait());
    assert_eq!(again.current_step, "a");
    assert_eq!(kinds(own(&advance.changes)), ["step.started", "step.waiting", "execution.waiting"]);
    let chosen = StepResult { next: Some(Next::Step("chosen".to_owned())), ..wait() };
    assert_eq!(step(&flow(), running(), chosen).0.current_step, "chosen");
}

#[test]
fn a_park_of_an_execution_held_here_leaves_a_message_behind() {
    let at = NOW + Duration::from_secs(9);
    let (after, advance) = step(&flow(), held(), of(StepOutcome::WaitUntil { at, reason: "tea".to_owned() }));
    let [wake] = advance.changes.messages.as_slice() else { panic!("one message") };
    assert_eq!((after.driver.as_ref(), after.holder), (Some(&wake.id), None));
    assert_eq!(
        (wake.available, wake.subject.as_deref(), wake.queue.as_str()),
        (Available::At(at), Some("e1"), "default")
    );

    for execution in [held(), running()] {
        let (after, advance) =
            step(&flow(), execution, of(StepOutcome::WaitForSignal { reason: "you".to_owned() }));
        assert_eq!((after.driver, after.holder, after.wake_at), (None, None, None));
        assert_eq!(advance.then, Then::Parked { until: None });
        assert!(advance.changes.messages.is_empty());
    }
}

#[test]
fn what_breaks_a_limit_fails_the_step_and_is_dropped_as_a_whole() {
    // scenario F27
    let limits = ContextLimits { max_value_bytes: 40, ..ContextLimits::default() };
    let big = json!("x".repeat(100));
    let with = |context: Vec<(String, Option<Value>)>, output: Value| StepResult {
        context,
        messages: vec![NewMessage::new("q", "t", json!({}))],
        events: vec![NewEvent::new("mine", json!({}))],
        ..of(StepOutcome::Success(output))
    };
    let mut execution = running();
    execution.context.insert("kept".to_owned(), json!("old"));
    let writes = vec![("kept".to_owned(), None), ("new".to_owned(), Some(json!(1)))];
    let too_big = [writes.clone(), vec![("big".to_owned(), Some(big.clone()))]].concat();
    for result in [with(too_big, json!(1)), with(writes, big)] {
        let advance = advance(&flow(), execution.clone(), Vec::new(), result, &limits, NOW);
        let after = &advance.changes.executions[0].execution;
        assert_eq!(after.context, execution.context);
        assert_eq!(after.current_step, "c");
        assert_eq!(kinds(own(&advance.changes)), ["step.started", "step.failed"]);
        assert_eq!(own(&advance.changes)[1].data["code"], "CONTEXT_LIMIT");
        assert!(advance.changes.messages.is_empty());
    }
    let mut taken = running();
    taken.context.insert("out".to_owned(), json!("text"));
    assert_eq!(own(&step(&flow(), taken, success()).1.changes)[1].data["code"], "CONTEXT_LIMIT");
}

#[test]
fn what_no_store_would_take_is_the_handlers_failure() {
    let child = |id: &str| {
        let execution = Execution::new(ExecutionId::new(id).unwrap(), "g", "1.0.0", "s");
        Box::new(NewChild { execution, wait: true, events: Vec::new() })
    };
    let job = |max_attempts| NewJob { handler: "h".to_owned(), input: json!(1), max_attempts };
    let (_, stranger) =
        NewToken::generate(ExecutionId::new("e2").unwrap(), "a", TokenOptions::default()).unwrap();
    let reason = String::new;
    let next = || Some(Next::Step("b".to_owned()));
    for (result, expected) in [
        (StepResult { messages: vec![NewMessage::new("", "t", json!({}))], ..success() }, "message.queue: "),
        (StepResult { events: vec![NewEvent::new("t", json!("\0"))], ..success() }, "event.data: "),
        (StepResult { tokens: vec![stranger], ..success() }, "token.execution_id: `e2` is another execution"),
        (of(StepOutcome::Job(job(0))), "job.max_attempts: "),
        (of(StepOutcome::Job(NewJob { input: json!("\0"), ..job(1) })), "job.input: "),
        (of(StepOutcome::Child(child("e1"))), "child.id: `e1` cannot be its own parent"),
        (
            of(StepOutcome::Wait { delay: Duration::MAX, reason: reason() }),
            "wait.delay: longer than 100 years",
        ),
        (StepResult { next: next(), ..of(StepOutcome::Job(job(1))) }, "next: a step that waits for a job"),
        (
            StepResult { next: next(), ..of(StepOutcome::Child(child("c"))) },
            "next: a step that waits for a child",
        ),
        (
            StepResult { next: Some(Next::End), ..of(StepOutcome::WaitForSignal { reason: reason() }) },
            "next: a wait cannot be the end",
        ),
    ] {
        let (after, advance) = step(&ends_alone(), running(), result);
        let error = after.error.unwrap();
        assert_eq!(error.code, "HANDLER_ERROR");
        assert!(error.message.starts_with(expected), "{error}");
        assert!(advance.changes.messages.is_empty() && advance.changes.tokens.is_empty());
    }
}

#[test]
fn a_wait_until_the_end_of_time_does_not_overflow() {
    let delay = crate::limits::MAX_DURATION;
    let result = of(StepOutcome::Wait { delay, reason: "long".to_owned() });
    let advance = advance(&flow(), running(), Vec::new(), result, &ContextLimits::default(), Timestamp::MAX);
    assert_eq!(advance.then, Then::Parked { until: Some(Timestamp::MAX) });
}

#[test]
fn a_job_takes_over_and_its_end_is_the_steps() {
    // scenario F51 on the flow's side
    let new_job = NewJob { handler: "h".to_owned(), input: json!({"x": 1}), max_attempts: 5 };
    let (parked, advance) = step(&flow(), held(), of(StepOutcome::Job(new_job)));
    let [JobWrite::Create(job)] = advance.changes.jobs.as_slice() else { panic!("one job") };
    let reply = job.reply.clone().unwrap();
    assert_eq!((parked.status, parked.current_step.as_str()), (ExecutionStatus::Waiting, "a"));
    assert_eq!((parked.driver.as_ref(), parked.holder.as_ref()), (Some(&reply.message), None));
    assert_eq!((reply.to.as_str(), reply.queue.as_str()), ("e1", "default"));
    assert_eq!((job.step_id.as_str(), job.handler.as_str(), job.max_attempts), ("a", "h", 5));
    assert_eq!(parked.wait_reason, Some(format!("job {}", job.id)));
    assert_eq!(advance.then, Then::Parked { until: None });
    let [message] = advance.changes.messages.as_slice() else { panic!("one message") };
    assert_eq!((message.message_type.as_str(), message.subject.as_deref()), (JOB_RUN, Some(job.id.as_str())));
    assert_eq!(
        kinds(own(&advance.changes)),
        ["step.started", "step.waiting", "job.created", "execution.waiting"]
    );

    let answer = |outcome| {
        let answer = Answer::Job { id: job.id.clone(), outcome };
        replied(&flow(), parked.clone(), answer, &ContextLimits::default(), NOW).unwrap()
    };
    let done = answer(Ok(json!("made")));
    let after = &done.changes.executions[0].execution;
    assert_eq!((after.current_step.as_str(), after.step_count, done.then), ("b", 2, Then::Run));
    assert_eq!(Value::Object(after.context.clone()), json!({"out": {"a": "made"}}));
    assert_eq!((after.driver.as_ref(), after.wait_reason.as_ref()), (Some(&reply.message), None));
    assert_eq!(kinds(own(&done.changes)), ["job.completed", "execution.resumed", "step.completed"]);
    for (code, expected) in [("BROKEN", "BROKEN"), ("", "JOB_FAILED")] {
        let broken = answer(Err(Failure::new(code, "no")));
        assert_eq!(kinds(own(&broken.changes)), ["job.failed", "execution.resumed", "step.failed"]);
        assert_eq!(own(&broken.changes)[2].data["code"], expected);
    }
}

#[test]
fn only_one_that_waits_for_a_job_or_a_child_takes_a_reply() {
    let answer = || Answer::Job { id: crate::JobId::generate(), outcome: Ok(json!(1)) };
    let timed = Execution { status: ExecutionStatus::Waiting, wake_at: Some(NOW), ..running() };
    let signalled = Execution { status: ExecutionStatus::Waiting, driver: None, ..running() };
    for execution in [running(), timed, signalled] {
        let error = replied(&flow(), execution, answer(), &ContextLimits::default(), NOW).unwrap_err();
        assert!(error.is_conflict());
    }
}

#[test]
fn a_child_is_linked_and_its_end_is_the_steps() {
    // scenario F43
    let child = Execution::new(ExecutionId::new("child").unwrap(), "g", "2.0.0", "s");
    let start = |wait| {
        let events = vec![NewEvent::new("mine", json!({}))];
        let mut parent = running();
        parent.tenant = "acme".to_owned();
        parent.root = ExecutionId::new("top").unwrap();
        step(
            &flow(),
            parent,
            of(StepOutcome::Child(Box::new(NewChild { execution: child.clone(), wait, events }))),
        )
    };
    let (parked, advance) = start(true);
    let started = &advance.changes.executions[1];
    assert_eq!((started.expect, started.execution.status), (Expect::New, ExecutionStatus::Pending));
    assert_eq!(started.execution.parent.as_ref().map(ExecutionId::as_str), Some("e1"));
    assert_eq!((started.execution.root.as_str(), started.execution.tenant.as_str()), ("top", "acme"));
    assert_eq!(kinds(&started.events), ["execution.created", "mine"]);
    assert_eq!(started.events[0].data["parentExecutionId"], "e1");
    assert_eq!(started.execution.reply.as_ref().map(|r| &r.message), parked.driver.as_ref());
    assert_eq!(started.execution.driver.as_ref(), Some(&advance.changes.messages[0].id));
    assert_eq!(parked.wait_reason.as_deref(), Some("child child"));
    assert_eq!(
        kinds(own(&advance.changes)),
        ["step.started", "step.waiting", "child.started", "execution.waiting"]
    );

    let (after, advance) = start(false);
    assert_eq!(Value::Object(after.context), json!({"out": {"a": {"childExecutionId": "child"}}}));
    assert_eq!((after.current_step.as_str(), after.driver), ("b", running().driver));
    assert_eq!(advance.changes.executions[1].execution.reply, None);
    assert_eq!(kinds(own(&advance.changes)), ["step.started", "step.completed", "child.started"]);

    let end = |status, error| {
        let mut ended = Execution { status, error, ..child.clone() };
        ended.context.insert("total".to_owned(), json!(3));
        let answer = Answer::of_child(&ended).unwrap();
        replied(&flow(), parked.clone(), answer, &ContextLimits::default(), NOW).unwrap().changes
    };
    let done = end(ExecutionStatus::Completed, None);
    assert_eq!(kinds(own(&done)), ["child.finished", "execution.resumed", "step.completed"]);
    assert_eq!(done.executions[0].execution.context["out"]["a"]["context"], json!({"total": 3}));
    for (status, error) in
        [(ExecutionStatus::Failed, Some(Failure::new("BROKEN", "no"))), (ExecutionStatus::Cancelled, None)]
    {
        let failed = end(status, error);
        assert_eq!(own(&failed)[0].data["status"], status.as_str());
        assert_eq!(own(&failed)[2].data["code"], "CHILD_FAILED");
    }
    assert_eq!(Answer::of_child(&child), None);
}

#[test]
fn a_step_the_flow_no_longer_has_fails_the_execution() {
    let (after, advance) =
        step(&flow(), Execution { current_step: "old".to_owned(), ..running() }, success());
    assert_eq!((after.error.unwrap().code.as_str(), advance.then), ("STEP_NOT_FOUND", Then::Ended));
}
