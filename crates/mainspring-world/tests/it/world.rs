//! The world as a whole: workflows here, steps elsewhere, messages, hooks.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex},
    time::Duration,
};

use mainspring_core::{Backend, BoxFuture, ExecutionId, Result};
use mainspring_engine::{Cx, Workflow, WorkflowResult};
use mainspring_http::{Call, Endpoint, Invoker, MessageData, Reply};
use mainspring_world::{
    CallOptions, EventType::*, Fact, NewRun, Paging, Resolve, RunEvent, RunFilter, RunStatus, StepFailure,
    StepHandlers, StepStatus, Transport, World, WorldBuilder,
};
use serde_json::{Value, json};

use crate::{
    ground::{self, Ground, create_hook, start},
    way::{Way, over_both},
};

over_both! {
    #[tokio::test(start_paused = true)]
    a_sum_is_the_same_with_a_step_here_and_by_an_invoker
    null_bytes_survive_a_step_elsewhere
    failures_of_an_application_are_told_apart
    messages_have_ids_keys_and_delays
    an_hour_of_sleep_costs_no_attempt
    a_refused_secret_pauses_the_messages_and_burns_nothing
    a_run_whose_code_is_called_is_started_resumed_and_cancelled
    a_step_has_one_message_however_often_it_is_pushed
    a_transport_of_ones_own_gets_messages_and_brings_them_back
    #[tokio::test]
    many_steps_by_an_invoker
}

const BUDGET: Duration = Duration::from_secs(180);
const ADD: Workflow<(i64, i64), i64, String> = Workflow::new("add");
const SUM: Workflow<i64, i64, String> = Workflow::new("sum");

async fn add(cx: Cx, numbers: (i64, i64)) -> WorkflowResult<i64, String> {
    Ok(cx.call("plus", &numbers).await?)
}

async fn sum(cx: Cx, n: i64) -> WorkflowResult<i64, String> {
    let numbers: Vec<i64> = (0..n).collect();
    let each = async |cx: Cx, n: &i64| Ok(cx.call::<i64>("plus", &(*n, 1)).await?);
    Ok(cx.map("each", &numbers, each).concurrency(1_000).await?.into_iter().sum())
}

/// What an application saw.
#[derive(Clone, Default)]
struct Seen(Arc<Mutex<Vec<MessageData>>>);

impl Seen {
    fn all(&self) -> Vec<MessageData> {
        self.0.lock().unwrap().clone()
    }
}

/// An application that answers as it is told, and `Ok` when it was told nothing.
#[derive(Clone, Default)]
struct App {
    seen: Seen,
    replies: Arc<Mutex<VecDeque<Reply>>>,
    steps: StepHandlers,
}

impl App {
    fn answering(replies: impl IntoIterator<Item = Reply>) -> Self {
        Self { replies: Arc::new(Mutex::new(replies.into_iter().collect())), ..Self::default() }
    }

    fn doing(steps: StepHandlers) -> Self {
        Self { steps, ..Self::default() }
    }

    async fn by(&self, way: &Way, backend: impl Into<Arc<dyn Backend>>) -> Arc<dyn Invoker> {
        way.to(self.clone(), backend).await
    }
}

impl Endpoint for App {
    fn call(&self, call: Call) -> BoxFuture<'_, Reply> {
        Box::pin(async move {
            self.seen.0.lock().unwrap().push(call.message.clone());
            let told = self.replies.lock().unwrap().pop_front();
            match told {
                Some(reply) => reply,
                None if call.message.data.get("input").is_some() => self.steps.call(call).await,
                None => Reply::ok(),
            }
        })
    }
}

fn plus() -> StepHandlers {
    StepHandlers::new().step("plus", |(a, b): (i64, i64), _call| async move { Ok(a + b) }).unwrap()
}

async fn fresh(way: &Way) -> (Ground, WorldBuilder) {
    let backend = way.ground().await;
    (backend.clone(), World::builder(backend.clone()).workflow(ADD, add).workflow(SUM, sum))
}

async fn works(world: &World) {
    assert!(world.run_until_idle(BUDGET).await.unwrap());
}

