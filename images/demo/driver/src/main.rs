//! `make demo`: init boots bootctl, which starts the proxy and two apps; this program prints what
//! to try, and on Ctrl-C ends it all without a trace. `--check` tries everything by itself;
//! `--plain` makes no namespace; `--deploy` deploys while clients ask, to a demo of its own or to the tree whose
//! init and proxy have these ports.
//!
//! ```text
//! demo ──▶ (new pid namespace, when it may) init ──▶ bootctl boot ──▶ proxyd, apps
//! ```

mod ask;
mod check;
mod deploying;
mod enclosure;
mod http;
mod load;
mod ports;
mod remains;
mod scene;
mod stage;
mod tour;

use std::env;
use std::process::ExitCode;

use enclosure::Enclosure;
use stage::Stage;

fn main() -> ExitCode {
    let words: Vec<String> = env::args().skip(1).collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let result = match words.as_slice() {
        [] => show(Enclosure::best()),
        ["--plain"] => show(Enclosure::Subreaper),
        ["--check"] => check(Enclosure::best()),
        ["--deploy"] => deploy(Enclosure::best()),
        ["--deploy", api, proxy] => match (api.parse(), proxy.parse()) {
            (Ok(api), Ok(proxy)) => deploying::show(api, proxy),
            (_, _) => Err(format!("{api} and {proxy} are to be port numbers")),
        },
        ["--check", "--plain"] => check(Enclosure::Subreaper),
        [enclosure::FIRST, ids, program, args @ ..] => {
            Err(enclosure::become_first(ids, program, args))
        }
        [enclosure::PROBE, kind] => enclosure::probe(kind),
        _ => Err("usage: demo [--check] [--plain] | demo --deploy [API_PORT PROXY_PORT]".into()),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("demo: {error}");
            ExitCode::FAILURE
        }
    }
}

/// The demo for a person: shows the tour and waits for Ctrl-C.
fn show(enclosure: Enclosure) -> Result<(), String> {
    let mut stage = Stage::start(enclosure)?;
    stage.wait_until_ready()?;
    stage.tour().print()?;
    stage.wait_for_the_end()?;
    stage.end()
}

/// The demo of a deploy: as much of the rest as it needs.
fn deploy(enclosure: Enclosure) -> Result<(), String> {
    let mut stage = Stage::start_quietly(enclosure)?;
    stage.wait_until_ready()?;
    let [api, proxy] = stage.tour().ports();
    deploying::show(api, proxy)?;
    stage.end()
}

/// The demo for a test: takes the tour and looks for remains.
fn check(enclosure: Enclosure) -> Result<(), String> {
    let mut stage = Stage::start(enclosure)?;
    stage.wait_until_ready()?;
    stage.tour().print()?;
    check::take_the_tour(stage.tour())?;
    stage.end()?;
    println!("\ndemo: every line above was tried, and nothing is left behind");
    Ok(())
}
