//! proxyd: all that is wanted as one document, as a file, and across its own restarts.

use std::os::linux::net::SocketAddrExt;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::path::Path;
use std::process::{Command, Output};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;

use jobinit_tests::proxyd::{Backend, DEADLINE, Proxyd, binary, wait_for};
use nix::sys::signal::Signal;
use serde_json::{Value, json};

const JSON: &str = "Content-Type: application/json\r\n";

fn json(bytes: &[u8]) -> Value {
    serde_json::from_slice(bytes).unwrap_or_else(|_| panic!("{}", String::from_utf8_lossy(bytes)))
}

fn config(proxyd: &Proxyd) -> Value {
    json(&proxyd.control("GET", "/config", "", "").body)
}

/// A document with one host and its target.
fn document(target: &str) -> Value {
    json!({
        "routes": { "app.test": { "service": "app" } },
        "services": { "app": { "targets": { "1": { "address": target } } } },
    })
}

#[test]
fn one_document_replaces_all_in_one_step() {
    let backends = ["one", "two"].map(Backend::saying);
    let proxyd = Proxyd::start();
    assert_eq!(config(&proxyd), json!({ "routes": {}, "services": {} }));
    let mut wanted = document(&backends[0].target());
    wanted["routes"]["*.test/x"] = json!({ "redirect": { "to": "/", "status": 302 } });
    wanted["services"]["idle"] = json!({ "settings": {} });
    let put = proxyd.put("/config", &wanted.to_string());
    assert_eq!((put.status, put.field("etag").as_deref()), (204, Some("\"1\"")), "{put:?}");
    assert_eq!(config(&proxyd), wanted);
    let state = proxyd.state();
    assert_eq!((state.generation, state.routes.len(), state.services.len()), (1, 2, 2));
    let mut client = proxyd.client();
    assert_eq!(client.get("/").text(), "one");
    // The same again changes nothing, and what it says can be said object by object.
    assert_eq!(proxyd.put("/config", &wanted.to_string()).status, 204);
    assert_eq!(proxyd.state().generation, 1);
    assert_eq!(proxyd.control("DELETE", "/routes/*.test/x", "", "").status, 204);
    // If-Match is honoured.
    let fields = format!("{JSON}If-Match: \"1\"\r\n");
    assert_eq!(proxyd.control("PUT", "/config", &fields, &wanted.to_string()).status, 412);
    // Another target for the same service: the next request goes there, on the same connection.
    wanted = document(&backends[1].target());
    assert_eq!(proxyd.put("/config", &wanted.to_string()).status, 204);
    assert_eq!(client.get("/").text(), "two");
    wait_for("idle connections to close", || (backends[0].open_connections() == 0).then_some(()));
    assert_eq!(config(&proxyd), wanted);
    assert_eq!(proxyd.put("/config", "{}").status, 204);
    assert_eq!(client.get("/").status, 404);
}

#[test]
fn what_is_the_same_in_both_documents_is_not_disturbed() {
    let backend = Backend::saying("same");
    let proxyd = Proxyd::start_with(&[]);
    let mut wanted = document(&backend.target());
    wanted["routes"]["app.test"]["rate_limit"] = json!({ "requests": 30, "per_s": 10000 });
    assert_eq!(proxyd.put("/config", &wanted.to_string()).status, 204);
    let address = proxyd.address;
    let stop = Arc::new(AtomicBool::new(false));
    let stopping = Arc::clone(&stop);
    let load = thread::spawn(move || {
        let mut client = jobinit_tests::proxyd::Client::connect(address);
        while !stopping.load(Ordering::SeqCst) {
            assert!(matches!(client.get("/").status, 200 | 429));
        }
    });
    wait_for("some load", || (!backend.seen().is_empty()).then_some(()));
    for round in 0..20 {
        wanted["services"]["other"] =
            json!({ "targets": { "1": { "address": format!("tcp:127.0.0.1:{}", round + 1) } } });
        wanted["routes"]["other.test"] = json!({ "service": "other" });
        assert_eq!(proxyd.put("/config", &wanted.to_string()).status, 204);
    }
    stop.store(true, Ordering::SeqCst);
    load.join().unwrap();
    assert_eq!(proxyd.state().generation, 21);
    assert_eq!(backend.connections(), 1, "its pool goes on");
    wait_for("the limit", || (proxyd.client().get("/").status == 429).then_some(()));
    assert_eq!(backend.seen().len(), 30, "so do counters");
}

