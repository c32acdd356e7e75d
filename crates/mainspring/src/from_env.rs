//! A world on Postgres, as options or the environment say.

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

/// [`connect_world`] with the variables of the environment, listed at [`WorldSettings`].
///
/// # Errors
/// Invalid, naming the variable.
pub fn world_from_env() -> Result<(WorldBuilder, WorldSettings)> {
    let settings = WorldSettings::default().or_from(|name| std::env::var(name).ok())?;
    Ok((connect_world(&settings)?, settings))
}
