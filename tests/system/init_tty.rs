//! init on a terminal: keys, job control, and the shell around it.

use jobinit_tests::binaries::program;
use jobinit_tests::pty::Pty;
use jobinit_tests::wait;

/// `init -- WORDS…` with a terminal of its own.
fn init_on_a_terminal(words: &[&str]) -> Pty {
    let init = program("init");
    let start = [init.to_str().unwrap(), "--listen", "127.0.0.1:0", "--"];
    let mut pty = Pty::start(&[&start, words].concat());
    pty.expect("listening on 127.0.0.1:");
    pty
}

/// An interactive shell, and the command that makes it run `init -- COMMAND`.
fn shell() -> (Pty, impl Fn(&str) -> String) {
    let mut pty = Pty::start(&["bash", "--norc", "--noediting", "-i"]);
    pty.expect("$ ");
    let init = program("init");
    (pty, move |command| format!("{} --listen 127.0.0.1:0 -- {command}\n", init.display()))
}

/// Types `fg`, and waits until the shell's job has the terminal: the shell prints the job's words
/// first, and a key that comes in between is the shell's.
fn to_the_foreground(pty: &mut Pty) {
    let shell = pty.pid().as_raw();
    pty.keys("fg\n");
    pty.expect("fg\r\n");
    wait::until("the job to have the terminal", || (pty.foreground() != shell).then_some(()));
}

fn state_of(pid: i32) -> Option<String> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    Some(stat.rsplit_once(") ")?.1.split(' ').next()?.to_owned())
}

#[test]
fn i01_keys_that_end_boot_are_inits_exit_code() {
    for (key, code) in [("\x03", 130), ("\x1c", 131)] {
        let mut pty = init_on_a_terminal(&["sleep", "600"]);
        wait::until("boot to be the foreground", || {
            let name = std::fs::read_to_string(format!("/proc/{}/comm", pty.foreground())).ok()?;
            (name == "sleep\n").then_some(())
        });
        pty.keys(key);
        assert_eq!(pty.wait_end().code(), Some(code));
    }
}

#[test]
fn i02_an_interactive_shell_has_job_control() {
    let mut pty = init_on_a_terminal(&["bash", "--norc", "--noediting", "-i"]);
    let before = pty.expect("$ ");
    assert!(!before.contains("no job control"), "{before}");
    pty.keys("echo flags=$-.\n");
    pty.expect("\nflags=");
    let flags = pty.expect(".");
    assert!(flags.contains('m'), "{flags}");
    // Its own jobs stop and go on below it, and init is not concerned.
    pty.keys("cat\n");
    pty.keys("up\n");
    pty.expect("up\r\nup");
    pty.keys("\x1a");
    pty.expect("Stopped");
    pty.keys("fg\n");
    pty.expect("\ncat");
    pty.keys("there\n");
    pty.expect("there\r\nthere");
    pty.keys("\x04");
    pty.expect("$ ");
    pty.keys("exit 7\n");
    assert_eq!(pty.wait_end().code(), Some(7));
}

#[test]
fn i02_the_windows_size_and_its_end_reach_boot() {
    let folder = tempfile::tempdir().unwrap();
    let told = folder.path().join("told");
    let last = libc::SIGHUP.to_string();
    let helper = env!("CARGO_BIN_EXE_tells_signals");
    let pty = init_on_a_terminal(&[helper, told.to_str().unwrap(), &last]);
    let read = || std::fs::read_to_string(&told).unwrap_or_default();
    wait::until("boot to be ready", || (read() == "ready\n").then_some(()));
    pty.resize(11, 22);
    wait::until("WINCH to come", || (read() == "ready\n28\n").then_some(()));
    assert_eq!(pty.hang_up().code(), Some(0), "boot ended well");
    assert!(read().starts_with("ready\n28\n") && read().ends_with("\n1\n"), "{}", read());
}

#[test]
fn i02_a_shell_stops_and_continues_it() {
    let (mut pty, run) = shell();
    let shell = pty.foreground();
    pty.keys(&run("cat"));
    pty.expect("listening on 127.0.0.1:");
    pty.keys("first\n");
    pty.expect("first\r\nfirst");
    for word in ["second", "third"] {
        pty.keys("\x1a");
        pty.expect("Stopped");
        pty.expect("$ ");
        assert_eq!(pty.foreground(), shell);
        to_the_foreground(&mut pty);
        pty.expect("-- cat");
        pty.keys(&format!("{word}\n"));
        pty.expect(&format!("{word}\r\n{word}"));
    }
    pty.keys("\x04");
    pty.expect("ending with code 0");
    pty.expect("$ ");
    assert_eq!(pty.foreground(), shell, "the terminal is the shell's again");
    pty.keys("echo code $?\n");
    pty.expect("\ncode 0");
}

#[test]
fn i02_in_the_background_it_waits_for_the_terminal() {
    let (mut pty, run) = shell();
    let shell = pty.foreground();
    pty.keys(&run("cat").replace('\n', " &\n"));
    pty.expect("listening on 127.0.0.1:");
    assert_eq!(pty.foreground(), shell, "it takes no terminal from its shell");
    // `cat` reads, which stops it, and init with it.
    wait::until("the shell to see it stopped", || {
        pty.keys("jobs\n");
        pty.expect("jobs\r\n").contains("Stopped").then_some(())
    });
    to_the_foreground(&mut pty);
    pty.expect("-- cat");
    pty.keys("word\n");
    pty.expect("word\r\nword");
    pty.keys("\x03");
    pty.expect("ending with code 130");
    pty.expect("$ ");
    assert_eq!(pty.foreground(), shell);
}

