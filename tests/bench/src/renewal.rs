//! `renewal`: how long a client waits while init with 1,000 jobs becomes another one.

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use crate::client::{Client, request};
use crate::report::{Row, median};
use crate::{crowd, inits};

const JOBS: u32 = 1000;
const ROUNDS: usize = 20;
/// Milliseconds.
const REACH: f64 = 20.0;

pub fn measure() -> Vec<Row> {
    let init = inits::init();
    crowd::put(init.address, 0..JOBS);
    let address = init.address;
    let mut pauses = Vec::new();
    for _ in 0..ROUNDS {
        let done = AtomicBool::new(false);
        let pause = thread::scope(|scope| {
            let asks = scope.spawn(|| {
                let (mut client, mut longest) = (Client::connect(address), 0_f64);
                let show = request("GET", "/job/job-1", "");
                while !done.load(Ordering::Relaxed) {
                    longest = longest.max(client.ask(&show));
                }
                longest / 1e3
            });
            thread::sleep(Duration::from_millis(50));
            Client::connect(address).ask(&request("PUT", "/job/init/restart", ""));
            thread::sleep(Duration::from_millis(50));
            done.store(true, Ordering::Relaxed);
            asks.join().expect("it asks")
        });
        pauses.push(pause);
    }
    let row = Row::new("renewal", "init: longest answer, 1,000 jobs", median(pauses), "ms");
    vec![row.compared("20 ms", REACH).at_most(1.0)]
}