#[test]
fn a_wrong_document_changes_nothing_and_tells_all() {
    let proxyd = Proxyd::start();
    let wrong = json!({
        "routes": { "a b": { "service": "x y" }, "c.test": { "redirect": { "to": "d" } } },
        "services": { "s": { "targets": { "1": { "address": "here" } } } },
    });
    let answer = proxyd.put("/config", &wrong.to_string());
    assert_eq!((answer.status, answer.error().error.as_str()), (400, "bad_config"));
    let message = answer.error().message;
    for part in [
        "routes.\"a b\": `a b` is not a host",
        "routes.\"a b\": `x y` is not a name",
        "routes.\"c.test\": redirect.to is `d`",
        "services.s.targets.1: address: `here`",
    ] {
        assert!(message.contains(part), "{part}: {message}");
    }
    assert_eq!(proxyd.put("/config", r#"{"rotes":{}}"#).error().error, "bad_body");
    // Larger than what is said of one object.
    let many: serde_json::Map<String, Value> =
        (0..5000).map(|n| (format!("h{n}.test"), json!({ "service": "s" }))).collect();
    assert_eq!(proxyd.put("/config", &json!({ "routes": many }).to_string()).status, 204);
    assert_eq!((proxyd.state().generation, proxyd.state().routes.len()), (1, 5000));
}

/// A proxyd by a file, without a control socket.
fn by_file(folder: tempfile::TempDir, text: &str) -> Proxyd {
    let file = folder.path().join("proxyd.toml");
    std::fs::write(&file, text).unwrap();
    let mut command = Command::new(binary("proxyd"));
    command.args(["--listen", "127.0.0.1:0", "--workers", "2", "--access-log", "/dev/null"]);
    command.arg("--config").arg(&file);
    Proxyd::spawn(&mut command, folder)
}

fn toml(target: &str) -> String {
    format!(
        "[routes]\n\"app.test\".service = \"app\"\n[services.app.targets]\n1.address = \"{target}\"\n"
    )
}

#[test]
fn a_file_is_enough_and_hup_reads_it_anew() {
    let backends = ["one", "two"].map(Backend::saying);
    let proxyd = by_file(tempfile::tempdir().unwrap(), &toml(&backends[0].target()));
    let file = proxyd.folder.path().join("proxyd.toml");
    let mut client = proxyd.client();
    assert_eq!(client.get("/").text(), "one");
    // A broken one changes nothing and says why.
    std::fs::write(&file, "[routes]\n\"app.test\".servise = \"app\"\n").unwrap();
    proxyd.signal(Signal::SIGHUP);
    wait_for("why", || {
        let said = proxyd.stderr();
        let place = format!("{}:2:12: ", file.display());
        (said.contains(&place) && said.contains("nothing was changed")).then_some(())
    });
    wait_for("a hint", || proxyd.stderr().contains("did you mean `service`?").then_some(()));
    assert_eq!(client.get("/").text(), "one");
    std::fs::write(&file, toml(&backends[1].target())).unwrap();
    proxyd.signal(Signal::SIGHUP);
    wait_for("the new file", || (client.get("/").text() == "two").then_some(()));
    // One that is gone changes nothing either.
    std::fs::remove_file(&file).unwrap();
    proxyd.signal(Signal::SIGHUP);
    wait_for("why", || proxyd.stderr().contains("cannot be read").then_some(()));
    assert_eq!(client.get("/").text(), "two");
}

#[test]
fn the_file_wins_at_hup() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("proxyd.toml");
    std::fs::write(&file, toml("unix:/x")).unwrap();
    let proxyd = Proxyd::start_with(&["--config", file.to_str().unwrap()]);
    assert_eq!(proxyd.state().generation, 1);
    proxyd.put_route("more.test", "app");
    proxyd.signal(Signal::SIGHUP);
    wait_for("the file's word", || {
        (!proxyd.state().routes.contains_key("more.test")).then_some(())
    });
    assert_eq!(proxyd.state().generation, 3);
}

fn run(args: &[&str]) -> (Option<i32>, String, String) {
    let Output { status, stdout, stderr } =
        Command::new(binary("proxyd")).args(args).output().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (status.code(), text(stdout), text(stderr))
}

#[test]
fn check_tells_all_that_is_wrong() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("p.toml");
    let file = path.to_str().unwrap();
    std::fs::write(&path, toml("unix:/x")).unwrap();
    let (code, said, _) = run(&["check", file]);
    assert_eq!(
        (code, said.ends_with("is good: routes 1, services 1, targets 1\n")),
        (Some(0), true),
        "{said}"
    );
    std::fs::write(&path, "[routes.\"a.test\"]\nservice = 1\nrewrit = \"/\"\ndeny = [\"x\"]\n")
        .unwrap();
    let (code, _, said) = run(&["check", file]);
    let lines: Vec<&str> = said.lines().collect();
    assert_eq!((code, lines.len()), (Some(2), 3), "{said}");
    for (line, (place, part)) in lines.iter().zip([
        ("2:11", "write text in quotes"),
        ("3:1", "`rewrite`?"),
        ("4:9", "10.0.0.0/8"),
    ]) {
        assert!(line.starts_with(&format!("{file}:{place}: ")) && line.contains(part), "{said}");
    }
    let (code, _, said) = run(&["check", "/nonexistent"]);
    assert_eq!((code, said.contains("cannot be read")), (Some(2), true), "{said}");
    // It does not serve by such a file either.
    let (code, _, said) = run(&["--listen", "127.0.0.1:0", "--config", file]);
    assert_eq!((code, said.contains(":3:1: ")), (Some(2), true), "{said}");
    let (code, _, said) = run(&["--config", file, "--state", "/x"]);
    assert_eq!((code, said.contains("cannot be used with")), (Some(2), true), "{said}");
}

