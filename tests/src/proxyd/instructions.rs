//! User-space instructions that proxyd spends on a keep-alive request, counted by callgrind.
//!
//! One client asks one request after the other, and lets proxyd's worker fall asleep before it asks
//! the next, as the app does before it answers: how often a worker looks at what is ready would else
//! be a matter of who is quicker. What a run of 2,000 requests takes beyond a run of 1,000 is what
//! 1,000 requests take: start, end and the control API are in both. The count is the
//! same on every machine that has AVX2, for the same compiler and C library; what the kernel does is
//! not in it.

use std::collections::BTreeMap;
use std::fs;
use std::io::{Read, Write};
use std::net::TcpListener;
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Arc, OnceLock};
use std::thread;
use std::time::Instant;

use nix::sys::signal::Signal;

use super::{DEADLINE, Proxyd, binary};

/// Requests of the shorter run, and what the longer one has more.
const REQUESTS: usize = 1_000;
/// The most that a count may grow by before somebody has to say that it is worth it.
pub const TOLERANCE: f64 = 1.03;

/// What is counted, each under its name in `tests/bench/instructions.toml`.
pub const CASES: [Case; 4] = [
    Case { name: "tcp", unix: false, body: 0, routes: 1 },
    Case { name: "unix", unix: true, body: 0, routes: 1 },
    Case { name: "post-1k", unix: false, body: 1024, routes: 1 },
    Case { name: "routes-100", unix: false, body: 0, routes: 100 },
];

/// The thread that is counted, once it runs.
type Worker = Arc<OnceLock<PathBuf>>;

/// A kind of request.
#[derive(Clone, Copy, Debug)]
pub struct Case {
    pub name: &'static str,
    /// The target is a unix socket.
    unix: bool,
    /// Bytes that the client sends after its head.
    body: usize,
    /// Hosts that proxyd knows.
    routes: usize,
}

/// Whether proxyd is what `make build` makes: other builds spend other numbers.
pub fn countable() -> bool {
    let mut start = vec![0; 4096];
    let read = fs::File::open(binary("proxyd")).and_then(|mut file| file.read_exact(&mut start));
    read.is_ok() && !start.windows(8).any(|window| window == b"ld-linux")
}

/// The counts that are on record.
pub fn recorded() -> BTreeMap<String, f64> {
    let text = fs::read_to_string(record()).expect("the record is in the repository");
    let lines = text.lines().filter_map(|line| line.split_once(" = "));
    lines.filter_map(|(name, count)| Some((name.to_owned(), count.parse().ok()?))).collect()
}

/// Makes these the counts on record.
pub fn set_record(counts: &BTreeMap<String, f64>) {
    let head = "# Instructions a request, as `bench --update` writes them.\n";
    let lines = counts.iter().map(|(name, count)| format!("{name} = {count:.0}\n"));
    let text: String = std::iter::once(head.to_owned()).chain(lines).collect();
    fs::write(record(), text).expect("the repository is writable");
}

fn record() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("bench/instructions.toml")
}

/// A count that is taken again and again. What disturbs a run only adds to it, because more timers
/// are over while it lasts: so of each of the two runs the least is taken.
#[derive(Debug)]
pub struct Count {
    case: Case,
    less: u64,
    more: u64,
}

impl Count {
    pub fn new(case: Case) -> Count {
        Count { case, less: u64::MAX, more: u64::MAX }
    }

    /// Runs both once more, and answers how many instructions a request takes.
    pub fn again(&mut self) -> f64 {
        let case = self.case;
        let (less, more) = thread::scope(|scope| {
            let less = scope.spawn(move || case.total(REQUESTS));
            let more = case.total(2 * REQUESTS);
            (less.join().expect("a run that panics has said why"), more)
        });
        (self.less, self.more) = (self.less.min(less), self.more.min(more));
        #[expect(clippy::cast_precision_loss, reason = "far below 2^52")]
        let each = self.more.saturating_sub(self.less) as f64 / REQUESTS as f64;
        each
    }
}

