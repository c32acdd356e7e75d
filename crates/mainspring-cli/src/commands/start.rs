//! `mainspring start`: a new execution of a flow or a workflow.

use std::process::ExitCode;

use mainspring::{Execution, ExecutionId, FlowStore};
use serde_json::{Value, json};

use super::executions::look::{follow, result_of, verdict};
use crate::{Context, Outcome, Result, output::Format, words};

#[derive(clap::Args)]
pub(crate) struct Start {
    /// The flow; or with --workflow the name of a workflow, whose code some worker has.
    name: String,
    /// Its input as JSON, @file, or - for standard input.
    #[arg(long, default_value = "{}", value_name = "JSON")]
    input: String,
    /// A second start of the same with this key finds the first.
    #[arg(long)]
    key: Option<String>,
    /// The id of the execution; else one is made.
    #[arg(long)]
    id: Option<String>,
    /// This version; else the latest of a flow, and 1 of a workflow.
    #[arg(long)]
    version: Option<String>,
    /// The name is that of a workflow.
    #[arg(long)]
    workflow: bool,
    /// Tell of it as it goes on, and end with its result: 0 when it completes, else 1.
    #[arg(long)]
    wait: bool,
}

impl Start {
    pub(crate) async fn run(self, context: &Context) -> Outcome {
        let input = words::json("input", &self.input)?;
        if !context.confirmed_one("start", &self.name)? {
            return Ok(ExitCode::SUCCESS);
        }
        let (id, created) = if self.workflow {
            self.workflow(context, input).await?
        } else {
            self.flow(context, input).await?
        };
        if !self.wait {
            context.output.done(id.as_str(), json!({"execution": id, "created": created}))?;
            return Ok(ExitCode::SUCCESS);
        }
        context.output.note(format_args!("{id}"));
        let execution = follow(context, &id, false).await?;
        ended(context, &execution)?;
        Ok(verdict(&execution))
    }

    async fn flow(&self, context: &Context, input: Value) -> Result<(ExecutionId, bool)> {
        if self.version.is_none() && context.stores()?.flows.latest(&self.name).await?.is_none() {
            let problem =
                format!("flow `{}` does not exist; a workflow is started with --workflow", self.name);
            return Err(mainspring::Error::new(mainspring::ErrorKind::NotFound, problem).into());
        }
        let mut create = context.engine()?.create(&*self.name, input);
        if let Some(id) = &self.id {
            create = create.id(id);
        }
        if let Some(key) = &self.key {
            create = create.idempotency_key(key);
        }
        if let Some(version) = &self.version {
            create = create.version(version);
        }
        if let Some(tenant) = context.tenant() {
            create = create.tenant(tenant);
        }
        let created = create.await?;
        Ok((created.execution.id, created.created))
    }

    async fn workflow(&self, context: &Context, input: Value) -> Result<(ExecutionId, bool)> {
        let mut start = context.engine()?.start_by_name(&*self.name, input);
        if let Some(id) = &self.id {
            start = start.id(id);
        }
        if let Some(key) = &self.key {
            start = start.idempotency_key(key);
        }
        if let Some(version) = &self.version {
            start = start.version(version);
        }
        if let Some(tenant) = context.tenant() {
            start = start.tenant(tenant);
        }
        let handle = start.await?;
        Ok((handle.id().clone(), handle.was_created()))
    }
}

/// The result to standard output; why it has none to standard error.
fn ended(context: &Context, execution: &Execution) -> Result<()> {
    let failure = execution.error.as_ref();
    if let Some(failure) = failure {
        eprintln!("{}: {failure}", execution.status);
    }
    let result = result_of(execution);
    if context.output.format == Format::Table {
        if failure.is_none() {
            context.output.line(&serde_json::to_string_pretty(&result)?)?;
        }
        return Ok(());
    }
    let facts = json!({"execution": execution.id, "status": execution.status, "result": result,
        "error_code": failure.map(|failure| &failure.code)});
    Ok(context.output.done("", facts)?)
}
