//! `mainspring worker --world`: drives the queues of a world, whose application is called over HTTP.

use std::{process::ExitCode, sync::Arc};

use mainspring::{
    Error, PgStoreOptions, PgStores, World, WorldSettings,
    redis::{Redis, RedisOptions},
    world::http::{Credential, HttpInvoker, HttpOptions},
};
use serde_json::json;

use crate::{Context, Outcome, Result, shutdown};

/// Calls the application until somebody asks to stop; calls under way are finished first.
pub(crate) async fn drive(context: &Context, concurrency: usize) -> Outcome {
    let settings = settings(context, concurrency)?;
    let credential = Credential::secret(settings.secret()?);
    let invoker = HttpInvoker::new(&settings.app_base(), credential, HttpOptions::default())?;
    let shown = format!("{invoker:?}");
    let world = settings.apply(World::builder(stores(context)?)).invoker(Arc::new(invoker)).build()?;
    world.start().await?;
    let facts = json!({"worker": "started", "world": shown});
    context.output.done(&format!("drives a world for {shown}; Ctrl-C stops"), facts)?;
    shutdown::asked().await;
    world.close().await?;
    Ok(ExitCode::SUCCESS)
}

fn settings(context: &Context, concurrency: usize) -> Result<WorldSettings> {
    let config = &context.config;
    let text = |key| config.get(key).map(str::to_owned);
    Ok(WorldSettings {
        security_token: text("security_token"),
        insecure: text("insecure").map(|yes| matches!(yes.as_str(), "1" | "true")),
        queue_prefix: text("queue_prefix"),
        concurrency: Some(concurrency),
        app_url: text("app_url"),
        app_port: config.parsed("app_port")?,
        ..WorldSettings::default()
    })
}

/// With Redis beside Postgres where the world is one of those.
fn stores(context: &Context) -> Result<PgStores<'static>> {
    let world = context.config.get("target_world").unwrap_or_default();
    if !world.contains("redis") {
        if !world.contains("postgres") {
            return Err(Error::invalid("target_world", "is neither postgres nor redis").into());
        }
        return Ok(context.stores()?.clone());
    }
    let url = context.config.get("redis_url");
    let url =
        url.ok_or_else(|| Error::invalid("redis_url", "is not set, and this world has Redis beside it"))?;
    let redis = Redis::new(RedisOptions::parse(url)?)?;
    let options = PgStoreOptions { carrier: Some(Arc::new(redis)), ..context.store_options()? };
    Ok(PgStores::connect_with(context.settings()?, options)?)
}
