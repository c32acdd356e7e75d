//! Many at the same time.

use std::collections::HashSet;

use futures_util::future::join_all;
use mainspring_world::{Paging, Resolve, StepStatus};
use serde_json::json;

use crate::ground::{Ground, claim_step, complete, complete_step, create_step, on_both, start_step};

on_both! {
    steps_of_one_run_end_together
    processes_that_share_a_run_agree
    each_run_ends_once
}

async fn steps_of_one_run_end_together(ground: Ground) {
    // W14
    let run = ground.running().await;
    let names: Vec<String> = (0..110).map(|n| format!("step_{n}")).collect();
    join_all(names.iter().map(|name| ground.does(&run, create_step(name)))).await;
    join_all(names.iter().map(|name| ground.does(&run, start_step(name)))).await;
    join_all(names.iter().map(|name| ground.does(&run, complete_step(name, json!(name))))).await;
    let row = ground.backend.executions().get(&run).await.unwrap().unwrap();
    assert_eq!(row.position, 2 + 3 * 110);
    assert!(row.revision < 50, "{} commits", row.revision);
    let steps = ground.storage.steps().list(&run, &Paging::limit(1_000), Resolve::All).await.unwrap();
    assert_eq!(steps.data.len(), 110);
    assert!(steps.data.iter().all(|step| step.status == StepStatus::Completed && step.attempt == 1));
}

async fn processes_that_share_a_run_agree(ground: Ground) {
    // W14: every step is claimed by each of four processes, and one has it.
    let run = ground.running().await;
    let processes: Vec<Ground> = (0..4).map(|_| ground.elsewhere()).collect();
    let claims = processes.iter().flat_map(|process| {
        let run = &run;
        (0..20).map(move |n| async move {
            let name = format!("step_{n}");
            let claimed = process.attempt(run, claim_step(&name)).await;
            match claimed {
                Ok(_) => {
                    process.does(run, complete_step(&name, json!(n))).await;
                    Some(name)
                }
                Err(error) => {
                    assert!(error.is_conflict(), "{error}");
                    None
                }
            }
        })
    });
    let won: Vec<String> = join_all(claims).await.into_iter().flatten().collect();
    assert_eq!((won.len(), won.iter().collect::<HashSet<_>>().len()), (20, 20));
    let row = ground.backend.executions().get(&run).await.unwrap().unwrap();
    assert_eq!(row.position, 2 + 3 * 20);
}

async fn each_run_ends_once(ground: Ground) {
    // W24
    let run = ground.running().await;
    let processes: Vec<Ground> = (0..4).map(|_| ground.elsewhere()).collect();
    let ends = processes.iter().map(|process| process.attempt(&run, complete(json!(1))));
    let (ended, refused): (Vec<_>, Vec<_>) = join_all(ends).await.into_iter().partition(Result::is_ok);
    assert_eq!((ended.len(), refused.len()), (1, 3));
    assert!(refused.into_iter().all(|refusal| refusal.unwrap_err().is_conflict()));
}
