//! `bootctl stats [JOB|APP…]`

use std::process::ExitCode;

use clap::Args;
use init_wire::JobStats;

use crate::cli::InitOf;
use crate::table::size;

const HEAD: [&str; 8] =
    ["JOB", "CPU USER", "CPU SYSTEM", "MEMORY", "READ", "WRITTEN", "PROCESSES", "FILES"];

/// Show what jobs use: processor time, memory, disks, processes
///
/// Since the start of each job's run. What cannot be known is shown as `-`; `GET /job/{id}/stats` in api.md says
/// how each figure is counted.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  bootctl stats
  bootctl stats shop.example --pss")]
pub(crate) struct Stats {
    /// Names of jobs or apps [default: all that run]
    jobs: Vec<String>,

    /// Count a page that several share as each one's share of it; takes a while for large processes
    #[arg(long, requires = "jobs")]
    pss: bool,

    /// For programs
    #[arg(long)]
    json: bool,

    #[command(flatten)]
    init: InitOf,
}

pub(in crate::command) fn run(stats: &Stats) -> ExitCode {
    super::run(&stats.init, async |init| {
        let mut all = Vec::new();
        for name in &stats.jobs {
            let meant = super::meant(&init, name).await?;
            let several = meant.len() > 1;
            for job in meant {
                if several && job.pid.is_none() {
                    continue;
                }
                all.push(init.stats_of(&job.id, stats.pss).await?);
            }
        }
        if stats.jobs.is_empty() {
            all = init.stats().await?;
        }
        Ok(super::show(&all, stats.json, HEAD, row))
    })
}

fn row(job: &JobStats) -> [String; HEAD.len()] {
    let dash = || "-".to_owned();
    let time = |us: Option<u64>| us.map_or_else(dash, seconds);
    let bytes = |bytes: Option<u64>| bytes.map_or_else(dash, size);
    let count = |count: Option<u64>| count.map_or_else(dash, |count| count.to_string());
    [
        job.id.clone(),
        time(job.cpu.user_us),
        time(job.cpu.system_us),
        bytes(job.memory.pss_bytes.or(job.memory.current_bytes)),
        bytes(job.io.read_bytes),
        bytes(job.io.written_bytes),
        count(job.processes),
        count(job.fds),
    ]
}

fn seconds(us: u64) -> String {
    format!("{}.{:03}s", us / 1_000_000, us % 1_000_000 / 1000)
}
