//! `bootctl top` on a real screen.

use std::fs;

use jobinit_tests::binaries::program;
use jobinit_tests::bootctl::Site;
use jobinit_tests::remote::Reached;
use jobinit_tests::tmux::Tmux;
use jobinit_tests::tools;
use jobinit_tests::wait;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::bootctl_apps::answers;

/// A window in which `bootctl top` runs, and after it what it has left of the terminal is told.
#[track_caller]
fn watch(environment: &str, words: &str) -> Tmux {
    let bootctl = program("bootctl");
    let script = format!(
        "before=$(stty -g); echo on the screen before; {environment} {} top --every 1 {words}; \
         echo ended with $?; [ \"$(stty -g)\" = \"$before\" ] && echo as it was; exec sleep 600",
        bootctl.display()
    );
    Tmux::open(100, 20, &script)
}

fn rows(screen: &str, job: &str) -> usize {
    screen.lines().filter(|line| line.starts_with(job)).count()
}

#[test]
fn top_is_a_live_screen_that_leaves_the_terminal_as_it_was() {
    if !tools::present(&["tmux"]) {
        return;
    }
    let site = Site::boot(&[("shop.toml", &answers(2, "")), ("mail.toml", &answers(1, ""))]);
    site.wait_for("shop", "running");
    site.wait_for("mail", "running");
    let tmux = watch(&format!("BOOTCTL_SOCKET={}", site.socket().display()), "");
    let screen = tmux.wait_for("all rows", |screen| rows(screen, "shop.") == 2);
    assert!(screen.contains("3 of 3 instances ready") && rows(&screen, "mail.1") == 1, "{screen}");
    assert!(!screen.contains("on the screen before"), "it has a screen of its own: {screen}");
    tmux.wait_for("a rate", |screen| screen.lines().any(|line| line.contains('%')));

    let before = site.pids("shop");
    tmux.keys(&["End", "r"]);
    tmux.expect("restart shop? y/n");
    tmux.keys(&["n"]);
    tmux.expect("q quit");
    assert_eq!(site.pids("shop"), before, "it was only a question");
    tmux.keys(&["r", "y"]);
    tmux.expect("shop was restarted");
    assert!(site.pids("shop").iter().all(|pid| !before.contains(pid)));

    tmux.resize(60, 8);
    let screen = tmux.wait_for("less", |screen| screen.lines().count() == 8);
    assert!(screen.lines().all(|line| line.chars().count() <= 60), "{screen}");
    tmux.expect("mail.1");
    tmux.resize(120, 30);
    tmux.wait_for("more", |screen| screen.contains("REQUESTS/S") && screen.lines().count() == 30);
    tmux.keys(&["Enter"]);
    tmux.expect("has written last:");
    tmux.keys(&["Escape"]);
    tmux.expect("INSTANCE");
    tmux.keys(&["q"]);
    let screen = tmux.expect("as it was");
    assert!(screen.contains("on the screen before") && screen.contains("ended with 0"), "{screen}");
}

#[test]
fn top_that_is_ended_leaves_the_terminal_as_it_was() {
    if !tools::present(&["tmux"]) {
        return;
    }
    let site = Site::boot(&[("shop.toml", &answers(1, ""))]);
    site.wait_for("shop", "running");
    let tmux = watch(&format!("BOOTCTL_SOCKET={}", site.socket().display()), "");
    tmux.expect("shop.1");
    let shell = tmux.pid();
    let child = fs::read_to_string(format!("/proc/{shell}/task/{shell}/children")).expect("there");
    let top: i32 = child.trim().parse().expect("one child");
    kill(Pid::from_raw(top), Signal::SIGTERM).expect("it runs");
    let screen = tmux.expect("as it was");
    assert!(
        screen.contains("on the screen before") && screen.contains("ended with 143"),
        "{screen}"
    );
}

#[test]
fn top_works_from_afar_and_prints_where_there_is_no_screen() {
    let reached = Reached::boot(&[("shop.toml", &answers(2, ""))]);
    let site = &reached.site;
    site.wait_for("shop", "running");
    let token = reached.token("laptop", "control");
    let printed = reached.from_afar(&token, &["top", "--sort", "memory"]);
    assert_eq!(printed.code, Some(0), "{printed:?}");
    assert!(printed.out.starts_with("INSTANCE") && rows(&printed.out, "shop.") == 2, "{printed:?}");
    assert!(printed.out.contains('%'), "{printed:?}");
    let nobody =
        reached.stranger(&["top", "--socket", "/nowhere"]).output().expect("it can be run");
    assert_eq!(nobody.status.code(), Some(3), "{nobody:?}");
    if !tools::present(&["tmux"]) {
        return;
    }
    let environment = format!(
        "BOOTCTL_HOST={} BOOTCTL_TOKEN_FILE={} BOOTCTL_FINGERPRINT={}",
        reached.address,
        token.display(),
        reached.fingerprint
    );
    let tmux = watch(&environment, "");
    tmux.wait_for("both", |screen| rows(screen, "shop.") == 2);
    // Requests are the proxy's to count.
    let asked = || (0..20).for_each(|_| drop(site.get("shop", "/")));
    asked();
    wait::until("requests to be told", || {
        asked();
        let screen = tmux.screen();
        let first = screen.lines().find(|line| line.starts_with("shop.1"))?;
        let rate: f64 = first.split_whitespace().last()?.parse().ok()?;
        (rate > 0.0).then_some(())
    });
    tmux.keys(&["q"]);
    tmux.expect("as it was");
}
