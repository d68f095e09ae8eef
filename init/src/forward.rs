//! What becomes of a signal that has come to init. Pure: [`crate::run`] does what is decided here.
//!
//! ```text
//! dropped by a rewrite ──▶ nothing                     CONT ──▶ init and boot go on
//! TERM ─────────────────▶ the end of init              TSTP, TTIN, TTOU ──▶ boot stops, then init
//! ```
//!
//! All others are told to `boot`, in the order in which they come; of those that come at the same
//! time the kernel hands out the lowest number first.

use crate::event::Ending;
use crate::signal::Signal;

/// Which signals are told as others.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rewrites(Vec<(Signal, Option<Signal>)>);

impl Rewrites {
    /// Adds `FROM:TO`, where `TO` may be `none` or `0`. An earlier rule for `FROM` is forgotten.
    /// `None` if it cannot be read, or if `FROM` is one that nobody passes on.
    pub fn add(&mut self, rule: &str) -> Option<()> {
        let (from, to) = rule.split_once(':')?;
        let from = Signal::parse(from)?;
        let to = match to {
            "0" | "none" => None,
            name => Some(Signal::parse(name)?),
        };
        if matches!(from, Signal::KILL | Signal::STOP | Signal::CHLD) {
            return None;
        }
        self.0.retain(|(known, _)| *known != from);
        self.0.push((from, to));
        Some(())
    }

    /// What `boot` is told instead; `None` for nothing.
    #[must_use]
    pub fn told(&self, signal: Signal) -> Option<Signal> {
        let rule = self.0.iter().find(|(from, _)| *from == signal);
        rule.map_or(Some(signal), |(_, to)| *to)
    }

    fn changes(&self, signal: Signal) -> bool {
        self.told(signal) != Some(signal)
    }
}

/// What is to be done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Course {
    /// Nothing.
    Drop,
    /// init ends, and so does the machine in its way.
    End(Ending),
    /// `boot` is told.
    Tell(Signal),
    /// `boot` is stopped with this signal, and init stops itself.
    Suspend(Signal),
    /// Both go on; `boot` is told.
    Resume(Option<Signal>),
}

/// How init takes its signals.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Forward {
    /// What is told as something else.
    pub rewrites: Rewrites,
    /// Whether init is the first process of a machine.
    pub in_vm: bool,
    /// Whether init may stop itself: not as PID 1, because nobody could wake it.
    pub may_suspend: bool,
}

impl Forward {
    /// What becomes of `signal`.
    ///
    /// SIGTERM asks for the end, everywhere. In a VM, SIGINT is Ctrl-Alt-Del and SIGPWR a failing
    /// power supply. All others are for `boot`; without one, SIGINT asks for the end too.
    #[must_use]
    pub fn course(&self, signal: Signal, has_boot: bool) -> Course {
        let told = self.rewrites.told(signal);
        if signal == Signal::CONT {
            // Whatever a rule says: who has been stopped is to go on.
            return Course::Resume(told);
        }
        let Some(told) = told else { return Course::Drop };
        let own = !self.rewrites.changes(signal) && self.may_suspend;
        match (signal.number(), self.in_vm) {
            (libc::SIGTERM, false) => Course::End(Ending::Exit),
            (libc::SIGTERM | libc::SIGPWR, true) => Course::End(Ending::Poweroff),
            (libc::SIGINT, true) => Course::End(Ending::Reboot),
            (libc::SIGINT, false) if !has_boot => Course::End(Ending::Exit),
            (libc::SIGTSTP | libc::SIGTTIN | libc::SIGTTOU, _) if own => Course::Suspend(told),
            _ => Course::Tell(told),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn signal(name: &str) -> Signal {
        Signal::parse(name).unwrap()
    }

    fn with(rules: &[&str]) -> Forward {
        let mut rewrites = Rewrites::default();
        for rule in rules {
            rewrites.add(rule).unwrap();
        }
        Forward { rewrites, in_vm: false, may_suspend: true }
    }

    #[test]
    fn i02_each_signal_has_one_course() {
        let plain = with(&[]);
        for number in (1..=31).chain(34..=64) {
            let signal = Signal::from_number(number).unwrap();
            let course = match signal.to_string().as_str() {
                "SIGTERM" => Course::End(Ending::Exit),
                "SIGCONT" => Course::Resume(Some(signal)),
                "SIGTSTP" | "SIGTTIN" | "SIGTTOU" => Course::Suspend(signal),
                _ => Course::Tell(signal),
            };
            assert_eq!(plain.course(signal, true), course, "{signal}");
        }
        assert_eq!(plain.course(signal("INT"), false), Course::End(Ending::Exit));
    }

    #[test]
    fn i02_pid_1_never_stops_itself() {
        let pid_1 = Forward { may_suspend: false, ..with(&[]) };
        for name in ["TSTP", "TTIN", "TTOU"] {
            assert_eq!(pid_1.course(signal(name), true), Course::Tell(signal(name)));
        }
    }

    #[test]
    fn i02_a_machines_keys_and_power_end_it() {
        let vm = Forward { in_vm: true, may_suspend: false, ..with(&[]) };
        assert_eq!(vm.course(signal("INT"), true), Course::End(Ending::Reboot));
        assert_eq!(vm.course(signal("PWR"), true), Course::End(Ending::Poweroff));
        assert_eq!(vm.course(signal("TERM"), true), Course::End(Ending::Poweroff));
    }

    #[test]
    fn i02_rewritten_and_dropped() {
        let rules = with(&["TERM:QUIT", "hup:none", "SIGUSR1:0", "10:12", "TSTP:USR2", "CONT:0"]);
        assert_eq!(rules.course(Signal::TERM, true), Course::End(Ending::Exit));
        assert_eq!(rules.rewrites.told(Signal::TERM), Some(signal("QUIT")));
        assert_eq!(rules.course(signal("HUP"), true), Course::Drop);
        assert_eq!(rules.course(signal("USR1"), true), Course::Tell(signal("USR2")), "the last");
        assert_eq!(rules.course(signal("TSTP"), true), Course::Tell(signal("USR2")));
        assert_eq!(rules.course(Signal::CONT, true), Course::Resume(None));
        assert_eq!(
            with(&["TERM:0"]).course(Signal::TERM, true),
            Course::Drop,
            "not the end either"
        );
    }

    #[test]
    fn i02_rules_that_make_no_sense_are_refused() {
        for rule in ["", "TERM", ":", "TERM:", ":TERM", "TERM:NOPE", "65:1", "KILL:TERM", "CHLD:0"]
        {
            assert_eq!(Rewrites::default().add(rule), None, "{rule}");
        }
    }
}
