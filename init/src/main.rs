//! The program `init`.

use std::os::fd::RawFd;
use std::process::ExitCode;
use std::thread;
use std::time::Duration;

use init::inherit::Inherited;
use init::options::{HELP, Instead, Options};
use init::renew::{self, CHECKED, RESUMED};
use init::run::{Init, StartError};
use init::{log, machine, run};
use tracing::error;

/// Between two tries of a machine's init to start.
const PAUSE: Duration = Duration::from_secs(5);

fn main() -> ExitCode {
    if let Some(fd) = renew::descriptor(CHECKED) {
        return check(fd);
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
    let options = match renew::descriptor(RESUMED).map(|fd| resume(fd, &options, in_vm)) {
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

/// Says whether this program can go on with the state in a file.
fn check(fd: RawFd) -> ExitCode {
    match renew::check(fd) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("init: the state of the init that runs: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Goes on where the init that was this process has left off.
fn resume(fd: RawFd, options: &Options, in_vm: bool) -> Result<Init, StartError> {
    let file = Inherited::new([fd]).claim(fd)?;
    Init::resume(options.clone(), in_vm, renew::read(file)?)
}
