//! proxyd: targets that fail are left alone for a while, requests are sent again within a budget, and
//! connections that are kept.

use std::io::Write;
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU16, Ordering};
use std::sync::mpsc::channel;
use std::sync::{Condvar, Mutex};
use std::time::Duration;

use jobinit_tests::proxyd::{Backend, Client, Proxyd, wait_for};
use proxyd_wire::{Health, TargetView};

/// An address where nobody listens.
fn dead() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    format!("tcp:{}", listener.local_addr().unwrap())
}

fn put(proxyd: &Proxyd, path: &str, body: &str) {
    let answer = proxyd.put(path, body);
    assert!(matches!(answer.status, 200 | 201), "{path}: {answer:?}");
}

/// A service `app` for `app.test` with these settings, and targets `1`, `2` and so on.
fn site(settings: &str, targets: &[String]) -> Proxyd {
    let proxyd = Proxyd::start();
    proxyd.put_route("app.test", "app");
    put(&proxyd, "/services/app", settings);
    for (number, target) in targets.iter().enumerate() {
        proxyd.put_target("app", &format!("{}", number + 1), target);
    }
    proxyd
}

fn target(proxyd: &Proxyd, name: &str) -> TargetView {
    proxyd.state().services["app"].targets[name].clone()
}

/// Answers with a status that can be changed.
fn moody(body: &'static str) -> (Backend, Arc<AtomicU16>) {
    let status = Arc::new(AtomicU16::new(200));
    let mood = Arc::clone(&status);
    let backend = Backend::start(move |_, out| {
        let status = mood.load(Ordering::SeqCst);
        write!(out, "HTTP/1.1 {status} Mood\r\nContent-Length: {}\r\n\r\n{body}", body.len())?;
        Ok(true)
    });
    (backend, status)
}

#[test]
fn p11_who_fails_is_ejected_and_comes_back() {
    let (moody, mood) = moody("moody");
    let well = Backend::saying("well");
    let eject =
        r#"{"balance":"round-robin","eject":{"failures":3,"statuses":[500],"backoff_ms":1000}}"#;
    let proxyd = site(eject, &[moody.target(), well.target()]);
    let mut client = proxyd.client();
    mood.store(500, Ordering::SeqCst);
    let statuses: Vec<u16> = (0..4).map(|_| client.get("/").status).collect();
    assert_eq!(statuses.iter().filter(|status| **status == 500).count(), 2);
    let view = target(&proxyd, "1");
    assert_eq!((view.state, view.failures, view.ejected_until_ms), (Health::Well, 2, None));
    // An answer between failures makes them a row of their own.
    mood.store(503, Ordering::SeqCst);
    client.get("/");
    client.get("/");
    assert_eq!(target(&proxyd, "1").failures, 0, "503 is no failure here");
    mood.store(500, Ordering::SeqCst);
    (0..6).for_each(|_| drop(client.get("/")));
    let view = target(&proxyd, "1");
    assert_eq!((view.state, view.failures), (Health::Ejected, 3));
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
    let until = u128::from(view.ejected_until_ms.unwrap());
    assert!(until <= now.as_millis() + 1000, "{until}");
    // It is tried once in its time, and then left alone for longer.
    let tried = || moody.seen().len();
    let before = tried();
    wait_for("a trial", || {
        let answer = client.get("/");
        (tried() > before).then_some(answer)
    });
    assert_eq!((target(&proxyd, "1").state, tried()), (Health::Ejected, before + 1));
    assert_eq!(client.get("/").text(), "well");
    mood.store(200, Ordering::SeqCst);
    wait_for("a trial", || (client.get("/").text() == "moody").then_some(()));
    let view = target(&proxyd, "1");
    assert_eq!((view.state, view.failures, tried()), (Health::Well, 0, before + 2));
    let texts: Vec<String> = (0..4).map(|_| client.get("/").text()).collect();
    assert_eq!(texts.iter().filter(|text| *text == "moody").count(), 2);
}

