//! What a process may do and what it may use up: umask, priority, bounds, capabilities.

use init_wire::{Bound, Cgroup, JobSpec, Rlimit, RlimitHalves, RlimitName, Setting};
use serde::{Deserialize, Serialize};

use super::SpecError;
use crate::capability::Capabilities;

/// The longest value of a control group's file.
const MAX_SETTING: usize = 255;

/// The fields of a spec that confine its process, read.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Confinement {
    /// The umask.
    pub umask: Option<u32>,
    /// The priority.
    pub nice: Option<i32>,
    /// Bounds as the kernel takes them.
    pub rlimits: Vec<Limit>,
    /// Whether privileges can be gained no more.
    pub no_new_privs: bool,
    /// The only capabilities there are.
    pub capabilities: Option<Capabilities>,
}

/// A bound as the kernel takes it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Limit {
    /// The kernel's number of what is bounded.
    pub resource: u32,
    /// What holds.
    pub soft: u64,
    /// What the process may raise it to.
    pub hard: u64,
}

impl Confinement {
    /// Reads the fields of `wire`.
    pub fn check(wire: &JobSpec) -> Result<Self, SpecError> {
        let rlimits = wire.rlimits.iter().map(|(name, limit)| Limit::check(*name, *limit));
        Ok(Self {
            umask: wire.umask.as_deref().map(umask).transpose()?,
            nice: wire.nice.map(nice).transpose()?,
            rlimits: rlimits.collect::<Result<_, _>>()?,
            no_new_privs: wire.no_new_privs,
            capabilities: match &wire.capabilities {
                Some(names) => Some(
                    Capabilities::parse(names)
                        .map_err(|name| SpecError::UnknownCapability { name: name.to_owned() })?,
                ),
                None => None,
            },
        })
    }
}

fn umask(text: &str) -> Result<u32, SpecError> {
    let octal = (1..=4).contains(&text.len()) && text.bytes().all(|b| (b'0'..=b'7').contains(&b));
    u32::from_str_radix(text, 8)
        .ok()
        .filter(|mask| octal && *mask <= 0o777)
        .ok_or_else(|| SpecError::range("umask", "octal digits in quotes, from \"0\" to \"0777\""))
}

fn nice(nice: i8) -> Result<i32, SpecError> {
    if (-20..=19).contains(&nice) {
        Ok(i32::from(nice))
    } else {
        Err(SpecError::range("nice", "from -20 to 19"))
    }
}

/// Checks `oom_score_adj`.
pub(super) fn oom_score_adj(value: Option<i16>) -> Result<(), SpecError> {
    match value {
        Some(value) if !(-1000..=1000).contains(&value) => {
            Err(SpecError::range("oom_score_adj", "from -1000 to 1000"))
        }
        Some(_) | None => Ok(()),
    }
}

impl Limit {
    fn check(name: RlimitName, wire: Rlimit) -> Result<Self, SpecError> {
        let resource = resource(name);
        let RlimitHalves { soft, hard } = match wire {
            Rlimit::Both(bound) => RlimitHalves { soft: bound, hard: bound },
            Rlimit::Each(halves) => halves,
        };
        let number = |bound| match bound {
            Bound::At(number) => number,
            Bound::None(_) => u64::MAX,
        };
        let (soft, hard) = (number(soft), number(hard));
        if soft > hard {
            let field = format!("rlimits.{}", name.as_str());
            return Err(SpecError::range(field, "a soft bound that is at most the hard one"));
        }
        Ok(Self { resource, soft, hard })
    }
}

/// The kernel's number.
fn resource(name: RlimitName) -> u32 {
    match name {
        RlimitName::As => libc::RLIMIT_AS,
        RlimitName::Core => libc::RLIMIT_CORE,
        RlimitName::Cpu => libc::RLIMIT_CPU,
        RlimitName::Data => libc::RLIMIT_DATA,
        RlimitName::Fsize => libc::RLIMIT_FSIZE,
        RlimitName::Locks => libc::RLIMIT_LOCKS,
        RlimitName::Memlock => libc::RLIMIT_MEMLOCK,
        RlimitName::Msgqueue => libc::RLIMIT_MSGQUEUE,
        RlimitName::Nice => libc::RLIMIT_NICE,
        RlimitName::Nofile => libc::RLIMIT_NOFILE,
        RlimitName::Nproc => libc::RLIMIT_NPROC,
        RlimitName::Rss => libc::RLIMIT_RSS,
        RlimitName::Rtprio => libc::RLIMIT_RTPRIO,
        RlimitName::Rttime => libc::RLIMIT_RTTIME,
        RlimitName::Sigpending => libc::RLIMIT_SIGPENDING,
        RlimitName::Stack => libc::RLIMIT_STACK,
    }
}

/// Checks what can be checked of a control group's settings; the rest is the kernel's to say.
pub(super) fn cgroup(wire: &Cgroup) -> Result<(), SpecError> {
    for (name, setting) in wire.settings() {
        let bad = |range| Err(SpecError::range(format!("cgroup.{name}"), range));
        let text = match setting {
            Setting::Number(number) => number.to_string(),
            Setting::Text(text) => text.clone(),
        };
        let printable = text.bytes().all(|b| (b' '..0x7f).contains(&b));
        if text.trim().is_empty() || text.len() > MAX_SETTING || !printable {
            return bad("1 to 255 printable characters");
        }
        let number = text.parse::<u64>().ok();
        let number_or_max = number.is_some() || text == "max";
        match name {
            "cpu_weight" | "io_weight" if !number.is_some_and(|n| (1..=10_000).contains(&n)) => {
                return bad("from 1 to 10000");
            }
            "memory_oom_group" if number.is_none_or(|n| n > 1) => return bad("0 or 1"),
            "pids_max" | "memory_min" | "memory_low" | "memory_high" | "memory_max"
            | "memory_swap_max"
                if !number_or_max =>
            {
                return bad("a number, or \"max\"");
            }
            _ => {}
        }
    }
    Ok(())
}