async fn a_sum_is_the_same_with_a_step_here_and_by_an_invoker(way: Way) {
    // W13, W43
    for elsewhere in [false, true] {
        let (backend, builder) = fresh(&way).await;
        let app = App::doing(plus());
        let world = match elsewhere {
            true => builder.invoker(app.by(&way, backend.clone()).await).build().unwrap(),
            false => builder.steps(plus()).build().unwrap(),
        };
        let handle = world.engine().start(ADD, &(1, 2)).await.unwrap();
        works(&world).await;
        assert_eq!(handle.result().await.unwrap(), 3);
        // The World's faces show it like any other run.
        let storage = world.storage();
        let run = storage.runs().get(handle.id(), Resolve::All).await.unwrap();
        assert_eq!((run.status, run.workflow_name.as_str()), (RunStatus::Completed, "add"));
        assert_eq!((run.input, run.output), (Some(json!([1, 2])), Some(json!(3))));
        let step = storage.steps().get(Some(handle.id()), "plus", Resolve::All).await.unwrap();
        assert_eq!((step.status, step.output), (StepStatus::Completed, Some(json!(3))));
        let list =
            storage.runs().list(&RunFilter::default(), &Paging::default(), Resolve::None).await.unwrap();
        assert_eq!(list.data.len(), 1);
        assert_eq!(app.seen.all().len(), usize::from(elsewhere));
        // Nobody writes its events but the engine.
        let refused = storage.events().create(Some(handle.id()), start()).await.unwrap_err();
        assert!(refused.is_conflict(), "{refused}");
    }
}

const ECHO: Workflow<String, String, String> = Workflow::new("echo");

async fn echo(cx: Cx, text: String) -> WorkflowResult<String, String> {
    let text = text.replace('|', "\0");
    let back: String = cx.call("same", &text).await?;
    Ok(if back == text { "same".to_owned() } else { format!("{back:?}") })
}

async fn null_bytes_survive_a_step_elsewhere(way: Way) {
    // W17
    let same = StepHandlers::new().step("same", |text: String, _call| async move { Ok(text) }).unwrap();
    for text in ["a|b\u{2400}|", "\u{2400}0", "plain"] {
        let app = App::doing(same.clone());
        let backend = way.ground().await;
        let invoker = app.by(&way, backend.clone()).await;
        let world = World::builder(backend).workflow(ECHO, echo).invoker(invoker).build().unwrap();
        let handle = world.engine().start(ECHO, &text.to_owned()).await.unwrap();
        works(&world).await;
        assert_eq!(handle.result().await.unwrap(), "same");
    }
}

async fn many_steps_by_an_invoker(way: Way) {
    // W14
    let ground = way.ground().await;
    let app = App::doing(plus());
    let world = World::builder(Arc::clone(&ground.backend))
        .workflow(SUM, sum)
        .invoker(app.by(&way, Arc::clone(&ground.backend)).await)
        .concurrency(50)
        .build()
        .unwrap();
    world.start().await.unwrap();
    world.start().await.unwrap(); // is fine
    let handle = world.engine().start(SUM, &110).await.unwrap();
    assert_eq!(handle.result().await.unwrap(), (1..=110).sum::<i64>());
    world.close().await.unwrap();
    let seen = app.seen.all();
    let mut ids: Vec<&str> = seen.iter().map(|message| message.message_id.as_str()).collect();
    ids.sort_unstable();
    ids.dedup();
    assert_eq!((ids.len(), seen.len()), (110, 110));
    assert!(seen.iter().all(|message| message.attempt == 1));
}

