//! `cargo xtask template`: makes a project of each template, with this workspace in place of the registry, and checks and tests it.

use std::{
    env, fs,
    path::Path,
    process::{Command, ExitCode},
};

use crate::Outcome;

const NAME: &str = "{{project-name}}";
/// Settings of this workspace without which everything would be compiled once more.
const PROFILE: &str = "
[profile.dev]
debug = \"line-tables-only\"
[profile.dev.package.\"*\"]
debug = false
[profile.dev.build-override]
opt-level = 0
[workspace]
";

#[derive(clap::Args)]
pub struct Args {
    /// Only check that it compiles.
    #[arg(long)]
    check: bool,
}

pub fn run(args: &Args) -> Outcome {
    let folder = env::temp_dir().join(format!("mainspring-template-{}", std::process::id()));
    let mut made = Vec::new();
    for template in fs::read_dir(crate::root().join("templates"))? {
        let template = template?.path();
        let project = folder.join(template.file_name().unwrap_or_default());
        copy(&template, &project)?;
        patch(&project)?;
        made.push(project);
    }
    let mut worst = ExitCode::SUCCESS;
    for project in &made {
        let cargo = env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
        let status = Command::new(cargo)
            .args([if args.check { "check" } else { "test" }, "--offline", "--quiet", "--all-targets"])
            .current_dir(project)
            .env("CARGO_TARGET_DIR", crate::root().join("target"))
            .status()?;
        println!("{}: {status}", project.display());
        if !status.success() {
            worst = ExitCode::FAILURE;
        }
    }
    fs::remove_dir_all(&folder)?;
    Ok(worst)
}

/// Copies a template with its placeholders filled in.
fn copy(from: &Path, to: &Path) -> std::io::Result<()> {
    fs::create_dir_all(to)?;
    for entry in fs::read_dir(from)? {
        let path = entry?.path();
        let target = to.join(path.file_name().unwrap_or_default());
        if path.is_dir() {
            copy(&path, &target)?;
        } else {
            fs::write(&target, fs::read_to_string(&path)?.replace(NAME, "hello"))?;
        }
    }
    Ok(())
}

/// Takes the crates, their versions and the profile of this workspace.
fn patch(project: &Path) -> std::io::Result<()> {
    let root = crate::root();
    let manifest = project.join("Cargo.toml");
    let mut text = fs::read_to_string(&manifest)?;
    text.push_str("\n[patch.crates-io]\n");
    for entry in fs::read_dir(root.join("crates"))? {
        let path = entry?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        text.push_str(&format!("{name} = {{ path = {:?} }}\n", path.display().to_string()));
    }
    text.push_str(PROFILE);
    fs::write(&manifest, text)?;
    fs::copy(root.join("Cargo.lock"), project.join("Cargo.lock"))?;
    Ok(())
}
