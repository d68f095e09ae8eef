//! The program `init`.

use std::process::ExitCode;
use std::thread;
use std::time::Duration;

use init::options::{HELP, Instead};
use init::run::Init;
use init::{log, machine, run};
use tracing::error;

/// Between two tries of a machine's init to start.
const PAUSE: Duration = Duration::from_secs(5);

fn main() -> ExitCode {
    run::prepare();
    let in_vm = machine::is_ours();
    let options = match run::options(in_vm) {
        Ok(options) => options,
        Err(Instead::Help) => {
            print!("{HELP}");
            return ExitCode::SUCCESS;
        }
        Err(Instead::Version) => {
            println!("init {}", env!("CARGO_PKG_VERSION"));
            return ExitCode::SUCCESS;
        }
        Err(error) => {
            eprintln!("init: {error}");
            return ExitCode::from(2);
        }
    };
    log::start();
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
