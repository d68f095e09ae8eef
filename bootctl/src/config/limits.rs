//! `[limits]` of an app file, and the keys about its rights: what the kernel enforces.

use init_wire::{Account, Bound, Cgroup, Rlimit, RlimitName, Rlimits, Setting};

use super::reader::{Field, Section};
use super::units::parse_processors;
use crate::confinement::Confinement;

/// The period of `cpu.max` in microseconds, which is the kernel's own default.
const PERIOD: u64 = 100_000;

/// Reads all of it.
pub(super) fn read(root: &Section<'_>) -> Confinement {
    let limits = root.section("limits");
    let small = |name| root.get(name, Field::integer);
    Confinement {
        groups: root.get("groups", Field::strings).map(accounts),
        umask: root.get("umask", umask),
        nice: small("nice").and_then(|n| i8::try_from(n).ok()),
        oom_score_adj: small("oom_score_adj").and_then(|n| i16::try_from(n).ok()),
        no_new_privs: root.get("no_new_privs", Field::bool).unwrap_or_default(),
        capabilities: root.get("capabilities", capabilities),
        rlimits: rlimits(&limits),
        cgroup: cgroup(&limits),
    }
}

fn accounts(names: Vec<String>) -> Vec<Account> {
    names.into_iter().map(Account::Name).collect()
}

fn umask(field: &Field<'_>) -> Option<String> {
    let text = field.string()?;
    let good = (3..=4).contains(&text.len())
        && u32::from_str_radix(&text, 8).is_ok_and(|mask| mask <= 0o777);
    if !good {
        let instead = "write three octal digits in quotes, such as \"027\"";
        field.form(&text, instead);
    }
    good.then_some(text)
}

/// Whether there is one of that name is for init to say: kernels differ.
fn capabilities(field: &Field<'_>) -> Option<Vec<String>> {
    let names = field.strings()?;
    let odd = |name: &&String| {
        name.is_empty() || !name.bytes().all(|b| b.is_ascii_uppercase() || b == b'_')
    };
    if let Some(name) = names.iter().find(odd) {
        let instead = "write names such as \"NET_BIND_SERVICE\"";
        field.form(name, instead);
    }
    Some(names)
}

fn rlimits(limits: &Section<'_>) -> Rlimits {
    let files = limits.get("open_files", Field::integer);
    let files = files.and_then(|count| u64::try_from(count).ok());
    files.map(|count| (RlimitName::Nofile, Rlimit::Both(Bound::At(count)))).into_iter().collect()
}

fn cgroup(limits: &Section<'_>) -> Option<Cgroup> {
    let size = |name| limits.get(name, Field::size).map(Setting::Number);
    let count = |name| {
        let number = limits.get(name, Field::integer);
        number.and_then(|number| u64::try_from(number).ok()).map(Setting::Number)
    };
    let cgroup = Cgroup {
        memory_max: size("memory"),
        memory_high: size("memory_high"),
        cpu_max: limits.get("cpu", cpu),
        cpu_weight: count("cpu_weight"),
        pids_max: count("processes"),
        ..Cgroup::default()
    };
    let is_set = cgroup.settings().next().is_some();
    is_set.then_some(cgroup)
}

fn cpu(field: &Field<'_>) -> Option<Setting> {
    let text = field.string()?;
    let Some(share) = parse_processors(&text) else {
        let instead = "write a part of a processor, or how many: \"50%\", \"1.5\" or \"2\"";
        field.form(&text, instead);
        return None;
    };
    let quota = share.saturating_mul(PERIOD) / 1000;
    Some(Setting::Text(format!("{quota} {PERIOD}")))
}
