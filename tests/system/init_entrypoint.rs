//! init in tini's place: what whoever starts programs in containers relies on.

use std::fs::read_to_string;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use jobinit_tests::binaries::program;
use jobinit_tests::init::{Init, is_alive};
use jobinit_tests::tools;
use jobinit_tests::wait;
use nix::sys::signal::Signal;
use nix::unistd::Pid;
use serde_json::json;
use tempfile::TempDir;

const TELLS_SIGNALS: &str = env!("CARGO_BIN_EXE_tells_signals");

/// A file that `tells_signals` writes.
struct Told(TempDir);

impl Told {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn path(&self) -> String {
        self.0.path().join("told").to_str().unwrap().to_owned()
    }

    fn other(&self) -> String {
        self.path() + ".other"
    }

    /// Waits until exactly these have come, in this order.
    #[track_caller]
    fn expect(&self, numbers: &[i32]) {
        Self::expect_in(&self.path(), numbers);
    }

    #[track_caller]
    fn expect_in(file: &str, numbers: &[i32]) {
        let lines = numbers.iter().map(|number| format!("{number}\n"));
        let all: String = ["ready\n".to_owned()].into_iter().chain(lines).collect();
        wait::until(&format!("{numbers:?} to be told"), || {
            (read_to_string(file).ok()? == all).then_some(())
        });
    }
}

/// `nix` has no names for real-time signals.
fn send(pid: Pid, number: i32) {
    // SAFETY: touches no memory.
    assert_eq!(unsafe { libc::kill(pid.as_raw(), number) }, 0);
}

fn children_of(pid: Pid) -> Vec<Pid> {
    let list = read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap_or_default();
    list.split_whitespace().filter_map(|pid| pid.parse().ok()).map(Pid::from_raw).collect()
}

/// The init behind an `unshare`.
fn behind(unshare: &Init) -> Pid {
    wait::until("unshare to fork", || children_of(unshare.pid()).first().copied())
}

/// Boot's process as this test sees it, when its program runs.
#[track_caller]
fn boot_of(init: &Init, pid: Pid) -> Pid {
    init.wait_for("boot", "running");
    *children_of(pid).first().expect("boot is init's child")
}

fn state_of(pid: Pid) -> String {
    let stat = read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    let rest = stat.rsplit_once(") ").map(|(_, rest)| rest.to_owned());
    rest.and_then(|rest| rest.split(' ').next().map(str::to_owned)).unwrap_or_default()
}

#[track_caller]
fn wait_for_state(pid: Pid, state: &str) {
    wait::until(&format!("{pid} to be in state {state}"), || {
        (state_of(pid) == state).then_some(())
    });
}

fn code_of(words: &[&str]) -> Option<i32> {
    let mut command = Command::new(program("init"));
    command.args(["--listen", "127.0.0.1:0"]).args(words);
    command.output().unwrap().status.code()
}

/// Sends each of `numbers` to init and waits until boot has been told it.
#[track_caller]
fn all_are_told(init: Pid, told: &Told, numbers: impl IntoIterator<Item = i32>) {
    let before = read_to_string(told.path()).unwrap();
    let mut sent: Vec<i32> = before.lines().filter_map(|line| line.parse().ok()).collect();
    for number in numbers {
        send(init, number);
        sent.push(number);
        told.expect(&sent);
    }
}

#[test]
fn i02_every_signal_is_forwarded_in_order() {
    let told = Told::new();
    let last = libc::SIGUSR2.to_string();
    let mut init = Init::start(&["--", TELLS_SIGNALS, &told.path(), &last]);
    told.expect(&[]);
    let other = [
        // Nobody can pass these on; TERM is init's own; the others are for job control.
        libc::SIGKILL,
        libc::SIGSTOP,
        libc::SIGCHLD,
        libc::SIGTERM,
        libc::SIGTSTP,
        libc::SIGTTIN,
        libc::SIGTTOU,
        libc::SIGUSR2,
    ];
    assert_eq!(init.put("/job/boot/sig/64").status, 204);
    told.expect(&[64]);
    let numbers = (1..=31).chain(34..=63).filter(|number| !other.contains(number));
    all_are_told(init.pid(), &told, numbers.chain([libc::SIGUSR2]));
    assert_eq!(init.wait_end().code(), Some(0));
}

