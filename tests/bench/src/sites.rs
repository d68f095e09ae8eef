//! Sites of bootctl with many apps, and clients of its control socket.

use std::fs;
use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use jobinit_tests::bootctl::Site;

use crate::tiny;

/// Listens on `PORT`, then appends the monotonic clock to the file that `STAMPS` names, and sleeps: what it
/// costs is next to nothing, so that what is measured is whoever starts it.
const LISTENER: &str = r#"
#include <arpa/inet.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>
int main(void) {
    struct sockaddr_in at = {.sin_family = AF_INET};
    at.sin_port = htons(atoi(getenv("PORT")));
    at.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    int one = 1, s = socket(AF_INET, SOCK_STREAM, 0);
    setsockopt(s, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
    if (bind(s, (struct sockaddr *)&at, sizeof at) || listen(s, 16)) return 1;
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    long long stamp = now.tv_sec * 1000000000LL + now.tv_nsec;
    int file = open(getenv("STAMPS"), O_WRONLY | O_CREAT | O_APPEND, 0644);
    if (write(file, &stamp, sizeof stamp) != sizeof stamp) return 1;
    close(file);
    for (;;) {
        int c = accept(s, 0, 0);
        if (c >= 0) close(c);
    }
}
"#;

/// How long anything here may take.
const PATIENCE: Duration = Duration::from_mins(2);

/// The app that listens and does nothing else.
pub fn listener() -> PathBuf {
    tiny::build("listener", LISTENER, &[])
}

/// An app file of it; `stamps` is a folder in which it leaves its stamps.
pub fn app(stamps: &Path, more: &str) -> String {
    let (exec, stamps) = (listener(), stamps.join("stamps"));
    format!("exec = \"{}\"\n{more}[env]\nSTAMPS = \"{}\"\n", exec.display(), stamps.display())
}

/// Boots so many apps of one instance each; all of them run.
pub fn boot(stamps: &Path, apps: usize, more: &str) -> Site {
    let text = app(stamps, more);
    let names: Vec<String> = (0..apps).map(|number| format!("app{number}.test.toml")).collect();
    let files: Vec<(&str, &str)> =
        names.iter().map(|name| (name.as_str(), text.as_str())).collect();
    let site = Site::boot(&files);
    let by = Instant::now() + PATIENCE;
    while ask(&site.socket(), "PUT", "/reload?timeout_ms=120000").0 != 200 {
        assert!(Instant::now() < by, "{apps} apps do not run after {PATIENCE:?}");
    }
    site
}

/// One request to the control socket: the status, the body, and milliseconds.
pub fn ask(socket: &Path, method: &str, path: &str) -> (u16, String, f64) {
    let begun = Instant::now();
    let mut stream = UnixStream::connect(socket).expect("bootctl listens");
    let request = format!("{method} {path} HTTP/1.1\r\nHost: bootctl\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).expect("it reads");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("it answers");
    let took = begun.elapsed().as_secs_f64() * 1e3;
    let (head, body) = answer.split_once("\r\n\r\n").expect("an answer");
    let status = head.split(' ').nth(1).and_then(|text| text.parse().ok());
    (status.expect("a status"), body.to_owned(), took)
}

/// Milliseconds until a command has ended.
pub fn command(site: &Site, words: &[&str]) -> f64 {
    let begun = Instant::now();
    site.done(words);
    begun.elapsed().as_secs_f64() * 1e3
}

/// The last stamp in a folder, when there are so many.
pub fn last_stamp(folder: &Path, count: usize) -> Result<u64, String> {
    let by = Instant::now() + PATIENCE;
    loop {
        let bytes = fs::read(folder.join("stamps")).unwrap_or_default();
        let stamps = bytes.as_chunks().0;
        if stamps.len() >= count {
            let last = stamps.iter().map(|chunk| u64::from_ne_bytes(*chunk)).max();
            return last.ok_or_else(|| "no stamps".to_owned());
        }
        if Instant::now() > by {
            return Err(format!("{} of {count} apps have begun after {PATIENCE:?}", stamps.len()));
        }
        std::thread::sleep(Duration::from_millis(2));
    }
}