#[test]
fn p11_a_dead_target_is_left_alone() {
    let well = Backend::saying("well");
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    drop(listener);
    let eject = r#"{"balance":"round-robin","eject":{"failures":2,"backoff_ms":50}}"#;
    let proxyd = site(eject, &[format!("tcp:{address}"), well.target()]);
    let mut client = proxyd.client();
    for _ in 0..10 {
        assert_eq!(client.get("/").text(), "well");
    }
    assert_eq!(target(&proxyd, "1").state, Health::Ejected);
    // Once somebody listens there, a request that tries finds it.
    let back = TcpListener::bind(address).unwrap();
    let answering = std::thread::spawn(move || {
        let (mut stream, _) = back.accept().unwrap();
        stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nback").unwrap();
        let mut sink = Vec::new();
        let _ = std::io::Read::read_to_end(&mut stream, &mut sink);
    });
    wait_for("the target that is back", || (client.get("/").text() == "back").then_some(()));
    assert_eq!(target(&proxyd, "1").state, Health::Well);
    drop((client, proxyd));
    answering.join().unwrap();
}

/// The client whose request tries the target `1`; all before it are answered by another.
fn who_tries(proxyd: &Proxyd) -> Client {
    wait_for("a request that tries", || {
        let mut client = proxyd.client();
        client.stream.set_read_timeout(Some(Duration::from_millis(20))).unwrap();
        client.send("GET / HTTP/1.1\r\nHost: app.test\r\n\r\n");
        loop {
            if let Ok(answer) = client.try_answer(false) {
                assert_eq!(answer.text(), "well");
                return None;
            }
            if target(proxyd, "1").in_flight == 1 {
                return Some(client);
            }
        }
    })
}

#[test]
fn p11_one_request_at_a_time_tries() {
    // It fails once, and then lets its clients wait.
    let gate = Arc::new((Mutex::new(false), Condvar::new()));
    let (waiting, opening) = (Arc::clone(&gate), Arc::clone(&gate));
    let failed = AtomicBool::new(false);
    let slow = Backend::start(move |_, out| {
        let ok = failed.swap(true, Ordering::SeqCst);
        if ok {
            let (open, opened) = &*waiting;
            drop(opened.wait_while(open.lock().unwrap(), |open| !*open).unwrap());
        }
        let status = if ok { 200 } else { 500 };
        write!(out, "HTTP/1.1 {status} S\r\nContent-Length: 4\r\n\r\nslow")?;
        Ok(true)
    });
    let well = Backend::saying("well");
    let eject = r#"{"balance":"round-robin","eject":{"failures":1,"statuses":[500],"backoff_ms":10,"max_backoff_ms":10}}"#;
    let proxyd = site(eject, &[slow.target(), well.target()]);
    let mut client = proxyd.client();
    assert_eq!((client.get("/").status, client.get("/").status), (500, 200));
    let trying = who_tries(&proxyd);
    assert_eq!(target(&proxyd, "1").state, Health::Trial);
    for _ in 0..50 {
        assert_eq!(proxyd.client().get("/").text(), "well");
    }
    // It tells nothing if its client goes: another may try, and finds it well.
    drop(trying);
    wait_for("the end of it", || (target(&proxyd, "1").in_flight == 0).then_some(()));
    let mut trying = who_tries(&proxyd);
    *opening.0.lock().unwrap() = true;
    opening.1.notify_all();
    trying.stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    assert_eq!(trying.answer().text(), "slow");
    assert_eq!(target(&proxyd, "1").state, Health::Well);
}

