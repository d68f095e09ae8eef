//! What jobs use: processor time, memory, bytes from and to disks, processes and descriptors.
//!
//! A figure comes from the job's control group where the kernel counts it there: processor time
//! always, memory and disks if the group has those controllers. Else it is the sum over the job's
//! processes. What may not be looked at makes a sum unknown; who has ended meanwhile is not missed.
//!
//! All of it is read in the task of whoever asks, a few processes at a time, and the table's turn
//! comes in between. So a job may end and its number be used again while it is read: who asks has
//! to look again whether it is the same.

use std::collections::{HashMap, HashSet};
use std::fs;
use std::io::{self, ErrorKind};
use std::iter::successors;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use init_wire::{CpuStats, IoStats, JobStats, MemoryStats, Source};
use nix::unistd::{SysconfVar, sysconf};
use tokio::task::yield_now;

use crate::cgroup::{self, Counters, Past, Spent};
use crate::limits::{MAX_PSS, PROCESSES_IN_A_ROW};
use crate::process::Process;
use crate::tree::Roots;

/// Generations up to which a process is looked for among a job's descendants.
const MAX_GENERATIONS: usize = 64;

/// What all jobs of these roots use; with `pss`, also their share of memory.
pub async fn read(roots: &[Roots], pss: bool) -> Vec<JobStats> {
    let mut census = Census::default();
    let mut members = Vec::with_capacity(roots.len());
    for roots in roots {
        members.push(roots.counters.as_ref().map(Counters::members).unwrap_or_default());
        census.pace.step().await;
    }
    if roots.iter().any(|roots| roots.counters.is_none()) {
        census.take_others(&members).await;
        census.share_out(roots, &mut members).await;
    }
    let mut all = Vec::with_capacity(roots.len());
    for (roots, members) in roots.iter().zip(&members) {
        let counters = roots.counters.as_ref();
        let cpu = counters.and_then(cpu);
        let sum = census.sum(members, cpu.is_none(), pss).await;
        all.push(JobStats {
            id: roots.job.to_string(),
            cpu: cpu.unwrap_or_else(|| sum.cpu()),
            memory: MemoryStats {
                pss_bytes: sum.pss(),
                ..counters.and_then(memory).unwrap_or_else(|| sum.memory())
            },
            io: counters.and_then(io).unwrap_or_else(|| sum.io()),
            processes: sum.known(sum.processes),
            threads: sum.known(sum.threads),
            fds: sum.fds(),
        });
    }
    all
}

fn cpu(counters: &Counters) -> Option<CpuStats> {
    let past = match counters.past {
        Past::None => Spent::default(),
        Past::Spent(spent) => spent,
        Past::Unknown => return None,
    };
    let spent = counters.spent()?;
    Some(CpuStats {
        source: Source::Cgroup,
        user_us: Some(spent.user_us.saturating_sub(past.user_us)),
        system_us: Some(spent.system_us.saturating_sub(past.system_us)),
    })
}

/// Whether a controller counts for the job alone. In a group that was another job's, part of it may
/// be that one's.
fn is_counted(counters: &Counters, controller: &str) -> bool {
    counters.past == Past::None && counters.controllers.iter().any(|own| own == controller)
}

fn memory(counters: &Counters) -> Option<MemoryStats> {
    if !is_counted(counters, "memory") {
        return None;
    }
    let number = |name: &str| {
        let text = counters.read(name).ok()?;
        text.trim().parse::<u64>().ok()
    };
    let current_bytes = Some(number("memory.current")?);
    let (peak_bytes, pss_bytes) = (number("memory.peak"), None);
    Some(MemoryStats { source: Source::Cgroup, current_bytes, peak_bytes, pss_bytes })
}