async fn failures_of_an_application_are_told_apart(way: Way) {
    // W16, W42, fault F90: what cannot be reached or asks for time has not failed.
    let (backend, builder) = fresh(&way).await;
    let unavailable = Reply::Unavailable { error: "starting".into(), retry_after: None };
    // A refused secret is tried again in half a minute, which passes at once only where time does.
    let refused = way.is_memory().then_some(Reply::Unauthorized);
    let replies = [unavailable, Reply::Again(Duration::from_millis(100)), Reply::Ok(json!(42))];
    let replies: Vec<Reply> = refused.into_iter().chain(replies).collect();
    let calls = replies.len();
    let app = App::answering(replies);
    let world = builder.invoker(app.by(&way, backend.clone()).await).build().unwrap();
    let handle = world.engine().start(ADD, &(1, 2)).await.unwrap();
    works(&world).await;
    assert_eq!(handle.result().await.unwrap(), 42);
    let attempts: Vec<u32> = app.seen.all().iter().map(|message| message.attempt).collect();
    assert_eq!(attempts, vec![1; calls]);

    let (backend, builder) = fresh(&way).await;
    let app = App::answering([Reply::failed("no"), Reply::failed("no")]);
    let app = App { steps: plus(), ..app };
    let world = builder.invoker(app.by(&way, backend.clone()).await).build().unwrap();
    let handle = world.engine().start(ADD, &(1, 2)).await.unwrap();
    for _ in 0..3 {
        works(&world).await;
        backend.advance(Duration::from_secs(60)).await;
    }
    assert_eq!(handle.result().await.unwrap(), 3);
    let attempts: Vec<u32> = app.seen.all().iter().map(|message| message.attempt).collect();
    assert_eq!(attempts, [1, 2, 3]);

    let (backend, builder) = fresh(&way).await;
    let app = App::answering([Reply::fatal("never")]);
    let world = builder.invoker(app.by(&way, backend.clone()).await).build().unwrap();
    let handle = world.engine().start(ADD, &(1, 2)).await.unwrap();
    works(&world).await;
    assert!(handle.result().await.unwrap_err().to_string().contains("never"));
    assert_eq!(app.seen.all().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn step_handlers_say_whether_another_run_helps() {
    // W16
    let (backend, builder) = fresh(&Way::FUNCTION).await;
    let runs = Arc::new(Mutex::new(Vec::new()));
    let noted = Arc::clone(&runs);
    let steps = StepHandlers::new().step("plus", move |(a, b): (i64, i64), call| {
        noted.lock().unwrap().push(call.attempt);
        async move {
            match call.attempt {
                1 => Err(StepFailure::retry_after("busy", Duration::from_secs(5))),
                _ => Ok(a + b),
            }
        }
    });
    let world = builder.steps(steps.unwrap()).build().unwrap();
    let handle = world.engine().start(ADD, &(1, 2)).await.unwrap();
    works(&world).await;
    backend.advance(Duration::from_secs(4)).await;
    works(&world).await;
    assert_eq!(*runs.lock().unwrap(), [1]);
    backend.advance(Duration::from_secs(1)).await;
    works(&world).await;
    assert_eq!(handle.result().await.unwrap(), 3);
    assert_eq!(*runs.lock().unwrap(), [1, 2]);
}

async fn messages_have_ids_keys_and_delays(way: Way) {
    // W41
    let (backend, builder) = fresh(&way).await;
    let app = App::default();
    let world = builder.invoker(app.by(&way, backend.clone()).await).build().unwrap();
    let key = |key: &str| CallOptions { idempotency_key: Some(key.into()), ..CallOptions::default() };
    let send =
        async |options| world.queue("__wkf_workflow_order", json!({"runId": "r"}), options).await.unwrap();
    let (first, second) = (send(key("a")).await, send(key("a")).await);
    assert_eq!(first, second);
    let other = send(key("b")).await;
    assert!(other != first && first.as_str().starts_with("msg_"));
    let hour = Duration::from_secs(3600);
    send(CallOptions { delay: Some(hour), ..CallOptions::default() }).await;
    works(&world).await;
    assert_eq!(app.seen.all().len(), 2);
    assert_eq!(send(key("a")).await, first); // done, and still the same
    backend.advance(hour).await;
    works(&world).await;
    let seen = app.seen.all();
    assert_eq!(seen.len(), 3);
    assert_eq!((seen[0].id.as_str(), &seen[0].data), ("order", &json!({"runId": "r"})));
    for wrong in ["order", "__wkf_step_", ""] {
        assert!(world.queue(wrong, json!(1), CallOptions::default()).await.unwrap_err().is_invalid());
    }
}

async fn an_hour_of_sleep_costs_no_attempt(way: Way) {
    // W19, W42
    let (backend, builder) = fresh(&way).await;
    let hour = Duration::from_secs(3600);
    let app = App::answering(std::iter::repeat_n(Reply::Again(hour), 10).chain([Reply::failed("once")]));
    let world = builder.invoker(app.by(&way, backend.clone()).await).build().unwrap();
    world.queue("__wkf_workflow_nap", json!(1), CallOptions::default()).await.unwrap();
    for _ in 0..12 {
        works(&world).await;
        backend.advance(hour).await;
    }
    works(&world).await;
    let attempts: Vec<u32> = app.seen.all().iter().map(|message| message.attempt).collect();
    assert_eq!(attempts, [1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 2]);
    let dead = backend.queue().dead_letters("workflow_calls", 10).await.unwrap();
    assert!(dead.is_empty());
}

async fn a_refused_secret_pauses_the_messages_and_burns_nothing(way: Way) {
    // fault F91
    let (backend, builder) = fresh(&way).await;
    let app = App::answering([Reply::Unauthorized]);
    let world = builder.invoker(app.by(&way, backend.clone()).await).build().unwrap();
    for n in 0..5 {
        world.queue("__wkf_workflow_x", json!(n), CallOptions::default()).await.unwrap();
    }
    while !backend.queues().get_queue("workflow_calls").await.unwrap().unwrap().paused {
        world.run_until_idle(Duration::from_millis(200)).await.unwrap();
    }
    let tried = app.seen.all().len();
    world.run_until_idle(Duration::from_millis(200)).await.unwrap();
    assert_eq!(app.seen.all().len(), tried); // nobody is called any more
    world.pause_calls(false).await.unwrap();
    backend.advance(Duration::from_secs(60)).await;
    works(&world).await;
    assert!(app.seen.all().iter().all(|message| message.attempt == 1));
    assert!(backend.queue().dead_letters("workflow_calls", 10).await.unwrap().is_empty());
}

async fn a_run_whose_code_is_called_is_started_resumed_and_cancelled(way: Way) {
    // W15, W45: each wake-up is in the commit of what it tells.
    let (backend, builder) = fresh(&way).await;
    let app = App::default();
    let world = builder.invoker(app.by(&way, backend.clone()).await).build().unwrap();
    world.ready().await.unwrap();
    let run = world.start_run(NewRun::new("order", json!({"n": 1}))).await.unwrap().run_id;
    works(&world).await;
    assert_eq!(app.seen.all()[0].data, json!({"runId": run}));
    let events = world.storage().events();
    events.create(Some(&run), start()).await.unwrap();
    events.create(Some(&run), create_hook("h", "approve-1")).await.unwrap();
    assert_eq!(world.resume_hook("approve-1", json!({"ok": true})).await.unwrap(), run);
    assert_eq!(world.resume_hook("approve-1", json!({"ok": false})).await.unwrap(), run);
    works(&world).await;
    assert_eq!(app.seen.all().len(), 3);
    let unknown = world.resume_hook("approve-2", json!(1)).await.unwrap_err();
    assert!(unknown.is_not_found() && !unknown.to_string().contains("approve"));
    assert_eq!(world.cancel(&run, "enough").await.unwrap().status, RunStatus::Cancelled);
    assert_eq!(world.cancel(&run, "enough").await.unwrap().status, RunStatus::Cancelled);
    assert!(world.resume_hook("approve-1", json!(1)).await.unwrap_err().is_not_found());
    let log = events.list(&run, &Paging::default(), Resolve::None).await.unwrap();
    let types: Vec<_> = log.data.iter().map(|event| event.event_type).collect();
    assert_eq!(types[2..5], [HookCreated, HookReceived, HookReceived]);
}

async fn a_step_has_one_message_however_often_it_is_pushed(way: Way) {
    // W14, W45
    let (backend, builder) = fresh(&way).await;
    let app = App::default();
    let world = builder.invoker(app.by(&way, backend.clone()).await).build().unwrap();
    world.ready().await.unwrap();
    let run = world.start_run(NewRun::new("order", json!(1))).await.unwrap().run_id;
    let events = world.storage().events();
    events.create(Some(&run), start()).await.unwrap();
    let step = |n: u32| {
        let new = mainspring_world::NewStep { step_name: "plus".into(), input: Some(json!([1, 2])) };
        RunEvent::about(format!("s{n}"), Fact::StepCreated(new))
    };
    let message = |n: u32| world.step_message("order", &run, "plus", &format!("s{n}")).unwrap();
    events.create_with(Some(&run), step(1), vec![message(1)]).await.unwrap();
    // A replay finds the step there, and pushes again to be sure.
    assert!(events.create_with(Some(&run), step(1), vec![message(1)]).await.is_err());
    events.create_with(Some(&run), step(2), vec![message(1), message(2)]).await.unwrap();
    works(&world).await;
    let steps = app.seen.all().into_iter().filter(|message| message.id == "plus").count();
    assert_eq!(steps, 2);
}

#[derive(Default)]
struct Own {
    held: Mutex<Vec<MessageData>>,
    started: Mutex<bool>,
}

impl Transport for Own {
    fn push_flow(&self, message: MessageData) -> BoxFuture<'_, Result<()>> {
        self.held.lock().unwrap().push(message);
        Box::pin(std::future::ready(Ok(())))
    }

    fn push_step(&self, message: MessageData) -> BoxFuture<'_, Result<()>> {
        self.push_flow(message)
    }

    fn start(&self, world: World) -> BoxFuture<'_, Result<()>> {
        drop(world);
        *self.started.lock().unwrap() = true;
        Box::pin(std::future::ready(Ok(())))
    }
}

