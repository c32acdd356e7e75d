//! `mainspring executions export` and `import`: an execution as lines of JSON, away from its database.

use std::{path::PathBuf, process::ExitCode};

use mainspring::{
    Backend, Changes, Error, Execution, ExecutionId, ExecutionWrite, ExportedHistory, NewEvent,
};
use serde_json::json;

use crate::{Context, Outcome, words};

#[derive(clap::Args)]
pub(crate) struct Export {
    /// Its id.
    id: String,
    /// Write into this file instead of standard output.
    #[arg(long, value_name = "FILE")]
    file: Option<PathBuf>,
    /// Leave out inputs, outputs and results: what happened and when is left.
    #[arg(long)]
    redacted: bool,
}

impl Export {
    pub(super) async fn run(self, context: &Context) -> Outcome {
        let mut history = context.engine()?.export(&ExecutionId::new(self.id)?).await?;
        if self.redacted {
            redact(&mut history);
        }
        let text = history.to_string();
        match self.file {
            None => context.output.line(&text)?,
            Some(file) => {
                std::fs::write(&file, text).map_err(|error| format!("{}: {error}", file.display()))?;
                context.output.note(format_args!(
                    "{} events are in {}",
                    history.events.len(),
                    file.display()
                ));
            }
        }
        Ok(ExitCode::SUCCESS)
    }
}

/// Takes out what applications put in.
fn redact(history: &mut ExportedHistory) {
    history.execution.output = serde_json::Value::Null;
    if let Some(error) = &mut history.execution.error {
        error.message = "redacted".to_owned();
        error.details = serde_json::Value::Null;
    }
    for event in &mut history.events {
        event.data = json!({});
    }
}

#[derive(clap::Args)]
pub(crate) struct Import {
    /// What `export` wrote: a file behind @, or - for standard input.
    bundle: String,
    /// The id that it gets here; else the one it had.
    #[arg(long, value_name = "ID")]
    id: Option<String>,
}

impl Import {
    /// Only what is over: anything else would be driven here as well as where it came from.
    pub(super) async fn run(self, context: &Context) -> Outcome {
        let history: ExportedHistory = words::text(&self.bundle)?.parse()?;
        let head = history.execution;
        if !head.status.is_terminal() {
            let problem =
                format!("is of an execution that is {}; only what is over is imported", head.status);
            return Err(Error::invalid("bundle", problem).into());
        }
        let id = self.id.map_or(Ok(head.execution), ExecutionId::new)?;
        if !context.confirmed_one("import", id.as_str())? {
            return Ok(ExitCode::SUCCESS);
        }
        let mut execution = Execution::new(id.clone(), head.flow_id, head.flow_version, "imported");
        execution.tenant = context.tenant().unwrap_or_default();
        execution.status = head.status;
        execution.error = head.error;
        execution.metadata.insert("importedFrom".to_owned(), json!({"createdAt": head.created_at}));
        if !head.output.is_null() {
            execution.context.insert("output".to_owned(), head.output);
        }
        let events = history.events.into_iter().map(|event| NewEvent {
            subject: event.subject,
            metadata: [("recordedAt".to_owned(), json!(event.at))].into_iter().collect(),
            ..NewEvent::new(event.event_type, event.data)
        });
        let write = ExecutionWrite::create(execution, events.collect());
        context.stores()?.commit(Changes { executions: vec![write], ..Changes::default() }).await?;
        context.output.done(id.as_str(), json!({"execution": id}))?;
        Ok(ExitCode::SUCCESS)
    }
}