/// Lines such as `8:0 rbytes=4096 wbytes=0 rios=1 …`, one a disk.
fn io(counters: &Counters) -> Option<IoStats> {
    if !is_counted(counters, "io") {
        return None;
    }
    let text = fs::read_to_string(counters.folder.join("io.stat")).ok()?;
    let sum = |name| {
        let words = text.split_whitespace().filter_map(|word| word.strip_prefix(name));
        Some(words.filter_map(|number| number.parse::<u64>().ok()).sum())
    };
    let (read_bytes, written_bytes) = (sum("rbytes="), sum("wbytes="));
    Some(IoStats { source: Source::Cgroup, read_bytes, written_bytes })
}

/// A process and what it has used, as one line of `/proc` has it.
#[derive(Debug)]
struct Member {
    process: Process,
    /// Ticks, with those of children that it has waited for.
    user: u64,
    system: u64,
    threads: u64,
}

impl Member {
    fn read(pid: i32) -> Option<Self> {
        Self::parse(&cgroup::read_small(Path::new(&format!("/proc/{pid}/stat"))).ok()?)
    }

    fn parse(line: &str) -> Option<Self> {
        let process = Process::parse(line)?;
        let (_, rest) = line.rsplit_once(") ")?;
        let fields: Vec<_> = rest.split(' ').collect();
        let number = |place: usize| fields.get(place)?.parse::<u64>().ok();
        let user = number(11)?.saturating_add(number(13)?);
        let system = number(12)?.saturating_add(number(14)?);
        Some(Self { process, user, system, threads: number(17)? })
    }
}

/// Processes that have been looked at.
#[derive(Debug, Default)]
struct Census {
    seen: HashMap<i32, Member>,
    pace: Pace,
}

impl Census {
    /// Looks at all but these, who are known to be jobs' by their groups.
    async fn take_others(&mut self, known: &[Vec<i32>]) {
        let known: HashSet<_> = known.iter().flatten().copied().collect();
        for entry in fs::read_dir("/proc").into_iter().flatten().flatten() {
            let pid = entry.file_name().to_str().and_then(|name| name.parse().ok());
            let other = pid.filter(|pid| !known.contains(pid)).and_then(Member::read);
            if let Some(member) = other {
                self.seen.insert(member.process.pid, member);
                self.pace.step().await;
            }
        }
    }

    /// Gives these to the jobs without a group: to the one that knows it or its next ancestor, else
    /// to that of its session, group or number, or its next ancestor's.
    async fn share_out(&mut self, roots: &[Roots], members: &mut [Vec<i32>]) {
        let mut owners = HashMap::new();
        let mut strays = HashMap::new();
        for (job, roots) in roots.iter().enumerate().filter(|(_, roots)| roots.counters.is_none()) {
            owners.extend(roots.number.map(|number| (number.as_raw(), job)));
            strays.extend(roots.strays.iter().map(|stray| (*stray, job)));
        }
        let by_number = |process: &Process| {
            let numbers = [process.pid, process.group, process.session];
            numbers.iter().find_map(|number| owners.get(number)).copied()
        };
        let known = |process: &Process| strays.get(&(process.pid, process.start)).copied();
        for (pid, member) in &self.seen {
            let mut line = self.line(member).take(MAX_GENERATIONS);
            // Most jobs know nobody.
            let knower = if strays.is_empty() { None } else { line.find_map(known) };
            let owner = || self.line(member).take(MAX_GENERATIONS).find_map(by_number);
            if let Some(members) = knower.or_else(owner).and_then(|job| members.get_mut(job)) {
                members.push(*pid);
            }
        }
        self.pace.rest().await;
    }

    /// A process and its ancestors.
    fn line<'a>(&'a self, member: &'a Member) -> impl Iterator<Item = &'a Process> {
        let parent = |process: &&Process| {
            self.seen.get(&process.parent).map(|m| &m.process).filter(|p| p.pid > 1)
        };
        successors(Some(&member.process), parent)
    }

