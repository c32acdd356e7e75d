//! A world on Postgres, as options, the environment and the defaults say, in this order.

use mainspring_core::Result;
use mainspring_world::{World, WorldBuilder, WorldSettings};

use crate::{PgStoreOptions, PgStores};

/// A world on the database of `settings`, to be put together. Nothing is connected yet, and no table is touched: see
/// [`Migrator`](mainspring_pg::Migrator).
///
/// # Errors
/// Invalid, naming what is missing or wrong.
pub fn connect_world(settings: &WorldSettings) -> Result<WorldBuilder> {
    let stores = PgStores::connect(settings.database_url()?, PgStoreOptions::default())?;
    Ok(settings.apply(World::builder(stores)))
}

/// [`world_from`] the environment alone.
///
/// # Errors
/// As there.
pub async fn world_from_env() -> Result<(WorldBuilder, WorldSettings)> {
    world_from(WorldSettings::default()).await
}

/// [`connect_world`] with what `options` leave open from the variables of the environment, listed at [`WorldSettings`]. Answers
/// the settings as they came out.
///
/// Where no database is named, the feature `embedded` starts a private one for this process, with the tables, which keeps its
/// data in the folder that `MAINSPRING_DATA_DIR` names, else in one of the user's: for the first minutes, and for one process at
/// a time. Without the feature that is an error.
///
/// # Errors
/// Invalid, naming the option or the variable; unavailable when a private server cannot be started.
pub async fn world_from(options: WorldSettings) -> Result<(WorldBuilder, WorldSettings)> {
    #[allow(unused_mut, reason = "only the private server fills it in")]
    let mut settings = options.or_from(|name| std::env::var(name).ok())?;
    #[cfg(feature = "embedded")]
    if settings.url.is_none() {
        settings.url = Some(private::url().await?);
    }
    Ok((connect_world(&settings)?, settings))
}

#[cfg(feature = "embedded")]
mod private {
    //! The server of a process to which nobody has named one.

    use std::path::PathBuf;

    use mainspring_core::{Error, ErrorKind, Result};
    use mainspring_embedded::{Cluster, Options, durable_folder};
    use mainspring_pg::{Migrator, Names, Settings};
    use tokio::sync::OnceCell;

    /// It stops with the process.
    static SERVER: OnceCell<Cluster> = OnceCell::const_new();

    /// Starts it the first time.
    pub(super) async fn url() -> Result<String> {
        Ok(SERVER.get_or_try_init(start).await?.url("postgres"))
    }

    async fn start() -> Result<Cluster> {
        let named = std::env::var_os("MAINSPRING_DATA_DIR").filter(|folder| !folder.is_empty());
        let folder = named.map_or_else(|| durable_folder("world"), PathBuf::from);
        let started = || Cluster::start(Options::durable(folder));
        let stopped = |error| Error::new(ErrorKind::Unavailable, "the runtime stops").with_source(error);
        let cluster = tokio::task::spawn_blocking(started).await.map_err(stopped)?.map_err(|error| {
            let problem = "no database is named (WORKFLOW_POSTGRES_URL, DATABASE_URL), and no private one can be started";
            Error::new(ErrorKind::Unavailable, problem).with_source(error)
        })?;
        tracing::info!(server = %cluster, "no database is named: a private one was started");
        Migrator::new(Settings::parse(&cluster.url("postgres"))?, Names::default()).up().await?;
        Ok(cluster)
    }
}
