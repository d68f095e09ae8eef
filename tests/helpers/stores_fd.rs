//! `stores_fd FILE DEED…`: writes to FILE what descriptors it was passed, as JSON; in its first run,
//! when FILE is not there yet, does one thing after the other; and then sleeps for ever.
//!
//! - `keep=NAME:TEXT`: gives a file in memory with TEXT to the store.
//! - `listen=NAME:ADDRESS`: gives a listening socket, which nobody accepts from.
//! - `twice=NAME`: gives one open file twice, in a message each.
//! - `many=COUNT`: gives so many files in one message.
//! - `remove=NAME`: wants what has that name back no more.
//! - `raw=TEXT`: sends TEXT with a file; `\n` begins a new line.
//! - `barrier`: waits until all that was sent has been read.
//! - `wait=FILE`: waits for a file to be there.
//! - `done=FILE`: makes a file.
//! - `exit=CODE`: ends.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{IoSlice, Read, Write};
use std::net::TcpListener;
use std::os::fd::{AsFd, AsRawFd, OwnedFd, RawFd};
use std::path::Path;
use std::process::exit;
use std::thread::sleep;
use std::time::Duration;

use nix::sys::memfd::{MFdFlags, memfd_create};
use nix::sys::socket::{
    AddressFamily, ControlMessage, MsgFlags, SockFlag, SockType, UnixAddr, sendmsg, socket,
};
use nix::unistd::pipe;

fn main() {
    let words: Vec<String> = std::env::args().collect();
    let report = Path::new(&words[1]);
    let is_first = !report.exists();
    show(report);
    for deed in words[2..].iter().filter(|_| is_first) {
        let (verb, object) = deed.split_once('=').unwrap_or((deed, ""));
        let (name, value) = object.split_once(':').unwrap_or((object, ""));
        match verb {
            "keep" => give(&format!("FDSTORE=1\nFDNAME={name}"), &[file(value)]),
            "listen" => {
                let listener = TcpListener::bind(value).expect("the address is free");
                give(&format!("FDSTORE=1\nFDNAME={name}\nFDPOLL=0"), &[listener.into()]);
            }
            "twice" => {
                let file = file(name);
                for _ in 0..2 {
                    let other = file.try_clone().expect("a descriptor more");
                    give(&format!("FDSTORE=1\nFDNAME={name}"), &[other]);
                }
            }
            "many" => {
                let files: Vec<_> = (0..value_of(object)).map(|n| file(&n.to_string())).collect();
                give("FDSTORE=1\nFDNAME=many", &files);
            }
            "remove" => give(&format!("FDSTOREREMOVE=1\nFDNAME={name}"), &[]),
            "raw" => give(&object.replace("\\n", "\n"), &[file("raw")]),
            "barrier" => {
                let (mut reader, writer) = pipe().map(|(r, w)| (File::from(r), w)).expect("a pipe");
                give("BARRIER=1", &[writer]);
                assert_eq!(reader.read(&mut [0]).expect("it ends"), 0);
            }
            "wait" => {
                while !Path::new(object).exists() {
                    sleep(Duration::from_millis(1));
                }
            }
            "done" => drop(File::create(object).expect("it can be made")),
            "exit" => exit(value_of(object)),
            _ => panic!("{verb}?"),
        }
    }
    sleep(Duration::MAX);
}

fn value_of(text: &str) -> i32 {
    text.parse().expect("a number")
}

fn file(text: &str) -> OwnedFd {
    let file = memfd_create(c"kept", MFdFlags::empty()).expect("memory");
    let mut file = File::from(file);
    file.write_all(text.as_bytes()).expect("room");
    file.into()
}

fn give(text: &str, fds: &[OwnedFd]) {
    let name = std::env::var("NOTIFY_SOCKET").expect("NOTIFY_SOCKET is set");
    let name = name.strip_prefix('@').expect("an abstract name");
    let to = UnixAddr::new_abstract(name.as_bytes()).expect("a name");
    let flags = SockFlag::SOCK_CLOEXEC;
    let from = socket(AddressFamily::Unix, SockType::Datagram, flags, None).expect("a socket");
    let raw: Vec<RawFd> = fds.iter().map(|fd| fd.as_fd().as_raw_fd()).collect();
    let rights = ControlMessage::ScmRights(&raw);
    let rights: &[ControlMessage<'_>] = if raw.is_empty() { &[] } else { &[rights] };
    let text = [IoSlice::new(text.as_bytes())];
    sendmsg(from.as_raw_fd(), &text, rights, MsgFlags::empty(), Some(&to)).expect("it is heard");
}

/// Who it is, the names that it was told, and what the descriptors are: the text of a file, else
/// what the kernel calls it.
fn show(report: &Path) {
    let envs: BTreeMap<_, _> = std::env::vars().filter(|(n, _)| n.starts_with("LISTEN_")).collect();
    let count = envs.get("LISTEN_FDS").map_or(0, |count| value_of(count));
    let fds: Vec<_> = (3..3 + count)
        .map(|fd| {
            let path = format!("/proc/self/fd/{fd}");
            let target = fs::read_link(&path).expect("it is open").display().to_string();
            let is_file = target.contains("memfd:");
            if is_file { fs::read_to_string(path).expect("it can be read") } else { target }
        })
        .collect();
    let names = envs.get("LISTEN_FDNAMES").map_or(Vec::new(), |n| n.split(':').collect());
    let is_ours = envs.get("LISTEN_PID").is_none_or(|pid| *pid == std::process::id().to_string());
    let shown = serde_json::json!({
        "pid": std::process::id(), "fds": fds, "names": names, "isOurs": is_ours,
    });
    let new = report.with_extension("new");
    fs::write(&new, shown.to_string()).expect("the file can be written");
    fs::rename(new, report).expect("it can be moved into place");
}
