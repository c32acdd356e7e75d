//! What workflows publish: every chunk once, and an end with the execution.

use mainspring_core::{Backend, ChunkQuery, ExecutionId, OutputStream};
use mainspring_engine::{Cx, EngineBuilder, INVALID_STEP, ResultError, Workflow, WorkflowResult, fail};
use mainspring_testing::{MemoryBackend, crash_everywhere};
use serde_json::{Value, json};

use super::{result, row, secs, status};
use crate::{backend, builder, drain};

const REPORT: Workflow<u32, u32, String> = Workflow::new("report");
const PART: Workflow<u32, u32, String> = Workflow::new("part");

/// Everything published for an execution, by stream, with whether it ended.
async fn published(backend: &MemoryBackend, id: &ExecutionId) -> Value {
    let mut all = serde_json::Map::new();
    for name in backend.outputs().list(id, None).await.unwrap() {
        let query = ChunkQuery { limit: 1_000, ..ChunkQuery::of(OutputStream::of(id, &*name)) };
        let page = backend.outputs().get_chunks(query).await.unwrap();
        let chunks = page.chunks.iter().map(|chunk| String::from_utf8(chunk.data.to_vec()).unwrap());
        all.insert(name, json!([chunks.collect::<Vec<_>>().join(" "), page.done]));
    }
    all.into()
}

async fn report(cx: Cx, parts: u32) -> WorkflowResult<u32, String> {
    cx.emit("progress", "begun").await;
    let first = cx.step("first", async || Ok::<_, String>(1)).await?;
    cx.emit("progress", format!("first:{first}")).await;
    cx.emit("other", "x").await;
    cx.sleep(secs(3_600)).await;
    let items: Vec<u32> = (0..parts).collect();
    let each = async |cx: Cx, item: &u32| {
        let done = cx.step("pack", async || Ok::<_, String>(*item)).await?;
        cx.emit(&format!("item-{item}"), format!("packed {done}")).await;
        Ok(done)
    };
    let packed = cx.map("item", &items, each).concurrency(2).await?;
    cx.close_output("other").await;
    cx.emit("other", "late").await;
    let below = cx.child(PART, &7).await?;
    cx.emit("progress", "over").await;
    Ok(first + below + packed.len() as u32)
}

async fn part(cx: Cx, n: u32) -> WorkflowResult<u32, String> {
    cx.emit("progress", "part").await;
    cx.sleep(secs(5)).await;
    cx.emit("progress", "of it").await;
    Ok(n)
}

#[tokio::test(start_paused = true)]
async fn every_chunk_is_published_once_wherever_the_process_dies() {
    // W38, W44, fault F53
    let register = |builder: EngineBuilder| builder.register(REPORT, report).register(PART, part);
    let expected = json!({"item-0": ["packed 0", true], "item-1": ["packed 1", true], "other": ["x", true],
        "progress": ["begun first:1 over", true]});
    let all = |backend: MemoryBackend| {
        let expected = &expected;
        async move {
            let id = ExecutionId::new("it").unwrap();
            assert_eq!(published(&backend, &id).await, *expected);
            let [child] = &backend.executions().find_children(&id).await.unwrap()[..] else {
                panic!("one child")
            };
            published(&backend, &child.id).await
        }
    };
    let run = crash_everywhere(REPORT, &2, register).compare(all).run().await;
    assert_eq!(run.result.unwrap(), 10);
    assert!(run.crashes >= 25, "only {} crashes", run.crashes);
}

const ENDING: Workflow<String, u32, String> = Workflow::new("ending");

