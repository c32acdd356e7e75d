//! `mainspring locks`: leases on names.

use std::process::ExitCode;

use mainspring::{Error, Lease, LeaseFilter, LeaseStore};
use serde_json::json;

use crate::{
    Context, Outcome,
    output::{Column, Page, col, text},
    words::PageArgs,
};

#[derive(clap::Subcommand)]
pub(crate) enum Locks {
    /// All leases, by name; also those whose time is over and that nobody took since.
    #[command(after_help = "Example:\n  mainspring locks list --holder worker-7 --expired false -o json")]
    List {
        /// Only on names that begin so.
        #[arg(long, value_name = "TEXT")]
        name_prefix: Option<String>,
        /// Only of this holder.
        #[arg(long, value_name = "NAME")]
        holder: Option<String>,
        /// Only those whose time is over, or not.
        #[arg(long, value_name = "BOOL")]
        expired: Option<bool>,
        #[command(flatten)]
        page: PageArgs,
    },
    /// Take a lease from its holder, who is fenced from then on.
    #[command(after_help = "Example:\n  mainspring locks break billing --yes")]
    Break {
        /// Its name.
        name: String,
    },
}

const COLUMNS: &[Column<Lease>] = &[
    col("name", |it| text(&it.name)),
    col("holder", |it| text(&it.holder)),
    col("token", |it| it.token.into()),
    col("acquired_at", |it| text(it.acquired_at)),
    col("expires_at", |it| text(it.expires_at)),
];

impl Locks {
    pub(crate) async fn run(self, context: &Context) -> Outcome {
        let (output, leases) = (&context.output, &context.stores()?.leases);
        match self {
            Self::List { name_prefix, holder, expired, page: PageArgs { limit, after } } => {
                let held = expired.map(|expired| !expired);
                let filter = LeaseFilter { prefix: name_prefix, holder, held, after, limit };
                let found = leases.list(filter).await?;
                let page = Page::keyed(found, limit, |last: &Lease| last.name.clone());
                output.list(COLUMNS, &page, false)?;
            }
            Self::Break { name } => {
                let lease = leases.get(&name).await?.ok_or_else(|| Error::not_found("lease", &name))?;
                context.output.note(format_args!("held by {} until {}", lease.holder, lease.expires_at));
                if !context.confirmed("break", 1, "leases")? {
                    return Ok(ExitCode::SUCCESS);
                }
                if !leases.release(&lease).await? {
                    return Err(
                        Error::conflict(format!("lease `{name}` has another holder meanwhile")).into()
                    );
                }
                output.done(&format!("{name} is free"), json!({"broken": name, "holder": lease.holder}))?;
            }
        }
        Ok(ExitCode::SUCCESS)
    }
}
