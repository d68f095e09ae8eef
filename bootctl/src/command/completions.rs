//! `bootctl completions SHELL`

use std::process::ExitCode;

use clap::Args;
use clap_complete::Shell;

use crate::install::completion;

/// Print what a shell reads to complete the words of bootctl; `install` puts it in place
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  source <(bootctl completions bash)")]
pub(crate) struct Completions {
    shell: Shell,
}

pub(super) fn run(completions: &Completions) -> ExitCode {
    super::print(completion(completions.shell).trim_end())
}
