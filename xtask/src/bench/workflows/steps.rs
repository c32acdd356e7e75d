//! Steps that do nothing, each durable before the next one begins.

use std::{
    sync::{Arc, Mutex, PoisonError, atomic::Ordering},
    time::Instant,
};

use mainspring::{Cx, Engine, PgStores, Workflow, WorkflowResult};
use serde_json::{Value, json};

use super::{Result, say};
use crate::bench::{
    Bench,
    floor::payload,
    hundredth,
    load::{Load, Rate},
    median, print,
};

const FIVE: Workflow<Value, u64, String> = Workflow::new("bench-five");
const MANY: Workflow<u64, u64, String> = Workflow::new("bench-many");
/// Steps of an execution of which only the steps are measured.
const LONG: u64 = 100;
/// Steps of the execution with a long history.
const HISTORY: u64 = 10_000;
/// Steps that are looked at, from the tenth on and up to the last.
const WINDOW: usize = 200;
/// Most connections of a floor: the server has not many more.
const MOST_CLIENTS: usize = 64;

async fn steps(cx: Cx, count: u64) -> WorkflowResult<u64, String> {
    let mut sum = 0;
    for n in 0..count {
        sum += cx.step("step", async || Ok::<_, String>(n)).await?;
    }
    Ok(sum)
}

fn engine(stores: &PgStores<'static>) -> mainspring::Result<Engine> {
    let five = |cx: Cx, _: Value| steps(cx, 5);
    Engine::builder(stores.clone()).register(FIVE, five).register(MANY, steps).build()
}

/// `workflow.steps`: workflows of five steps, so many at the same time. Its floor is start, five steps and end as seven commits.
pub async fn side_by_side(bench: &Bench, name: &str, width: usize) -> Result<()> {
    let (mut ours, mut floor) = (Vec::new(), Vec::new());
    for _ in 0..bench.rounds {
        floor.push(bench.floor.flow_steps(width.min(MOST_CLIENTS), bench.load()).await?);
        ours.push(fives(&bench.stores, width, bench.load()).await?);
    }
    print(name, Rate::median(&ours), Rate::median(&floor), bench.json);
    Ok(())
}

async fn fives(stores: &PgStores<'static>, width: usize, load: Load) -> Result<Rate> {
    let engine = engine(stores)?;
    let rate = load.run(width, |n, stop, done| {
        let engine = engine.clone();
        async move {
            while Instant::now() < stop {
                engine.start(FIVE, &payload(n)).run().await.map_err(|error| error.to_string())?;
                done.fetch_add(5, Ordering::Relaxed);
            }
            Ok(())
        }
    });
    let rate = rate.await?;
    engine.shutdown().await?;
    Ok(rate)
}

/// `workflow.latency`: one step after the other. Its floor is one committed insert after the other.
pub async fn one_by_one(bench: &Bench, name: &str) -> Result<()> {
    let (mut ours, mut floor) = (Vec::new(), Vec::new());
    for _ in 0..bench.rounds {
        floor.push(bench.floor.inserts(1, bench.load()).await?);
        let engine = engine(&bench.stores)?;
        let rate = bench.load().run(1, |_, stop, done| {
            let engine = engine.clone();
            async move {
                while Instant::now() < stop {
                    engine.start(MANY, &LONG).run().await.map_err(|error| error.to_string())?;
                    done.fetch_add(LONG, Ordering::Relaxed);
                }
                Ok(())
            }
        });
        ours.push(rate.await?);
        engine.shutdown().await?;
    }
    let (ours, floor) = (Rate::median(&ours), Rate::median(&floor));
    print(name, ours, floor, bench.json);
    let micros = |rate: Rate| (1e6 / rate.per_second).round();
    let times = hundredth(floor.per_second / ours.per_second);
    let values = json!({"step_us": micros(ours), "insert_us": micros(floor), "inserts_a_step": times});
    say(bench, name, &values);
    Ok(())
}

/// `workflow.history`: a step late in a long history; its floor is one early in it, of the same execution.
pub async fn long(bench: &Bench, name: &str) -> Result<()> {
    let (mut early, mut late) = (Vec::new(), Vec::new());
    for _ in 0..bench.rounds {
        let times = times_of_steps(&bench.stores).await?;
        early.push(times.get(10..10 + WINDOW).map(typical).unwrap_or_default());
        late.push(times.get(times.len() - WINDOW..).map(typical).unwrap_or_default());
    }
    let (early, late) = (median(early), median(late));
    let values =
        json!({"step_10_us": early.round(), "step_10000_us": late.round(), "times": hundredth(late / early)});
    say(bench, name, &values);
    Ok(())
}

/// How long each step took, in microseconds, from the beginning of one body to that of the next.
async fn times_of_steps(stores: &PgStores<'static>) -> Result<Vec<f64>> {
    let begun = Arc::new(Mutex::new(Vec::<Instant>::new()));
    let theirs = Arc::clone(&begun);
    let code = move |cx: Cx, count: u64| {
        let begun = Arc::clone(&theirs);
        async move {
            let note = async || {
                begun.lock().unwrap_or_else(PoisonError::into_inner).push(Instant::now());
                Ok::<_, String>(0_u64)
            };
            for _ in 0..count {
                cx.step("step", note).await?;
            }
            Ok(count)
        }
    };
    let engine = Engine::builder(stores.clone()).register(MANY, code).build()?;
    engine.start(MANY, &HISTORY).run().await.map_err(|error| error.to_string())?;
    engine.shutdown().await?;
    let begun = begun.lock().unwrap_or_else(PoisonError::into_inner);
    let pairs = begun.windows(2).map(|pair| pair.last().zip(pair.first()));
    let took = pairs.flatten().map(|(after, before)| (*after - *before).as_secs_f64() * 1e6);
    Ok(took.collect())
}

fn typical(times: &[f64]) -> f64 {
    median(times.to_vec())
}