#[test]
fn i02_every_signal_is_forwarded_by_pid_1() {
    let told = Told::new();
    let last = libc::SIGTERM.to_string();
    let mut init = Init::start_as_pid_1(&["--", TELLS_SIGNALS, &told.path(), &last]);
    told.expect(&[]);
    let not = [libc::SIGKILL, libc::SIGSTOP, libc::SIGCHLD, libc::SIGTERM];
    let numbers = (1..=31).filter(|number| !not.contains(number));
    all_are_told(behind(&init), &told, numbers.chain([libc::SIGTERM]));
    assert_eq!(init.wait_end().code(), Some(0));
}

#[test]
fn i02_pid_1_forwards_what_comes_from_inside() {
    let told = Told::new();
    let mut init = Init::start_as_pid_1(&["--", TELLS_SIGNALS, &told.path(), "1"]);
    told.expect(&[]);
    // KILL and STOP do nothing to PID 1 from inside.
    let script = "kill -9 1; kill -19 1; for signal in 10 20 3 11 28; do kill -$signal 1; \
                  until tail -n 1 FILE | grep -qx $signal; do sleep 0.01; done; done";
    init.run_script(&script.replace("FILE", &told.path()));
    told.expect(&[libc::SIGUSR1, libc::SIGTSTP, libc::SIGQUIT, libc::SIGSEGV, libc::SIGWINCH]);
    init.run_script("kill -HUP 1");
    assert_eq!(init.wait_end().code(), Some(0));
}

#[test]
fn i02_stop_signals_suspend_boot_and_init() {
    for number in [libc::SIGTSTP, libc::SIGTTIN, libc::SIGTTOU] {
        let mut init = Init::start(&["--", "sleep", "600"]);
        let boot = boot_of(&init, init.pid());
        for _ in 0..3 {
            send(init.pid(), number);
            wait_for_state(init.pid(), "T");
            wait_for_state(boot, "T");
            send(init.pid(), libc::SIGCONT);
            wait_for_state(boot, "S");
            wait_for_state(init.pid(), "S");
        }
        init.wait_for("boot", "running");
        init.signal(Signal::SIGTERM);
        assert_eq!(init.wait_end().code(), Some(143));
    }
}

#[test]
fn i02_pid_1_does_not_stop_itself() {
    let init = Init::start_as_pid_1(&["--", "sleep", "600"]);
    let pid_1 = behind(&init);
    let boot = boot_of(&init, pid_1);
    // The terminal's signals do nothing to a session without a terminal's shell; SIGSTOP does.
    assert_eq!(init.put("/job/boot/sig/STOP").status, 204);
    wait_for_state(boot, "T");
    send(pid_1, libc::SIGTSTP);
    init.wait_for("boot", "running");
    assert_ne!(state_of(pid_1), "T");
    send(pid_1, libc::SIGCONT);
    wait_for_state(boot, "S");
}

#[test]
fn i02_a_stopped_job_does_not_concern_init() {
    let init = Init::start(&["--", "sleep", "600"]);
    let pid = init.launch_job("web", &json!({"exec": "/bin/sleep", "args": ["600"]}));
    let pid = Pid::from_raw(pid.try_into().unwrap());
    for signal in ["STOP", "CONT", "STOP"] {
        assert_eq!(init.put(&format!("/job/web/sig/{signal}")).status, 204);
        wait_for_state(pid, if signal == "STOP" { "T" } else { "S" });
    }
    // Neither does a stop of boot that nobody has asked init for.
    assert_eq!(init.put("/job/boot/sig/STOP").status, 204);
    assert_eq!(init.job("web")["status"], "running");
    assert_eq!(init.put("/job/boot/sig/CONT").status, 204);
    // One that is stopped can be killed, and is reaped.
    assert_eq!(init.put("/job/web/sig/KILL").status, 204);
    assert_eq!(init.wait_for("web", "failed")["lastExit"], "SIGKILL");
}

#[test]
fn i02_signals_reach_the_group_only_when_asked() {
    for group in [true, false] {
        let told = Told::new();
        let last = libc::SIGTERM.to_string();
        let words = ["--", TELLS_SIGNALS, &told.path(), &last, &told.other()];
        let words = if group { [&["--signal-group"], &words[..]].concat() } else { words.to_vec() };
        let mut init = Init::start(&words);
        told.expect(&[]);
        Told::expect_in(&told.other(), &[]);
        init.signal(Signal::SIGUSR1);
        told.expect(&[libc::SIGUSR1]);
        init.signal(Signal::SIGTERM);
        assert_eq!(init.wait_end().code(), Some(0));
        let other = if group { vec![libc::SIGUSR1, libc::SIGTERM] } else { vec![] };
        Told::expect_in(&told.other(), &other);
    }
}

