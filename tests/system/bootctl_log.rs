//! What apps write: collected into files, and read from there.

use std::fmt::Write as _;
use std::fs;
use std::io::{BufRead, BufReader, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Stdio};

use jobinit_tests::binaries::program;
use jobinit_tests::bootctl::Site;
use jobinit_tests::cost::pss;
use jobinit_tests::init::is_alive;
use jobinit_tests::wait;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::{Value, json};

use crate::bootctl_apps::answers;

const FLOODS: &str = env!("CARGO_BIN_EXE_floods");

/// An app that a shell runs; nothing listens, so it never gets ready.
fn script(text: &str, more: &str) -> String {
    format!("exec = \"sh\"\nargs = [\"-c\", {text:?}]\n[restart]\npolicy = \"never\"\n{more}")
}

/// One that writes the numbers from 1 on, a line each, until there is a file.
fn counter(until: &Path, pause: &str) -> String {
    let until = until.display();
    format!("i=0; until test -e {until}; do i=$((i+1)); echo n $i; {pause}; done; echo all $i")
}

fn log_path(site: &Site, app: &str) -> PathBuf {
    site.folder().join(format!("log/{app}.log"))
}

/// A log as it is now.
fn log(site: &Site, app: &str) -> String {
    let bytes = fs::read(log_path(site, app)).unwrap_or_default();
    String::from_utf8(bytes).expect("a log is text")
}

/// All that there is of an app, earlier files included.
#[track_caller]
fn all(site: &Site, app: &str) -> String {
    site.done(&["log", app, "--since", "2020-01-01"])
}

#[track_caller]
fn wait_for_line(site: &Site, app: &str, text: &str) -> String {
    wait::until(&format!("{text:?} in the log of {app}"), || {
        let log = log(site, app);
        log.lines().any(|line| line.contains(text)).then_some(log)
    })
}

/// Stream with its signs, and text, of each line.
fn fields(log: &str) -> Vec<(&str, &str)> {
    let line = |line| {
        let mut fields = str::splitn(line, 4, ' ').skip(2);
        (fields.next().expect("a stream"), fields.next().expect("a text"))
    };
    log.lines().map(line).collect()
}

/// Bytes that a log accounts for: written, and lost.
fn accounted(log: &str) -> (u64, u64) {
    let (mut written, mut lost) = (0, 0);
    for (stream, text) in fields(log) {
        match stream {
            "out" => written += text.len() as u64 + 1,
            "out+" => written += text.len() as u64,
            "out!" => {
                let count = text.split(' ').next().expect("a count");
                lost += count.parse::<u64>().unwrap_or_else(|e| panic!("{e}: {text}"));
            }
            other => panic!("{other}: {text}"),
        }
    }
    (written, lost)
}

/// The collector's pid.
fn collector(site: &Site) -> u64 {
    wait::until("the collector", || site.init.job("collector")["pid"].as_u64())
}

#[track_caller]
fn kill_9(pid: u64) {
    let pid = Pid::from_raw(i32::try_from(pid).expect("a pid"));
    kill(pid, Signal::SIGKILL).expect("it is there");
}

/// `bootctl log` that goes on.
struct Follower {
    child: Child,
    lines: std::io::Lines<BufReader<ChildStdout>>,
}

impl Follower {
    fn start(site: &Site, words: &[&str]) -> Self {
        let mut command = Command::new(program("bootctl"));
        command.arg("log").args(words).env("BOOTCTL_LOG_DIR", site.folder().join("log"));
        let mut child = command.stdout(Stdio::piped()).spawn().expect("it can be run");
        let lines = BufReader::new(child.stdout.take().expect("it is piped")).lines();
        Self { child, lines }
    }

    /// The text of the next line.
    #[track_caller]
    fn text(&mut self) -> String {
        let line = self.lines.next().expect("it goes on").expect("text");
        line.splitn(4, ' ').nth(3).expect("a line").to_owned()
    }
}

