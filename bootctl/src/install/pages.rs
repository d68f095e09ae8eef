//! Manual pages and completions, made from the command line's own description.

use std::path::PathBuf;

use clap::{Command, CommandFactory};
use clap_complete::Shell;
use clap_mangen::Man;

use crate::cli::Cli;

/// The section of the manual that is about a machine's administration.
const SECTION: &str = "8";

/// All of them, with where they go below `share`.
pub(super) fn all() -> Vec<(PathBuf, String)> {
    let mut all = manual();
    for (shell, path) in [
        (Shell::Bash, "bash-completion/completions/bootctl"),
        (Shell::Zsh, "zsh/site-functions/_bootctl"),
        (Shell::Fish, "fish/vendor_completions.d/bootctl.fish"),
    ] {
        all.push((path.into(), completion(shell)));
    }
    all
}

/// What a shell reads to complete words.
pub(crate) fn completion(shell: Shell) -> String {
    let mut text = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), "bootctl", &mut text);
    String::from_utf8_lossy(&text).into_owned()
}

/// A page for bootctl, and one for each verb that people use.
fn manual() -> Vec<(PathBuf, String)> {
    let mut command = Cli::command();
    command.build();
    let verbs =
        command.get_subcommands().filter(|verb| !verb.is_hide_set() && verb.get_name() != "help");
    let verbs = verbs.map(|verb| (format!("bootctl-{}", verb.get_name()), verb.clone()));
    let verbs: Vec<_> = verbs.collect();
    let all = [("bootctl".to_owned(), command)].into_iter().chain(verbs);
    all.map(|(name, command)| {
        (format!("man/man{SECTION}/{name}.{SECTION}").into(), page(&name, command))
    })
    .collect()
}

fn page(name: &str, command: Command) -> String {
    let man = Man::new(command).title(name.to_uppercase()).section(SECTION);
    let man = man.source(concat!("jobinit ", env!("CARGO_PKG_VERSION"))).manual("jobinit");
    let mut text = Vec::new();
    // A Vec takes all that is written.
    drop(man.render(&mut text));
    String::from_utf8_lossy(&text).into_owned()
}
