//! A shell for whoever looks for what is wrong, where the command line asks for one (`bootctl.shell=ttyS0`): it
//! wants no password. A job of init's, so it is there whatever becomes of bootctl.

use std::path::Path;

use init_wire::{JobSpec, Policy, Restart, SignalName};
use tracing::{error, warn};

use crate::client::Init;

/// Programs that are shells, or have one.
const SHELLS: [(&str, &[&str]); 5] = [
    ("/bin/bash", &[]),
    ("/bin/sh", &[]),
    ("/usr/bin/sh", &[]),
    ("/bin/busybox", &["sh"]),
    ("/usr/bin/busybox", &["sh"]),
];
const PATH: &str = "/usr/sbin:/usr/bin:/sbin:/bin";

/// Starts one on each of the terminals, where it does not run yet.
pub(super) async fn open(init: &Init, terminals: &[String]) {
    for terminal in terminals {
        let Some((shell, words)) = SHELLS.iter().find(|(path, _)| Path::new(path).exists()) else {
            return error!("bootctl.shell={terminal}: there is no shell");
        };
        warn!("whoever is at {terminal} has a shell: bootctl.shell is on the command line");
        if let Err(error) =
            init.start(&format!("shell.{terminal}"), &spec(shell, words, terminal)).await
        {
            error!("bootctl.shell={terminal}: {error}");
        }
    }
}

fn spec(shell: &str, words: &[&str], terminal: &str) -> JobSpec {
    // A job leads a session of its own, so the terminal that it opens itself is its own, with Ctrl-C. A second
    // shell, because the first one has been told what to do.
    let all = [&[shell], words].concat().join(" ");
    let open = format!("exec {all} -i <>/dev/{terminal} >&0 2>&0");
    let envs = [("PATH", PATH), ("TERM", "linux"), ("HOME", "/"), ("PS1", "# ")];
    let restart = Restart { policy: Policy::Always, delay_ms: 1000, ..Restart::default() };
    let mut spec = JobSpec {
        args: words.iter().map(|word| (*word).to_owned()).chain(["-c".to_owned(), open]).collect(),
        envs: envs.map(|(key, value)| (key.to_owned(), value.to_owned())).into(),
        restart,
        ..JobSpec::new(shell)
    };
    // A shell at a terminal ignores SIGTERM.
    spec.stop.signal = SignalName::Name("HUP".into());
    spec
}
