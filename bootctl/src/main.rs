//! The program `bootctl`: the boot process that init starts, and the administrator's command.
#![forbid(unsafe_code)]
#![deny(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "they panic where nobody reads: `speech` does not"
)]

mod access;
mod account;
mod act;
mod admin;
mod app;
mod arrival;
mod audit;
mod boot;
mod care;
mod changes;
mod cli;
mod client;
mod collecting;
mod command;
mod commands;
mod condition;
mod config;
mod confinement;
mod custom;
mod declined;
mod deploys;
mod durable;
mod early;
mod echo;
mod errand;
mod event;
mod exit;
mod fingerprint;
mod free_port;
mod gate;
mod generation;
mod giving_up;
mod health;
mod http;
mod install;
mod job;
mod lanes;
mod last_good;
mod letting_go;
mod life;
mod liveness;
mod logs;
mod makeshift;
mod name;
mod order;
mod outlook;
mod place;
mod plan;
mod probe;
mod progress;
mod proving;
mod proxy;
mod proxy_standing;
mod record;
mod release;
mod remote;
mod requests;
mod roster;
mod runlevel;
mod scale;
mod settle;
mod site;
mod snapshot;
mod socket_file;
mod speech;
mod standing;
mod store;
mod supervise;
mod table;
mod takeover;
mod telling;
mod tls;
mod token;
mod top;
mod touched;
mod unread;
mod upload;
mod verdict;
mod vigil;
mod wanted;
mod watches;
mod wishes;
mod work;

use std::ffi::{OsStr, OsString};
use std::path::Path;
use std::process::ExitCode;

/// Under the name `telinit` the program is its verb of that name.
fn words(given: impl Iterator<Item = OsString>) -> Vec<OsString> {
    let mut words: Vec<OsString> = given.collect();
    let name = words.first().map(Path::new).and_then(Path::file_name);
    if name == Some(OsStr::new("telinit")) {
        words.insert(1, "telinit".into());
    }
    words
}

fn main() -> ExitCode {
    command::run(cli::Cli::read(words(std::env::args_os())))
}
