//! The program `mainspring`, built with its feature `otel`.

fn main() -> std::process::ExitCode {
    mainspring_cli::run()
}
