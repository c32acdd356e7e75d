//! A workflow in Rust whose steps are written in Python, called over HTTP by a Rust worker; the Python side is
//! `python_steps.py`: `cargo run -p mainspring --example python_steps`.

#![allow(clippy::print_stdout, reason = "an example shows what it does")]

use std::{
    io::{BufRead, BufReader, ErrorKind},
    process::{Child, Command, Stdio},
    sync::Arc,
};

use mainspring::{
    Cx, PgStoreOptions, PgStores, Workflow, WorkflowResult, exponential,
    world::{
        World,
        http::{Credential, HttpInvoker, HttpOptions, Secret},
    },
};
use mainspring_testing::TestDb;

const REPORT: Workflow<String, (u32, String), String> = Workflow::new("report");
const SCRIPT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/examples/python_steps.py");
const TOKEN: &str = "only-for-this-example-7d1f0c";

async fn report(cx: Cx, text: String) -> WorkflowResult<(u32, String), String> {
    let words = cx.call("words", &text).await?;
    let said = cx.call("flaky", &text).retry(exponential(3)).await?;
    if text.is_empty() {
        cx.call::<()>("refuse", &"an empty report").await?;
    }
    Ok((words, said))
}

/// The Python process; it ends with this one.
struct Python(Child);

impl Drop for Python {
    fn drop(&mut self) {
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

/// Its address; `None` where there is no Python.
fn python() -> Result<Option<(Python, String)>, Box<dyn std::error::Error>> {
    let mut command = Command::new("python3");
    command.args(["-u", SCRIPT]).env("WORKFLOW_POSTGRES_SECURITY_TOKEN", TOKEN).stdout(Stdio::piped());
    let mut child = match command.spawn() {
        Ok(child) => Python(child),
        Err(e) if e.kind() == ErrorKind::NotFound && std::env::var_os("CI").is_none() => return Ok(None),
        Err(error) => return Err(format!("python3 cannot be started: {error}").into()),
    };
    let mut port = String::new();
    BufReader::new(child.0.stdout.take().ok_or("no output")?).read_line(&mut port)?;
    Ok(Some((child, format!("http://127.0.0.1:{}", port.trim()))))
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let Some((_python, address)) = python()? else {
        println!("NOT RUN: there is no `python3` on PATH");
        return Ok(());
    };
    let db = TestDb::new().await; // in production: a database of your own, set up with `mainspring setup`
    let stores = PgStores::connect(db.url(), PgStoreOptions::default())?;
    let credential = Credential::secret(Secret::new(TOKEN)?);
    let invoker = HttpInvoker::new(&address, credential, HttpOptions::default())?;
    let world = World::builder(stores).workflow(REPORT, report).invoker(Arc::new(invoker)).build()?;
    world.start().await?;
    let text = "three small words".to_owned();
    let told = world.engine().start(REPORT, &text).await?.result().await?;
    assert_eq!(told, (3, "three small words at attempt 3".to_owned()));
    let refused = world.engine().start(REPORT, &String::new()).await?.result().await;
    assert!(refused.is_err_and(|error| error.to_string().contains("never possible")));
    println!("{} words, counted in Python", told.0);
    world.close().await?;
    Ok(())
}