impl Case {
    /// Instructions of a worker's whole life with so many requests.
    fn total(self, requests: usize) -> u64 {
        let folder = tempfile::tempdir().unwrap();
        let worker = Arc::new(OnceLock::new());
        let origin = self.serve(folder.path(), Arc::clone(&worker));
        let out = folder.path().join("callgrind.out");
        let mut command = Command::new("valgrind");
        command.args(["--tool=callgrind", "--quiet", "--separate-threads=yes"]);
        command.arg(format!("--callgrind-out-file={}", out.display())).arg(binary("proxyd"));
        command.args(["--listen", "127.0.0.1:0", "--workers", "1", "--grace", "0"]);
        command.arg("--control").arg(folder.path().join("control"));
        command.arg("--access-log").arg(folder.path().join("access.log"));
        let mut proxyd = Proxyd::spawn(&mut command, folder);
        proxyd.put_target("app", "1", &origin);
        for number in 1..self.routes {
            proxyd.put_route(&format!("app-{number}.example.test"), "app");
        }
        proxyd.put_route("app.test", "app");
        let worker = worker.get_or_init(|| thread_of_worker(proxyd.pid()));
        self.ask(&proxyd, worker, requests);
        proxyd.signal(Signal::SIGTERM);
        proxyd.wait();
        // A file a thread, whose numbers are valgrind's; a worker works most.
        let files = (1..10)
            .filter_map(|number| fs::read_to_string(format!("{}-{number:02}", out.display())).ok());
        let totals = files.filter_map(|text| {
            text.lines().find_map(|line| line.strip_prefix("totals: "))?.parse().ok()
        });
        totals.max().expect("valgrind writes what it counted")
    }

    fn ask(self, proxyd: &Proxyd, worker: &Path, requests: usize) {
        let (method, length) = match self.body {
            0 => ("GET", String::new()),
            length => ("POST", format!("Content-Length: {length}\r\n")),
        };
        let request = format!(
            "{method} /path?query=1 HTTP/1.1\r\nHost: app.test\r\nUser-Agent: counting/1.0\r\n\
             Accept: */*\r\nAccept-Encoding: gzip, deflate, br\r\n\
             Cookie: session=0123456789abcdef0123456789abcdef\r\n{length}\r\n{}",
            "x".repeat(self.body)
        );
        let mut client = proxyd.client();
        for _ in 0..requests {
            client.send(&request);
            assert_eq!(client.answer().status, 200);
            wait_until_asleep(worker);
        }
    }

    /// Starts the app, and answers its address as a target has it.
    fn serve(self, folder: &Path, worker: Worker) -> String {
        if self.unix {
            let path = folder.join("origin");
            let listener = UnixListener::bind(&path).unwrap();
            thread::spawn(move || {
                listener.incoming().flatten().for_each(|stream| self.answer(stream, &worker));
            });
            return format!("unix:{}", path.display());
        }
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let _ = stream.set_nodelay(true);
                self.answer(stream, &worker);
            }
        });
        format!("tcp:{address}")
    }

    /// Answers requests one by one, until the connection ends.
    fn answer(self, mut stream: impl Read + Write, worker: &Worker) {
        let mut came = Vec::new();
        let mut buffer = vec![0; 16384];
        while let Ok(count @ 1..) = stream.read(&mut buffer) {
            came.extend_from_slice(&buffer[..count]);
            let head = came.windows(4).position(|window| window == b"\r\n\r\n");
            if head.is_some_and(|head| came.len() == head + 4 + self.body) {
                came.clear();
                if let Some(worker) = worker.get() {
                    wait_until_asleep(worker);
                }
                let answered = stream.write_all(
                    b"HTTP/1.1 200 OK\r\nServer: app\r\nDate: Thu, 01 Jan 1970 00:00:00 GMT\r\n\
                    Content-Type: text/plain\r\nContent-Length: 33\r\n\r\n\
                    thirty-three bytes: this is them\n",
                );
                if answered.is_err() {
                    return;
                }
            }
        }
    }
}

/// The folder of the worker's thread in `/proc`.
fn thread_of_worker(pid: u32) -> PathBuf {
    let tasks = fs::read_dir(format!("/proc/{pid}/task")).unwrap().flatten();
    let mut tasks = tasks.map(|task| task.path());
    let is_worker = |task: &PathBuf| {
        fs::read_to_string(task.join("comm")).is_ok_and(|name| name.trim() == "worker-0")
    };
    tasks.find(is_worker).expect("a worker has a name")
}

/// Waits until a thread waits for events.
fn wait_until_asleep(task: &Path) {
    let deadline = Instant::now() + DEADLINE;
    let waiting = |call: &str| call == "232" || call == "281";
    loop {
        let call = fs::read_to_string(task.join("syscall")).expect("it runs, and is ours");
        if call.split(' ').next().is_some_and(waiting) {
            return;
        }
        assert!(Instant::now() < deadline, "in vain: a worker that sleeps");
        thread::yield_now();
    }
}