impl Drop for Follower {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn o11_what_an_app_writes_is_in_its_log() {
    let text = "echo one; echo two >&2; printf 'a\\0b\\n'; printf '\\377\\n'; printf 'no end'";
    let site = Site::boot(&[("a.toml", &script(text, ""))]);
    let log = wait_for_line(&site, "a", "no end");
    let of = |stream: &str| {
        let lines = fields(&log).into_iter().filter(|(its, _)| *its == stream);
        lines.map(|(_, text)| text).collect::<Vec<_>>()
    };
    assert_eq!(of("out"), ["one"]);
    assert_eq!(of("err"), ["two"]);
    assert_eq!(of("out\\"), ["a\\x00b", "\\xFF"]);
    assert_eq!(of("out+"), ["no end"]);
    assert!(log.lines().all(|line| line.split(' ').nth(1) == Some("1")), "{log}");
    let status = site.done(&["status"]);
    assert!(status.contains("log: collected"), "{status}");
}

#[test]
fn o11_the_last_lines_are_shown_and_those_that_are_asked_for() {
    let lines = "for i in 1 2 3 4 5; do echo a$i; echo e$i >&2; sleep 0.02; done; echo end";
    let other = "for i in 1 2 3; do echo b$i; sleep 0.02; done; echo end";
    let site = Site::boot(&[("a.toml", &script(lines, "")), ("b.toml", &script(other, ""))]);
    wait_for_line(&site, "a", "end");
    wait_for_line(&site, "b", "end");
    let texts = |words: &[&str]| {
        let said = site.done(&[&["log"], words].concat());
        said.lines()
            .map(|line| line.splitn(4, ' ').nth(3).expect("text").to_owned())
            .collect::<Vec<_>>()
    };
    assert_eq!(texts(&["a", "-n", "2", "--stream", "out"]), ["a5", "end"]);
    assert_eq!(texts(&["a", "-n", "2", "--stream", "err"]), ["e4", "e5"]);
    assert_eq!(texts(&["a", "--grep", "^[ae][24]$", "--stream", "out"]), ["a2", "a4"]);
    assert_eq!(texts(&["a", "--instance", "2"]), [""; 0]);
    assert_eq!(texts(&["a", "--since", "2100-01-01"]), [""; 0]);
    assert_eq!(texts(&["--since", "1h", "--grep", "end"]), ["end", "end"], "of all apps");
    let merged = site.done(&["log", "-n", "1000"]);
    let times: Vec<&str> = merged.lines().map(|line| &line[..24]).collect();
    assert!(times.is_sorted(), "{merged}");
    assert!(merged.contains(" a.1 out a1\n") && merged.contains(" b.1 out b1\n"), "{merged}");
    let first: Value = serde_json::from_str(
        site.done(&["log", "a", "-n", "1", "--stream", "out", "--json"]).trim(),
    )
    .expect("JSON");
    assert_eq!((&first["app"], &first["text"]), (&json!("a"), &json!("end")));

    let said = site.bootctl(&["log", "aa"]);
    assert_eq!(said.code, Some(1));
    assert!(said.err.contains("did you mean a?"), "{said:?}");
    assert_eq!(site.bootctl(&["log", "a", "--since", "soon"]).code, Some(2));
    assert_eq!(site.bootctl(&["log", "--clear"]).code, Some(2));
}

#[test]
fn o11_a_reader_that_has_seen_enough_is_no_failure() {
    let site = Site::boot(&[("a.toml", &script(&format!("exec {FLOODS} 300000"), ""))]);
    wait_for_line(&site, "a", "2999");
    let mut command = Command::new(program("bootctl"));
    command
        .args(["log", "a", "-n", "100000", "-f"])
        .env("BOOTCTL_LOG_DIR", site.folder().join("log"));
    let mut child = command.stdout(Stdio::piped()).spawn().expect("it can be run");
    let mut out = BufReader::new(child.stdout.take().expect("it is piped"));
    out.read_line(&mut String::new()).expect("a line");
    drop(out);
    let status = wait::until("it to end", || child.try_wait().expect("it is our child"));
    assert_eq!(status.code(), Some(0));
}

#[test]
fn o11_following_goes_on_across_restarts_and_new_files() {
    // Every file is full after a few hundred lines.
    let text = format!("echo begin; exec {FLOODS} 400000");
    let log = "[log]\nwhen_full = \"wait\"\nmax_size = \"64K\"\nkeep = 100\ncompress = \"zstd\"\n";
    let site = Site::boot(&[("a.toml", &script(&text, log))]);
    wait_for_line(&site, "a", "0");
    let mut follower = Follower::start(&site, &["a", "-n", "100000", "-f"]);
    for round in 0..3 {
        assert_eq!(follower.text(), "begin");
        for number in 0..4000 {
            assert_eq!(follower.text(), format!("{number:099}"));
        }
        if round == 1 {
            // What is on its way to one that is killed is not held up for the next.
            let pid = collector(&site);
            kill_9(pid);
            wait::until("another collector", || (collector(&site) != pid).then_some(()));
        }
        assert_eq!(site.init.put("/job/a.1/start").status, 200);
    }
    let old = fs::read_dir(site.folder().join("log")).expect("there").count();
    assert!(old > 10, "{old} files");
}

/// An app that writes numbered lines while the collector, bootctl and init itself are killed or replaced.
#[test]
fn o12_no_line_is_lost_or_there_twice_whoever_is_killed() {
    let folder = tempfile::tempdir().expect("a folder");
    let over = folder.path().join("over");
    let log = "[log]\nmax_size = \"64K\"\nkeep = 1000\n";
    // The sign of a prompt has no end of a line for a moment.
    let text = counter(&over, "printf '%s' 'p '; sleep 0.002; echo $i");
    let site = Site::boot(&[("a.toml", &script(&text, log))]);
    wait_for_line(&site, "a", "n 1");
    for round in 0..20 {
        let pid = collector(&site);
        kill_9(pid);
        if round % 5 == 1 {
            kill_9(site.supervisor());
        }
        if round % 5 == 3 {
            assert_eq!(site.init.put("/job/init/restart").status, 200);
        }
        wait::until("another collector", || {
            let job = site.init.job("collector");
            (job["status"] == "running" && job["pid"] != json!(pid)).then_some(())
        });
        // It has written something before it is killed, and may be writing when it is.
        let length = || fs::metadata(log_path(&site, "a")).map_or(0, |about| about.len());
        let before = length();
        wait::until("the log to go on", || (length() != before).then_some(()));
    }
    fs::write(&over, "").expect("written");
    let said = wait::until("the end of it", || {
        let said = all(&site, "a");
        said.contains(" all ").then_some(said)
    });
    check_counted(&said);
}

/// The numbers of [`counter`] with a prompt between, each once.
#[track_caller]
fn check_counted(log: &str) {
    let mut text = String::new();
    for (stream, part) in fields(log) {
        let end = match stream {
            "out" => "\n",
            "out+" => "",
            other => panic!("{other} {part}"),
        };
        let _ = write!(text, "{part}{end}");
    }
    let mut lines = text.lines();
    let count: u64 =
        lines.next_back().and_then(|l| l.strip_prefix("all ")?.parse().ok()).expect("n");
    for number in 1..=count {
        assert_eq!(lines.next(), Some(format!("n {number}").as_str()));
        assert_eq!(lines.next(), Some(format!("p {number}").as_str()));
    }
    assert_eq!(lines.next(), None);
    assert!(count > 100, "{count}");
}

#[test]
fn z06_of_a_flood_every_byte_is_there_or_is_said_to_be_lost() {
    let bytes = 20_000_000;
    let text = format!("{FLOODS} {bytes}; echo end");
    let site = Site::boot(&[("a.toml", &script(&text, "[log]\nkeep = 1000\n"))]);
    wait_for_line(&site, "a", "end");
    let (written, lost) = accounted(&all(&site, "a"));
    assert_eq!(written + lost, bytes + 4, "{written} written, {lost} lost");
    let pss = pss(u32::try_from(collector(&site)).expect("a pid"));
    println!("{written} bytes written, {lost} lost, Pss {pss} KiB");
    assert!(pss < 40_000, "{pss} KiB");
}

#[test]
fn z06_a_line_of_10_mb_is_there_in_parts() {
    let text = "head -c 10485760 /dev/zero | tr '\\0' x; echo; echo end";
    let log = "[log]\nwhen_full = \"wait\"\nmax_size = \"100M\"\n";
    let site = Site::boot(&[("a.toml", &script(text, log))]);
    let log = wait_for_line(&site, "a", "end");
    assert_eq!(accounted(&log), (10_485_760 + 1 + 4, 0));
    assert!(log.lines().all(|line| line.len() < 17_000));
    assert!(log.lines().count() < 1000);
}

#[test]
fn o12_full_files_are_put_away_compressed_and_only_so_many_are_kept() {
    for (compress, end) in [("gzip", "gz"), ("zstd", "zst")] {
        let log = format!(
            "[log]\nwhen_full = \"wait\"\nmax_size = \"64K\"\nkeep = 3\ncompress = {compress:?}\n"
        );
        let text = format!("{FLOODS} 2000000; echo end");
        let site = Site::boot(&[("a.toml", &script(&text, &log))]);
        wait_for_line(&site, "a", "end");
        let old = wait::until("three old ones, all compressed", || {
            let entries = fs::read_dir(site.folder().join("log")).expect("there").flatten();
            let names = entries.map(|entry| entry.file_name().into_string().expect("text"));
            let old: Vec<String> = names.filter(|name| name.starts_with("a.log.")).collect();
            let is_packed = |name: &String| name.ends_with(&format!(".{end}"));
            (old.len() == 3 && old.iter().all(is_packed)).then_some(old)
        });
        for name in &old {
            let length = fs::metadata(site.folder().join("log").join(name)).expect("there").len();
            assert!(length < 20_000, "{name}: {length}");
        }
        let said = all(&site, "a");
        let (written, lost) = accounted(&said);
        assert_eq!(lost, 0);
        assert!(written > 3 * 40_000, "the compressed ones are read: {written}");
        let numbers: Vec<u64> =
            fields(&said).iter().filter_map(|(_, text)| text.parse().ok()).collect();
        assert!(
            numbers.windows(2).all(|pair| pair[1] == pair[0] + 1),
            "nothing is missing between"
        );
    }
}

#[test]
fn o12_an_old_file_is_put_away_before_the_next_line() {
    let site = Site::boot(&[]);
    wait::until("the folder", || log_path(&site, "x").parent()?.exists().then_some(()));
    let old = "2020-01-01T00:00:00.000Z 1 out old\n";
    fs::write(log_path(&site, "a"), old).expect("written");
    site.write("a.toml", &script("echo new", "[log]\nmax_age = \"1h\"\ncompress = \"none\"\n"));
    site.bootctl(&["reload", "--timeout", "0"]);
    let log = wait_for_line(&site, "a", "new");
    assert!(!log.contains("old"), "{log}");
    assert!(all(&site, "a").contains("old"));
}

/// A file system in memory, until it is dropped.
struct Tmpfs(PathBuf);

impl Tmpfs {
    fn mount(at: &Path, size: &str) -> Self {
        let tmpfs = Self(at.to_owned());
        tmpfs.run(&format!("mount -t tmpfs -o size={size} none"));
        tmpfs
    }