    /// What these have used; their processor time only if it is `timed`.
    async fn sum(&mut self, members: &[i32], timed: bool, pss: bool) -> Sum {
        let mut sum = Sum::default();
        for pid in members {
            if timed {
                let seen = self.seen.remove(pid).or_else(|| Member::read(*pid));
                seen.inspect(|member| sum.add(member));
            } else if let Ok(threads) = threads(*pid) {
                // A group has no dead members.
                sum.add_living(*pid, threads);
            }
            self.pace.step().await;
            if pss {
                sum.add_pss(*pid);
                self.pace.rest().await;
            }
        }
        if !pss {
            sum.pss = None;
        }
        sum
    }
}

/// What a job's processes have used. A part is nothing once somebody's cannot be known.
#[derive(Debug)]
struct Sum {
    /// Processes, dead ones included.
    seen: u64,
    processes: u64,
    threads: u64,
    /// Ticks.
    user: u64,
    system: u64,
    /// Bytes.
    resident: Option<[u64; 1]>,
    /// Bytes read and written.
    disks: Option<[u64; 2]>,
    fds: Option<[u64; 1]>,
    pss: Option<[u64; 1]>,
}

impl Default for Sum {
    fn default() -> Self {
        let (seen, processes, threads, user, system) = (0, 0, 0, 0, 0);
        let (resident, disks, fds, pss) = (Some([0]), Some([0; 2]), Some([0]), Some([0]));
        Self { seen, processes, threads, user, system, resident, disks, fds, pss }
    }
}

impl Sum {
    fn add(&mut self, member: &Member) {
        let pid = member.process.pid;
        self.user = self.user.saturating_add(member.user);
        self.system = self.system.saturating_add(member.system);
        if member.process.is_alive() {
            self.add_living(pid, member.threads);
        } else {
            self.seen += 1;
            add(&mut self.disks, pid, disks(pid));
        }
    }

    fn add_living(&mut self, pid: i32, threads: u64) {
        self.seen += 1;
        self.processes += 1;
        self.threads = self.threads.saturating_add(threads);
        add(&mut self.disks, pid, disks(pid));
        add(&mut self.resident, pid, resident(pid));
        add(&mut self.fds, pid, descriptors(pid));
    }

    /// The kernel walks all pages for this, and nothing else of init happens meanwhile.
    fn add_pss(&mut self, pid: i32) {
        let part = resident(pid).and_then(|[resident]| {
            if resident > MAX_PSS { Err(ErrorKind::FileTooLarge.into()) } else { pss(pid) }
        });
        add(&mut self.pss, pid, part);
    }

    fn known(&self, figure: u64) -> Option<u64> {
        (self.seen > 0).then_some(figure)
    }

    fn cpu(&self) -> CpuStats {
        let time = |ticks| self.known(ticks).and_then(microseconds);
        let (user_us, system_us) = (time(self.user), time(self.system));
        CpuStats { source: Source::Processes, user_us, system_us }
    }

    fn memory(&self) -> MemoryStats {
        let current_bytes = self.resident.and_then(|[resident]| self.known(resident));
        let (peak_bytes, pss_bytes) = (None, None);
        MemoryStats { source: Source::Processes, current_bytes, peak_bytes, pss_bytes }
    }

    fn io(&self) -> IoStats {
        let [read_bytes, written_bytes] =
            self.disks.map_or([None; 2], |both| both.map(|bytes| self.known(bytes)));
        IoStats { source: Source::Processes, read_bytes, written_bytes }
    }

    fn fds(&self) -> Option<u64> {
        self.fds.and_then(|[fds]| self.known(fds))
    }

    fn pss(&self) -> Option<u64> {
        self.pss.and_then(|[pss]| self.known(pss))
    }
}

/// Adds one process's part. That of one that has ended meanwhile is not missed.
fn add<const N: usize>(sum: &mut Option<[u64; N]>, pid: i32, part: io::Result<[u64; N]>) {
    match (part, &mut *sum) {
        (Ok(part), Some(sum)) => {
            for (sum, part) in sum.iter_mut().zip(part) {
                *sum = sum.saturating_add(part);
            }
        }
        (Err(_), Some(_)) if Process::read(pid).is_some_and(|process| process.is_alive()) => {
            *sum = None;
        }
        (Ok(_) | Err(_), _) => {}
    }
}

