//! Signals by name and number, and how a process ended.

use std::fmt;
use std::ops::RangeInclusive;

use init_wire::{LastExit, SignalName};
use nix::sys::signal as os;
use serde::{Deserialize, Serialize};

/// The real-time signals that the C library leaves to programs.
const REAL_TIME: RangeInclusive<i32> = 34..=64;

/// A signal that exists on this machine, by its number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Signal(i32);

impl Signal {
    /// The polite request to end.
    pub const TERM: Self = Self(libc::SIGTERM);
    /// The one that leaves a core behind.
    pub const ABRT: Self = Self(libc::SIGABRT);
    /// The one that cannot be refused.
    pub const KILL: Self = Self(libc::SIGKILL);
    /// The stop that cannot be refused.
    pub const STOP: Self = Self(libc::SIGSTOP);
    /// The end of a stop.
    pub const CONT: Self = Self(libc::SIGCONT);
    /// A child has ended or stopped.
    pub const CHLD: Self = Self(libc::SIGCHLD);

    /// From `TERM`, `SIGTERM`, `term` or `15`; real-time signals from their numbers.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        if let Ok(number) = text.parse::<i32>() {
            return Self::from_number(number);
        }
        let has_prefix = text.get(..3).is_some_and(|start| start.eq_ignore_ascii_case("SIG"));
        let name = if has_prefix { text.get(3..)? } else { text };
        let is_named = |signal: &os::Signal| {
            let own = signal.as_str().strip_prefix("SIG");
            own.is_some_and(|own| own.eq_ignore_ascii_case(name))
        };
        os::Signal::iterator().find(is_named).map(|signal| Self(signal as i32))
    }

    /// From the kernel's number, 1 to 31 and 34 to 64: the two between are the C library's own.
    #[must_use]
    pub fn from_number(number: i32) -> Option<Self> {
        let exists = os::Signal::try_from(number).is_ok() || REAL_TIME.contains(&number);
        exists.then_some(Self(number))
    }

    /// From the vocabulary of the API.
    #[must_use]
    pub fn from_wire(name: &SignalName) -> Option<Self> {
        match name {
            SignalName::Number(number) => Self::from_number(i32::from(*number)),
            SignalName::Name(text) => Self::parse(text),
        }
    }

    /// The kernel's number.
    #[must_use]
    pub fn number(self) -> i32 {
        self.0
    }
}

impl fmt::Display for Signal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match os::Signal::try_from(self.0) {
            Ok(named) => f.write_str(named.as_str()),
            Err(_) => write!(f, "SIG{}", self.0),
        }
    }
}

/// How a process ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Exit {
    /// With an exit code.
    Code(u8),
    /// By a signal, by number: real-time signals have no name of their own.
    Signal(i32),
    /// By the SIGKILL of a kernel whose memory, as far as it is the job's, was out.
    Oom,
    /// It was not init's child, and nothing tells how it ended.
    Unknown,
}

impl Exit {
    /// From the status that `wait(2)` gives of a process that has ended.
    #[must_use]
    pub fn from_status(status: i32) -> Option<Self> {
        match status & 0x7f {
            0 => u8::try_from(status >> 8 & 0xff).ok().map(Self::Code),
            0x7f => None,
            signal => Some(Self::Signal(signal)),
        }
    }

    /// Whether it ended well.
    #[must_use]
    pub fn is_success(self) -> bool {
        self == Self::Code(0)
    }

    /// The code a shell would report: a signal `n` is 128 + n.
    #[must_use]
    pub fn shell_code(self) -> u8 {
        match self {
            Self::Code(code) => code,
            Self::Signal(number) => u8::try_from(128 + number).unwrap_or(u8::MAX),
            Self::Oom => 128 + 9,
            Self::Unknown => 1,
        }
    }

    /// The same, where the kernel is known to have ended processes for want of memory.
    #[must_use]
    pub fn by_oom(self) -> Self {
        if self == Self::Signal(libc::SIGKILL) { Self::Oom } else { self }
    }

    /// As the API shows it, if it is known.
    #[must_use]
    pub fn to_wire(self) -> Option<LastExit> {
        match self {
            Self::Code(code) => Some(LastExit::Code(code)),
            Self::Signal(_) | Self::Oom => Some(LastExit::Signal(self.signal_name())),
            Self::Unknown => None,
        }
    }

    fn signal_name(self) -> String {
        match self {
            Self::Code(_) | Self::Unknown => String::new(),
            Self::Oom => "OOM".into(),
            Self::Signal(number) => Signal::from_number(number)
                .map_or_else(|| format!("SIG{number}"), |signal| signal.to_string()),
        }
    }
}

impl fmt::Display for Exit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Code(code) => write!(f, "exit code {code}"),
            Self::Signal(_) => write!(f, "{}", self.signal_name()),
            Self::Oom => write!(f, "SIGKILL, because its memory was out"),
            Self::Unknown => write!(f, "nobody knows what"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_numbers_mean_the_same() {
        for text in ["TERM", "SIGTERM", "sigterm", "15"] {
            assert_eq!(Signal::parse(text), Some(Signal::TERM), "{text}");
        }
        for text in ["", "0", "-1", "32", "33", "65", "NOPE", "SIGSIGTERM", "15x"] {
            assert_eq!(Signal::parse(text), None, "{text}");
        }
        assert_eq!(Signal::parse("34").map(|signal| signal.to_string()), Some("SIG34".into()));
    }

    #[test]
    fn a_shell_code_is_128_plus_the_signal() {
        assert_eq!(Exit::Code(3).shell_code(), 3);
        assert_eq!(Exit::Signal(15).shell_code(), 143);
    }
}
