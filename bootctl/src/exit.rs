//! How a job has ended, as a shell has it.

use init_wire::LastExit;

/// The code that a shell would make of it.
pub(crate) fn code(exit: Option<&LastExit>) -> u8 {
    match exit {
        Some(LastExit::Code(code)) => *code,
        Some(LastExit::Signal(name)) => {
            let signal = name.parse::<nix::sys::signal::Signal>().map_or(9, |known| known as i32);
            u8::try_from(128 + signal).unwrap_or(u8::MAX)
        }
        None => 0,
    }
}

/// The same in words.
pub(crate) fn told(exit: Option<&LastExit>) -> String {
    match exit {
        Some(LastExit::Code(code)) => format!("exit code {code}"),
        Some(LastExit::Signal(signal)) => format!("ended by {signal}"),
        None => "ended".to_owned(),
    }
}
