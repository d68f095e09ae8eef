//! `bootctl check`

use std::process::ExitCode;

use crate::cli::Check;
use crate::config;

pub(super) fn run(check: &Check) -> ExitCode {
    match config::load(&check.config) {
        Ok(config) if config.problems.is_empty() => {
            super::print(&format!("{} apps, no problems", config.apps.len()));
            ExitCode::SUCCESS
        }
        Ok(config) => {
            for problem in &config.problems {
                eprintln!("{problem}");
            }
            ExitCode::FAILURE
        }
        Err(error) => {
            eprintln!("bootctl: {error}");
            ExitCode::FAILURE
        }
    }
}