#[test]
fn i02_signals_are_rewritten_and_dropped() {
    let told = Told::new();
    let last = libc::SIGQUIT.to_string();
    let rules = ["TERM:QUIT", "SIGHUP:none", "10:12", "WINCH:0", "TSTP:URG"];
    let mut words: Vec<&str> = rules.iter().flat_map(|rule| ["--rewrite", rule]).collect();
    let path = told.path();
    words.extend(["--", TELLS_SIGNALS, &path, &last]);
    let mut init = Init::start(&words);
    told.expect(&[]);
    assert_eq!(init.job("boot")["spec"]["stop"]["signal"], "SIGQUIT");
    init.signal(Signal::SIGHUP);
    init.signal(Signal::SIGUSR1);
    told.expect(&[libc::SIGUSR2]);
    init.signal(Signal::SIGWINCH);
    init.signal(Signal::SIGTSTP);
    told.expect(&[libc::SIGUSR2, libc::SIGURG]);
    // The end goes on as ever, only boot hears another word.
    let pid = init.launch_job("web", &json!({"exec": "/bin/sleep", "args": ["600"]}));
    init.signal(Signal::SIGTERM);
    assert_eq!(init.wait_end().code(), Some(0));
    told.expect(&[libc::SIGUSR2, libc::SIGURG, libc::SIGQUIT]);
    assert!(!is_alive(pid));
}

#[test]
fn i02_a_dropped_term_is_not_the_end() {
    let told = Told::new();
    let words = ["--rewrite", "TERM:none", "--", TELLS_SIGNALS, &told.path(), "1"];
    let mut init = Init::start(&words);
    told.expect(&[]);
    init.signal(Signal::SIGTERM);
    init.signal(Signal::SIGUSR1);
    told.expect(&[libc::SIGUSR1]);
    assert_eq!(init.job("boot")["status"], "running");
    init.signal(Signal::SIGHUP);
    assert_eq!(init.wait_end().code(), Some(0));
}

#[test]
fn i02_bad_rewrites_are_refused_at_the_start() {
    for rule in ["TERM", "TERM:NOPE", "NOPE:TERM", "KILL:TERM", "CHLD:none", "99:1"] {
        let run = Command::new(program("init")).args(["--rewrite", rule, "true"]).output().unwrap();
        assert_eq!(run.status.code(), Some(2), "{rule}");
        let said = String::from_utf8_lossy(&run.stderr);
        assert!(said.starts_with(&format!("init: --rewrite {rule}: expected FROM:TO")), "{said}");
    }
}

#[test]
fn i01_every_exit_code_is_exact() {
    for code in 0..=255 {
        assert_eq!(code_of(&["--", "sh", "-c", &format!("exit {code}")]), Some(code));
    }
}

#[test]
fn i01_every_fatal_signal_is_128_and_its_number() {
    let harmless = [
        libc::SIGCHLD,
        libc::SIGCONT,
        libc::SIGURG,
        libc::SIGWINCH,
        libc::SIGSTOP,
        libc::SIGTSTP,
        libc::SIGTTIN,
        libc::SIGTTOU,
    ];
    for number in (1..=31).chain([34, 64]).filter(|number| !harmless.contains(number)) {
        let script = format!("ulimit -c 0; kill -{number} $$");
        assert_eq!(code_of(&["--", "sh", "-c", &script]), Some(128 + number));
    }
}

#[test]
fn i01_what_cannot_be_run_is_126_or_127() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    std::fs::write(path("plain"), "#!/bin/sh\n").unwrap();
    std::fs::write(path("odd"), "#!/nosuch/interpreter\n").unwrap();
    std::fs::write(path("noise"), [0xff; 64]).unwrap();
    for name in ["odd", "noise"] {
        let mode = std::os::unix::fs::PermissionsExt::from_mode(0o755);
        std::fs::set_permissions(path(name), mode).unwrap();
    }
    let cases = [
        (path("nosuch"), 127),
        ("nosuch-program".to_owned(), 127),
        (path("nosuch/program"), 127),
        (path("odd"), 127),
        (path("plain"), 126),
        (path("noise"), 126),
        (path(""), 126),
    ];
    for (command, code) in cases {
        for rule in ["end", "shutdown"] {
            let run = code_of(&["--boot-exit", rule, "--", &command]);
            assert_eq!(run, Some(code), "{command} {rule}");
        }
    }
}