#[test]
fn i02_a_script_around_it_is_stopped_and_continued_with_it() {
    let (mut pty, run) = shell();
    let shell = pty.foreground();
    let script = run("cat").replace('\n', "; echo after=$((40 + 2)).");
    pty.keys(&format!("bash -c '{script}'\n"));
    pty.expect("listening on 127.0.0.1:");
    pty.keys("one\n");
    pty.expect("one\r\none");
    pty.keys("\x1a");
    pty.expect("Stopped");
    pty.expect("$ ");
    assert_eq!(pty.foreground(), shell);
    to_the_foreground(&mut pty);
    pty.expect("after=");
    pty.keys("two\n");
    pty.expect("two\r\ntwo");
    pty.keys("\x04");
    pty.expect("after=42.");
}

#[test]
fn i02_whoever_reads_its_output_has_the_keys() {
    let (mut pty, run) = shell();
    let boot = "sh -c 'echo up >&2; exec sleep 600'";
    pty.keys(&run(boot).replace('\n', " | head -n 1 /dev/tty\n"));
    pty.expect("\nup\r\n");
    pty.keys("word\n");
    pty.expect("word\r\nword");
    // The stop key still stops both, and this one reaches boot by way of init.
    pty.keys("\x1a");
    pty.expect("Stopped");
    to_the_foreground(&mut pty);
    pty.expect("sleep 600");
    pty.keys("\x03");
    pty.expect("ending with code 130");
}

#[test]
fn i02_a_stop_before_boot_runs_is_no_failure() {
    let (mut pty, run) = shell();
    // The key comes while boot is being started, or just before or after that.
    for _ in 0..20 {
        pty.keys(&run("sleep 600").replace('\n', " | cat\n"));
        pty.expect("listening on 127.0.0.1:");
        pty.keys("\x1a");
        pty.expect("Stopped");
        to_the_foreground(&mut pty);
        pty.expect("sleep 600");
        pty.keys("\x03");
        pty.expect("ending with code 130");
        pty.expect("$ ");
    }
}

#[test]
fn i02_the_terminal_comes_with_the_first_read() {
    let (mut pty, run) = shell();
    pty.keys(&run("cat").replace('\n', " | cat\n"));
    pty.expect("listening on 127.0.0.1:");
    pty.keys("word\n");
    pty.expect("word\r\nword");
    pty.keys("\x04");
    pty.expect("ending with code 0");
    pty.expect("$ ");
}

#[test]
fn i02_pid_1_has_a_terminal_too() {
    let init = program("init");
    let unshare = ["unshare", "-pf", "--mount-proc", "--kill-child", init.to_str().unwrap()];
    let words = ["--listen", "127.0.0.1:0", "--", "bash", "--norc", "--noediting", "-i"];
    let mut pty = Pty::start(&[&unshare[..], &words].concat());
    pty.expect("listening on 127.0.0.1:");
    let before = pty.expect("$ ");
    assert!(!before.contains("no job control"), "{before}");
    pty.keys("cat\n");
    pty.keys("up\n");
    pty.expect("up\r\nup");
    pty.keys("\x1a");
    pty.expect("Stopped");
    pty.expect("$ ");
    pty.keys("kill %1; exec sleep 600\n");
    wait::until("boot to be another program", || {
        let name = std::fs::read_to_string(format!("/proc/{}/comm", pty.foreground())).ok()?;
        (name == "sleep\n").then_some(())
    });
    pty.keys("\x03");
    assert_eq!(pty.wait_end().code(), Some(130));
}

#[test]
fn i02_a_shell_inside_can_suspend_itself() {
    let (mut pty, run) = shell();
    pty.keys(&run("bash --norc --noediting -i"));
    pty.expect("listening on 127.0.0.1:");
    pty.expect("$ ");
    pty.keys("inside=yes; suspend\n");
    pty.expect("Stopped");
    pty.keys("echo outside=$inside.\n");
    pty.expect("outside=.");
    to_the_foreground(&mut pty);
    pty.expect("-- bash");
    pty.keys("echo inside=$inside.\n");
    pty.expect("inside=yes.");
    pty.keys("exit 5\n");
    pty.expect("ending with code 5");
}

#[test]
fn i02_with_no_shell_around_it_the_stop_key_stops_nothing() {
    // init leads the session here, so nobody could ever continue it.
    let mut pty = init_on_a_terminal(&["cat"]);
    let init = pty.pid().as_raw();
    pty.keys("one\n");
    pty.expect("one\r\none");
    pty.keys("\x1a");
    pty.expect("^Z");
    pty.keys("two\n");
    pty.expect("two\r\ntwo");
    assert_ne!(state_of(init).as_deref(), Some("T"));
    pty.keys("\x04");
    assert_eq!(pty.wait_end().code(), Some(0));
}

#[test]
fn i02_the_terminal_is_given_back_when_boot_cannot_start() {
    let (mut pty, run) = shell();
    let shell = pty.foreground();
    pty.keys(&run("/nosuch"));
    pty.expect("ending with code 127");
    pty.expect("$ ");
    assert_eq!(pty.foreground(), shell);
    // A script has no job control: nobody but init gives the terminal back to it.
    let script = run("true; read word; echo got=$word.").replace('\n', "");
    pty.keys(&format!("bash -c '{script}'\n"));
    pty.expect("ending with code 0");
    pty.keys("typed\n");
    pty.expect("\ngot=typed.");
}
