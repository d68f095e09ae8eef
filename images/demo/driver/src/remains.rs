//! What a demo could leave behind: processes, listening ports, sockets.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::net::{SocketAddr, TcpStream};
use std::os::unix::fs::FileTypeExt;
use std::path::Path;

/// A process, told from a later one with the same number by the time it began.
type Process = (u32, String);

/// The processes below one, as /proc shows them: taken before the end, looked for after it.
#[derive(Default)]
pub(crate) struct Family(BTreeSet<Process>);

impl Family {
    /// The process and all below it.
    pub(crate) fn of(root: u32) -> Self {
        let mut children: BTreeMap<u32, Vec<Process>> = BTreeMap::new();
        let mut family = BTreeSet::new();
        for (parent, process) in processes() {
            if process.0 == root {
                family.insert(process.clone());
            }
            children.entry(parent).or_default().push(process);
        }
        let mut queue = vec![root];
        while let Some(parent) = queue.pop() {
            for child in children.remove(&parent).unwrap_or_default() {
                queue.push(child.0);
                family.insert(child);
            }
        }
        Self(family)
    }

    /// How many they were.
    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }

    /// Those that still live.
    pub(crate) fn alive(&self) -> Vec<u32> {
        let all: BTreeSet<Process> = processes().map(|(_, process)| process).collect();
        self.0.intersection(&all).map(|(pid, _)| *pid).collect()
    }
}

/// Every process with its parent.
fn processes() -> impl Iterator<Item = (u32, Process)> {
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    entries.filter_map(|entry| {
        let pid: u32 = entry.file_name().to_str()?.parse().ok()?;
        let stat = fs::read_to_string(entry.path().join("stat")).ok()?;
        // The name in parentheses may hold anything; what counts follows it.
        let fields: Vec<&str> = stat.rsplit_once(')')?.1.split_whitespace().collect();
        let (state, parent, began) = (*fields.first()?, fields.get(1)?, fields.get(19)?);
        (state != "Z").then_some((parent.parse().ok()?, (pid, (*began).to_owned())))
    })
}

/// Whether somebody listens there.
pub(crate) fn listens(address: SocketAddr) -> bool {
    TcpStream::connect(address).is_ok()
}

/// The sockets below a folder.
pub(crate) fn sockets(folder: &Path) -> Vec<String> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        let path = entry.path();
        match entry.file_type() {
            Ok(kind) if kind.is_dir() => found.extend(sockets(&path)),
            Ok(kind) if kind.is_socket() => found.push(path.display().to_string()),
            Ok(_) | Err(_) => {}
        }
    }
    found
}
