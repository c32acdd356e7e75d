//! Where a world finds its database when nobody names one. The order of what names one is tested beside `WorldSettings`.

use std::process::Command;

use mainspring::{Cx, Workflow, WorkflowResult, world::WorldSettings, world_from, world_from_env};

const ADD: Workflow<(i64, i64), i64, String> = Workflow::new("add");

async fn add(cx: Cx, (a, b): (i64, i64)) -> WorkflowResult<i64, String> {
    Ok(cx.step("add", async || Ok::<_, String>(a + b)).await?)
}

/// In the environment of this program when it runs the test below in a process of its own.
const ALONE: &str = "MAINSPRING_TEST_ALONE";

#[tokio::test]
async fn what_nobody_names_is_a_private_server_that_is_there_again() {
    // W13 in the first minute: no URL, no tables. A process of its own, since the environment belongs to all of it.
    if std::env::var_os(ALONE).is_some() {
        let (builder, settings) = world_from_env().await.unwrap();
        let (_, again) = world_from(WorldSettings::default()).await.unwrap();
        assert_eq!(settings.database_url().unwrap(), again.database_url().unwrap());
        let world = builder.workflow(ADD, add).build().unwrap();
        let handle = world.engine().start(ADD, &(1, 2)).id("it").await.unwrap();
        assert_eq!(handle.was_created(), std::env::var(ALONE).unwrap() == "first");
        world.run_until_idle(std::time::Duration::from_secs(30)).await.unwrap();
        assert_eq!(handle.result().await.unwrap(), 3);
        return;
    }
    let home = tempfile::tempdir().unwrap();
    for time in ["first", "second"] {
        let mut command = Command::new(std::env::current_exe().unwrap());
        command.args(["--exact", "from_env::what_nobody_names_is_a_private_server_that_is_there_again"]);
        for name in ["DATABASE_URL", "WORKFLOW_POSTGRES_URL"] {
            command.env_remove(name);
        }
        let folder = home.path().join("data");
        let output = command.env(ALONE, time).env("MAINSPRING_DATA_DIR", folder).output().unwrap();
        assert!(output.status.success(), "{time}: {}", String::from_utf8_lossy(&output.stdout));
    }
}

#[tokio::test]
async fn an_option_comes_before_all_of_it() {
    let db = mainspring_testing::TestDb::new().await;
    let options = WorldSettings { url: Some(db.url().to_owned()), ..WorldSettings::default() };
    let (builder, settings) = world_from(options).await.unwrap();
    assert_eq!(settings.database_url().unwrap(), db.url());
    let world = builder.workflow(ADD, add).build().unwrap();
    let handle = world.engine().start(ADD, &(1, 2)).await.unwrap();
    world.run_until_idle(std::time::Duration::from_secs(30)).await.unwrap();
    assert_eq!(handle.result().await.unwrap(), 3);
}
