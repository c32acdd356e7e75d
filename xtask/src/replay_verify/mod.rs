//! `cargo xtask replay-verify`: histories of executions, replayed against the code as it is now. No body of a step runs, and
//! there is no database.
//!
//! The histories of the examples are in `tests/histories`, one file each, as [`Engine::export`] writes them. What no longer
//! fits them would park executions that are under way: such a change needs `cx.patched` or another version. A change that is
//! meant is recorded anew with `--record`.

mod examples;
mod record;

use std::{
    error::Error,
    fs,
    path::{Path, PathBuf},
    process::ExitCode,
    sync::Arc,
};

use mainspring::{Engine, ExportedHistory, Replay};
use mainspring_testing::MemoryBackend;
use tokio::sync::mpsc::unbounded_channel;

use crate::Outcome;

/// The ending of the files.
const ENDING: &str = "jsonl";

#[derive(clap::Args)]
pub struct Args {
    /// The folder of the histories, files that end with `.jsonl`. Defaults to those of the examples.
    folder: Option<PathBuf>,
    /// Let code pass that has a step more than the history. It may be a step that was renamed.
    #[arg(long)]
    allow_inserted: bool,
    /// Run the examples on Postgres, and write the histories anew that are missing or do not fit.
    #[arg(long)]
    record: bool,
}

pub fn run(args: &Args) -> Outcome {
    let ours = crate::root().join("tests/histories");
    let folder = args.folder.as_deref().unwrap_or(&ours);
    if args.record {
        crate::block_on(write_anew(folder))??;
    }
    let verdicts = crate::block_on(verify(&engine()?, folder))??;
    let mut wrong = 0;
    for (file, replay) in &verdicts {
        if passes(replay, args.allow_inserted) {
            println!("{}: {replay}", file.display());
        } else {
            eprintln!("error: {}: {replay}", file.display());
            wrong += 1;
        }
    }
    println!("replay-verify: {} histories, {wrong} problems", verdicts.len());
    Ok(if wrong == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn passes(replay: &Replay, allow_inserted: bool) -> bool {
    *replay == Replay::Fits || allow_inserted && replay.fits()
}

/// The code of the examples, without a database.
fn engine() -> mainspring::Result<Engine> {
    let (mail, _) = unbounded_channel();
    examples::engine(MemoryBackend::new(), Arc::new(mail))
}

/// What the code makes of every history in a folder, by name.
async fn verify(engine: &Engine, folder: &Path) -> Result<Vec<(PathBuf, Replay)>, Box<dyn Error>> {
    let mut files = Vec::new();
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        files.extend(path.extension().is_some_and(|ending| ending == ENDING).then_some(path));
    }
    if files.is_empty() {
        return Err(format!("no history in {}", folder.display()).into());
    }
    files.sort();
    let mut verdicts = Vec::new();
    for file in files {
        let replay = replay(engine, &file).await.map_err(|error| format!("{}: {error}", file.display()))?;
        verdicts.push((file, replay));
    }
    Ok(verdicts)
}

async fn replay(engine: &Engine, file: &Path) -> Result<Replay, Box<dyn Error>> {
    let history: ExportedHistory = fs::read_to_string(file)?.parse()?;
    Ok(engine.verify_replay(&history).await?)
}

async fn write_anew(folder: &Path) -> Result<(), Box<dyn Error>> {
    let engine = engine()?;
    fs::create_dir_all(folder)?;
    for (name, history) in record::record().await? {
        let file = folder.join(name).with_extension(ENDING);
        // One that fits stays as it is: times and generated ids would be others.
        if !matches!(replay(&engine, &file).await, Ok(Replay::Fits)) {
            fs::write(&file, history.to_string())?;
            println!("wrote {}", file.display());
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    fn ours() -> PathBuf {
        crate::root().join("tests/histories")
    }

    #[tokio::test]
    async fn the_examples_fit_their_histories() {
        // W13
        let verdicts = verify(&engine().unwrap(), &ours()).await.unwrap();
        let wrong: Vec<_> = verdicts.iter().filter(|(_, replay)| *replay != Replay::Fits).collect();
        assert!(wrong.is_empty(), "{wrong:#?}; `cargo xtask replay-verify --record` if that is meant");
        let names: BTreeSet<_> = verdicts.iter().filter_map(|(file, _)| file.file_stem()?.to_str()).collect();
        assert!(record::NAMES.iter().all(|name| names.contains(name)), "{names:?}");
    }

    #[tokio::test]
    async fn a_step_that_was_renamed_is_refused_with_both_names() {
        // The other way round: the code has `charge`, and the history another name for it.
        let folder = tempfile::tempdir().unwrap();
        for (name, from, to, says) in [
            ("checkout-paid", "charge", "pay", ["`charge`", "`pay`"]),
            ("transfer-done", "give", "hand-over", ["`give`", "`hand-over`"]),
            ("children-parcel", "ship", "send", ["`ship`", "`send`"]),
        ] {
            let history = fs::read_to_string(ours().join(name).with_extension(ENDING)).unwrap();
            let (from, to) = (format!("\"subject\":\"{from}\""), format!("\"subject\":\"{to}\""));
            assert!(history.contains(&from), "{name}");
            fs::write(folder.path().join("renamed.jsonl"), history.replace(&from, &to)).unwrap();
            let verdicts = verify(&engine().unwrap(), folder.path()).await.unwrap();
            let (_, replay) = &verdicts[0];
            assert!(!passes(replay, false), "{name}: {replay}");
            let text = replay.to_string();
            assert!(says.iter().all(|word| text.contains(word)), "{name}: {text}");
        }
    }

    #[tokio::test]
    async fn what_is_no_history_is_refused_with_its_place() {
        let folder = tempfile::tempdir().unwrap();
        let engine = engine().unwrap();
        assert!(verify(&engine, folder.path()).await.unwrap_err().to_string().contains("no history"));
        fs::write(folder.path().join("torn.jsonl"), "{").unwrap();
        let error = verify(&engine, folder.path()).await.unwrap_err().to_string();
        assert!(error.contains("torn.jsonl") && error.contains("line 1"), "{error}");
    }
}
