//! The control socket: who may use it, and what becomes of it.

use std::fs;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;
use std::process::Command;
use std::thread;
use std::time::Duration;

use jobinit_tests::binaries::program;
use jobinit_tests::bootctl::{Site, said};
use jobinit_tests::outside::Outside;
use jobinit_tests::{tools, wait};

use crate::bootctl_apps::answers;

#[test]
fn d05_the_socket_is_for_its_owner() {
    let site = Site::boot(&[]);
    let mode = fs::metadata(site.socket()).expect("it is there").permissions().mode();
    assert_eq!(mode & 0o777, 0o660);
    if !nix::unistd::geteuid().is_root() {
        return;
    }
    let as_nobody = || {
        let mut command = Command::new("setpriv");
        command.args(["--reuid=65534", "--regid=65534", "--clear-groups"]);
        command.arg("curl").args(["-s", "-w", "%{http_code}", "--unix-socket"]);
        command.arg(site.socket()).arg("http://localhost/status");
        said(command.output().expect("curl can be run"))
    };
    assert_eq!(as_nobody().out, "000", "the file's mode keeps others out");
    fs::set_permissions(site.socket(), fs::Permissions::from_mode(0o666)).expect("it is ours");
    let refused = as_nobody().out;
    assert!(refused.ends_with("403") && refused.contains("\"forbidden\""), "{refused}");
}

/// One that a client sends behind a refusal is his, and no reason to break off the connection under him.
#[test]
fn d05_a_body_that_nobody_wants_is_read_all_the_same() {
    let site = Site::boot(&[]);
    let mut stream = UnixStream::connect(site.socket()).expect("it listens");
    stream.set_read_timeout(Some(wait::PATIENCE)).expect("it can be set");
    let mut answer = [0; 4096];
    for _ in 0..3 {
        let head = "QUERY /config HTTP/1.1\r\nHost: here\r\nContent-Length: 13\r\n\r\n";
        stream.write_all(head.as_bytes()).expect("it is taken");
        let count = stream.read(&mut answer).expect("an answer");
        assert!(answer[..count].starts_with(b"HTTP/1.1 405"), "{:?}", &answer[..count]);
        // It has been refused for long.
        thread::sleep(Duration::from_millis(50));
        stream.write_all(b"{\"value\": \"\"}").expect("it is taken");
    }
}

/// Who may not is told who may, and what there is to do; what he has tried to change is written down.
#[test]
fn d05_another_user_is_told_who_may() {
    if !nix::unistd::geteuid().is_root() {
        return tools::skip("to be somebody else takes root");
    }
    let site = Site::boot(&[("a.toml", &answers(1, ""))]);
    site.wait_for("a", "running");
    let pids = site.pids("a");
    // Where everybody may run it.
    let own = site.folder().join("bootctl");
    fs::copy(program("bootctl"), &own).expect("copied");
    let as_nobody = |words: &[&str]| {
        let mut command = Command::new("setpriv");
        command.args(["--reuid=65534", "--regid=65534", "--clear-groups"]).arg(&own).args(words);
        command.env("BOOTCTL_SOCKET", site.socket()).env("HOME", "/nonexistent");
        said(command.output().expect("setpriv can be run"))
    };
    for verb in ["status", "stop"] {
        let words = if verb == "stop" { &["stop", "a"][..] } else { &["status"] };
        let refused = as_nobody(words);
        assert_eq!(refused.code, Some(1), "{refused:?}");
        for part in ["only root may", "sudo", "--host", "bootctl generate"] {
            assert!(refused.err.contains(part), "{part}: {refused:?}");
        }
    }
    // With another mode of the file he gets as far as the supervisor, which asks the kernel who he is.
    fs::set_permissions(site.socket(), fs::Permissions::from_mode(0o666)).expect("it is ours");
    let refused = as_nobody(&["stop", "a"]);
    assert!(refused.code == Some(1) && refused.err.contains("only root may"), "{refused:?}");
    assert_eq!(as_nobody(&["status"]).code, Some(1));
    let audit = fs::read_to_string(site.folder().join("state/audit.log")).expect("there");
    let lines: Vec<serde_json::Value> =
        audit.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    let [line] = &lines[..] else { panic!("a change has a line, a look has none: {audit}") };
    assert_eq!((&line["who"], &line["status"]), (&"uid 65534".into(), &403.into()), "{line}");
    assert!(line["path"].as_str().is_some_and(|path| path.starts_with("/apps/a/stop")), "{line}");
    assert_eq!(site.pids("a"), pids);
}

