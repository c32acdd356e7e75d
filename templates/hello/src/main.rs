//! A sign-up that waits a week for its confirmation.
//!
//! `cargo run` works until it is told to stop, `cargo run -- start ada` begins one, `cargo run -- confirm ada` confirms it.
//! `cargo test` needs no database.

use std::{env, error::Error, time::Duration};

use mainspring::{
    Cx, Either, Engine, EngineBuilder, Migrator, Mode, Names, PgStoreOptions, PgStores, Settings, Workflow,
    WorkflowResult,
};

const SIGNUP: Workflow<String, String, String> = Workflow::new("signup");
const WEEK: Duration = Duration::from_secs(7 * 24 * 3600);

async fn signup(cx: Cx, user: String) -> WorkflowResult<String, String> {
    let account = cx.step("create account", async || Ok::<_, String>(format!("account of {user}"))).await?;
    cx.step("send mail", async || Ok::<_, String>(())).await?; // a body runs at least once, its result counts once
    match cx.race(cx.signal::<()>("confirmed"), cx.sleep(WEEK)).await {
        Either::Left(confirmed) => {
            confirmed?;
            Ok(format!("{account} is open"))
        }
        Either::Right(()) => {
            cx.step("delete account", async || Ok::<_, String>(())).await?;
            Ok(format!("{account} was deleted"))
        }
    }
}

/// What every process knows: the same in `main` and in tests.
fn code(engine: EngineBuilder) -> EngineBuilder {
    engine.register(SIGNUP, signup)
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    tracing_subscriber::fmt().with_env_filter(tracing_subscriber::EnvFilter::from_default_env()).init();
    let url = env::var("DATABASE_URL")?;
    // Any number of processes may do this at once. Where the role may not create tables: `mainspring setup` before.
    Migrator::new(Settings::parse(&url)?, Names::default()).run(Mode::CreateIfMissing).await?;
    let engine = code(Engine::builder(PgStores::connect(&url, PgStoreOptions::default())?)).build()?;

    let words: Vec<String> = env::args().skip(1).collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    match words[..] {
        [] => engine.worker().run_until(stopped()).await?,
        ["start", user] => {
            let handle = engine.start(SIGNUP, &user.to_owned()).id(format!("signup-{user}")).await?;
            println!("{}", handle.id());
        }
        ["confirm", user] => {
            let handle = engine.workflow(SIGNUP, format!("signup-{user}").as_str().try_into()?);
            handle.signal("confirmed", &()).await?;
            println!("{}", handle.result().await?);
        }
        _ => return Err("start <user>, confirm <user>, or nothing".into()),
    }
    Ok(())
}

async fn stopped() {
    if let Err(error) = tokio::signal::ctrl_c().await {
        eprintln!("cannot hear of a stop: {error}");
    }
}

#[cfg(test)]
mod tests {
    use mainspring_testing::{MemoryBackend, crash_everywhere};

    use super::*;

    #[tokio::test]
    async fn an_account_is_deleted_after_a_week() -> Result<(), Box<dyn Error>> {
        let backend = MemoryBackend::new();
        let engine = code(Engine::builder(backend.clone())).build()?;
        let ada = engine.start(SIGNUP, &"ada".to_owned()).await?;
        engine.worker().drain().await?;
        backend.advance(WEEK);
        engine.worker().drain().await?;
        assert_eq!(ada.result().await?, "account of ada was deleted");
        Ok(())
    }

    #[tokio::test]
    async fn a_confirmation_survives_every_crash() -> Result<(), Box<dyn Error>> {
        let bob = "bob".to_owned();
        let run = crash_everywhere(SIGNUP, &bob, code).signal("confirmed", &()).run().await;
        assert_eq!(run.result?, "account of bob is open");
        Ok(())
    }
}
