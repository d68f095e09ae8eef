//! The program `init`.

use std::fs::File;
use std::io::BufReader;
use std::os::fd::RawFd;
use std::process::ExitCode;
use std::thread;
use std::time::Duration;

use init::inherit::Inherited;
use init::options::{HELP, Instead, Options};
use init::renew::{self, CHECKED, RESUMED, State};
use init::run::Init;
use init::{log, machine, run, sys};
use tracing::error;

/// Between two tries of a machine's init to start.
const PAUSE: Duration = Duration::from_secs(5);

fn main() -> ExitCode {
    match renew::descriptor(CHECKED).and_then(state) {
        Some(Ok(state)) => return check(state),
        // Whoever asks is init, and has one already.
        Some(Err(())) => return ExitCode::FAILURE,
        None => {}
    }
    run::prepare();
    let in_vm = machine::is_ours();
    let options = match run::options(in_vm) {
        Ok(options) => options,
        Err(Instead::Help) => {
            print!("{HELP}");
            return ExitCode::SUCCESS;
        }
        Err(Instead::Version) => {
            println!("init {}", init::VERSION);
            return ExitCode::SUCCESS;
        }
        Err(error) => {
            eprintln!("init: {error}");
            return ExitCode::from(2);
        }
    };
    log::start();
    // Without a state of this process's own, somebody has only set a variable of that name.
    let state = renew::descriptor(RESUMED).and_then(state);
    let own = state.and_then(Result::ok).filter(|(state, _)| state.pid == std::process::id());
    if own.is_none() && renew::descriptor(RESUMED).is_some() {
        // What an earlier init has kept would only be in the way.
        sys::close_all(3);
    }
    let options = match own.map(|state| Init::resume(options.clone(), in_vm, state)) {
        None => options,
        Some(Ok(init)) => return init.run(),
        Some(Err(error)) => {
            // It was tried before. What runs goes on, as nobody's; who is asked for help finds the API.
            error!("{error}; the jobs that there are go on without init");
            Options { command: Vec::new(), ..options }
        }
    };
    loop {
        match Init::start(options.clone(), in_vm) {
            Ok(init) => return init.run(),
            Err(error) => error!("{error}"),
        }
        if !in_vm {
            return ExitCode::FAILURE;
        }
        // The end of a machine's first process is a kernel panic; what is missing may come.
        thread::sleep(PAUSE);
    }
}

type Read = (State, BufReader<File>);

/// The state in a descriptor, if that is open. What is wrong with it is said here.
fn state(fd: RawFd) -> Option<Result<Read, ()>> {
    let file = Inherited::new([fd]).claim(fd).ok()?;
    let read = renew::read(file);
    Some(read.map_err(|error| eprintln!("init: the state in descriptor {fd}: {error}")))
}

/// Says whether this program can go on with a state, and with the options that go with it.
fn check((state, _): Read) -> ExitCode {
    let able = run::try_options(state.in_vm).map_err(|error| error.to_string());
    match able.and_then(|()| renew::prove().map_err(|error| error.to_string())) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("init: the one on disk cannot go on: {error}");
            ExitCode::FAILURE
        }
    }
}