/// Bytes that a process has caused to be read from and written to disks.
fn disks(pid: i32) -> io::Result<[u64; 2]> {
    let text = cgroup::read_small(Path::new(&format!("/proc/{pid}/io")))?;
    Ok([field(&text, "read_bytes: ")?, field(&text, "write_bytes: ")?])
}

/// Threads of a process: each has a folder, and each folder is a link to the one above.
fn threads(pid: i32) -> io::Result<u64> {
    Ok(fs::metadata(format!("/proc/{pid}/task"))?.nlink().saturating_sub(2))
}

/// Descriptors that a process has open.
fn descriptors(pid: i32) -> io::Result<[u64; 1]> {
    let folder = format!("/proc/{pid}/fd");
    // Kernels from 6.2 on tell the number as the folder's size.
    let size = fs::metadata(&folder)?.len();
    let count = if size > 0 { size } else { fs::read_dir(folder)?.count() as u64 };
    Ok([count])
}

/// Bytes of a process that are in memory. The count in its `stat` is rough, far more so on machines
/// with many processors.
fn resident(pid: i32) -> io::Result<[u64; 1]> {
    let text = cgroup::read_small(Path::new(&format!("/proc/{pid}/statm")))?;
    let pages = text.split(' ').nth(1).and_then(|pages| pages.parse::<u64>().ok());
    let page = sysconf(SysconfVar::PAGE_SIZE)?.and_then(|page| u64::try_from(page).ok());
    let bytes = pages.zip(page).map(|(pages, page)| pages.saturating_mul(page));
    Ok([bytes.ok_or(ErrorKind::InvalidData)?])
}

fn pss(pid: i32) -> io::Result<[u64; 1]> {
    let text = cgroup::read_small(Path::new(&format!("/proc/{pid}/smaps_rollup")))?;
    Ok([field(&text, "Pss:")?.saturating_mul(1024)])
}

/// The number behind a name at the start of a line.
fn field(text: &str, name: &str) -> io::Result<u64> {
    let rest = text.lines().find_map(|line| line.strip_prefix(name));
    let number = rest.and_then(|rest| rest.split_whitespace().next()?.parse().ok());
    number.ok_or_else(|| ErrorKind::InvalidData.into())
}

fn microseconds(ticks: u64) -> Option<u64> {
    let a_second = u64::try_from(sysconf(SysconfVar::CLK_TCK).ok()??).ok()?;
    ticks.saturating_mul(1_000_000).checked_div(a_second)
}

/// Lets everything else have its turn in between.
#[derive(Debug, Default)]
struct Pace(u32);

impl Pace {
    /// After each process.
    async fn step(&mut self) {
        self.0 += 1;
        if self.0 >= PROCESSES_IN_A_ROW {
            self.rest().await;
        }
    }

    async fn rest(&mut self) {
        self.0 = 0;
        yield_now().await;
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use nix::fcntl::{Flock, FlockArg};

    use super::*;
    use crate::id::{JobId, Pid};

    fn group(folder: &Path, past: Past) -> Roots {
        let above = fs::File::open(folder.parent().unwrap()).unwrap();
        let groups = Arc::new(Flock::lock(above, FlockArg::LockShared).unwrap());
        let (folder, controllers) = (folder.to_owned(), vec!["io".into(), "memory".into()]);
        let counters = Some(Counters { groups, folder, past, controllers });
        let (job, number) = (JobId::boot(), Pid::new(2));
        Roots { job, leader: Pid::new(2).unwrap(), counters, number, strays: Vec::new() }
    }

    fn read_now(roots: &[Roots], pss: bool) -> Vec<JobStats> {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(read(roots, pss))
    }

    /// A folder with what a group has where the kernel gives it all controllers.
    fn full_group() -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        for (name, text) in [
            ("cpu.stat", "usage_usec 350\nuser_usec 300\nsystem_usec 50\nnr_periods 0\n"),
            ("memory.current", "8192\n"),
            ("memory.peak", "16384\n"),
            ("io.stat", "8:0 rbytes=10 wbytes=20 rios=1 wios=1\n8:16 rbytes=1 wbytes=2 rios=1\n"),
            ("cgroup.procs", &format!("{}\n", std::process::id())),
        ] {
            fs::write(folder.path().join(name), text).unwrap();
        }
        folder
    }