    #[track_caller]
    fn run(&self, command: &str) {
        let command = format!("{command} {}", self.0.display());
        let status = Command::new("sh").args(["-c", &command]).status().expect("a shell");
        assert!(status.success(), "{command}");
    }
}

impl Drop for Tmpfs {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(&self.0).status();
    }
}

#[test]
fn o12_a_full_disk_stops_no_app_and_what_is_lost_is_said() {
    let site = Site::boot(&[]);
    wait::until("the folder", || site.folder().join("log").exists().then_some(()));
    let tmpfs = Tmpfs::mount(&site.folder().join("log"), "256k");
    // The next one begins on what is there now.
    kill_9(collector(&site));
    let over = site.folder().join("over");
    let text = counter(&over, &format!("{FLOODS} 100000; sleep 0.001"));
    site.write("a.toml", &script(&text, ""));
    site.bootctl(&["reload", "--timeout", "0"]);
    wait::until("the trouble to be told", || {
        let logs = site.status()["logs"].clone();
        let why = logs["why"].as_str().unwrap_or_default();
        (logs["state"] == "failing" && why.contains("No space left")).then_some(())
    });
    site.init.log_line("No space left");
    let job = site.init.job("a.1");
    // The app goes on, until its first lines are gone.
    wait::until("init to have no room", || {
        let start = site.init.get("/job/a.1/stdout").header("output-start")?.parse::<u64>().ok()?;
        // More than all that is on its way to the collector.
        (start > 16_000_000).then_some(())
    });
    assert_eq!(site.init.job("a.1")["pid"], job["pid"]);
    tmpfs.run("mount -o remount,size=64m");
    wait::until("it to be over", || (site.status()["logs"]["state"] == "collected").then_some(()));
    fs::write(&over, "").expect("written");
    let log = wait_for_line(&site, "a", "all ");
    let end = site.init.get("/job/a.1/stdout").header("output-end").and_then(|n| n.parse().ok());
    let (written, lost) = accounted(&log);
    assert_eq!(Some(written + lost), end, "{written} written, {lost} lost");
    assert!(lost > 0);
    drop(site.init.put("/job/a.1/stop"));
}

