//! `boot-all`: from starting bootctl to the last of 1,000 apps that listens; and the same jobs given to init
//! by four clients that know all of them beforehand.

use std::sync::atomic::{AtomicUsize, Ordering};

use jobinit_tests::bootctl::Site;
use nix::sys::signal::Signal;
use serde_json::Value;

use crate::client::{Client, request};
use crate::report::{Row, median};
use crate::{inits, service, sites};

const APPS: usize = 1000;
const ROUNDS: usize = 3;
const CLIENTS: usize = 4;
const REACH: f64 = 1.3;

pub fn measure() -> Vec<Row> {
    let (mut booted, mut ready, mut bare) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        match round() {
            Ok((one, other, third)) => {
                booted.push(one);
                ready.push(other);
                bare.push(third);
            }
            Err(why) => eprintln!("bench: SKIPPED a round of boot-all: {why}"),
        }
    }
    let bare = median(bare);
    let row = |subject: &str, value| Row::new("boot-all", subject, value, "ms");
    let puts = "PUTs of the same jobs";
    vec![
        row(&format!("init: {APPS} {puts}"), bare),
        row("bootctl: all apps listen", median(booted)).compared(puts, bare).at_most(REACH),
        row("bootctl: all are targets of the proxy", median(ready)).compared(puts, bare),
    ]
}

/// Milliseconds until all listen, until all are ready, and with bare PUTs.
fn round() -> Result<(f64, f64, f64), String> {
    let folder = tempfile::tempdir().map_err(|error| error.to_string())?;
    let since = |begun: u64, stamp: u64| {
        #[expect(clippy::cast_precision_loss, reason = "far below 2^52 nanoseconds")]
        let took = stamp.saturating_sub(begun) as f64 / 1e6;
        took
    };
    let names: Vec<String> = (0..APPS).map(|number| format!("app{number}.test.toml")).collect();
    let text = sites::app(folder.path(), "");
    let files: Vec<(&str, &str)> =
        names.iter().map(|name| (name.as_str(), text.as_str())).collect();
    let site = Site::boot_as_job("supervisor", &files, "");
    let since_begun = u64::try_from(site.begun.elapsed().as_nanos()).unwrap_or(u64::MAX);
    let begun = service::now().saturating_sub(since_begun);
    let last = sites::last_stamp(folder.path(), APPS)?;
    let status = sites::ask(&site.socket(), "PUT", "/reload?timeout_ms=120000").0;
    let ready = service::now();
    if status != 200 {
        return Err(format!("not all apps run: {status}"));
    }
    let jobs: Vec<Value> =
        serde_json::from_str(&site.init.get("/jobs").body).map_err(|error| error.to_string())?;
    // A thousand processes take their time to end.
    site.init.signal(Signal::SIGTERM);
    site.init.signal(Signal::SIGTERM);
    drop(site);
    std::fs::remove_file(folder.path().join("stamps")).map_err(|error| error.to_string())?;
    let of_apps =
        jobs.iter().filter(|job| job["id"].as_str().is_some_and(|id| id.contains(".test.")));
    let requests: Vec<Vec<u8>> = of_apps
        .map(|job| {
            let path = format!("/job/{}", job["id"].as_str().unwrap_or_default());
            request("PUT", &path, &job["spec"].to_string())
        })
        .collect();
    let init = inits::init();
    drop(Client::connect(init.address));
    let next = AtomicUsize::new(0);
    let put = service::now();
    std::thread::scope(|scope| {
        for _ in 0..CLIENTS {
            scope.spawn(|| {
                let mut client = Client::connect(init.address);
                while let Some(request) = requests.get(next.fetch_add(1, Ordering::Relaxed)) {
                    client.ask(request);
                }
            });
        }
    });
    let bare = sites::last_stamp(folder.path(), APPS)?;
    Ok((since(begun, last), since(begun, ready), since(put, bare)))
}
