//! `proxyd`: the reverse proxy. See the library for what it does.

use std::process::ExitCode;

use clap::Parser;

fn main() -> ExitCode {
    match proxyd::run(proxyd::Cli::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("proxyd: {error}");
            ExitCode::from(error.exit_code())
        }
    }
}
