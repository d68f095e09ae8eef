//! `bench [FIGURE…]`: measures side by side, prints tables, writes `target/bench.json`.
//!
//! A figure is a file with a `measure() -> Vec<Row>`, and a line in [`FIGURES`].

mod cpu;
mod load;
mod origin;
mod peers;
mod proxied_request;
mod relay;
mod report;

use std::net::SocketAddr;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

use crate::report::Row;

/// A figure's name, and what measures it.
type Figure = (&'static str, fn() -> Vec<Row>);

const FIGURES: &[Figure] = &[("proxied-request", proxied_request::measure)];

#[derive(Parser)]
#[command(about = "Measures figures side by side with today's best", version)]
struct Cli {
    /// Which figures; all if none is named
    figures: Vec<String>,
    #[command(subcommand)]
    part: Option<Part>,
}

/// Parts of a measurement that need a process of their own.
#[derive(Subcommand)]
enum Part {
    /// The floor of a proxy: copies bytes and looks at none
    #[command(hide = true)]
    Relay { listen: SocketAddr, target: SocketAddr },
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    if let Some(Part::Relay { listen, target }) = cli.part {
        relay::run(listen, target);
    }
    for name in &cli.figures {
        if !FIGURES.iter().any(|(known, _)| known == name) {
            let known: Vec<&str> = FIGURES.iter().map(|(known, _)| *known).collect();
            eprintln!("bench: there is no figure `{name}`; there are: {}", known.join(", "));
            return ExitCode::from(2);
        }
    }
    let mut rows = Vec::new();
    for (name, measure) in FIGURES {
        if cli.figures.is_empty() || cli.figures.iter().any(|wanted| wanted == name) {
            let measured = measure();
            report::print(name, &measured);
            rows.extend(measured);
        }
    }
    report::write(&rows);
    ExitCode::SUCCESS
}
