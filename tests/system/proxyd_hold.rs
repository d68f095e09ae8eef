//! proxyd: requests that wait, and requests that are answered without their app.

use std::io::Write;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc::{Sender, channel};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use jobinit_tests::proxyd::{Backend, Client, Proxyd, wait_for};

fn put(proxyd: &Proxyd, path: &str, body: &str) {
    let answer = proxyd.put(path, body);
    assert!(matches!(answer.status, 200 | 201), "{path}: {answer:?}");
}

fn delete(proxyd: &Proxyd, path: &str) {
    let answer = proxyd.control("DELETE", path, "", "");
    assert_eq!(answer.status, 204, "{path}: {answer:?}");
}

/// Answers a request when it is told to, and remembers how many it worked on at once.
struct Held {
    backend: Backend,
    go: Sender<()>,
    at_once: Arc<AtomicUsize>,
    most: Arc<AtomicUsize>,
}

impl Held {
    fn start() -> Held {
        let (go, going) = channel::<()>();
        let going = Mutex::new(going);
        let (at_once, most) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
        let (now, peak) = (Arc::clone(&at_once), Arc::clone(&most));
        let backend = Backend::start(move |seen, out| {
            peak.fetch_max(now.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
            going.lock().unwrap().recv().unwrap();
            now.fetch_sub(1, Ordering::SeqCst);
            let body = &seen.target;
            write!(out, "HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{body}", body.len())?;
            Ok(true)
        });
        Held { backend, go, at_once, most }
    }
}

/// A service `app` for `app.test` with these settings, and one target.
fn site(settings: &str, target: &str, bound: u32) -> Proxyd {
    let proxyd = Proxyd::start();
    proxyd.put_route("app.test", "app");
    put(&proxyd, "/services/app", settings);
    let body = format!(r#"{{"address":"{target}","max_in_flight":{bound}}}"#);
    put(&proxyd, "/services/app/targets/1", &body);
    proxyd
}

fn waiting(proxyd: &Proxyd) -> u64 {
    proxyd.state().services["app"].waiting
}

/// Sends a request of its own connection that will have to wait, and waits until it does.
fn stand_in_line(proxyd: &Proxyd, target: &str) -> Client {
    let before = waiting(proxyd);
    let mut client = proxyd.client();
    client.send(format!("GET {target} HTTP/1.1\r\nHost: app.test\r\n\r\n"));
    wait_for("one more in line", || (waiting(proxyd) == before + 1).then_some(()));
    client
}

fn busy(proxyd: &Proxyd, held: &Held, target: &str) -> Client {
    let before = held.at_once.load(Ordering::SeqCst);
    let mut client = proxyd.client();
    client.send(format!("GET {target} HTTP/1.1\r\nHost: app.test\r\n\r\n"));
    wait_for("one more at the backend", || {
        (held.at_once.load(Ordering::SeqCst) == before + 1).then_some(())
    });
    client
}

#[test]
fn p08_beyond_the_bound_is_503_without_a_queue() {
    let held = Held::start();
    let proxyd = site("{}", &held.backend.target(), 2);
    let mut clients = [busy(&proxyd, &held, "/1"), busy(&proxyd, &held, "/2")];
    let mut third = proxyd.client();
    let answer = third.get("/3");
    assert_eq!((answer.status, answer.field("retry-after").as_deref()), (503, Some("1")));
    assert!(answer.text().contains("as many requests as it takes"), "{}", answer.text());
    // Another one takes what the first is too busy for.
    let other = Backend::saying("other");
    proxyd.put_target("app", "2", &other.target());
    assert!((0..10).all(|_| third.get("/3").text() == "other"));
    proxyd.delete_target("app", "2", 1000);
    for client in &mut clients {
        held.go.send(()).unwrap();
        held.go.send(()).unwrap();
        assert_eq!(client.answer().status, 200);
    }
    assert_eq!(third.get("/3").status, 200);
}

#[test]
fn p08_who_waits_is_served_in_order() {
    let held = Held::start();
    let proxyd = site(r#"{"queue":5,"queue_ms":20000}"#, &held.backend.target(), 1);
    let mut first = busy(&proxyd, &held, "/0");
    let mut line: Vec<Client> =
        (1..=5).map(|number| stand_in_line(&proxyd, &format!("/{number}"))).collect();
    let mut late = proxyd.client();
    let answer = late.get("/late");
    assert_eq!((answer.status, answer.field("retry-after").as_deref()), (503, Some("1")));
    // One who goes leaves at once, and makes room at the end.
    drop(line.remove(2));
    wait_for("his place", || (waiting(&proxyd) == 4).then_some(()));
    line.push(stand_in_line(&proxyd, "/6"));
    held.go.send(()).unwrap();
    assert_eq!(first.answer().text(), "/0");
    for (client, target) in line.iter_mut().zip(["/1", "/2", "/4", "/5", "/6"]) {
        held.go.send(()).unwrap();
        assert_eq!(client.answer().text(), target);
    }
    let order: Vec<String> = held.backend.seen().into_iter().map(|seen| seen.target).collect();
    assert_eq!(order, ["/0", "/1", "/2", "/4", "/5", "/6"]);
    assert_eq!((held.most.load(Ordering::SeqCst), waiting(&proxyd)), (1, 0));
    wait_for("the lines of who went, and of who was refused", || {
        let log = proxyd.access_log();
        let both = ["/3 HTTP/1.1\" 499 0", "/late HTTP/1.1\" 503"];
        both.iter().all(|line| log.contains(line)).then_some(())
    });
}

#[test]
fn p08_waiting_ends_with_its_time() {
    let held = Held::start();
    let proxyd = site(r#"{"queue":5,"queue_ms":300}"#, &held.backend.target(), 1);
    let _first = busy(&proxyd, &held, "/0");
    let begin = Instant::now();
    let mut second = proxyd.client();
    let answer = second.get("/1");
    assert_eq!((answer.status, answer.field("retry-after").as_deref()), (503, Some("1")));
    assert!(begin.elapsed() >= Duration::from_millis(300), "{:?}", begin.elapsed());
    // The connection goes on, and what comes behind a body that had to wait is the next request.
    second.send("POST /2 HTTP/1.1\r\nHost: app.test\r\nContent-Length: 3\r\n\r\nabc");
    assert_eq!(second.answer().status, 503);
    put(&proxyd, "/services/app", r#"{"queue":5}"#);
    second.send("POST /3 HTTP/1.1\r\nHost: app.test\r\nContent-Length: 300000\r\n\r\n");
    second.send(vec![b'x'; 300_000]);
    wait_for("it in line", || (waiting(&proxyd) == 1).then_some(()));
    held.go.send(()).unwrap();
    held.go.send(()).unwrap();
    assert_eq!(second.answer().text(), "/3");
    assert_eq!(held.backend.seen()[1].body.len(), 300_000);
}

#[test]
fn p08_whatever_makes_room_calls_the_first() {
    let held = Held::start();
    let proxyd = site(r#"{"queue":9,"queue_ms":20000}"#, &held.backend.target(), 1);
    let _first = busy(&proxyd, &held, "/0");
    let mut second = stand_in_line(&proxyd, "/1");
    let mut third = stand_in_line(&proxyd, "/2");
    let other = Backend::saying("other");
    proxyd.put_target("app", "2", &other.target());
    assert_eq!((second.answer().text(), third.answer().text()), ("other".into(), "other".into()));
    proxyd.delete_target("app", "2", 1000);
    let mut fourth = stand_in_line(&proxyd, "/3");
    let target = held.backend.target();
    put(
        &proxyd,
        "/services/app/targets/1",
        &format!(r#"{{"address":"{target}","max_in_flight":2}}"#),
    );
    wait_for("a bound that was raised", || {
        (held.at_once.load(Ordering::SeqCst) == 2).then_some(())
    });
    let mut fifth = stand_in_line(&proxyd, "/4");
    let mut sixth = stand_in_line(&proxyd, "/5");
    proxyd.control("DELETE", "/services/app?grace_ms=0", "", "");
    assert_eq!((fifth.answer().status, sixth.answer().status), (503, 503));
    let _ = (held.go.send(()), held.go.send(()));
    assert_eq!(fourth.answer().status, 200);
}

#[test]
fn p08_who_waits_tries_when_an_ejected_target_is_due() {
    let held = Held::start();
    let settings =
        r#"{"queue":9,"queue_ms":20000,"eject":{"failures":1,"statuses":[500],"backoff_ms":1500}}"#;
    let proxyd = site(settings, "tcp:127.0.0.1:1", 1);
    proxyd.delete_target("app", "1", 0);
    let failed = AtomicBool::new(false);
    let sick = Backend::start(move |_, out| {
        let status = if failed.swap(true, Ordering::SeqCst) { 200 } else { 500 };
        write!(out, "HTTP/1.1 {status} S\r\nContent-Length: 4\r\n\r\nsick")?;
        Ok(true)
    });
    proxyd.put_target("app", "1", &sick.target());
    assert_eq!(proxyd.client().get("/").status, 500);
    let body = format!(r#"{{"address":"{}","max_in_flight":1}}"#, held.backend.target());
    put(&proxyd, "/services/app/targets/2", &body);
    let _first = busy(&proxyd, &held, "/0");
    // Nothing gets free, and nobody calls: they are answered in the ejected one's time.
    let mut line = [proxyd.client(), proxyd.client(), proxyd.client()];
    for client in &mut line {
        client.send("GET / HTTP/1.1\r\nHost: app.test\r\n\r\n");
    }
    for client in &mut line {
        assert_eq!(client.answer().text(), "sick");
    }
    assert_eq!(held.at_once.load(Ordering::SeqCst), 1);
}

#[test]
fn p08_the_bound_holds_under_load_and_nobody_is_forgotten() {
    let (now, most) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let (at_once, peak) = (Arc::clone(&now), Arc::clone(&most));
    let backend = Backend::start(move |seen, out| {
        // The proxy counts no request whose client has gone, though it may be worked on still.
        if seen.target != "/passing" {
            peak.fetch_max(at_once.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
            thread::yield_now();
            at_once.fetch_sub(1, Ordering::SeqCst);
        }
        write!(out, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")?;
        Ok(true)
    });
    let proxyd = site(r#"{"queue":100,"queue_ms":20000}"#, &backend.target(), 3);
    let address = proxyd.address;
    let clients: Vec<_> = (0..16)
        .map(|number| {
            thread::spawn(move || {
                for round in 0..100 {
                    // Some come and go in between.
                    if (round + number) % 10 == 0 {
                        let mut passing = Client::connect(address);
                        passing.send("GET /passing HTTP/1.1\r\nHost: app.test\r\n\r\n");
                    }
                    let mut client = Client::connect(address);
                    assert_eq!(client.get("/").text(), "ok");
                    assert_eq!(client.get("/").text(), "ok");
                }
            })
        })
        .collect();
    for client in clients {
        client.join().expect("nobody waits in vain");
    }
    assert!(most.load(Ordering::SeqCst) <= 3);
    wait_for("nobody in line", || (waiting(&proxyd) == 0).then_some(()));
}

#[test]
fn p08_a_pause_holds_requests_and_its_end_lets_them_go_in_order() {
    let backend = Backend::start(|seen, out| {
        let body = &seen.target;
        write!(out, "HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{body}", body.len())?;
        Ok(true)
    });
    let proxyd = Proxyd::with_target(&backend.target());
    let mut client = proxyd.client();
    assert_eq!(client.get("/before").text(), "/before");
    let pause = r#"{"queue":4,"max_ms":20000}"#;
    let answer = proxyd.put("/services/app/pause", pause);
    assert_eq!((answer.status, answer.text().as_str()), (201, pause));
    assert_eq!(proxyd.put("/services/app/pause", pause).status, 200);
    let mut line: Vec<Client> =
        (1..=4).map(|number| stand_in_line(&proxyd, &format!("/{number}"))).collect();
    let beyond = client.get("/beyond");
    assert_eq!((beyond.status, beyond.field("retry-after").as_deref()), (503, Some("1")));
    assert!(beyond.text().contains("paused"), "{}", beyond.text());
    assert_eq!(backend.seen().len(), 1);
    let view = &proxyd.state().services["app"];
    assert_eq!(serde_json::to_string(&view.pause).unwrap(), pause);
    // Its target may even be another one meanwhile.
    let next = Backend::start(|seen, out| {
        let body = &seen.target;
        write!(out, "HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{body}", body.len())?;
        Ok(true)
    });
    proxyd.delete_target("app", "1", 1000);
    assert!(proxyd.state().services["app"].pause.is_some(), "it is paused still");
    proxyd.put_target("app", "2", &next.target());
    assert_eq!(waiting(&proxyd), 4);
    delete(&proxyd, "/services/app/pause");
    for (client, target) in line.iter_mut().zip(["/1", "/2", "/3", "/4"]) {
        assert_eq!(client.answer().text(), target);
    }
    let order: Vec<String> = next.seen().into_iter().map(|seen| seen.target).collect();
    assert_eq!(order.len(), 4);
    assert_eq!(backend.seen().len(), 1);
    let answer = proxyd.control("DELETE", "/services/app/pause", "", "");
    assert_eq!((answer.status, answer.error().error.as_str()), (404, "not_paused"));
}

#[test]
fn p08_a_pause_holds_no_longer_than_it_says() {
    let backend = Backend::saying("ok");
    let proxyd = Proxyd::with_target(&backend.target());
    put(&proxyd, "/services/app/pause", r#"{"max_ms":300}"#);
    let begin = Instant::now();
    let mut client = proxyd.client();
    assert_eq!(client.get("/").status, 503);
    assert!(begin.elapsed() >= Duration::from_millis(300));
    put(&proxyd, "/services/app/pause", r#"{"queue":0}"#);
    assert_eq!(client.get("/").status, 503);
    put(&proxyd, "/services/app/pause", "{}");
    // A site that goes while its requests wait lets go of them.
    let mut held = stand_in_line(&proxyd, "/");
    delete(&proxyd, "/routes/app.test");
    assert_eq!(held.answer().status, 404);
    proxyd.put_route("app.test", "app");
    let gone = stand_in_line(&proxyd, "/gone");
    drop(gone);
    wait_for("nobody in line", || (waiting(&proxyd) == 0).then_some(()));
    assert!(backend.seen().is_empty());
}

#[test]
fn p08_a_service_may_be_paused_before_it_has_anything_else() {
    let proxyd = Proxyd::start();
    proxyd.put_route("app.test", "app");
    put(&proxyd, "/services/app/pause", "{}");
    let mut client = stand_in_line(&proxyd, "/");
    let backend = Backend::saying("ok");
    proxyd.put_target("app", "1", &backend.target());
    delete(&proxyd, "/services/app/pause");
    assert_eq!(client.answer().text(), "ok");
    proxyd.delete_target("app", "1", 1000);
    assert!(proxyd.state().services.is_empty(), "nothing is left of it");
}

/// Clients that ask again and again and are never refused; joins them at the end.
fn load(address: SocketAddr, stop: &Arc<AtomicBool>) -> Vec<thread::JoinHandle<usize>> {
    let client = |_| {
        let stop = Arc::clone(stop);
        thread::spawn(move || {
            let mut client = Client::connect(address);
            let mut answered = 0;
            while !stop.load(Ordering::SeqCst) {
                assert_eq!(client.get("/").text(), "ok");
                answered += 1;
            }
            answered
        })
    };
    (0..6).map(client).collect()
}

#[test]
fn p08_pauses_under_load_lose_nothing_and_are_kept_by_all_workers() {
    let backend = Backend::saying("ok");
    let proxyd = Proxyd::with_target(&backend.target());
    let stop = Arc::new(AtomicBool::new(false));
    let clients = load(proxyd.address, &stop);
    for _ in 0..20 {
        let before = backend.seen().len();
        wait_for("some load", || (backend.seen().len() > before + 20).then_some(()));
        put(&proxyd, "/services/app/pause", "{}");
        // Those that were on their way may still be answered, and no other begins.
        wait_for("all in line", || {
            let state = proxyd.state();
            let app = &state.services["app"];
            (app.waiting == 6 && app.targets["1"].in_flight == 0).then_some(())
        });
        let seen = backend.seen().len();
        assert_eq!(waiting(&proxyd), 6);
        assert_eq!(backend.seen().len(), seen);
        delete(&proxyd, "/services/app/pause");
    }
    stop.store(true, Ordering::SeqCst);
    for client in clients {
        assert!(client.join().expect("no client may lose a request") > 0);
    }
}

#[test]
fn p08_maintenance_answers_for_the_app_but_to_some() {
    let backend = Backend::saying("ok");
    let proxyd = Proxyd::with_target(&backend.target());
    let mut client = proxyd.client();
    assert_eq!(client.get("/").text(), "ok");
    let rule = r#"{"status":503,"body":"<p>back soon","content_type":"text/html","retry_after_s":60,"allow":["10.0.0.0/8"]}"#;
    let answer = proxyd.put("/services/app/maintenance", rule);
    assert_eq!((answer.status, answer.text().as_str()), (201, rule));
    for _ in 0..10 {
        let answer = proxyd.client().get("/");
        assert_eq!((answer.status, answer.text().as_str()), (503, "<p>back soon"));
        assert_eq!(answer.field("content-type").unwrap(), "text/html");
        assert_eq!(answer.field("retry-after").unwrap(), "60");
        assert_eq!(answer.field("cache-control").unwrap(), "no-store");
    }
    client.send("HEAD / HTTP/1.1\r\nHost: app.test\r\n\r\n");
    let answer = client.answer_to_head();
    assert_eq!((answer.status, answer.field("content-length").as_deref()), (503, Some("12")));
    client.send("POST / HTTP/1.1\r\nHost: app.test\r\nContent-Length: 3\r\n\r\nabc");
    assert_eq!(client.answer().text(), "<p>back soon", "the connection goes on");
    assert_eq!(backend.seen().len(), 1);
    let view = &proxyd.state().services["app"];
    assert_eq!(serde_json::to_string(&view.maintenance).unwrap(), rule);
    put(&proxyd, "/services/app/maintenance", r#"{"allow":["10.0.0.0/8","127.0.0.1"]}"#);
    assert_eq!(client.get("/").text(), "ok");
    put(&proxyd, "/services/app/maintenance", r#"{"status":418}"#);
    let answer = client.get("/");
    assert_eq!((answer.status, answer.field("retry-after")), (418, None));
    assert!(answer.text().contains("under maintenance"), "{}", answer.text());
    wait_for("its lines in the log", || {
        let log = proxyd.access_log();
        let lines = ["\"GET / HTTP/1.1\" 418 ", "\"POST / HTTP/1.1\" 503 12 "];
        lines.iter().all(|line| log.contains(line)).then_some(())
    });
    delete(&proxyd, "/services/app/maintenance");
    assert_eq!(client.get("/").text(), "ok");
    let answer = proxyd.control("DELETE", "/services/app/maintenance", "", "");
    assert_eq!((answer.status, answer.error().error.as_str()), (404, "not_maintained"));
}

#[test]
fn p08_maintenance_ends_waiting() {
    let backend = Backend::saying("ok");
    let proxyd = Proxyd::with_target(&backend.target());
    put(&proxyd, "/services/app/pause", "{}");
    let mut line = [stand_in_line(&proxyd, "/1"), stand_in_line(&proxyd, "/2")];
    put(&proxyd, "/services/app/maintenance", r#"{"body":"later"}"#);
    for client in &mut line {
        assert_eq!(client.answer().text(), "later");
    }
}

#[test]
fn holds_obey_if_match() {
    let proxyd = Proxyd::start();
    proxyd.put_route("a.test", "a");
    for (method, path, body) in [
        ("PUT", "/services/a/pause", "{}"),
        ("DELETE", "/services/a/pause", ""),
        ("PUT", "/services/a/maintenance", "{}"),
        ("DELETE", "/services/a/maintenance", ""),
    ] {
        let fields = "Content-Type: application/json\r\nIf-Match: \"0\"\r\n";
        let answer = proxyd.control(method, path, fields, body);
        assert_eq!((answer.status, answer.error().error.as_str()), (412, "generation"), "{path}");
    }
    let answer = proxyd.put("/services/a/pause", r#"{"seconds":3}"#);
    assert!(answer.text().contains("unknown field `seconds`"), "{}", answer.text());
}