async fn ending(cx: Cx, how: String) -> WorkflowResult<u32, String> {
    cx.emit("s", "a").await;
    match how.as_str() {
        "returns" => Ok(1),
        "fails" => fail("no".to_owned()),
        "panics" => panic!("no"),
        "again" => cx.continue_as_new(&"returns").await,
        "waits" => Ok(cx.signal("never").await?),
        _ => {
            let _undo = cx.on_cancel("undo", async |cx: Cx| cx.emit("s", "undone").await);
            cx.emit("s", "b").await;
            Ok(cx.signal("never").await?)
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_stream_ends_with_its_execution_however_that_ends() {
    let backend = backend();
    let engine = builder(&backend).register(ENDING, ending).build().unwrap();
    for how in ["returns", "fails", "panics", "again", "waits", "cleans up", "times out"] {
        let handle = engine.start(ENDING, &how.to_owned()).id(how).timeout(secs(60)).await.unwrap();
        drain(&engine).await;
        let rests = ["waits", "cleans up", "times out"].contains(&how);
        let chunks = if rests && how != "waits" { "a b" } else { "a" };
        assert_eq!(published(&backend, handle.id()).await, json!({"s": [chunks, !rests]}), "{how}");
        if how == "times out" {
            for _ in 0..3 {
                backend.advance(secs(100));
                engine.worker().start().unwrap().stop().await.unwrap(); // sweeps
                drain(&engine).await;
            }
        } else if rests {
            engine.cancel(handle.id(), "enough").await.unwrap();
        }
        drain(&engine).await;
        assert!(status(&backend, handle.id()).await.is_terminal(), "{how}");
        let chunks = if rests && how != "waits" { "a b undone" } else { "a" };
        assert_eq!(published(&backend, handle.id()).await, json!({"s": [chunks, true]}), "{how}");
    }
}

#[tokio::test]
async fn a_chunk_is_there_before_the_next_step_begins() {
    const STEPS: Workflow<(), u32, String> = Workflow::new("steps");
    let backend = backend();
    let theirs = backend.clone();
    let steps = move |cx: Cx, ()| {
        let backend = theirs.clone();
        async move {
            cx.emit("s", "a").await;
            let seen = cx.step("look", async || Ok::<_, String>(published(&backend, cx.id()).await)).await?;
            assert_eq!(seen, json!({"s": ["a", false]}));
            Ok(1)
        }
    };
    let engine = builder(&backend).register(STEPS, steps).build().unwrap();
    assert_eq!(engine.start(STEPS, &()).run().await.unwrap(), 1);
}

#[tokio::test]
async fn much_is_published_in_several_commits() {
    const MUCH: Workflow<u32, (), String> = Workflow::new("much");
    let backend = backend();
    let much = async |cx: Cx, count: u32| {
        for _ in 0..count {
            cx.emit("s", vec![b'x'; 3_000]).await;
        }
        Ok(())
    };
    let engine = builder(&backend).register(MUCH, much).build().unwrap();
    let handle = engine.start(MUCH, &1_500).await.unwrap();
    drain(&engine).await;
    result(&handle).await.unwrap();
    let info = backend.outputs().info(&OutputStream::of(handle.id(), "s")).await.unwrap();
    assert_eq!((info.tail_index, info.done), (1_499, true));
    assert!(row(&backend, handle.id()).await.revision > 4);
}

#[tokio::test]
async fn what_can_never_be_published_ends_the_execution() {
    const BAD: Workflow<u32, (), String> = Workflow::new("bad");
    let backend = backend();
    let bad = async |cx: Cx, which: u32| {
        match which {
            0 => cx.emit("", "x").await,
            1 => cx.emit("s", vec![0; 2 * 1024 * 1024]).await,
            _ => {
                for n in 0..101 {
                    cx.emit(&format!("s{n}"), "x").await;
                }
            }
        }
        cx.step("after", async || Ok::<_, String>(())).await?;
        Ok(())
    };
    let engine = builder(&backend).register(BAD, bad).build().unwrap();
    for which in 0..3 {
        match engine.start(BAD, &which).run().await {
            Err(ResultError::Failed(failure)) => assert_eq!(failure.code, INVALID_STEP, "{which}"),
            other => panic!("{which}: {other:?}"),
        }
    }
}
