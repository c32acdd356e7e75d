//! Templates: one migrated database for each set of migrations and names, copied for every test.

use std::{
    hash::{DefaultHasher, Hash, Hasher},
    sync::atomic::{AtomicU32, Ordering},
    time::Duration,
};

use mainspring_core::{Error, Result};
use mainspring_pg::{Migrator, Names, Session};

use super::server;

/// Somebody is connected to the template: a moment ago it was being made, or the server looks it over.
const IN_USE: &str = "55006";

/// How often a copy is tried while its template is in use.
const TRIES: u32 = 200;

/// Between two tries.
const PAUSE: Duration = Duration::from_millis(20);

/// The name of the template for these migrations and names; made by whoever comes first.
pub(super) async fn migrated(names: &Names) -> Result<String> {
    let server = server::get().await?;
    let mut hash = DefaultHasher::new();
    Migrator::new(server.settings().clone(), names.clone()).print()?.hash(&mut hash);
    let name = format!("tmpl_{:016x}", hash.finish());
    let admin = server.settings().connect().await?;
    if is_ready(&admin, &name).await? {
        return Ok(name);
    }
    // The lock belongs to the session: whoever dies while he makes the template frees it.
    run(&admin, "SET lock_timeout = 0; SET statement_timeout = 0; SELECT pg_advisory_lock(hashtext('mainspring templates'))")
        .await?;
    if !is_ready(&admin, &name).await? {
        run(&admin, &format!("DROP DATABASE IF EXISTS {name}")).await?;
        run(&admin, &format!("CREATE DATABASE {name}")).await?;
        Migrator::new(server.settings_of(&name)?, names.clone()).up().await?;
        run(&admin, &format!("ALTER DATABASE {name} ALLOW_CONNECTIONS false")).await?;
    }
    run(&admin, "SELECT pg_advisory_unlock_all()").await?;
    Ok(name)
}

/// A template nobody can connect to any more is finished.
async fn is_ready(admin: &Session, name: &str) -> Result<bool> {
    const READY: &str = "SELECT count(*) FROM pg_database WHERE datname = $1 AND NOT datallowconn";
    let row = admin.query_one(READY, &[&name]).await.map_err(|error| failed(READY, error))?;
    Ok(row.get::<_, i64>(0) > 0)
}

/// The name of a new database, made from a template or empty.
pub(super) async fn copy(template: Option<&str>) -> Result<String> {
    static COPIES: AtomicU32 = AtomicU32::new(0);
    let admin = server::get().await?.settings().connect().await?;
    let name = format!("t_{}_{}", std::process::id(), COPIES.fetch_add(1, Ordering::Relaxed));
    // What another process with our pid has left behind on a server that lives on.
    run(&admin, &format!("DROP DATABASE IF EXISTS {name}")).await?;
    let sql = format!("CREATE DATABASE {name} TEMPLATE {}", template.unwrap_or("template0"));
    for _ in 0..TRIES {
        match admin.batch_execute(&sql).await {
            Err(error) if error.code().is_some_and(|code| code.code() == IN_USE) => {
                tokio::time::sleep(PAUSE).await;
            }
            Err(error) => return Err(failed(&sql, error)),
            Ok(()) => return Ok(name),
        }
    }
    Err(Error::internal(format!("{sql}: the template stayed in use")))
}

/// From a destructor, and without the runtime of the test, which may be gone.
pub(super) fn drop_in_background(name: String) {
    let work = async move {
        let admin = server::get().await?.settings().connect().await?;
        run(&admin, &format!("DROP DATABASE IF EXISTS {name} WITH (FORCE)")).await
    };
    let dropper = std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        // A database that stays is dropped by the next process with our pid, or by its owner.
        runtime.is_ok_and(|runtime| runtime.block_on(work).is_ok())
    });
    let _ = dropper.join();
}

async fn run(client: &Session, sql: &str) -> Result<()> {
    client.batch_execute(sql).await.map_err(|error| failed(sql, error))
}

fn failed(sql: &str, error: impl std::error::Error + Send + Sync + 'static) -> Error {
    Error::internal(sql.to_owned()).with_source(error)
}
