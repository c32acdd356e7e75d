//! Runs.

use std::collections::HashSet;

use mainspring_core::{ErrorKind, Execution, Timestamp};
use mainspring_world::{
    EventType::*, Fact, Fault, NewRun, Paging, Resolve, Run, RunEvent, RunFilter, RunStatus, SPEC_VERSION,
};
use serde_json::{Map, Value, json};

use crate::ground::{Ground, cancel, complete, create_step, id, on_both, start};

on_both! {
    a_run_is_created_once
    what_does_not_exist_is_not_found
    a_run_keeps_its_times
    runs_are_listed_newest_first_in_pages
    a_run_is_cancelled_and_paused_and_resumed
    a_start_with_input_creates_the_run
    a_client_may_choose_an_id_of_today
    families_have_a_root
    runs_of_other_rules_are_refused
    attributes_are_kept
    values_are_left_out_when_nobody_wants_them
    a_failure_is_kept_in_full
}

async fn a_run_is_created_once(ground: Ground) {
    // W01
    let runs = ground.storage.runs();
    let run = runs.create(NewRun::new("add", json!([1, 2]))).await.unwrap();
    assert!(run.run_id.as_str().starts_with("wrun_"));
    assert_eq!((run.status, &run.input, run.attributes.len()), (RunStatus::Pending, &Some(json!([1, 2])), 0));
    assert_eq!((run.spec_version, run.deployment_id.as_deref()), (SPEC_VERSION, Some("postgres")));
    assert_eq!(timeless(runs.get(&run.run_id, Resolve::All).await.unwrap()), timeless(run.clone()));
    let again = Fact::RunCreated(NewRun::new("add", json!(1)));
    assert!(ground.refuses(&run.run_id, again.clone()).await.is_conflict());
    assert!(ground.elsewhere().refuses(&run.run_id, again).await.is_conflict());
    let least = NewRun { workflow_name: "least".to_owned(), ..NewRun::default() };
    let least = runs.create(least).await.unwrap();
    assert_eq!((&least.input, &least.execution_context), (&None, &None));
}

async fn what_does_not_exist_is_not_found(ground: Ground) {
    // W02, W23
    let nobody = ground.run_id();
    assert!(ground.storage.runs().get(&nobody, Resolve::All).await.unwrap_err().is_not_found());
    for event in [RunEvent::from(start()), complete(None).into(), cancel().into(), create_step("s")] {
        assert!(ground.refuses(&nobody, event).await.is_not_found());
    }
    let events = ground.storage.events();
    assert!(events.create(None, start()).await.unwrap_err().is_invalid());
    let nameless = RunEvent::from(create_step("s").fact);
    assert!(events.create(Some(&nobody), nameless).await.unwrap_err().is_invalid());
}

async fn a_run_keeps_its_times(ground: Ground) {
    // W03
    let run = ground.created().await;
    let started = ground.does(&run, start()).await.run.unwrap();
    assert_eq!(started.status, RunStatus::Running);
    let first = started.started_at.unwrap();
    let again = ground.does(&run, start()).await;
    assert_eq!((again.event, again.run.unwrap().started_at), (None, Some(first)));
    let ended = ground.does(&run, complete(json!(3))).await.run.unwrap();
    let stored = ground.storage.runs().get(&run, Resolve::All).await.unwrap();
    assert_eq!(timeless(stored.clone()), timeless(ended));
    assert_eq!((stored.started_at, stored.output), (Some(first), Some(json!(3))));
    assert!(stored.completed_at.is_some() && stored.created_at <= stored.completed_at.unwrap());
    assert!(ground.refuses(&run, start()).await.is_expired());
}

