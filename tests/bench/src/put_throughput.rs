//! `put-throughput`: 64 clients, each on its own connection, PUT a job and wait for its end, on all
//! cores; beside one loop of bare `posix_spawn` and wait a core, of the same program, with no HTTP.

use std::process::{Command, Stdio};
use std::thread;
use std::time::Instant;

use crate::client::{Client, request};
use crate::report::{Row, median};
use crate::{cpu, inits, noop};

const ROUNDS: usize = 6;
const CLIENTS: u32 = 64;
const JOBS: u32 = 2048;

pub fn measure() -> Vec<Row> {
    let noop = noop::program();
    let init = inits::init();
    let spec = format!("{{\"exec\":\"{}\"}}", noop.display());
    let mut clients: Vec<(Client, Vec<u8>)> = (0..CLIENTS)
        .map(|number| {
            let path = format!("/job/noop-{number}?wait=exit");
            (Client::connect(init.address), request("PUT", &path, &spec))
        })
        .collect();
    let loops = thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let loops = u32::try_from(loops).unwrap_or(1);
    let (mut puts, mut spawns, mut used) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        let (before, begun) = (cpu::own(init.pid()), Instant::now());
        thread::scope(|scope| {
            for (client, put) in &mut clients {
                scope.spawn(move || {
                    for _ in 0..JOBS / CLIENTS {
                        client.ask(put);
                    }
                });
            }
        });
        puts.push(f64::from(JOBS) / begun.elapsed().as_secs_f64());
        #[expect(clippy::cast_precision_loss, reason = "far below 2^52 nanoseconds")]
        used.push((cpu::own(init.pid()) - before) as f64 / 1000.0 / f64::from(JOBS));
        let begun = Instant::now();
        thread::scope(|scope| {
            for _ in 0..loops {
                scope.spawn(|| {
                    for _ in 0..JOBS / loops {
                        let status = Command::new(&noop).stdin(Stdio::null()).status();
                        status.expect("the no-op runs");
                    }
                });
            }
        });
        spawns.push(f64::from(JOBS) / begun.elapsed().as_secs_f64());
    }
    let (puts, spawns) = (median(puts), median(spawns));
    let figure = "put-throughput";
    vec![
        Row::new(figure, "init: 64 clients", puts, "jobs/s")
            .compared("bare loops", spawns)
            .at_least(0.8),
        Row::new(figure, "bare loops, one a core", spawns, "jobs/s"),
        Row::new(figure, "init: its own CPU a job", median(used), "us"),
    ]
}
