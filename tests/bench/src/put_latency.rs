//! `put-latency`: PUT a job, it is exec'ed, exits, is reaped, and the answer is there.
//!
//! The floor is what nobody can do without: a bare `posix_spawn` and wait of the same program, and
//! the client's round trip to a server that does nothing. All on one core: across two, waking the
//! other one costs more than the rest, and whether that happens is the scheduler's mood.

use std::process::{Command, Stdio};
use std::thread;
use std::time::Instant;

use crate::client::{Client, request};
use crate::report::{Row, median};
use crate::{cpu, inits, noop};

const ROUNDS: usize = 20;
const EACH: usize = 100;

pub fn measure() -> Vec<Row> {
    thread::spawn(on_one_core).join().expect("it measures")
}

fn on_one_core() -> Vec<Row> {
    cpu::pin(1);
    let noop = noop::program();
    let (init, silent) = (inits::init(), inits::silent());
    let (mut asks, mut trips) = (Client::connect(init.address), Client::connect(silent.address));
    let spec = format!("{{\"exec\":\"{}\"}}", noop.display());
    let put = request("PUT", "/job/noop?wait=exit", &spec);

    let (mut spawns, mut idles, mut puts) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        for _ in 0..EACH {
            let begun = Instant::now();
            Command::new(&noop).stdin(Stdio::null()).status().expect("the no-op runs");
            spawns.push(begun.elapsed().as_secs_f64() * 1e6);
        }
        idles.extend((0..EACH).map(|_| trips.ask(&put)));
        puts.extend((0..EACH).map(|_| asks.ask(&put)));
    }

    let figure = "put-latency";
    let (spawn, trip, put) = (median(spawns), median(idles), median(puts));
    vec![
        Row::new(figure, "init: PUT, exec, exit, reap", put, "us")
            .compared("floor", spawn + trip)
            .at_most(1.15),
        Row::new(figure, "floor", spawn + trip, "us"),
        Row::new(figure, "floor: posix_spawn and wait", spawn, "us"),
        Row::new(figure, "floor: HTTP round trip", trip, "us"),
    ]
}
