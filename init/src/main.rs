//! The program `init`.
//!
//! It is entered from the C library directly: what Rust's own entry does before (it opens the standard
//! streams, ignores SIGPIPE, looks for the end of the stack in `/proc/self/maps`) init does itself, or
//! does not need, and a twentieth of its start would be spent on it.

#![no_main]
#![expect(unsafe_code, reason = "the C library's name of a program's entry")]

use std::ffi::c_int;
use std::os::fd::{OwnedFd, RawFd};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Duration;
use std::{mem, thread};

use init::inherit::Inherited;
use init::options::{HELP, Instead, Options};
use init::renew::{self, CHECKED, RESUMED, Unreadable};
use init::run::{Init, Past, Remains, StartError};
use init::{log, machine, run, sys};
use tracing::error;

/// Between two tries of a machine's init to start.
const PAUSE: Duration = Duration::from_secs(5);

/// What a program ends with that has failed.
const FAILURE: u8 = 1;

// SAFETY: no other function has this name.
#[unsafe(no_mangle)]
extern "C" fn main() -> c_int {
    c_int::from(begin())
}

fn begin() -> u8 {
    match renew::descriptor(CHECKED).and_then(state) {
        Some(Ok(state)) => return check(&state),
        // Whoever asks is init, and has one already.
        Some(Err(())) => return FAILURE,
        None => {}
    }
    run::prepare();
    let in_vm = machine::is_ours();
    let options = match run::options(in_vm) {
        Ok(options) => options,
        Err(Instead::Help) => {
            print!("{HELP}");
            return 0;
        }
        Err(Instead::Version) => {
            println!("init {}", init::VERSION);
            return 0;
        }
        Err(error) => {
            eprintln!("init: {error}");
            return 2;
        }
    };
    log::start();
    if let Some(fd) = renew::descriptor(RESUMED) {
        run::be_prepared_to_read(fd);
    }
    // Without a state of this process's own, somebody has only set a variable of that name.
    let state = renew::descriptor(RESUMED).and_then(state);
    let own = state.and_then(Result::ok).filter(|past| past.state.pid == std::process::id());
    let crash = renew::crash();
    if own.is_none() && crash.is_none() && renew::descriptor(RESUMED).is_some() {
        // What an earlier init has kept would only be in the way.
        sys::close_all(3);
    }
    // Without what an earlier init knew, what runs goes on, as nobody's; who is asked for help finds
    // the API.
    let alone = Options { command: Vec::new(), ..options.clone() };
    match (own, crash) {
        (Some(mut past), _) => {
            let good = past.prepare();
            let listener = past.listener();
            match resume(options, in_vm, (past, good)) {
                Ok(init) => {
                    drop(listener);
                    init.run()
                }
                Err(error) => {
                    error!("{error}; the jobs that there are go on without init");
                    start(
                        &alone,
                        in_vm,
                        Remains::gather(listener, crash.map_or(0, |crash| crash.count)),
                    )
                }
            }
        }
        (None, Some(crash)) => {
            let listener = Inherited::new([crash.listener]).claim(crash.listener).ok();
            let remains = Remains::gather(listener, crash.count);
            error!(
                "a defect in init: it crashed, {} in a row, and what it knew is lost; the jobs that there \
                 are go on without init",
                crash.count
            );
            thread::sleep(run::PAUSE);
            start(&alone, in_vm, remains)
        }
        (None, None) => start(&options, in_vm, Remains::default()),
    }
}

/// A panic on the way is as good as a crash.
fn resume(
    options: Options,
    in_vm: bool,
    past: (Past, Option<OwnedFd>),
) -> Result<Init, StartError> {
    let resume = AssertUnwindSafe(|| Init::resume(options, in_vm, past));
    catch_unwind(resume).unwrap_or_else(|_| {
        if sys::crash::is_prepared() {
            std::process::abort();
        }
        Err(StartError::Defect)
    })
}

/// Begins anew, in a machine until that succeeds: the end of its first process is a kernel panic, and
/// what is missing may come.
fn start(options: &Options, in_vm: bool, mut remains: Remains) -> u8 {
    loop {
        match Init::start(options.clone(), in_vm, mem::take(&mut remains)) {
            Ok(init) => return init.run(),
            Err(error) => error!("{error}"),
        }
        if !in_vm {
            return FAILURE;
        }
        thread::sleep(PAUSE);
    }
}

/// The state in a descriptor, if that is open. What is wrong with it is said here.
fn state(fd: RawFd) -> Option<Result<Past, ()>> {
    let file = Inherited::new([fd]).claim(fd).ok()?;
    let read = file.try_clone().map_err(Unreadable::from).and_then(renew::read);
    let past = read.map(|(state, bytes)| {
        let state = Box::new(state);
        Past { state, bytes, file, crash: renew::crash() }
    });
    Some(past.map_err(|error| eprintln!("init: the state in descriptor {fd}: {error}")))
}

/// Says whether this program can go on with a state, and with the options that go with it.
fn check(past: &Past) -> u8 {
    let able = run::try_options(past.state.in_vm).map_err(|error| error.to_string());
    match able.and_then(|()| renew::prove().map_err(|error| error.to_string())) {
        Ok(()) => 0,
        Err(error) => {
            eprintln!("init: the one on disk cannot go on: {error}");
            FAILURE
        }
    }
}
