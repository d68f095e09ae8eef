//! proxyd beside its successor: when clients are let in, and what the old one does while it drains.

use std::io::Write;
use std::net::TcpStream;
use std::thread::sleep;
use std::time::Duration;

use jobinit_tests::proxyd::{Backend, Proxyd, wait_for};
use nix::sys::signal::Signal;

#[test]
fn p02_clients_wait_until_the_door_opens() {
    let backend = Backend::saying("ok");
    let proxyd = Proxyd::start_with(&["--wait"]);
    assert!(!proxyd.state().serving);
    let mut early = proxyd.client();
    early.send("GET / HTTP/1.1\r\nHost: app.test\r\n\r\n");
    early.stream.set_read_timeout(Some(Duration::from_millis(200))).unwrap();
    assert!(early.try_answer(false).is_err(), "not before its routes are known");
    proxyd.put_route("app.test", "app");
    proxyd.put_target("app", "1", &backend.target());
    assert_eq!(proxyd.put("/door", "").status, 204);
    assert!(proxyd.state().serving);
    early.stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    assert_eq!(early.answer().text(), "ok");
    assert_eq!(proxyd.put("/door", "").status, 204, "once more changes nothing");
    assert_eq!(proxyd.control("GET", "/door", "", "").status, 405);
}

#[test]
fn p02_without_wait_the_door_is_open() {
    let proxyd = Proxyd::start();
    assert!(proxyd.state().serving);
    assert_eq!(proxyd.client().get("/").status, 404);
}

#[test]
fn p02_one_that_was_open_opens_again_when_nobody_is_there_to_tell_it() {
    let backend = Backend::saying("kept");
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    let (state, lock) = (path("state.json"), path("lock"));
    let start = || Proxyd::start_with(&["--wait", "--state", &state, "--teller", &lock]);
    let killed = |mut proxyd: Proxyd, open: bool| {
        wait_for("the snapshot", || {
            let text = std::fs::read(&state).ok()?;
            let noted: serde_json::Value = serde_json::from_slice(&text).unwrap();
            (noted["open"] == open && noted["generation"] == 2).then_some(())
        });
        proxyd.signal(Signal::SIGKILL);
        proxyd.wait();
    };
    let first = start();
    first.put_route("app.test", "app");
    first.put_target("app", "1", &backend.target());
    killed(first, false);
    let second = start();
    assert!(!second.state().serving, "it has never let anybody in");
    assert_eq!(second.put("/door", "").status, 204);
    killed(second, true);

    let teller = std::fs::File::create(&lock).unwrap();
    teller.lock().unwrap();
    let third = start();
    assert!(!third.state().serving, "the teller is there, and knows better");
    let mut early = third.client();
    early.send("GET / HTTP/1.1\r\nHost: app.test\r\n\r\n");
    early.stream.set_read_timeout(Some(Duration::from_millis(100))).unwrap();
    assert!(early.try_answer(false).is_err());
    drop(teller);
    early.stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    assert_eq!(early.answer().text(), "kept");
    killed(third, true);
    let mut fourth = start();
    assert_eq!(fourth.client().get("/").text(), "kept");
    fourth.signal(Signal::SIGTERM);
    assert_eq!(fourth.wait().code(), Some(0));
}

#[test]
fn p02_told_to_stop_before_the_door_opened_it_ends_at_once() {
    let mut proxyd = Proxyd::start_with(&["--wait"]);
    // It waits in the queue of the listener, and is left to whoever has that, too.
    let _early = TcpStream::connect(proxyd.address).unwrap();
    proxyd.signal(Signal::SIGTERM);
    assert_eq!(proxyd.wait().code(), Some(0));
}

#[test]
fn p02_targets_come_and_go_while_it_drains() {
    let (old, new) = (Backend::saying("old"), Backend::saying("new"));
    let mut proxyd = Proxyd::with_target(&old.target());
    let mut client = proxyd.client();
    assert_eq!(client.get("/").text(), "old");
    proxyd.signal(Signal::SIGTERM);
    wait_for("no listener any more", || TcpStream::connect(proxyd.address).err());
    proxyd.put_target("app", "2", &new.target());
    assert_eq!(proxyd.delete_target("app", "1", 1000).left, 0);
    let answer = client.get("/");
    assert_eq!(
        (answer.text().as_str(), answer.field("connection").as_deref()),
        ("new", Some("close"))
    );
    assert_eq!(proxyd.wait().code(), Some(0));
}

#[test]
fn p03_a_draining_proxy_closes_no_idle_connection_that_may_still_ask() {
    let backend = Backend::saying("ok");
    let mut proxyd = Proxyd::with_target(&backend.target());
    let mut idle = proxyd.client();
    assert_eq!(idle.get("/").text(), "ok");
    proxyd.signal(Signal::SIGTERM);
    wait_for("no listener any more", || TcpStream::connect(proxyd.address).err());
    // Longer than it would wait with nothing to ask for.
    sleep(Duration::from_millis(2500));
    idle.stream.write_all(b"GET / HTTP/1.1\r\nHost: app.test\r\n\r\n").unwrap();
    let answer = idle.answer();
    assert_eq!(
        (answer.text().as_str(), answer.field("connection").as_deref()),
        ("ok", Some("close"))
    );
    assert_eq!(proxyd.wait().code(), Some(0));
}

#[test]
fn p03_with_nothing_to_ask_for_idle_connections_do_not_keep_it() {
    let mut proxyd = Proxyd::start();
    let _idle = proxyd.client();
    assert_eq!(proxyd.client().get("/").status, 404);
    proxyd.signal(Signal::SIGTERM);
    assert_eq!(proxyd.wait().code(), Some(0));
}