#[test]
fn o12_a_stopped_app_has_its_last_words() {
    let text = "trap 'echo last words; exit 0' TERM; echo up; while :; do sleep 0.02; done";
    let site = Site::boot(&[("a.toml", &script(text, ""))]);
    wait_for_line(&site, "a", "up");
    site.done(&["stop", "a"]);
    wait_for_line(&site, "a", "last words");
}

#[test]
fn o12_when_all_ends_the_collector_is_the_last() {
    let text = "trap 'echo last words; exit 0' TERM; echo up; while :; do sleep 0.02; done";
    let mut site = Site::boot(&[("a.toml", &script(text, ""))]);
    wait_for_line(&site, "a", "up");
    site.init.signal(Signal::SIGTERM);
    site.init.wait_end();
    let log = log(&site, "a");
    assert!(log.contains("last words"), "{log}");
}

#[test]
fn z11_a_log_is_cleared_and_goes_on() {
    let folder = tempfile::tempdir().expect("a folder");
    let over = folder.path().join("over");
    let text = counter(&over, "sleep 0.01");
    let site = Site::boot(&[("a.toml", &script(&text, "[log]\nmax_size = \"64K\"\n"))]);
    wait_for_line(&site, "a", "n 5");
    let old = site.folder().join("log/a.log.20261122T004007.123Z");
    fs::write(&old, "").expect("written");
    let mut follower = Follower::start(&site, &["a", "-n", "1", "-f"]);
    follower.text();
    assert!(site.done(&["log", "--clear", "a"]).contains("is empty"));
    assert!(!old.exists());
    let begun = wait_for_line(&site, "a", "n ");
    assert!(!begun.contains("out n 1\n"), "{begun}");
    fs::write(&over, "").expect("written");
    while !follower.text().starts_with("all ") {}
    let said = site.bootctl(&["log", "--clear", "b"]);
    assert_eq!(said.code, Some(1), "{said:?}");
}

