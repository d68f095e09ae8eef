//! The program `bootctl`: the boot process that init starts, and the administrator's command.
#![forbid(unsafe_code)]

mod account;
mod act;
mod admin;
mod app;
mod arrival;
mod boot;
mod button;
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
mod declined;
mod deploys;
mod early;
mod event;
mod generation;
mod giving_up;
mod health;
mod http;
mod liveness;
mod logs;
mod name;
mod network;
mod order;
mod place;
mod plan;
mod probe;
mod progress;
mod proving;
mod proxy;
mod proxy_standing;
mod record;
mod release;
mod requests;
mod roster;
mod scale;
mod site;
mod socket_file;
mod standing;
mod store;
mod supervise;
mod table;
mod token;
mod upload;
mod verdict;
mod watches;
mod work;

use std::process::ExitCode;

use clap::Parser;

fn main() -> ExitCode {
    command::run(cli::Cli::parse())
}
