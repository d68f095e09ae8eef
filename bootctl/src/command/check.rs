//! `bootctl check`

use std::process::ExitCode;

use clap::Args;

use crate::cli::ConfigDir;
use crate::config::{self, doubts};
use crate::speech::{remark, say};

/// Read a config folder and tell what is wrong with it; needs no supervisor
///
/// What can be meant so and will most likely not work on this machine, such as a user that is not there, is a warning.
#[derive(Debug, Args)]
pub(crate) struct Check {
    /// Let a warning count as a mistake
    #[arg(long)]
    pub(crate) strict: bool,

    #[command(flatten)]
    pub(crate) config: ConfigDir,
}

pub(super) fn run(check: &Check) -> ExitCode {
    let folder = &check.config.path;
    let config = match config::load(folder) {
        Ok(config) => config,
        Err(error) => {
            say(&error);
            return ExitCode::FAILURE;
        }
    };
    let doubts = doubts::of(folder, &config);
    for problem in &config.problems {
        remark(format_args!("{problem}\n"));
    }
    for doubt in &doubts {
        remark(format_args!("warning: {doubt}\n"));
    }
    if !config.problems.is_empty() || (check.strict && !doubts.is_empty()) {
        return ExitCode::FAILURE;
    }
    let warnings = match doubts.len() {
        0 => String::new(),
        1 => ", 1 warning".into(),
        count => format!(", {count} warnings"),
    };
    super::print(&format!("{} apps, no problems{warnings}", config.apps.len()))
}