async fn a_transport_of_ones_own_gets_messages_and_brings_them_back(way: Way) {
    // W43
    let (backend, builder) = fresh(&way).await;
    let (app, own) = (App::default(), Arc::new(Own::default()));
    let transport: Arc<dyn Transport> = Arc::clone(&own) as Arc<dyn Transport>;
    let world = builder.invoker(app.by(&way, backend.clone()).await).transport(transport).build().unwrap();
    world.start().await.unwrap();
    assert!(*own.started.lock().unwrap());
    world.queue("__wkf_workflow_order", json!(1), CallOptions::default()).await.unwrap();
    world.queue("__wkf_step_plus", json!(2), CallOptions::default()).await.unwrap();
    while own.held.lock().unwrap().len() < 2 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    world.close().await.unwrap();
    assert!(app.seen.all().is_empty());
    let held = std::mem::take(&mut *own.held.lock().unwrap());
    for message in held {
        assert_eq!(world.handle_message(message).await.unwrap(), Reply::ok());
    }
    let mut ids: Vec<String> = app.seen.all().into_iter().map(|message| message.id).collect();
    ids.sort_unstable();
    assert_eq!(ids, ["order", "plus"]);
    let (_, builder) = fresh(&way).await;
    assert!(builder.transport(Arc::new(Own::default())).build().unwrap_err().is_invalid());
}

