//! `notifies DEED…`: does one thing after the other, and then sleeps for ever.
//!
//! - `say=TEXT`: sends TEXT to `NOTIFY_SOCKET`; `\n` begins a new line, `SELF` is our own pid.
//! - `child=TEXT`: lets a child of ours say TEXT, which then sleeps for ever.
//! - `line=FD`: writes a line to a descriptor.
//! - `wait=FILE`: waits for a file to be there.
//! - `tell=FILE`: writes `NOTIFY_SOCKET` and `WATCHDOG_USEC` to a file.
//! - `exit=CODE`: ends.
//! - `every=MS`: says `WATCHDOG=1` each so often for ever.

use std::fs;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::path::Path;
use std::process::{Command, exit};
use std::thread::sleep;
use std::time::Duration;

fn main() {
    let words: Vec<String> = std::env::args().collect();
    for deed in &words[1..] {
        let (verb, object) = deed.split_once('=').expect("VERB=OBJECT");
        match verb {
            "say" => say(object),
            "child" => {
                let child = Command::new(&words[0]).arg(format!("say={object}")).spawn();
                drop(child.expect("we can run ourselves"));
            }
            "line" => fs::write(format!("/proc/self/fd/{object}"), "up\n").expect("it is open"),
            "wait" => {
                while !Path::new(object).exists() {
                    sleep(Duration::from_millis(1));
                }
            }
            "tell" => {
                let variable = |name| std::env::var(name).unwrap_or_default();
                let text = [variable("NOTIFY_SOCKET"), variable("WATCHDOG_USEC")].join(" ");
                let new = format!("{object}.new");
                fs::write(&new, text).expect("the file can be written");
                fs::rename(new, object).expect("it can be moved into place");
            }
            "exit" => exit(object.parse().expect("a code")),
            "every" => loop {
                say("WATCHDOG=1");
                sleep(Duration::from_millis(object.parse().expect("milliseconds")));
            },
            _ => panic!("{verb}?"),
        }
    }
    sleep(Duration::MAX);
}

fn say(text: &str) {
    let name = std::env::var("NOTIFY_SOCKET").expect("NOTIFY_SOCKET is set");
    let name = name.strip_prefix('@').expect("an abstract name");
    let to = SocketAddr::from_abstract_name(name).expect("a name");
    let socket = UnixDatagram::unbound().expect("a socket");
    let text = text.replace("\\n", "\n").replace("SELF", &std::process::id().to_string());
    socket.send_to_addr(text.as_bytes(), &to).expect("somebody listens");
}