#[test]
fn p11_all_are_used_when_all_are_ejected() {
    let ((one, mood), (other, other_mood)) = (moody("one"), moody("other"));
    let eject = r#"{"balance":"round-robin","eject":{"failures":1,"statuses":[500],"backoff_ms":600000,"max_backoff_ms":600000}}"#;
    let proxyd = site(eject, &[one.target(), other.target()]);
    mood.store(500, Ordering::SeqCst);
    other_mood.store(500, Ordering::SeqCst);
    let mut client = proxyd.client();
    (0..6).for_each(|_| assert_eq!(client.get("/").status, 500));
    assert!(one.seen().len() > 1 && other.seen().len() > 1);
    for name in ["1", "2"] {
        assert_eq!(target(&proxyd, name).state, Health::Ejected);
    }
    put(&proxyd, "/services/app", r#"{"balance":"round-robin","eject":{"failures":0}}"#);
    let both = || (one.seen().len(), other.seen().len());
    let before = both();
    (0..4).for_each(|_| assert_eq!(client.get("/").status, 500));
    assert_eq!(both(), (before.0 + 2, before.1 + 2), "without the rule nobody is ejected");
    put(&proxyd, "/services/app", eject);
    (0..4).for_each(|_| assert_eq!(client.get("/").status, 500));
    // Who answers well meanwhile is back at once.
    mood.store(200, Ordering::SeqCst);
    wait_for("an answer of the better one", || (client.get("/").status == 200).then_some(()));
    assert_eq!(target(&proxyd, "1").state, Health::Well);
    assert!((0..10).all(|_| client.get("/").text() == "one"));
}

#[test]
fn p11_a_cut_answer_is_a_failure_and_a_lost_client_is_none() {
    let cutting = Backend::start(|seen, out| {
        write!(out, "HTTP/1.1 200 OK\r\nContent-Length: 100000000\r\n\r\nhalf")?;
        if seen.target == "/wait" {
            out.write_all(&vec![b'x'; 10_000_000])?;
        }
        Ok(false)
    });
    let proxyd = site(r#"{"eject":{"failures":100}}"#, &[cutting.target()]);
    for _ in 0..3 {
        let mut client = proxyd.client();
        client.send("GET / HTTP/1.1\r\nHost: app.test\r\n\r\n");
        assert!(!client.try_answer(false).is_ok_and(|answer| answer.complete));
    }
    wait_for("three failures", || (target(&proxyd, "1").failures == 3).then_some(()));
    // A client that goes within an answer says nothing of the target.
    let mut client = proxyd.client();
    client.send("GET /wait HTTP/1.1\r\nHost: app.test\r\n\r\n");
    client.read_exact(10);
    drop(client);
    wait_for("the end of the request", || (target(&proxyd, "1").in_flight == 0).then_some(()));
    assert_eq!(target(&proxyd, "1").failures, 3);
}

#[test]
fn p05_as_many_dead_targets_as_there_are_attempts() {
    let well = Backend::saying("well");
    let dead = dead();
    let targets = [dead.clone(), dead.clone(), dead, well.target()];
    let rule = |attempts| {
        format!(
            r#"{{"balance":"round-robin","retry":{{"attempts":{attempts},"budget_percent":0,"budget_per_s":0}},"eject":{{"failures":0}}}}"#
        )
    };
    let proxyd = site(&rule(4), &targets);
    let mut client = proxyd.client();
    for _ in 0..8 {
        assert_eq!(client.get("/").text(), "well");
        client.send("POST / HTTP/1.1\r\nHost: app.test\r\nContent-Length: 300000\r\n\r\n");
        client.send(vec![b'x'; 300_000]);
        assert_eq!(client.answer().text(), "well", "a body that was not begun is not lost");
    }
    put(&proxyd, "/services/app", &rule(1));
    let statuses: Vec<u16> = (0..8).map(|_| client.get("/").status).collect();
    assert_eq!(statuses.iter().filter(|status| **status == 502).count(), 6, "{statuses:?}");
}

#[test]
fn p05_some_statuses_are_tried_elsewhere() {
    let ((sick, mood), well) = (moody("sick"), Backend::saying("well"));
    mood.store(503, Ordering::SeqCst);
    let retry = r#"{"balance":"round-robin","retry":{"statuses":[503]}}"#;
    let proxyd = site(retry, &[sick.target(), well.target()]);
    let mut client = proxyd.client();
    for _ in 0..10 {
        assert_eq!(client.get("/").text(), "well");
    }
    assert_eq!((sick.seen().len(), well.seen().len()), (10, 10));
    // What may not be done twice is not, and another status is an answer.
    let post = "POST / HTTP/1.1\r\nHost: app.test\r\nContent-Length: 1\r\n\r\nx";
    let statuses: Vec<u16> = (0..4)
        .map(|_| {
            client.send(post);
            client.answer().status
        })
        .collect();
    assert_eq!(statuses.iter().filter(|status| **status == 503).count(), 2, "{statuses:?}");
    mood.store(502, Ordering::SeqCst);
    assert!((0..2).any(|_| client.get("/").status == 502));
    // A PUT whose body was held as a whole is repeatable, one that streams is not.
    mood.store(503, Ordering::SeqCst);
    for _ in 0..4 {
        client.send("PUT / HTTP/1.1\r\nHost: app.test\r\nContent-Length: 4\r\n\r\nbody");
        assert_eq!(client.answer().text(), "well");
    }
    let mut statuses = Vec::new();
    for _ in 0..4 {
        client.send("PUT / HTTP/1.1\r\nHost: app.test\r\nContent-Length: 300000\r\n\r\n");
        client.send(vec![b'x'; 300_000]);
        statuses.push(client.answer().status);
    }
    assert_eq!(statuses.iter().filter(|status| **status == 503).count(), 2, "{statuses:?}");
    // The last one's word is passed on.
    proxyd.delete_target("app", "2", 1000);
    let answer = client.get("/");
    assert_eq!((answer.status, answer.text().as_str()), (503, "sick"));
}

#[test]
fn p05_a_target_that_dies_with_a_request_is_made_up_for_by_another() {
    let silent = Backend::raw(|mut connection| {
        connection.request();
    });
    let well = Backend::saying("well");
    let rule = |budget| {
        format!(r#"{{"balance":"round-robin","eject":{{"failures":0}},"retry":{{{budget}}}}}"#)
    };
    let proxyd = site(&rule(""), &[silent.target(), well.target()]);
    let mut client = proxyd.client();
    for number in 0..6 {
        assert_eq!(client.get("/").text(), "well", "request {number}");
    }
    assert!(silent.connections() >= 3, "it was asked");
    // It may have done what it was asked to.
    let statuses: Vec<u16> = (0..4)
        .map(|_| {
            client.send("POST / HTTP/1.1\r\nHost: app.test\r\nContent-Length: 1\r\n\r\nx");
            client.answer().status
        })
        .collect();
    assert_eq!(statuses.iter().filter(|status| **status == 502).count(), 2, "{statuses:?}");
    put(&proxyd, "/services/app", &rule(r#""budget_percent":0,"budget_per_s":0"#));
    assert!((0..2).any(|_| client.get("/").status == 502), "there is no budget");
}

#[test]
fn p05_a_budget_bounds_what_is_sent_again() {
    let ((one, mood), (other, other_mood)) = (moody("one"), moody("other"));
    mood.store(503, Ordering::SeqCst);
    other_mood.store(503, Ordering::SeqCst);
    // Ten are saved up for at the start, and none come on top.
    let retry = r#"{"retry":{"statuses":[503],"attempts":2,"budget_percent":2,"budget_per_s":0}}"#;
    let proxyd = site(retry, &[one.target(), other.target()]);
    let mut client = proxyd.client();
    let requests = 300;
    (0..requests).for_each(|_| assert_eq!(client.get("/").status, 503));
    let again = one.seen().len() + other.seen().len() - requests;
    // One request in sixty-four counts for all: the share itself is exact in the long run only.
    assert!((10..=10 + 20).contains(&again), "{again} were sent again");
}

#[test]
fn p05_a_reset_of_a_used_connection_spends_of_the_budget() {
    // The first request on a connection is answered, the second is read and not answered.
    let backend = Backend::raw(|mut connection| {
        if connection.request().is_some() {
            let _ = connection.stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok");
            connection.request();
        }
    });
    let proxyd = site("{}", &[backend.target()]);
    let mut client = proxyd.client();
    assert_eq!(client.get("/").status, 200);
    assert_eq!(client.get("/").status, 200);
    put(&proxyd, "/services/app", r#"{"retry":{"attempts":1}}"#);
    assert_eq!(client.get("/").status, 200, "that is no attempt");
    assert_eq!(client.get("/").status, 200);
    let none = r#"{"retry":{"budget_percent":0,"budget_per_s":0}}"#;
    put(&proxyd, "/services/app", none);
    assert_eq!(client.get("/").status, 502, "there is no budget");
    assert_eq!(target(&proxyd, "1").failures, 0, "who closes what was idle does what it may");
}

#[test]
fn p06_connections_are_kept_as_the_app_and_the_service_say() {
    let backend = Backend::start(|seen, out| {
        let promise = match seen.target.as_str() {
            "/1" => "Keep-Alive: timeout=1, max=9\r\n",
            "/60" => "Keep-Alive: max=9, timeout=60\r\n",
            _ => "",
        };
        write!(out, "HTTP/1.1 200 OK\r\n{promise}Content-Length: 2\r\n\r\nok")?;
        Ok(true)
    });
    let proxyd = site("{}", &[backend.target()]);
    let mut client = proxyd.client();
    let mut connections = |settings: &str, target: &str| {
        put(&proxyd, "/services/app", settings);
        assert_eq!(client.get("/").status, 200);
        let before = backend.connections();
        (0..6).for_each(|_| assert_eq!(client.get(target).field("keep-alive"), None));
        backend.connections() - before
    };
    assert_eq!(connections("{}", "/"), 0);
    assert_eq!(connections("{}", "/60"), 0);
    assert_eq!(connections("{}", "/1"), 5, "a second less than it says is nothing");
    assert_eq!(connections(r#"{"pool":{"idle_ms":0}}"#, "/"), 6);
    assert_eq!(connections(r#"{"pool":{"size":0}}"#, "/"), 6);
    let worn = connections(r#"{"pool":{"requests":2}}"#, "/");
    assert!((2..=3).contains(&worn), "{worn}");
    assert_eq!(connections("{}", "/"), 0);
    put(&proxyd, "/services/app", r#"{"pool":{"idle_ms":100}}"#);
    assert_eq!(client.get("/").status, 200);
    wait_for("idle connections closed", || (backend.open_connections() == 0).then_some(()));
}

/// Reads a request, and waits until the proxy closes or it is told to answer.
fn patient() -> (Backend, std::sync::mpsc::Sender<()>) {
    let (go, going) = channel::<()>();
    let going = Mutex::new(going);
    let backend = Backend::raw(move |mut connection| {
        while connection.request().is_some() {
            let wait = connection.stream.try_clone().unwrap();
            wait.set_read_timeout(Some(Duration::from_millis(10))).unwrap();
            loop {
                if going.lock().unwrap().try_recv().is_ok() {
                    break;
                }
                match wait.peek(&mut [0]) {
                    Ok(0) => return,
                    Ok(_) => std::thread::sleep(Duration::from_millis(1)),
                    Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {}
                    Err(_) => return,
                }
            }
            wait.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
            let _ = connection.stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok");
        }
    });
    (backend, go)
}

#[test]
fn p10_a_client_that_goes_takes_its_request_with_it() {
    let (backend, _go) = patient();
    let proxyd = site("{}", &[backend.target()]);
    let body = "x".repeat(300_000);
    for (number, request) in [
        "GET /gone HTTP/1.1\r\nHost: app.test\r\n\r\n".to_owned(),
        "POST /gone HTTP/1.1\r\nHost: app.test\r\nContent-Length: 1\r\n\r\nx".to_owned(),
        format!("POST /gone HTTP/1.1\r\nHost: app.test\r\nContent-Length: 300000\r\n\r\n{body}"),
        // What it has sent ahead does not hide that it has gone.
        "GET /gone HTTP/1.1\r\nHost: app.test\r\n\r\nGET /next HTTP/1.1\r\n".to_owned(),
    ]
    .into_iter()
    .enumerate()
    {
        let mut client = proxyd.client();
        client.send(request);
        wait_for("the request", || (backend.seen().len() == number + 1).then_some(()));
        assert_eq!(target(&proxyd, "1").in_flight, 1);
        drop(client);
        wait_for("the end of its connection", || (backend.open_connections() == 0).then_some(()));
        wait_for("nothing in flight", || (target(&proxyd, "1").in_flight == 0).then_some(()));
    }
    wait_for("four lines that say 499", || {
        let log = proxyd.access_log();
        (log.matches("/gone HTTP/1.1\" 499 0 ").count() == 4).then_some(())
    });
    assert_eq!(target(&proxyd, "1").failures, 0, "that is not its fault");
}

#[test]
fn p10_a_client_that_sends_ahead_has_not_gone() {
    let (backend, go) = patient();
    let proxyd = site("{}", &[backend.target()]);
    let mut client = proxyd.client();
    client.send("GET /1 HTTP/1.1\r\nHost: app.test\r\n\r\n");
    wait_for("the request", || (backend.seen().len() == 1).then_some(()));
    for part in ["GET /2 HTTP/1.1\r\n", "Host: app.test\r\n\r\n", "GET /3 HTTP/1.1\r\n"] {
        client.send(part);
        assert_eq!(target(&proxyd, "1").in_flight, 1);
    }
    go.send(()).unwrap();
    assert_eq!(client.answer().text(), "ok");
    wait_for("the next request", || (backend.seen().len() == 2).then_some(()));
    go.send(()).unwrap();
    assert_eq!(client.answer().text(), "ok");
    client.send("Host: app.test\r\n\r\n");
    wait_for("the last request", || (backend.seen().len() == 3).then_some(()));
    let ticks = || {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", proxyd.pid())).unwrap();
        let fields: Vec<&str> = stat.rsplit_once(')').unwrap().1.split_whitespace().collect();
        fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap()
    };
    // Bytes that wait to be read are no reason to look at them again and again.
    client.send("GET /4 HTTP/1.1\r\n");
    let before = ticks();
    client.stream.set_read_timeout(Some(Duration::from_millis(500))).unwrap();
    assert!(client.try_answer(false).is_err());
    assert!(ticks() - before < 20, "it must not spin");
    client.stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    go.send(()).unwrap();
    assert_eq!(client.answer().text(), "ok");
    drop::<TcpStream>(client.stream);
}
