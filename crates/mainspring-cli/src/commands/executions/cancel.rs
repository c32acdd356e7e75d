//! `mainspring executions cancel`.

use std::process::ExitCode;

use mainspring::{Bulk, CancelRequest, ExecutionId, ExecutionStatus};
use serde_json::json;

use super::many::{Which, change_all};
use crate::{Context, Outcome, Result};

#[derive(clap::Args)]
pub(crate) struct Cancel {
    #[command(flatten)]
    which: Which,
    /// Why, for their histories.
    #[arg(long)]
    reason: Option<String>,
    /// Do not let workflows clean up first.
    #[arg(long)]
    at_once: bool,
}

impl Cancel {
    pub(super) async fn run(self, context: &Context) -> Outcome {
        let request = CancelRequest {
            reason: self.reason.clone(),
            clean_up: !self.at_once,
            ..CancelRequest::default()
        };
        self.which.check("cancel")?;
        if !self.which.ids.is_empty() {
            return self.each(context, &request).await;
        }
        let mut filters = self.which.filter.filters(context, |status| !status.is_terminal()).await?;
        filters.retain(|filter| filter.status != Some(ExecutionStatus::Cancelling));
        let cancel = async |bulk: Bulk<'_>| bulk.cancel(request.clone()).await;
        let Some((done, skipped)) = change_all(context, "cancel", filters, cancel).await? else {
            return Ok(ExitCode::SUCCESS);
        };
        let facts = json!({"cancelled": done, "skipped": skipped});
        context.output.done(&format!("{done} cancelled, {skipped} were over already"), facts)?;
        Ok(ExitCode::SUCCESS)
    }

    /// Those that were named. One that is not there is an error, one that is over is none.
    async fn each(self, context: &Context, request: &CancelRequest) -> Outcome {
        let ids =
            self.which.ids.iter().map(|id| Ok(ExecutionId::new(id.as_str())?)).collect::<Result<Vec<_>>>()?;
        let engine = context.engine()?;
        if context.global.dry_run {
            context.confirmed("cancel", ids.len() as u64, "executions")?;
            return Ok(ExitCode::SUCCESS);
        }
        let (mut done, mut skipped) = (0, 0);
        for id in &ids {
            let result = engine.cancel(id, request.clone()).await?;
            if result.previous_status.is_none() {
                return Err(mainspring::Error::not_found("execution", id).into());
            }
            done += u64::from(result.cancelled);
            skipped += u64::from(!result.cancelled);
        }
        let facts = json!({"cancelled": done, "skipped": skipped});
        context.output.done(&format!("{done} cancelled, {skipped} were over already"), facts)?;
        Ok(ExitCode::SUCCESS)
    }
}