fn with_state(file: &Path) -> Proxyd {
    Proxyd::start_with(&["--state", file.to_str().unwrap()])
}

#[test]
fn p02_restarted_alone_it_goes_on_with_what_was_wanted() {
    let backend = Backend::saying("kept");
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("state.json");
    let mut proxyd = with_state(&file);
    assert!(!file.exists());
    let route = json!({ "service": "app", "error_pages": { "404": { "html": "x" } } });
    assert_eq!(proxyd.put("/routes/app.test", &route.to_string()).status, 201);
    proxyd.put_target("app", "1", &backend.target());
    wait_for("the snapshot", || {
        std::fs::read(&file).is_ok_and(|text| json(&text)["generation"] == 2).then_some(())
    });
    assert_eq!(std::fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
    // Killed: what was written is there.
    proxyd.signal(Signal::SIGKILL);
    proxyd.wait();
    let mut second = with_state(&file);
    assert_eq!(second.client().get("/").text(), "kept");
    assert_eq!(second.state().generation, 2);
    assert_eq!(serde_json::to_value(&second.state().routes["app.test"]).unwrap(), route);
    // Ended: so is what was changed at the last moment.
    second.put_route("late.test", "app");
    assert_eq!(second.put("/services/app/pause", "{}").status, 201);
    second.signal(Signal::SIGTERM);
    assert_eq!(second.wait().code(), Some(0));
    let third = with_state(&file);
    assert_eq!((third.state().generation, third.state().routes.len()), (4, 2));
    // What was paused is so still: its requests wait.
    let mut client = third.client();
    client.send("GET / HTTP/1.1\r\nHost: app.test\r\n\r\n");
    wait_for("the request to wait", || (third.state().services["app"].waiting == 1).then_some(()));
    assert_eq!(third.control("DELETE", "/services/app/pause", "", "").status, 204);
    assert_eq!(client.answer().text(), "kept");
    assert!(!folder.path().join("state.json.new").exists());
}

#[test]
fn a_snapshot_that_is_none_is_set_aside() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("state.json");
    for (text, aside, word) in [
        ("{\"version\":1,\"gene", "state.json.damaged", "damaged"),
        ("", "state.json.damaged", "damaged"),
        ("{\"version\":9,\"x\":1}", "state.json.newer", "version 9"),
        (
            r#"{"version":1,"generation":1,"config":{"routes":{"a b":{"service":"s"}},"services":{}}}"#,
            "state.json.damaged",
            "`a b` is not a host",
        ),
    ] {
        std::fs::write(&file, text).unwrap();
        let proxyd = with_state(&file);
        assert_eq!(proxyd.state().generation, 0);
        wait_for("the news", || proxyd.stderr().contains(word).then_some(()));
        assert_eq!(std::fs::read_to_string(folder.path().join(aside)).unwrap(), text);
        proxyd.put_route("app.test", "app");
        wait_for("a new one", || file.exists().then_some(()));
    }
}

#[test]
fn a_snapshot_that_cannot_be_written_is_tried_again() {
    let folder = tempfile::tempdir().unwrap();
    let inner = folder.path().join("gone");
    let file = inner.join("state.json");
    let mut proxyd = with_state(&file);
    proxyd.put_route("app.test", "app");
    wait_for("the news", || proxyd.stderr().contains("cannot be written").then_some(()));
    std::fs::create_dir(&inner).unwrap();
    proxyd.signal(Signal::SIGTERM);
    proxyd.wait();
    assert!(file.exists(), "at the latest when it ends");
}

