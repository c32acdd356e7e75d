//! `mainspring executions retry` and `fork`: again, from where it failed or from an earlier step.

use std::process::ExitCode;

use mainspring::{Back, Engine, Error, Execution, ExecutionId, ExecutionStatus, Workflow, WorkflowHandle};
use serde_json::{Value, json};

use super::{
    load,
    many::{Which, change_all},
};
use crate::{Context, Outcome};

#[derive(clap::Args)]
pub(crate) struct Retry {
    #[command(flatten)]
    which: Which,
}

impl Retry {
    pub(super) async fn run(self, context: &Context) -> Outcome {
        self.which.check("retry")?;
        let Which { ids, filter, .. } = self.which;
        if ids.is_empty() {
            let filters = filter.filters(context, |status| status == ExecutionStatus::Failed).await?;
            let Some((done, skipped)) =
                change_all(context, "retry", filters, async |bulk| bulk.retry().await).await?
            else {
                return Ok(ExitCode::SUCCESS);
            };
            let facts = json!({"retried": done, "skipped": skipped});
            context.output.done(&format!("{done} retried, {skipped} left as they are"), facts)?;
            return Ok(ExitCode::SUCCESS);
        }
        let (engine, mut new) = (context.engine()?, Vec::new());
        for id in &ids {
            let execution = load(context, id).await?;
            if context.global.dry_run {
                continue;
            }
            new.push(match workflow(&engine, &execution) {
                Some(handle) => handle.retry().await?.id().clone(),
                None => engine.retry_flow(&execution.id).await?,
            });
        }
        if context.global.dry_run {
            context.confirmed("retry", ids.len() as u64, "executions")?;
            return Ok(ExitCode::SUCCESS);
        }
        let text: Vec<String> = new.iter().map(ToString::to_string).collect();
        context.output.done(&text.join("\n"), json!({"retried": new.len(), "executions": new}))?;
        Ok(ExitCode::SUCCESS)
    }
}

#[derive(clap::Args)]
pub(crate) struct Fork {
    /// The id of the execution that has the first steps.
    id: String,
    /// From just before this step, such as charge or charge#2; else from the beginning.
    #[arg(long, value_name = "STEP")]
    before: Option<String>,
    /// The id of the new execution; else one is made.
    #[arg(long, value_name = "ID")]
    new_id: Option<String>,
    /// The version of the code that it runs; else that of the first.
    #[arg(long)]
    version: Option<String>,
}

impl Fork {
    pub(super) async fn run(self, context: &Context) -> Outcome {
        let (engine, execution) = (context.engine()?, load(context, &self.id).await?);
        let Some(handle) = workflow(&engine, &execution) else {
            if self.version.is_some() {
                return Err(Error::invalid("version", "is of workflows; a flow keeps its own").into());
            }
            if context.confirmed_one("fork", &self.id)? {
                let id = self.new_id.map(ExecutionId::new).transpose()?;
                let new = engine.fork_flow(&execution.id, self.before.as_deref(), id).await?;
                context.output.done(new.as_str(), json!({"execution": new}))?;
            }
            return Ok(ExitCode::SUCCESS);
        };
        let back = self.before.map_or(Back::ToStart, Back::Before);
        if !context.confirmed_one("fork", &self.id)? {
            return Ok(ExitCode::SUCCESS);
        }
        let mut fork = handle.fork(back);
        if let Some(id) = self.new_id {
            fork = fork.id(id);
        }
        if let Some(version) = self.version {
            fork = fork.version(&version);
        }
        let new = fork.await?;
        context.output.done(new.id().as_str(), json!({"execution": new.id()}))?;
        Ok(ExitCode::SUCCESS)
    }
}

/// A handle on an execution of a workflow; `None` for one of a flow, whose steps are not replayed.
fn workflow(engine: &Engine, execution: &Execution) -> Option<WorkflowHandle<Value, Value>> {
    let any: Workflow<Value, Value, Value> = Workflow::new("any");
    execution.flow_version.starts_with("fn-").then(|| engine.workflow(any, execution.id.clone()))
}
