//! `[limits]` of an app file, and the keys about its rights: what the kernel enforces.

use init_wire::{Account, Bound, Cgroup, Rlimit, RlimitName, Rlimits, Setting};

use super::problem::Fault;
use super::reader::{Field, Section};
use super::units::{parse_processors, parse_size};
use crate::confinement::Confinement;

const LIMITS: &[&str] = &["memory", "memory_high", "cpu", "cpu_weight", "processes", "open_files"];

/// Less memory than this, and no program starts.
const LEAST_MEMORY: u64 = 1 << 20;
const MOST_PROCESSES: i64 = 4_194_304;
/// As many as the kernel lets a process have.
const MOST_FILES: i64 = 1_073_741_816;
/// The period of `cpu.max` in microseconds, which is the kernel's own default.
const PERIOD: u64 = 100_000;

/// Reads all of it.
pub(super) fn read(root: &Section<'_>) -> Confinement {
    let limits = root.section("limits");
    limits.expect(LIMITS);
    let small = |name, range| root.field(name).and_then(|f| f.integer(range));
    Confinement {
        groups: root.field("groups").and_then(|f| f.strings()).map(accounts),
        umask: root.field("umask").and_then(|f| umask(&f)),
        nice: small("nice", -20..=19).and_then(|n| i8::try_from(n).ok()),
        oom_score_adj: small("oom_score_adj", -1000..=1000).and_then(|n| i16::try_from(n).ok()),
        no_new_privs: root.field("no_new_privs").and_then(|f| f.bool()).unwrap_or(false),
        capabilities: root.field("capabilities").and_then(|f| capabilities(&f)),
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
        field.report(Fault::Form { value: text.clone(), instead });
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
        field.report(Fault::Form { value: name.clone(), instead });
    }
    Some(names)
}

fn rlimits(limits: &Section<'_>) -> Rlimits {
    let files = limits.field("open_files").and_then(|f| f.integer(8..=MOST_FILES));
    let files = files.and_then(|count| u64::try_from(count).ok());
    files.map(|count| (RlimitName::Nofile, Rlimit::Both(Bound::At(count)))).into_iter().collect()
}

fn cgroup(limits: &Section<'_>) -> Option<Cgroup> {
    let size = |name| limits.field(name).and_then(|f| memory(&f)).map(Setting::Number);
    let count = |name, range| {
        let number = limits.field(name).and_then(|f| f.integer(range));
        number.and_then(|number| u64::try_from(number).ok()).map(Setting::Number)
    };
    let cgroup = Cgroup {
        memory_max: size("memory"),
        memory_high: size("memory_high"),
        cpu_max: limits.field("cpu").and_then(|f| cpu(&f)),
        cpu_weight: count("cpu_weight", 1..=10_000),
        pids_max: count("processes", 1..=MOST_PROCESSES),
        ..Cgroup::default()
    };
    let is_set = cgroup.settings().next().is_some();
    is_set.then_some(cgroup)
}

fn memory(field: &Field<'_>) -> Option<u64> {
    let text = field.string()?;
    let size = parse_size(&text).filter(|size| *size >= LEAST_MEMORY);
    if size.is_none() {
        let instead = "write a size of at least 1M with its unit: \"256M\" or \"1.5G\"";
        field.report(Fault::Form { value: text, instead });
    }
    size
}

fn cpu(field: &Field<'_>) -> Option<Setting> {
    let text = field.string()?;
    let Some(share) = parse_processors(&text) else {
        let instead = "write a part of a processor, or how many: \"50%\", \"1.5\" or \"2\"";
        field.report(Fault::Form { value: text, instead });
        return None;
    };
    let quota = share.saturating_mul(PERIOD) / 1000;
    Some(Setting::Text(format!("{quota} {PERIOD}")))
}
