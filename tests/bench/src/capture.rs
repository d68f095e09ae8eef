//! `capture`: what it costs init to take what jobs write, a MiB. The floor is `cat` reading the same into
//! nothing; it keeps none of it and tells nobody.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;

use nix::sys::resource::{UsageWho, getrusage};

use crate::client::{Client, request};
use crate::report::{Row, median};
use crate::{cpu, inits, tiny};

const SOURCE: &str = "#include <stdlib.h>\n#include <string.h>\n#include <unistd.h>\n\
    int main(int count, char **args) {\n\
    static char text[65536]; memset(text, 'x', sizeof text);\n\
    for (int i = 99; i < 65536; i += 100) text[i] = '\\n';\n\
    for (long left = atol(args[1]) << 20; left > 0;) {\n\
    ssize_t wrote = write(1, text, sizeof text); if (wrote <= 0) return 1; left -= wrote; }\n\
    return 0; }\n";

/// MiB that each writes.
const EACH: u32 = 512;
const ROUNDS: usize = 5;
const FIGURE: &str = "capture";

pub fn measure() -> Vec<Row> {
    let flood = flood();
    [1, 4].into_iter().flat_map(|writers| beside(&flood, writers)).collect()
}

/// A program that writes so many MiB.
pub fn flood() -> PathBuf {
    tiny::build("flood", SOURCE, &[])
}

fn beside(flood: &Path, writers: u32) -> Vec<Row> {
    let (mut ours, mut cats) = (Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        ours.push(by_init(flood, writers));
        cats.push(by_cats(flood, writers));
    }
    let (ours, cats) = (median(ours), median(cats));
    let name = |who: &str| format!("{who}: CPU a MiB, of {writers} at once");
    let rate = f64::from(1 << 20) / ours / 1e3;
    vec![
        Row::new(FIGURE, &format!("init: a core's worth, of {writers}"), rate, "GB/s")
            .compared("1 GB/s", 1.0)
            .at_least(1.0),
        Row::new(FIGURE, &name("init"), ours, "us").compared("cat", cats),
        Row::new(FIGURE, &name("cat"), cats, "us"),
    ]
}

#[expect(clippy::cast_precision_loss, reason = "far below 2^52 nanoseconds")]
fn by_init(flood: &Path, writers: u32) -> f64 {
    let init = inits::init();
    let address = init.address;
    drop(Client::connect(address));
    let before = cpu::own(init.pid());
    thread::scope(|scope| {
        for writer in 0..writers {
            scope.spawn(move || write_to_init(address, flood, writer));
        }
    });
    (cpu::own(init.pid()) - before) as f64 / 1e3 / f64::from(writers * EACH)
}

fn write_to_init(init: SocketAddr, flood: &Path, writer: u32) {
    let spec =
        format!("{{\"exec\":\"{}\",\"args\":[\"{EACH}\"],\"stdout\":\"log\"}}", flood.display());
    let path = format!("/job/writer-{writer}?wait=exit");
    Client::connect(init).ask(&request("PUT", &path, &spec));
}

fn by_cats(flood: &Path, writers: u32) -> f64 {
    let before = children();
    let cats: Vec<_> = (0..writers).map(|_| write_to_cat(flood.to_owned())).collect();
    let mut floods = 0.0;
    for (mut flood, mut cat) in cats {
        // The order matters: what is waited for between is the flood's own.
        let before = children();
        flood.wait().expect("it is our child");
        floods += children() - before;
        cat.wait().expect("it is our child");
    }
    (children() - before - floods) / f64::from(writers * EACH)
}

fn write_to_cat(flood: PathBuf) -> (Child, Child) {
    let mut flood = Command::new(flood);
    let mut flood =
        flood.arg(EACH.to_string()).stdout(Stdio::piped()).spawn().expect("it is built");
    let pipe = flood.stdout.take().expect("it is piped");
    let cat = Command::new("cat").stdin(pipe).stdout(Stdio::null()).spawn().expect("cat is there");
    (flood, cat)
}

/// Microseconds of CPU of all children that have been waited for.
#[expect(clippy::cast_precision_loss, reason = "far below 2^52 microseconds")]
fn children() -> f64 {
    let usage = getrusage(UsageWho::RUSAGE_CHILDREN).expect("it is always there");
    let (user, system) = (usage.user_time(), usage.system_time());
    ((user.tv_sec() + system.tv_sec()) * 1_000_000 + user.tv_usec() + system.tv_usec()) as f64
}
