//! `mainspring dev`: everything it takes to try a flow, in one process.

use std::{path::PathBuf, process::ExitCode};

use mainspring::{Engine, PgStores};
use mainspring_embedded::{Cluster, Options, durable_folder};
use mainspring_pg::{Migrator, Settings};
use serde_json::json;

use super::{flows, worker};
use crate::{Context, Outcome, Result};

#[derive(clap::Args)]
pub(crate) struct Dev {
    /// Files with flows to save and to drive.
    #[arg(value_name = "FLOW")]
    flows: Vec<String>,
    /// The port of the Postgres it starts [default: one that is free].
    #[arg(long)]
    port: Option<u16>,
    /// Keep nothing: the Postgres it starts is gone when it ends.
    #[arg(long)]
    throwaway: bool,
}

impl Dev {
    pub(crate) async fn run(self, context: &Context) -> Outcome {
        let flows = self.flows.iter().map(|file| flows::read(file)).collect::<Result<Vec<_>>>()?;
        let named = context.config.get("database_url").map(str::to_owned);
        let cluster = match named {
            Some(_) => None,
            None => Some(context.busy("starting Postgres", self.start(context)).await?),
        };
        let url = cluster.as_ref().map(|cluster| cluster.url("postgres"));
        let settings = match &url {
            Some(url) => Settings::parse(url)?,
            None => context.settings()?,
        };
        let migrator = Migrator::new(settings.clone(), context.names()?);
        context.busy("migrating", migrator.up()).await?;
        let stores = PgStores::connect_with(settings.clone(), context.store_options()?)?;
        let mut engine = Engine::builder(stores.clone());
        for flow in flows.clone() {
            engine = engine.flow(flow);
        }
        let engine = engine.build()?;
        engine.publish().await?;
        let upkeep = stores.upkeep(context.upkeep_options()?)?;
        let next = flows.first().map_or_else(
            || "mainspring flows save <file>".to_owned(),
            |flow| format!("mainspring start {} --input '{{}}' --wait", flow.id),
        );
        let next = match &url {
            Some(url) => format!("{next} --database-url {url}"),
            None => next,
        };
        let postgres = cluster.as_ref().map_or_else(|| "is yours".to_owned(), ToString::to_string);
        let lines = format!(
            "database  {settings} ({postgres})\nflows     {}\nnext      {next}\nstop      Ctrl-C",
            flows.iter().map(|flow| format!("{}@{}", flow.id, flow.version)).collect::<Vec<_>>().join(", ")
        );
        let facts = json!({"database": settings.to_string(), "url": url, "next": next,
            "flows": flows.iter().map(|flow| &flow.id).collect::<Vec<_>>()});
        context.output.done(&lines, facts)?;
        worker::drive(&engine, upkeep, context.config.parsed("concurrency")?.unwrap_or(10)).await?;
        drop(stores);
        drop(cluster);
        Ok(ExitCode::SUCCESS)
    }

    /// A Postgres of its own.
    async fn start(&self, context: &Context) -> Result<Cluster> {
        let folder = context.config.get("data_dir").map_or_else(|| durable_folder("dev"), PathBuf::from);
        let mut options = if self.throwaway { Options::throwaway() } else { Options::durable(folder) };
        if let Some(port) = self.port {
            options = options.port(port);
        }
        let started = tokio::task::spawn_blocking(|| Cluster::start(options)).await?;
        let problem =
            "no database is named (see `mainspring config show`), and no private one can be started";
        let unavailable =
            |error| mainspring::Error::new(mainspring::ErrorKind::Unavailable, problem).with_source(error);
        Ok(started.map_err(unavailable)?)
    }
}
