//! `mainspring streams`: output streams, what steps publish for readers.

use std::{
    io::{self, Write},
    process::ExitCode,
};

use futures_util::TryStreamExt;
use mainspring::{Error, ExecutionId, OutputStore, OutputStream};
use serde_json::json;

use crate::{
    Context, Outcome,
    output::{Column, col, text},
    words::PageArgs,
};

/// Names that one look brings.
const MOST: u32 = 1_000;

/// A stream by its name.
#[derive(clap::Args)]
pub(crate) struct Named {
    /// Its name.
    name: String,
    /// The execution whose it is; else it is nobody's.
    #[arg(long, value_name = "ID")]
    execution: Option<String>,
}

impl Named {
    fn stream(self) -> Result<OutputStream, Error> {
        let execution = self.execution.map(ExecutionId::new).transpose()?;
        Ok(OutputStream { execution, name: self.name })
    }
}

#[derive(clap::Subcommand)]
pub(crate) enum Streams {
    /// Those of an execution, by name.
    #[command(after_help = "Example:\n  mainspring streams list --execution exec_01J…")]
    List {
        /// Only those of this execution.
        #[arg(long, value_name = "ID")]
        execution: String,
        #[command(flatten)]
        page: PageArgs,
    },
    /// Write the chunks of a stream to standard output: what is there, then what comes, until it is closed.
    #[command(after_help = "Example:\n  mainspring streams read letters --execution exec_01J… --from -10")]
    Read {
        #[command(flatten)]
        named: Named,
        /// The first chunk; a negative number counts from the end.
        #[arg(long, default_value_t = 0, value_name = "INDEX", allow_hyphen_values = true)]
        from: i64,
        /// End with what is there.
        #[arg(long)]
        no_follow: bool,
    },
    /// Where a stream stands.
    #[command(after_help = "Example:\n  mainspring streams get letters --execution exec_01J…")]
    Get {
        #[command(flatten)]
        named: Named,
    },
    /// Delete a stream; its readers are told.
    #[command(after_help = "Example:\n  mainspring streams delete letters --yes")]
    Delete {
        #[command(flatten)]
        named: Named,
    },
}

const COLUMNS: &[Column<String>] = &[col("name", |name| text(name))];

impl Streams {
    pub(crate) async fn run(self, context: &Context) -> Outcome {
        let (output, outputs) = (&context.output, &context.stores()?.outputs);
        match self {
            Self::List { execution, page } => {
                let names = outputs.list(&ExecutionId::new(execution)?, page.after.as_deref()).await?;
                let most = PageArgs { limit: page.limit.min(MOST), ..page };
                output.list(COLUMNS, &most.behind(names, |name| name), false)?;
            }
            Self::Get { named } => {
                let stream = named.stream()?;
                let info = outputs.info(&stream).await?;
                if info.tail_index < 0 && !info.done {
                    return Err(Error::not_found("output stream", stream.name).into());
                }
                let chunks = info.tail_index + 1;
                let ends = if info.done { ", closed" } else { "" };
                let facts = json!({"name": stream.name, "chunks": chunks, "closed": info.done});
                output.done(&format!("{chunks} chunks{ends}"), facts)?;
            }
            Self::Read { named, from, no_follow } => {
                let stream = named.stream()?;
                let info = outputs.info(&stream).await?;
                if no_follow && info.tail_index < 0 {
                    return Ok(ExitCode::SUCCESS);
                }
                let mut chunks = outputs.read(&stream, from);
                while let Some(chunk) = chunks.try_next().await? {
                    let mut out = io::stdout().lock();
                    out.write_all(&chunk.data)?;
                    out.flush()?;
                    if no_follow && chunk.index >= info.tail_index {
                        break;
                    }
                }
            }
            Self::Delete { named } => {
                let stream = named.stream()?;
                let info = outputs.info(&stream).await?;
                if info.tail_index < 0 && !info.done {
                    return Err(Error::not_found("output stream", stream.name).into());
                }
                if !context.confirmed("delete", 1, "output streams")? {
                    return Ok(ExitCode::SUCCESS);
                }
                let deleted = outputs.delete(&stream).await?;
                output.done(&format!("{} deleted", stream.name), json!({"deleted": deleted}))?;
            }
        }
        Ok(ExitCode::SUCCESS)
    }
}
