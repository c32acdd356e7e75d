//! `mainspring tokens`: what wakes a waiting execution.

use std::process::ExitCode;

use mainspring::{Backend, Error, ExecutionId, ResumeToken, TokenOptions, TokenSecret, TokenStore};
use serde_json::{Value, json};

use crate::{
    Context, Outcome, Result,
    output::{Column, col, data, detail, maybe, text},
    words::{self, PageArgs, Span},
};

#[derive(clap::Subcommand)]
pub(crate) enum Tokens {
    /// Make a token for a step of an execution. The secret is shown now and never again.
    #[command(
        after_help = "Example:\n  mainspring tokens create --execution exec_01J… --step approval --expires-in 7d"
    )]
    Create {
        /// The execution it wakes.
        #[arg(long)]
        execution: String,
        /// The step that waits.
        #[arg(long)]
        step: String,
        /// How long it works [default: for ever].
        #[arg(long, value_name = "TIME")]
        expires_in: Option<String>,
    },
    /// Those of an execution, oldest first; never their secrets.
    #[command(after_help = "Example:\n  mainspring tokens list --execution exec_01J…")]
    List {
        /// Only those of this execution.
        #[arg(long)]
        execution: String,
        /// Only with this status: pending, used, revoked or expired.
        #[arg(long)]
        status: Option<String>,
        #[command(flatten)]
        page: PageArgs,
        /// Show their labels too.
        #[arg(long)]
        data: bool,
    },
    /// Take tokens back: one by its secret, or all of an execution.
    #[command(after_help = "Example:\n  mainspring tokens revoke --execution exec_01J… --yes")]
    Revoke {
        /// The secret: @file, or - for standard input, so that it is in no list of processes.
        #[arg(required_unless_present = "execution")]
        token: Option<String>,
        /// All that still work of this execution.
        #[arg(long, conflicts_with = "token")]
        execution: Option<String>,
    },
    /// Spend a token: its execution goes on with this data.
    #[command(after_help = "Example:\n  mainspring tokens resume @token --data '{\"approved\":true}'")]
    Resume {
        /// The secret: @file, or - for standard input, so that it is in no list of processes.
        token: String,
        /// What the execution gets, as JSON or @file.
        #[arg(long, default_value = "{}", value_name = "JSON")]
        data: String,
    },
}

const COLUMNS: &[Column<ResumeToken>] = &[
    col("id", |it| text(&it.id)),
    col("step", |it| text(&it.step_id)),
    col("status", |it| text(it.status)),
    col("created_at", |it| text(it.created_at)),
    col("expires_at", |it| maybe(it.expires_at)),
    detail("used_at", |it| maybe(it.used_at)),
    detail("execution", |it| text(&it.execution_id)),
    data("metadata", |it| Value::Object(it.metadata.clone())),
];

impl Tokens {
    pub(crate) async fn run(self, context: &Context) -> Outcome {
        let (output, stores) = (&context.output, context.stores()?);
        match self {
            Self::Create { execution, step, expires_in } => {
                let execution = ExecutionId::new(execution)?;
                let expires_in = expires_in.map(|text| text.parse()).transpose()?.map(|Span(span)| span);
                if stores.executions().get(&execution).await?.is_none() {
                    return Err(Error::not_found("execution", &execution).into());
                }
                if !context.confirmed_one("make a token for", execution.as_str())? {
                    return Ok(ExitCode::SUCCESS);
                }
                let options = TokenOptions { expires_in, ..TokenOptions::default() };
                let (secret, token) = stores.resume_tokens.generate(&execution, &step, options).await?;
                let facts = json!({"id": token.id, "token": secret.reveal(), "expires_at": token.expires_at});
                output.done(&secret.reveal(), facts)?;
            }
            Self::List { execution, status, page, data } => {
                let status = status.map(|text| text.parse()).transpose()?;
                let execution = ExecutionId::new(execution)?;
                let mut found = stores.resume_tokens.get_by_execution(&execution).await?;
                found.retain(|token| status.is_none_or(|status| token.status == status));
                output.list(COLUMNS, &page.of(found, |token| token.id.to_string())?, data)?;
            }
            Self::Revoke { token: Some(token), .. } => {
                let secret = secret(&token)?;
                let Some(token) = stores.resume_tokens.get(&secret).await? else {
                    return Err(Error::new(mainspring::ErrorKind::NotFound, "token not found").into());
                };
                if !context.confirmed_one("revoke", token.id.as_str())? {
                    return Ok(ExitCode::SUCCESS);
                }
                let revoked = u64::from(stores.resume_tokens.revoke(&secret).await?);
                output.done(&format!("{revoked} revoked"), json!({"revoked": revoked}))?;
            }
            Self::Revoke { token: None, execution } => {
                let execution = ExecutionId::new(execution.unwrap_or_default())?;
                let found = stores.resume_tokens.get_by_execution(&execution).await?;
                let count = found.iter().filter(|token| token.status.refusal().is_none()).count();
                if !context.confirmed("revoke", count as u64, "tokens")? {
                    return Ok(ExitCode::SUCCESS);
                }
                let revoked = stores.resume_tokens.revoke_all(&execution).await?;
                output.done(&format!("{revoked} revoked"), json!({"revoked": revoked}))?;
            }
            Self::Resume { token, data } => {
                let (secret, data) = (secret(&token)?, words::json("data", &data)?);
                if !context.confirmed_one("resume", "the execution of the token")? {
                    return Ok(ExitCode::SUCCESS);
                }
                let execution = context.engine()?.resume(&secret, data).await?;
                let facts = json!({"execution": execution.id, "status": execution.status});
                output.done(&format!("{} {}", execution.id, execution.status), facts)?;
            }
        }
        Ok(ExitCode::SUCCESS)
    }
}

/// The secret of an argument; what is wrong with it is said without repeating it.
fn secret(argument: &str) -> Result<TokenSecret> {
    Ok(words::text(argument)?.trim().parse()?)
}