async fn runs_are_listed_newest_first_in_pages(ground: Ground) {
    // W04
    let mut made = Vec::new();
    for n in 0..5 {
        let name = if n % 2 == 0 { "even" } else { "odd" };
        made.push(ground.storage.runs().create(NewRun::new(name, json!(n))).await.unwrap().run_id);
    }
    for run in &made[..2] {
        ground.does(run, start()).await;
    }
    let runs = ground.storage.runs();
    let (mut seen, mut cursor) = (Vec::new(), None);
    loop {
        let paging = Paging::limit(2).after(cursor);
        let page = runs.list(&RunFilter::default(), &paging, Resolve::All).await.unwrap();
        seen.extend(page.data.iter().map(|run| run.input.clone().unwrap()));
        cursor = page.cursor;
        if !page.has_more {
            break;
        }
    }
    assert_eq!(seen.len(), 5);
    let times = runs.list(&RunFilter::default(), &Paging::default(), Resolve::None).await.unwrap().data;
    assert!(times.windows(2).all(|two| two[0].created_at >= two[1].created_at));
    let names = |name: &str| RunFilter { workflow_name: Some(name.to_owned()), status: None };
    let odd = runs.list(&names("odd"), &Paging::default(), Resolve::All).await.unwrap();
    assert_eq!((odd.data.len(), odd.has_more), (2, false));
    let running = RunFilter { workflow_name: None, status: Some(RunStatus::Running) };
    let running = runs.list(&running, &Paging::limit(1), Resolve::All).await.unwrap();
    assert_eq!((running.data.len(), running.has_more), (1, true));
    let many = runs.get_many(&made[1..4], Resolve::All).await.unwrap();
    let inputs: Vec<Value> = many.into_iter().filter_map(|run| run.input).collect();
    assert_eq!(inputs, [json!(1), json!(2), json!(3)]);
    for limit in [0, 1_001] {
        let refused = runs.list(&RunFilter::default(), &Paging::limit(limit), Resolve::All).await;
        assert!(refused.unwrap_err().is_invalid());
    }
    let stray = Paging::default().after(Some("nonsense".to_owned()));
    assert!(runs.list(&RunFilter::default(), &stray, Resolve::All).await.unwrap_err().is_invalid());
}

async fn a_run_is_cancelled_and_paused_and_resumed(ground: Ground) {
    // W05, W24
    let runs = ground.storage.runs();
    let run = ground.running().await;
    let started = runs.get(&run, Resolve::None).await.unwrap().started_at;
    assert_eq!(runs.pause(&run).await.unwrap().status, RunStatus::Paused);
    let paused = RunFilter { workflow_name: None, status: Some(RunStatus::Paused) };
    assert_eq!(runs.list(&paused, &Paging::default(), Resolve::None).await.unwrap().data.len(), 1);
    assert!(ground.elsewhere().refuses(&run, start()).await.is_conflict());
    let resumed = runs.resume(&run).await.unwrap();
    assert_eq!((resumed.status, resumed.started_at), (RunStatus::Running, started));
    assert!(runs.resume(&run).await.unwrap_err().is_not_found());
    let cancelled = runs.cancel(&run).await.unwrap();
    assert_eq!(cancelled.status, RunStatus::Cancelled);
    assert!(cancelled.completed_at.is_some());
    assert!(runs.cancel(&run).await.is_ok());
    assert!(ground.elsewhere().does(&run, cancel()).await.event.is_some());
    assert!(runs.pause(&run).await.unwrap_err().is_conflict());
    let log = ground.log(&run).await;
    let expected = [RunCreated, RunStarted, RunPaused, RunResumed, RunCancelled, RunCancelled, RunCancelled];
    assert_eq!(log, expected);
    let done = ground.running().await;
    ground.does(&done, complete(None)).await;
    assert!(runs.cancel(&done).await.unwrap_err().is_conflict());
}

async fn a_start_with_input_creates_the_run(ground: Ground) {
    // W25
    let run = ground.run_id();
    let start_with = || Fact::RunStarted { run_input: Some(NewRun::new("add", json!(7))) };
    let created = ground.does(&run, start_with()).await.run.unwrap();
    assert_eq!((created.status, created.input), (RunStatus::Running, Some(json!(7))));
    assert_eq!(ground.does(&run, start_with()).await.event, None);
    assert!(ground.refuses(&run, Fact::RunCreated(NewRun::new("add", json!(7)))).await.is_conflict());
    assert_eq!(ground.log(&run).await, [RunCreated, RunStarted]);
}

