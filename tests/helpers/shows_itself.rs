//! `shows_itself FILE`: writes as JSON what it was started with: arguments, environment,
//! directory, ids, descriptors, signal mask and dispositions, session, and what confines it.

use std::collections::BTreeMap;
use std::fs;

use nix::unistd::{getgid, getgroups, getpgrp, getpid, getsid, getuid};

fn main() {
    let args: Vec<String> = std::env::args().collect();
    let envs: BTreeMap<String, String> = std::env::vars().collect();
    let status = fs::read_to_string("/proc/self/status").expect("/proc is there");
    let field = |name: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(name));
        line.map(|rest| rest.trim_start_matches(':').trim().to_owned())
    };
    let fds: BTreeMap<String, String> = fs::read_dir("/proc/self/fd")
        .expect("/proc is there")
        .filter_map(Result::ok)
        .filter_map(|entry| {
            let target = fs::read_link(entry.path()).ok()?;
            let name = entry.file_name().to_string_lossy().into_owned();
            Some((name, target.to_string_lossy().into_owned()))
        })
        // The descriptor that this list is read from.
        .filter(|(_, target)| !target.starts_with("/proc/"))
        .collect();
    let groups: Vec<u32> = getgroups().unwrap_or_default().iter().map(|g| g.as_raw()).collect();
    let shown = serde_json::json!({
        "args": args,
        "envs": envs,
        "cwd": std::env::current_dir().ok(),
        "uid": getuid().as_raw(),
        "gid": getgid().as_raw(),
        "groups": groups,
        "fds": fds,
        "blocked": field("SigBlk"),
        "ignored": field("SigIgn"),
        "umask": field("Umask"),
        "noNewPrivs": field("NoNewPrivs"),
        "capabilities": {
            "effective": field("CapEff"),
            "permitted": field("CapPrm"),
            "bounding": field("CapBnd"),
            "ambient": field("CapAmb"),
        },
        "limits": fs::read_to_string("/proc/self/limits").ok(),
        "oomScoreAdj": fs::read_to_string("/proc/self/oom_score_adj").ok(),
        "nice": fs::read_to_string("/proc/self/stat").ok().and_then(|stat| {
            stat.rsplit_once(") ")?.1.split(' ').nth(16)?.parse::<i32>().ok()
        }),
        "cgroup": fs::read_to_string("/proc/self/cgroup").ok(),
        "pid": getpid().as_raw(),
        "group": getpgrp().as_raw(),
        "session": getsid(None).map(nix::unistd::Pid::as_raw).ok(),
    });
    let path = args.get(1).expect("a file to write to");
    fs::write(path, shown.to_string()).expect("the file can be written");
}
