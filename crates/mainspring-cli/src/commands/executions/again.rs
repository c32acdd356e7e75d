//! `mainspring executions retry`, `fork` and `rewind`: workflows from an earlier step.

use std::process::ExitCode;

use mainspring::{Back, Error, ExecutionId, ExecutionStatus, Workflow, WorkflowHandle};
use serde_json::{Value, json};

use super::{
    load,
    many::{Which, change_all},
};
use crate::{Context, Outcome, Result};

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
            let filters = filter.filters(context, |status| status == ExecutionStatus::Failed)?;
            let Some((done, skipped)) =
                change_all(context, "retry", filters, async |bulk| bulk.retry().await).await?
            else {
                return Ok(ExitCode::SUCCESS);
            };
            let facts = json!({"retried": done, "skipped": skipped});
            context.output.done(&format!("{done} retried, {skipped} left as they are"), facts)?;
            return Ok(ExitCode::SUCCESS);
        }
        let mut new = Vec::new();
        for id in &ids {
            let handle = workflow(context, id).await?;
            if !context.global.dry_run {
                new.push(handle.retry().await?.id().clone());
            }
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
        let handle = workflow(context, &self.id).await?;
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

/// An execution that may be gone back in.
///
/// # Errors
/// Not found; conflict for one of a flow, whose steps are not replayed.
async fn workflow(context: &Context, id: &str) -> Result<WorkflowHandle<Value, Value>> {
    let execution = load(context, id).await?;
    if !execution.flow_version.starts_with("fn-") {
        let problem = format!(
            "execution `{id}` is one of a flow: start it again; only workflows are retried and forked"
        );
        return Err(Error::conflict(problem).into());
    }
    let any: Workflow<Value, Value, Value> = Workflow::new("any");
    Ok(context.engine()?.workflow(any, ExecutionId::new(id)?))
}