const APPROVE: Workflow<(), Value, String> = Workflow::new("approve");

#[tokio::test(start_paused = true)]
async fn hooks_of_workflows_here_are_resumed_by_the_same_call() {
    // W15
    let tokens = Arc::new(Mutex::new(Vec::<String>::new()));
    let sent = Arc::clone(&tokens);
    let approve = move |cx: Cx, ()| {
        let sent = Arc::clone(&sent);
        async move {
            let hook = cx.hook::<Value>("approval");
            cx.step("mail", async || {
                let token = hook.token().await.map_err(|error| error.to_string())?;
                sent.lock().unwrap().push(token.reveal());
                Ok::<_, String>(())
            })
            .await?;
            Ok(hook.next().await?)
        }
    };
    let world = World::builder(ground::memory()).workflow(APPROVE, approve).build().unwrap();
    let handle = world.engine().start(APPROVE, &()).await.unwrap();
    works(&world).await;
    let token = tokens.lock().unwrap()[0].clone();
    assert_eq!(world.resume_hook(&token, json!({"ok": true})).await.unwrap(), *handle.id());
    works(&world).await;
    assert_eq!(handle.result().await.unwrap(), json!({"ok": true}));
    let nobody = ExecutionId::new("nobody").unwrap();
    assert!(world.cancel(&nobody, "x").await.unwrap_err().is_not_found());
    assert!(world.cancel(handle.id(), "x").await.unwrap_err().is_conflict());
}
