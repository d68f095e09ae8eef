//! `proxyd`: the reverse proxy. See the library for what it does.

use std::process::ExitCode;

use clap::Parser;

fn main() -> ExitCode {
    match proxyd::run(proxyd::Cli::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // Mistakes in a file begin with its name, as editors expect it.
            match &error {
                proxyd::Failed::Config(mistakes) => eprintln!("{mistakes}"),
                error => eprintln!("proxyd: {error}"),
            }
            ExitCode::from(error.exit_code())
        }
    }
}
