//! The program `mainspring`.

fn main() -> std::process::ExitCode {
    mainspring_cli::run()
}