#[test]
fn b04_the_exit_code_is_boots_by_every_rule() {
    for rule in ["end", "shutdown"] {
        for (script, code) in [("exit 0", 0), ("exit 9", 9), ("kill -KILL $$", 137)] {
            let run = code_of(&["--boot-exit", rule, "--", "sh", "-c", script]);
            assert_eq!(run, Some(code), "{rule} {script}");
        }
    }
    for (script, code) in [("exit 9", 9), ("kill -KILL $$", 137), ("exit 0", 0)] {
        let mut stays = Init::start(&["--boot-exit", "stay", "--", "sh", "-c", script]);
        let status = if code == 0 { "success" } else { "failed" };
        stays.wait_for("boot", status);
        stays.signal(Signal::SIGTERM);
        assert_eq!(stays.wait_end().code(), Some(code), "stay {script}");
    }
}

#[test]
fn b28_the_rest_is_told_in_reverse_order_of_start() {
    if !tools::present(&["strace"]) {
        return;
    }
    let mut init = Init::start(&["--", "sleep", "600"]);
    let sleep = json!({"exec": "/bin/sleep", "args": ["600"]});
    let pids = ["c", "a", "d", "b"].map(|name| init.launch_job(name, &sleep).to_string());
    let folder = tempfile::tempdir().unwrap();
    // Who is told when is the kernel's to say.
    let trace = folder.path().join("trace");
    let mut strace = Command::new("strace")
        .args(["-q", "-e", "trace=kill", "-o"])
        .arg(&trace)
        .args(["-p", &init.pid().to_string()])
        .spawn()
        .unwrap();
    wait::until("init to be traced", || {
        let status = read_to_string(format!("/proc/{}/status", init.pid())).ok()?;
        (!status.contains("TracerPid:\t0\n")).then_some(())
    });
    init.signal(Signal::SIGTERM);
    assert_eq!(init.wait_end().code(), Some(143));
    strace.wait().unwrap();
    let calls = read_to_string(&trace).unwrap();
    let told: Vec<_> = calls
        .lines()
        .filter_map(|call| call.split_once("kill(-")?.1.split_once(", SIGTERM)"))
        .map(|(pid, _)| pid.to_owned())
        .collect();
    assert_eq!(told, pids.into_iter().rev().collect::<Vec<_>>(), "{calls}");
}

#[test]
fn b27_no_zombie_is_left_by_orphans_and_daemons() {
    // As PID 1 and as a subreaper: double forks, sessions of their own, many at once.
    for start in [Init::start, Init::start_as_pid_1] {
        let init = start(&["--", "sleep", "600"]);
        let pid = pid_of_init(&init);
        let ran = init.send(
            "POST",
            "/job?wait=exit",
            &json!({"exec": env!("CARGO_BIN_EXE_orphans"), "args": ["500"]}),
        );
        assert_eq!(ran.json()["lastExit"], 0, "{ran:?}");
        init.run_script("for i in 1 2 3 4 5; do (setsid sh -c '(sleep 0.1 &) ; exit 3' &); done");
        wait::until("only boot to be left", || (children_of(pid).len() == 1).then_some(()));
        assert_eq!(init.job("boot")["status"], "running");
    }
}

fn pid_of_init(init: &Init) -> Pid {
    let name = read_to_string(format!("/proc/{}/comm", init.pid())).unwrap();
    if name.trim() == "init" { init.pid() } else { behind(init) }
}

/// A shell that runs `init -- COMMAND` in its way.
fn shell(script: &str) -> Command {
    let mut command = Command::new("sh");
    command.args(["-c", script]).env("INIT", program("init")).env("INIT_LISTEN", "127.0.0.1:0");
    command
}

#[test]
fn i16_closed_streams_are_no_obstacle() {
    for closed in ["<&-", ">&-", "2>&-", "<&- >&- 2>&-"] {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("fds");
        let helper = env!("CARGO_BIN_EXE_shows_itself");
        let script = format!("exec $INIT -- {helper} {} {closed}", file.display());
        assert_eq!(shell(&script).status().unwrap().code(), Some(0), "{closed}");
        let shown: serde_json::Value =
            serde_json::from_slice(&std::fs::read(&file).unwrap()).unwrap();
        let fds = shown["fds"].as_object().unwrap();
        assert_eq!(fds.keys().collect::<Vec<_>>(), ["0", "1", "2"], "{closed}: {fds:?}");
        assert_eq!(
            shell(&format!("exec $INIT -- sh -c 'exit 5' {closed}")).status().unwrap().code(),
            Some(5)
        );
    }
}