#[test]
fn p02_a_successors_snapshot_is_left_to_it() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("state.json");
    let (mut old, new) = (with_state(&file), with_state(&file));
    new.put_route("new.test", "app");
    wait_for("a snapshot", || file.exists().then_some(()));
    old.put_route("old.test", "app");
    wait_for("the news", || old.stderr().contains("by another process").then_some(()));
    old.signal(Signal::SIGTERM);
    old.wait();
    let routes = |text: &[u8]| json(text)["config"]["routes"].as_object().unwrap().len();
    let kept = std::fs::read(&file).unwrap();
    assert_eq!((routes(&kept), String::from_utf8_lossy(&kept).contains("new.test")), (1, true));
    new.put_route("more.test", "app");
    wait_for("two routes", || (routes(&std::fs::read(&file).unwrap()) == 2).then_some(()));
}

#[test]
fn a_page_that_is_gone_keeps_no_route_from_coming_back() {
    let folder = tempfile::tempdir().unwrap();
    let (file, page) = (folder.path().join("state.json"), folder.path().join("page"));
    std::fs::write(&page, "page").unwrap();
    let mut proxyd = with_state(&file);
    let route = json!({ "service": "app", "error_pages": { "5xx": { "file": page } } });
    assert_eq!(proxyd.put("/routes/app.test", &route.to_string()).status, 201);
    assert_eq!(proxyd.client().get("/").text(), "page");
    proxyd.signal(Signal::SIGTERM);
    proxyd.wait();
    std::fs::remove_file(&page).unwrap();
    let proxyd = with_state(&file);
    assert!(proxyd.client().get("/").text().starts_with("503 "));
    wait_for("the news", || proxyd.stderr().contains("error_pages.5xx.file").then_some(()));
}

/// What a socket was told, message by message.
fn listen(socket: UnixDatagram) -> Arc<Mutex<Vec<String>>> {
    let told = Arc::new(Mutex::new(Vec::new()));
    let telling = Arc::clone(&told);
    socket.set_read_timeout(Some(DEADLINE)).unwrap();
    thread::spawn(move || {
        let mut buffer = [0; 4096];
        while let Ok(count) = socket.recv(&mut buffer) {
            telling.lock().unwrap().push(String::from_utf8_lossy(&buffer[..count]).into_owned());
        }
    });
    told
}

#[test]
fn b09_it_tells_when_it_is_ready_reloads_and_stops() {
    let backend = Backend::saying("ok");
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("notify");
    let name = format!("proxyd-test-{}", std::process::id());
    let address = SocketAddr::from_abstract_name(&name).unwrap();
    for (socket, shown) in [
        (UnixDatagram::bind(&path).unwrap(), path.to_str().unwrap().to_owned()),
        (UnixDatagram::bind_addr(&address).unwrap(), format!("@{name}")),
    ] {
        let told = listen(socket);
        let file = folder.path().join("proxyd.toml");
        std::fs::write(&file, toml(&backend.target())).unwrap();
        let mut command = Command::new(binary("proxyd"));
        command.args(["--listen", "127.0.0.1:0", "--access-log", "/dev/null", "--config"]);
        command.arg(&file).env("NOTIFY_SOCKET", &shown);
        let mut proxyd = Proxyd::spawn(&mut command, tempfile::tempdir().unwrap());
        let wait = |count: usize| {
            wait_for("a message", || {
                let told = told.lock().unwrap().clone();
                (told.len() >= count).then_some(told)
            })
        };
        assert_eq!(wait(1), ["READY=1\n"]);
        assert_eq!(proxyd.client().get("/").text(), "ok", "then it serves what is wanted");
        std::fs::write(&file, "broken").unwrap();
        proxyd.signal(Signal::SIGHUP);
        let told = wait(3);
        assert!(told[1].starts_with("RELOADING=1\nMONOTONIC_USEC="), "{told:?}");
        assert_eq!(told[2], "READY=1\n");
        proxyd.signal(Signal::SIGTERM);
        assert_eq!(wait(4)[3], "STOPPING=1\n");
        assert_eq!(proxyd.wait().code(), Some(0));
        assert_eq!(wait(4).len(), 4);
    }
    // Nobody there to be told is no reason not to serve.
    let mut command = Command::new(binary("proxyd"));
    command.args(["--listen", "127.0.0.1:0", "--access-log", "/dev/null", "--config"]);
    let file = folder.path().join("proxyd.toml");
    std::fs::write(&file, toml(&backend.target())).unwrap();
    command.arg(&file).env("NOTIFY_SOCKET", "/nonexistent");
    let proxyd = Proxyd::spawn(&mut command, tempfile::tempdir().unwrap());
    assert_eq!(proxyd.client().get("/").text(), "ok");
}