async fn a_client_may_choose_an_id_of_today(ground: Ground) {
    // W22
    let run = ground.run_id();
    assert_eq!(
        ground.does(&run, Fact::RunCreated(NewRun::new("add", json!(1)))).await.run.unwrap().run_id,
        run
    );
    for odd in ["wrun_01ARZ3NDEKTSV4RRFFQ69G5FAV", "wrun_7ZZZZZZZZZZZZZZZZZZZZZZZZZ", "mine"] {
        let error = ground.refuses(&id(odd), Fact::RunCreated(NewRun::new("add", json!(1)))).await;
        assert!(error.is_invalid() && error.to_string().starts_with("runId"), "{error}");
    }
}

async fn families_have_a_root(ground: Ground) {
    // W20
    let runs = ground.storage.runs();
    let child_of = |parent| NewRun { parent_run_id: Some(parent), ..NewRun::new("add", json!(1)) };
    let top = ground.created().await;
    let middle = runs.create(child_of(top.clone())).await.unwrap();
    let low = runs.create(child_of(middle.run_id.clone())).await.unwrap();
    assert_eq!((middle.parent_run_id.as_ref(), &middle.root_run_id), (Some(&top), &top));
    assert_eq!((low.parent_run_id.as_ref(), &low.root_run_id), (Some(&middle.run_id), &top));
    assert!(runs.create(child_of(ground.run_id())).await.unwrap_err().is_not_found());
}

async fn runs_of_other_rules_are_refused(ground: Ground) {
    // W36
    let old = NewRun { spec_version: Some(1), ..NewRun::new("add", json!(1)) };
    let old = ground.storage.runs().create(old).await.unwrap().run_id;
    for event in [RunEvent::from(start()), create_step("s"), complete(None).into()] {
        assert_eq!(ground.refuses(&old, event).await.kind(), ErrorKind::Invalid);
    }
    ground.does(&old, cancel()).await;
    let ahead = ground.run_id();
    ground
        .backend
        .executions()
        .create(Execution::new(ahead.clone(), "add", "world-99", "add"))
        .await
        .unwrap();
    assert!(ground.refuses(&ahead, cancel()).await.to_string().starts_with("specVersion"));
    let newer = NewRun { spec_version: Some(99), ..NewRun::new("add", json!(1)) };
    assert!(ground.storage.runs().create(newer).await.unwrap_err().is_invalid());
}

async fn attributes_are_kept(ground: Ground) {
    let attributes = |value: Value| match value {
        Value::Object(attributes) => attributes,
        _ => Map::new(),
    };
    let first = attributes(json!({"team": "a\0", "n": 1}));
    let run = NewRun { attributes: first, ..NewRun::new("add", json!(1)) };
    let run = ground.storage.runs().create(run).await.unwrap().run_id;
    ground.does(&run, Fact::AttrSet { attributes: attributes(json!({"n": null, "x": "y"})) }).await;
    let stored = ground.storage.runs().get(&run, Resolve::None).await.unwrap();
    assert_eq!(Value::Object(stored.attributes), json!({"team": "a\0", "x": "y"}));
}

async fn values_are_left_out_when_nobody_wants_them(ground: Ground) {
    // W35
    let run = ground.running().await;
    ground.does(&run, complete(json!("secret"))).await;
    let runs = ground.storage.runs();
    let bare = runs.get(&run, Resolve::None).await.unwrap();
    assert_eq!((bare.input, bare.output, bare.status), (None, None, RunStatus::Completed));
    let list = runs.list(&RunFilter::default(), &Paging::default(), Resolve::None).await.unwrap();
    assert!(list.data.iter().all(|run| run.input.is_none() && run.output.is_none()));
}

async fn a_failure_is_kept_in_full(ground: Ground) {
    // W03
    let run = ground.running().await;
    let long = "x".repeat(20_000);
    let error = Fault { message: format!("no\0 {long}"), stack: Some("at 1".into()), code: None };
    ground.does(&run, Fact::RunFailed { error: error.clone() }).await;
    let stored = ground.storage.runs().get(&run, Resolve::All).await.unwrap();
    assert_eq!((stored.status, stored.error), (RunStatus::Failed, Some(error)));
    let ids: HashSet<Timestamp> = [stored.updated_at, stored.completed_at.unwrap()].into();
    assert_eq!(ids.len(), 1);
}

/// What was answered and what is stored may differ by the microseconds within a commit.
fn timeless(run: Run) -> Run {
    let at = Timestamp::MIN;
    Run { created_at: at, updated_at: at, completed_at: run.completed_at.map(|_| at), ..run }
}
