//! The program `init`.

use std::process::ExitCode;

use init::options::{HELP, Instead};
use init::run::Init;
use init::{log, machine, run};

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
    match Init::start(options, in_vm) {
        Ok(init) => init.run(),
        Err(error) => {
            eprintln!("init: {error}");
            ExitCode::FAILURE
        }
    }
}
