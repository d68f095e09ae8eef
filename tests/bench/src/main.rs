//! `bench [FIGURE…]`: measures side by side, prints tables, writes `target/bench.json`.
//!
//! A figure is a file with a `measure() -> Vec<Row>`, and a line in [`FIGURES`].

mod ask;
mod at_rest;
mod bodies;
mod boot;
mod boot_all;
mod capture;
mod client;
mod contest;
mod cpu;
mod crowd;
mod deploys;
mod flooded;
mod http2;
mod idle;
mod idle_memory;
mod images;
mod inits;
mod instructions;
mod latency;
mod launch;
mod listing;
mod load;
mod many_routes;
mod memory;
mod new_connections;
mod noop;
mod origin;
mod orphans;
mod pace;
mod peers;
mod proxied_request;
mod put_latency;
mod put_throughput;
mod relay;
mod renewal;
mod replaced;
mod report;
mod respawn;
mod rolling;
mod secure;
mod service;
mod silent;
mod sites;
mod spin;
mod start;
mod static_files;
mod supervisors;
mod tiny;
mod tls_handshake;
mod tls_keep_alive;

use std::net::SocketAddr;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

use crate::report::Row;

/// A figure's name, and what measures it.
type Figure = (&'static str, fn() -> Vec<Row>);

const FIGURES: &[Figure] = &[
    ("start", start::measure),
    ("put-latency", put_latency::measure),
    ("put-throughput", put_throughput::measure),
    ("orphans", orphans::measure),
    ("respawn", respawn::measure),
    ("launch", launch::measure),
    ("memory", memory::measure),
    ("listing", listing::measure),
    ("idle", idle::measure),
    ("capture", capture::measure),
    ("flooded", flooded::measure),
    ("renewal", renewal::measure),
    ("proxied-request", proxied_request::of_64),
    ("proxied-request-1000", proxied_request::of_1000),
    ("http2-100", http2::of_100_streams),
    ("tls-handshake", tls_handshake::full),
    ("tls-resumed", tls_handshake::resumed),
    ("tls-keep-alive", tls_keep_alive::measure),
    ("http2-100-tls", http2::of_100_streams_over_tls),
    ("body-1m", bodies::of_1_mib),
    ("body-100m", bodies::of_100_mib),
    ("static-1m", static_files::of_1_mib),
    ("static-16k", static_files::of_16_kib),
    ("new-connections", new_connections::measure),
    ("routes", many_routes::measure),
    ("idle-memory", idle_memory::measure),
    ("latency", latency::measure),
    ("instructions", instructions::measure),
    ("deploys", deploys::measure),
    ("boot-all", boot_all::measure),
    ("rolling", rolling::measure),
    ("at-rest", at_rest::measure),
    ("replaced", replaced::measure),
    ("images", images::measure),
    ("boot", boot::measure),
];

#[derive(Parser)]
#[command(about = "Measures figures side by side with today's best", version)]
struct Cli {
    /// Which figures; all if none is named
    figures: Vec<String>,
    /// Of the proxies, only those whose names begin so; may be repeated
    #[arg(long, value_name = "NAME")]
    only: Vec<String>,
    /// Makes the counts of `instructions` the ones that tests hold proxyd to
    #[arg(long)]
    update: bool,
    #[command(subcommand)]
    part: Option<Part>,
}

/// Parts of a measurement that need a process of their own.
#[derive(Subcommand)]
enum Part {
    /// The floor of a proxy: copies bytes and looks at none
    #[command(hide = true)]
    Relay {
        listen: SocketAddr,
        /// `tcp:ADDR:PORT` or `unix:PATH`
        target: String,
        /// Moves pages instead
        #[arg(long)]
        splice: bool,
    },
    /// The floor of an API: answers and does nothing
    #[command(hide = true)]
    Silent { listen: SocketAddr },
    /// An app that is deployed
    #[command(hide = true)]
    Serve,
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    match cli.part {
        Some(Part::Relay { listen, target, splice }) => relay::run(listen, &target, splice),
        Some(Part::Silent { listen }) => silent::run(listen),
        Some(Part::Serve) => {
            jobinit_tests::serves::run();
            return ExitCode::SUCCESS;
        }
        None => {}
    }
    for name in &cli.figures {
        if !FIGURES.iter().any(|(known, _)| known == name) {
            let known: Vec<&str> = FIGURES.iter().map(|(known, _)| *known).collect();
            eprintln!("bench: there is no figure `{name}`; there are: {}", known.join(", "));
            return ExitCode::from(2);
        }
    }
    contest::restrict(cli.only);
    if cli.update {
        instructions::update();
        return ExitCode::SUCCESS;
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