#[test]
fn o11_without_a_log_init_is_asked() {
    let site = Site::boot(&[("a.toml", &script("echo one; echo two >&2; echo three", ""))]);
    wait_for_line(&site, "a", "three");
    let (init, none) = (site.init.api().to_string(), site.folder().join("none"));
    let none = none.to_str().expect("text");
    let words = |app| ["log", app, "-n", "2", "--log-dir", none, "--init", &init];
    let said = site.bootctl(&words("a"));
    assert_eq!(said.code, Some(0), "{said:?}");
    assert!(said.err.contains("this is what init keeps"), "{said:?}");
    assert_eq!(said.out.lines().count(), 2, "{said:?}");
    assert!(said.out.contains(" a.1 out three\n"), "{said:?}");
    let said = site.bootctl(&words("b"));
    assert_eq!(said.code, Some(1), "{said:?}");
}

#[test]
fn o11_the_proxy_has_a_log_and_lines_may_be_repeated_or_not_captured() {
    let inherits = script("echo to init >&2", "[log]\ncapture = false\n");
    let apps = [("a.test.toml", answers(1, "").clone()), ("b.toml", inherits)];
    let apps: Vec<(&str, &str)> = apps.iter().map(|(name, text)| (*name, text.as_str())).collect();
    let site = Site::boot_with(&apps, "[log]\nconsole = true\n");
    site.init.log_line("to init");
    site.wait_for("a.test", "running");
    assert_eq!(site.get("a.test", "/").status, 200);
    wait_for_line(&site, "proxyd", "GET / HTTP/1.1");
    site.write("c.toml", &script("echo to everybody >&2", ""));
    site.bootctl(&["reload", "--timeout", "0"]);
    site.init.log_line("c.1 | to everybody");
    assert_eq!(log(&site, "b"), "");
}

/// As in a container whose root nobody can write to.
#[test]
fn o11_where_nothing_can_be_written_lines_are_repeated_all_the_same() {
    let site = Site::boot_with(&[], "[log]\nconsole = true\n");
    wait::until("the folder", || site.folder().join("log").exists().then_some(()));
    let _tmpfs = Tmpfs::mount(&site.folder().join("log"), "64k,ro");
    kill_9(collector(&site));
    wait::until("it to be told", || {
        let why = site.status()["logs"]["why"].clone();
        why.as_str()?.contains("lines are repeated here only").then_some(())
    });
    site.write("a.toml", &script("echo all the same >&2", ""));
    site.bootctl(&["reload", "--timeout", "0"]);
    site.init.log_line("a.1 | all the same");
}

#[test]
fn o11_a_thousand_jobs_take_no_descriptors() {
    let site = Site::boot(&[]);
    let pid = collector(&site);
    for number in 0..1000 {
        let spec = json!({
            "exec": "/bin/echo",
            "args": [format!("I am {number}")],
            "envs": {"BOOTCTL_APP": format!("app{number}")},
            "stdout": "log",
        });
        site.init.launch_job(&format!("app{number}.hook"), &spec);
    }
    for number in 0..1000 {
        let app = format!("app{number}");
        let log = wait_for_line(&site, &app, &format!("I am {number}"));
        assert!(log.contains(" hook out I am "), "{log}");
    }
    assert!(is_alive(pid), "it is the same one");
    let open = fs::read_dir(format!("/proc/{pid}/fd")).expect("it runs").count();
    assert!(open < 20, "{open} descriptors");
    std::io::stdout().flush().expect("it is open");
}