#[test]
fn d05_a_live_socket_is_not_stolen() {
    let site = Site::boot(&[]);
    let mut second = Command::new(program("bootctl"));
    second.args(["boot", "--init", &site.init.api().to_string(), "--config"]);
    second.arg(site.folder().join("conf")).arg("--run-dir").arg(site.folder().join("run"));
    second.arg("--state-dir").arg(site.folder().join("state2"));
    let second = said(second.output().expect("bootctl can be run"));
    assert_eq!(second.code, Some(1), "{second:?}");
    assert!(second.err.contains("another bootctl listens on"), "{second:?}");
    site.done(&["status"]);
}

#[test]
fn d11_a_supervisor_that_is_not_there_has_a_code_of_its_own() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut command = Command::new(program("bootctl"));
    command.args(["status", "--socket"]).arg(folder.path().join("none.sock"));
    let said = said(command.output().expect("bootctl can be run"));
    assert_eq!(said.code, Some(3), "{said:?}");
    assert!(said.err.contains("bootctl boot"), "{said:?}");
}

/// A second bootctl in the place of the one that runs.
fn take_over(site: &Site) -> Command {
    take_over_by(site, site.init.api())
}

/// The same with init's API at another address.
fn take_over_by(site: &Site, init: SocketAddr) -> Command {
    let mut second = Command::new(program("bootctl"));
    second.args(["boot", "--take-over", "--init", &init.to_string(), "--config"]);
    second.arg(site.folder().join("conf")).arg("--run-dir").arg(site.folder().join("run"));
    second.arg("--state-dir").arg(site.folder().join("state"));
    second.arg("--log-dir").arg(site.folder().join("log"));
    second.args(["--proxy-listen", &site.proxy.to_string()]);
    second
}

#[test]
fn d10_another_one_takes_over_where_the_config_lets_it() {
    let site = Site::boot(&[("shop.toml", &answers(2, ""))]);
    site.wait_for("shop", "running");
    let (pids, proxy, before) = (site.pids("shop"), site.proxy_job(), site.supervisor());
    let refused = said(take_over(&site).output().expect("bootctl can be run"));
    assert_eq!(refused.code, Some(1), "{refused:?}");
    assert!(refused.err.contains("take_over = true"), "{refused:?}");
    assert_eq!(site.supervisor(), before);

    let main = site.folder().join("conf/bootctl.toml");
    let text = fs::read_to_string(&main).expect("there");
    fs::write(&main, format!("take_over = true\n{text}")).expect("written");
    site.done(&["reload"]);
    let second = Outside::run(&mut take_over(&site));
    wait::until("the second one to answer", || {
        let said = site.bootctl(&["status", "--json"]);
        let status: serde_json::Value = serde_json::from_str(&said.out).ok()?;
        (status["supervisor"]["pid"] == second.pid()).then_some(())
    });
    site.wait_for("shop", "running");
    assert_eq!((site.pids("shop"), site.proxy_job()), (pids, proxy), "no app is touched");
    assert_eq!(site.get("shop", "/").status, 200);
}

/// Forwards connections to an address, whose answers begin late.
fn late(to: SocketAddr) -> SocketAddr {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port");
    let address = listener.local_addr().expect("bound");
    let pass = |mut from: TcpStream, mut to: TcpStream| {
        std::io::copy(&mut from, &mut to).ok();
        to.shutdown(Shutdown::Write).ok();
    };
    thread::spawn(move || {
        for client in listener.incoming().flatten() {
            let server = TcpStream::connect(to).expect("init answers");
            let (asks, asked) = (client.try_clone().expect("one more"), server.try_clone());
            let asked = asked.expect("one more");
            thread::spawn(move || pass(asks, asked));
            thread::spawn(move || {
                thread::sleep(Duration::from_millis(300));
                pass(server, client);
            });
        }
    });
    address
}

#[test]
fn d10_what_runs_is_in_the_first_answer_of_who_takes_over() {
    let site = Site::boot(&[("shop.toml", &answers(2, ""))]);
    site.wait_for("shop", "running");
    let pids = site.pids("shop");
    let main = site.folder().join("conf/bootctl.toml");
    let text = fs::read_to_string(&main).expect("there");
    fs::write(&main, format!("take_over = true\n{text}")).expect("written");
    site.done(&["reload"]);
    let second = Outside::run(&mut take_over_by(&site, late(site.init.api())));
    let first = wait::until("the second one to answer", || {
        let said = site.bootctl(&["status", "--json"]);
        let status: serde_json::Value = serde_json::from_str(&said.out).ok()?;
        (status["supervisor"]["pid"] == second.pid()).then_some(status)
    });
    let told = first["apps"][0]["instances"].as_array().expect("a list").iter();
    assert_eq!(told.filter_map(|it| it["pid"].as_u64()).collect::<Vec<_>>(), pids, "{first}");
}
