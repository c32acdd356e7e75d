//! Durable functions when a standby that was behind takes over: what a process has in mind is not what the new server has in its
//! history, though both are at the same revision (fault F17).

use std::time::Duration;

use mainspring::{Cx, Engine, Workflow, WorkflowHandle, WorkflowResult, event::kind};
use mainspring_tests::{Lab, Pair, Replication, eventually};

type Handle<T> = WorkflowHandle<T, String>;

const TALK: Workflow<(), Vec<String>, String> = Workflow::new("talk");

async fn talk(cx: Cx, (): ()) -> WorkflowResult<Vec<String>, String> {
    let first: String = cx.signal("word").await?;
    let first = cx.step("note", async || Ok::<_, String>(first.clone())).await?;
    Ok(vec![first, cx.signal("word").await?])
}

fn talker(lab: &Lab) -> Engine {
    let builder = Engine::builder(lab.stores(4)).keep_parked(Duration::from_secs(3600), 10);
    builder.register(TALK, talk).build().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_parked_function_does_not_go_on_with_what_a_standby_never_had() {
    let mut pair = Pair::start(Replication::Asynchronous).await;
    let lab = pair.lab();
    let (here, there) = (talker(&lab), talker(&lab));
    let (handle, behind) = (here.start(TALK, &()).await.unwrap(), here.start(TALK, &()).await.unwrap());
    here.worker().drain().await.unwrap();
    pair.caught_up().await;
    pair.wire.black_hole(true);
    for handle in [&handle, &behind] {
        handle.signal("word", &"lost").await.unwrap();
    }
    here.worker().drain().await.unwrap();
    pair.fail_over();

    // One comes to the revision it had by another way; the other one is still before it.
    say(&handle, "kept").await;
    drain(&there).await;
    for handle in [&handle, &behind] {
        say(handle, "last").await;
    }
    drain(&here).await;
    say(&behind, "more").await;
    drain(&here).await;
    assert_eq!(recorded(&lab, &handle, "note").await, "kept");
    assert_eq!(handle.result().await.unwrap(), ["kept", "last"]);
    assert_eq!(recorded(&lab, &behind, "note").await, "last");
    assert_eq!(behind.result().await.unwrap(), ["last", "more"]);
}

/// Until the server that has taken over has it.
async fn say<T>(handle: &Handle<T>, word: &str) {
    eventually("the second answers", async || handle.signal("word", &word).await.ok()).await;
}

async fn drain(engine: &Engine) {
    eventually("the second lets work", async || engine.worker().drain().await.ok()).await;
}

/// What a step has recorded, once.
async fn recorded<T>(lab: &Lab, handle: &Handle<T>, key: &str) -> String {
    let events = mainspring::EventStore::get_by_execution(&lab.near().events, handle.id()).await.unwrap();
    let of_step = |event: &&mainspring::RecordedEvent| {
        event.event.event_type == kind::STEP_COMPLETED && event.event.subject.as_deref() == Some(key)
    };
    let ends: Vec<_> = events.iter().filter(of_step).collect();
    assert_eq!(ends.len(), 1, "{events:#?}");
    ends[0].event.data["result"].as_str().unwrap().to_owned()
}