    #[test]
    fn z05_a_groups_counters_are_taken_where_there_are_any() {
        let folder = full_group();
        let stats = read_now(&[group(folder.path(), Past::None)], true).remove(0);
        let (source, pss_bytes) = (Source::Cgroup, stats.memory.pss_bytes);
        assert_eq!(stats.cpu, CpuStats { source, user_us: Some(300), system_us: Some(50) });
        let (current_bytes, peak_bytes) = (Some(8192), Some(16384));
        assert_eq!(stats.memory, MemoryStats { source, current_bytes, peak_bytes, pss_bytes });
        assert_eq!(stats.io, IoStats { source, read_bytes: Some(11), written_bytes: Some(22) });
        assert_eq!(stats.processes, Some(1));
        assert!(pss_bytes > Some(100_000) && stats.fds > Some(2), "{stats:?}");
    }

    #[test]
    fn z05_what_an_earlier_job_has_used_is_not_the_jobs() {
        let folder = full_group();
        let past = Past::Spent(Spent { user_us: 100, system_us: 50 });
        let stats = read_now(&[group(folder.path(), past)], false).remove(0);
        assert_eq!((stats.cpu.user_us, stats.cpu.system_us), (Some(200), Some(0)));
        // Whose memory and blocks these are is not known, but who the processes are.
        assert_eq!((stats.memory.source, stats.memory.peak_bytes), (Source::Processes, None));
        assert_eq!((stats.memory.pss_bytes, stats.io.source), (None, Source::Processes));
        let stats = read_now(&[group(folder.path(), Past::Unknown)], false).remove(0);
        assert_eq!(stats.cpu.source, Source::Processes);
    }

    #[test]
    fn z05_what_cannot_be_known_is_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let stats = read_now(&[group(folder.path(), Past::None)], true).remove(0);
        let source = Source::Processes;
        assert_eq!(stats.cpu, CpuStats { source, user_us: None, system_us: None });
        assert_eq!(stats.memory.current_bytes.or(stats.memory.pss_bytes), None);
        assert_eq!(stats.io.read_bytes.or(stats.io.written_bytes), None);
        assert_eq!(stats.processes.or(stats.threads).or(stats.fds), None);
    }

    #[test]
    fn z05_one_part_that_is_hidden_makes_the_sum_unknown() {
        let own = std::process::id().cast_signed();
        let hidden = || Err(ErrorKind::PermissionDenied.into());
        let mut sum = Some([1]);
        add(&mut sum, own, Ok([2]));
        assert_eq!(sum, Some([3]));
        // Nobody has this number.
        add(&mut sum, i32::MAX, hidden());
        assert_eq!(sum, Some([3]));
        add(&mut sum, own, hidden());
        assert_eq!(sum, None);
        add(&mut sum, own, Ok([2]));
        assert_eq!(sum, None);
    }

    #[test]
    fn z05_a_process_is_read_with_what_its_children_have_used() {
        let rest = "1 70 69 0 -1 4194304 1 2 3 4 5 6 7 8 20 0 9 0 12345 1000 10";
        let member = Member::parse(&format!("71 (a) b (c) S {rest}")).unwrap();
        assert_eq!((member.user, member.system), (5 + 7, 6 + 8));
        assert_eq!((member.process.pid, member.threads), (71, 9));
        assert!(Member::parse("71 (a) S 1 70 69").is_none());
    }
}