#[test]
fn i16_nested_under_tini() {
    if !tools::present(&["tini"]) {
        return;
    }
    for group in [&["-s"][..], &["-s", "-g"]] {
        let told = Told::new();
        let mut command = Command::new("tini");
        command.args(group).arg("--").arg(program("init"));
        command.args(["--listen", "127.0.0.1:0", "--", TELLS_SIGNALS, &told.path(), "1"]);
        let mut init = Init::launch(command);
        told.expect(&[]);
        all_are_told(init.pid(), &told, [10, 12, 2, 3, 28, 36, 1]);
        assert_eq!(init.wait_end().code(), Some(0));
    }
    for (script, code) in [("exit 77", 77), ("kill -KILL $$", 137)] {
        let status = Command::new("tini")
            .args(["-s", "--"])
            .arg(program("init"))
            .args(["--listen", "127.0.0.1:0", "--", "sh", "-c", script])
            .status();
        assert_eq!(status.unwrap().code(), Some(code));
    }
}

#[test]
fn i16_nested_under_init() {
    let told = Told::new();
    let init = program("init");
    let inner = [init.to_str().unwrap(), "--listen", "127.0.0.1:0", "--"];
    let path = told.path();
    let words = [&["--"], &inner[..], &[TELLS_SIGNALS, &path, "15"]].concat();
    let mut outer = Init::start(&words);
    told.expect(&[]);
    all_are_told(outer.pid(), &told, [10, 12, 2, 3, 11, 40, 15]);
    assert_eq!(outer.wait_end().code(), Some(0));
    for (script, code) in [("exit 77", 77), ("kill -KILL $$", 137)] {
        assert_eq!(code_of(&[&["--"], &inner[..], &["sh", "-c", script]].concat()), Some(code));
    }
}

#[test]
fn i16_as_nobody() {
    let told = Told::new();
    let folder = std::os::unix::fs::PermissionsExt::from_mode(0o777);
    std::fs::set_permissions(told.0.path(), folder).unwrap();
    let mut command = Command::new("setpriv");
    command.args(["--reuid", "65534", "--regid", "65534", "--clear-groups"]);
    command.arg(program("init")).args(["--listen", "127.0.0.1:0", "--", TELLS_SIGNALS]);
    command.args([&told.path(), "1"]).current_dir("/");
    let mut init = Init::launch(command);
    told.expect(&[]);
    // setpriv execs init.
    all_are_told(init.pid(), &told, [10, 12, 1]);
    assert_eq!(init.wait_end().code(), Some(0));
}

/// Runs `script` in namespaces of its own, with a pid namespace whose PID 1 it is to exec.
fn in_namespaces(script: &str) -> Option<i32> {
    let mut command = Command::new("unshare");
    command.args(["-mpf", "--kill-child", "sh", "-c", script]);
    command.env("INIT", program("init")).env("INIT_LISTEN", "127.0.0.1:0");
    command.stdin(Stdio::null()).status().unwrap().code()
}

#[test]
fn i16_on_a_read_only_root() {
    let script = "mount --make-rprivate / && mount -t proc proc /proc && \
                  mount -o remount,bind,ro / && for place in /tmp /dev/shm /var /run; do \
                  mount -t tmpfs -o ro none $place || exit 99; done; \
                  exec $INIT -- sh -c 'touch /tmp/a /a 2>/dev/null && exit 1; \
                  curl -sf http://$INIT_API/job/boot >/dev/null || exit 2; exit 42'";
    assert_eq!(in_namespaces(&bound(script)), Some(42));
}

#[test]
fn i16_without_proc() {
    let script = "mount --make-rprivate / && mount -t tmpfs none /proc && test ! -e /proc/self && \
                  exec $INIT -- sh -c '(setsid sleep 600 &); (sleep 0.05 &); sleep 0.1; exit 43'";
    assert_eq!(in_namespaces(&bound(script)), Some(43));
}

/// The programs under test may lie where the script mounts something: they are bound first.
fn bound(script: &str) -> String {
    let init = program("init");
    let folder: PathBuf = init.parent().map(Path::to_path_buf).unwrap();
    // The folder that the tests run in may be hidden, too.
    format!("mount --bind {0} /mnt && cd / && INIT=/mnt/init && {script}", folder.display())
}
