//! `mainspring jobs`: steps that are done out of line.

use std::process::ExitCode;

use mainspring::{Error, ExecutionId, Job, JobFilter, JobId, JobStatus, JobStore, Timestamp};
use serde_json::{Value, json};

use crate::{
    Context, Outcome,
    output::{Column, Page, col, data, detail, maybe, text},
    words::PageArgs,
};

#[derive(clap::Subcommand)]
pub(crate) enum Jobs {
    /// Those with a status or of an execution, oldest first.
    #[command(after_help = "Example:\n  mainspring jobs list --status running")]
    List {
        /// pending, running, completed, failed or cancelled [default: running].
        #[arg(long)]
        status: Option<String>,
        /// Only those of this execution.
        #[arg(long, value_name = "ID")]
        execution: Option<String>,
        /// Only running ones without a sign of life for too long, longest silent first.
        #[arg(long, conflicts_with_all = ["status", "execution"])]
        stalled: bool,
        #[command(flatten)]
        page: PageArgs,
        /// Show their inputs and results too.
        #[arg(long)]
        data: bool,
    },
    /// One of them.
    #[command(after_help = "Example:\n  mainspring jobs get job_01J… --data")]
    Get {
        /// Its id.
        id: String,
        /// Show its input, checkpoint and result too.
        #[arg(long)]
        data: bool,
    },
    /// Take a stalled job from its worker, so that another does it.
    #[command(after_help = "Example:\n  mainspring jobs retry job_01J…")]
    Retry {
        /// Its id.
        id: String,
    },
}

const COLUMNS: &[Column<Job>] = &[
    col("id", |it| text(&it.id)),
    col("execution", |it| text(&it.execution_id)),
    col("step", |it| text(&it.step_id)),
    col("handler", |it| text(&it.handler)),
    col("status", |it| text(it.status)),
    col("attempts", |it| it.attempts.into()),
    col("percent", |it| it.progress.as_ref().map_or(Value::Null, |progress| progress.percent.into())),
    col("created_at", |it| text(it.created_at)),
    detail("max_attempts", |it| it.max_attempts.into()),
    detail("lost", |it| it.lost.into()),
    detail("holder", |it| maybe(it.holder.as_ref())),
    detail("heartbeat_at", |it| maybe(it.heartbeat_at)),
    detail("error_code", |it| maybe(it.error.as_ref().map(|error| &error.code))),
    detail("updated_at", |it| text(it.updated_at)),
    detail("finished_at", |it| maybe(it.finished_at)),
    data("input", |it| it.input.clone()),
    data("checkpoint", |it| Value::Object(it.checkpoint.clone())),
    data("progress", |it| json!(it.progress)),
    data("result", |it| json!(it.result)),
    data("error", |it| json!(it.error)),
];

impl Jobs {
    pub(crate) async fn run(self, context: &Context) -> Outcome {
        let (output, jobs) = (&context.output, &context.stores()?.jobs);
        match self {
            Self::List { stalled: true, page, data, .. } => {
                let found = jobs.find_stalled(10_000).await?;
                output.list(COLUMNS, &page.of(found, |job| job.id.to_string())?, data)?;
            }
            Self::List { status, execution, page, data, .. } => {
                let status: Option<JobStatus> = status.map(|text| text.parse()).transpose()?;
                let execution = execution.map(ExecutionId::new).transpose()?;
                let status = status.or_else(|| execution.is_none().then_some(JobStatus::Running));
                let after = match page.cursor::<Timestamp, String>()? {
                    Some((time, id)) => Some((time, JobId::new(id)?)),
                    None => None,
                };
                let found = jobs.list(JobFilter { status, execution, after, limit: page.limit }).await?;
                let page = Page::keyed(found, page.limit, |last| format!("{}/{}", last.created_at, last.id));
                output.list(COLUMNS, &page, data)?;
            }
            Self::Get { id, data } => {
                let id = JobId::new(id)?;
                let job = jobs.get(&id).await?.ok_or_else(|| Error::not_found("job", &id))?;
                output.one(COLUMNS, &job, data)?;
            }
            Self::Retry { id } => {
                let id = JobId::new(id)?;
                if jobs.get(&id).await?.is_none() {
                    return Err(Error::not_found("job", &id).into());
                }
                if !context.confirmed_one("retry", id.as_str())? {
                    return Ok(ExitCode::SUCCESS);
                }
                let status = jobs.reset_stalled(&id).await?;
                let status = status.ok_or_else(|| Error::conflict(format!("job `{id}` is not stalled")))?;
                output.done(&format!("{id} {status}"), json!({"job": id, "status": status.to_string()}))?;
            }
        }
        Ok(ExitCode::SUCCESS)
    }
}
