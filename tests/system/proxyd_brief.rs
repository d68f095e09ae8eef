//! proxyd: a usual request over a connection that is there takes a way of its own. Nobody can tell:
//! whatever is asked and answered, clients, targets and the log see the same as on the long way.

use std::collections::HashSet;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use jobinit_tests::proxyd::{Answer, Backend, Proxyd, Seen, answers, binary, wait_for};
use proxyd_wire::Health;
use serde_json::{Value, json};

const GOOD: &str = "HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\ngood";
/// Long enough that what comes behind it comes by itself.
const PAUSE: Duration = Duration::from_millis(30);
/// How long a target may take for the head of an answer: much longer than one takes that answers.
const PATIENCE: Duration = Duration::from_secs(2);

/// The largest body, and one that is larger.
const LARGEST: usize = 99;
const TOO_LARGE: &str = "0123456789012345678901234567890123456789012345678901234567890123456789012345678901234567890123456789";

/// What a target does when it is asked.
#[derive(Clone, Debug)]
enum Act {
    Say(Vec<u8>),
    Pause,
    /// It says no more, until whoever has asked has gone.
    Hang,
    Close,
}

/// A request, and what is done about it.
#[derive(Clone, Debug)]
struct Case {
    method: &'static str,
    version: &'static str,
    fields: &'static str,
    body: &'static str,
    acts: Vec<Act>,
}

fn say(text: impl AsRef<[u8]>) -> Act {
    Act::Say(text.as_ref().to_vec())
}

fn get(acts: impl Into<Vec<Act>>) -> Case {
    Case { method: "GET", version: "1.1", fields: "", body: "", acts: acts.into() }
}

/// It would speak another protocol.
fn upgrade(acts: impl Into<Vec<Act>>) -> Case {
    Case { fields: "Connection: Upgrade\r\nUpgrade: x\r\n", ..get(acts) }
}

/// With five bytes of body, and what is behind them.
fn with_body(method: &'static str, body: &'static str, acts: impl Into<Vec<Act>>) -> Case {
    Case { method, version: "1.1", fields: "Content-Length: 5\r\n", body, acts: acts.into() }
}

/// An answer in pieces, with pauses between.
fn pieces(pieces: &[&str]) -> Case {
    let acts = pieces.iter().flat_map(|piece| [say(piece), Act::Pause]);
    get(acts.collect::<Vec<_>>())
}

fn cases() -> Vec<Case> {
    const OK: &str = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";
    const CHUNKED: &str = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: X-Sum\r\n\r\n2\r\nok\r\n0\r\nX-Sum: 1\r\n\r\n";
    let large = |size: usize| {
        let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {size}\r\n\r\n");
        get([Act::Say([head.into_bytes(), vec![b'x'; size]].concat())])
    };
    let mut cases = vec![
        get([say(OK)]),
        Case { fields: "Referer: http://a/\r\nUser-Agent: test/1 \"q\"\r\n", ..get([say(OK)]) },
        Case { fields: "Connection: close\r\n", ..get([say(OK)]) },
        Case { version: "1.0", ..get([say(OK)]) },
        Case { version: "1.0", fields: "Connection: keep-alive\r\n", ..get([say(OK)]) },
        Case { version: "1.0", fields: "Connection: keep-alive\r\n", ..get([say(CHUNKED)]) },
        Case { fields: "Content-Length: 0\r\n", method: "POST", ..get([say(OK)]) },
        Case { method: "DELETE", ..get([say(OK)]) },
        with_body("POST", "12345", [say(OK)]),
        with_body("PUT", "12345", [Act::Pause, say(OK)]),
        with_body("POST", "12345", [say(CHUNKED)]),
        with_body("PUT", "12345", [Act::Close]),
        with_body("POST", "12345", [Act::Close]),
        with_body("PUT", "12345GET /good HTTP/1.1\r\nHost: app.test\r\n\r\n", [say(OK)]),
        with_body("PUT", "12345", [say(&OK[..20]), Act::Pause, say(&OK[20..])]),
        Case { fields: "Content-Length: 100\r\n", ..with_body("POST", TOO_LARGE, [say(OK)]) },
        Case {
            fields: "Content-Length: 5\r\nExpect: 100-continue\r\n",
            ..with_body("POST", "12345", [say(OK)])
        },
        Case {
            fields: "Transfer-Encoding: chunked\r\n",
            ..with_body("POST", "5\r\n12345\r\n0\r\n\r\n", [say(OK)])
        },
        Case { method: "HEAD", ..get([say("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n")]) },
        Case { method: "DELETE", ..get([say("HTTP/1.1 204 No Content\r\n\r\n")]) },
        get([say("HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok")]),
        get([say("HTTP/1.1 200 OK\r\nContent-Length: 2\r\nKeep-Alive: timeout=1\r\n\r\nok")]),
        get([say("HTTP/1.1 503 Service Unavailable\r\nContent-Length: 2\r\n\r\nno")]),
        get([Act::Pause, say(OK)]),
        get([say(CHUNKED)]),
        Case { fields: "TE: trailers\r\nConnection: TE\r\n", ..get([say(CHUNKED)]) },
        get([say("HTTP/1.1 200 OK\r\n\r\nto the end"), Act::Close]),
        get([say("HTTP/1.0 200 OK\r\n\r\n"), Act::Pause, say("to the end"), Act::Close]),
        get([say("HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\n\r\n")]),
        upgrade([
            say("HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: x\r\n\r\n"),
            Act::Close,
        ]),
        upgrade([say(OK)]),
        // What ends before it should.
        get([Act::Close]),
        Case { method: "POST", fields: "Content-Length: 0\r\n", ..get([Act::Close]) },
        get([say("HTTP/1.1 200 OK\r\nConte"), Act::Close]),
        get([say("HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nok"), Act::Close]),
        get([say("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n"), Act::Close]),
        get([say("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nwhat\r\n"), Act::Close]),
        get([Act::Hang]),
        get([say("HTTP/1.1 200 OK\r\n"), Act::Hang]),
        large(15_000),
        large(17_000),
        large(300_000),
        large(5_000_000),
    ];
    // Wherever the first piece ends.
    cases.extend((1..OK.len()).step_by(7).map(|at| pieces(&[&OK[..at], &OK[at..]])));
    cases
        .extend((1..CHUNKED.len()).step_by(13).map(|at| pieces(&[&CHUNKED[..at], &CHUNKED[at..]])));
    let events =
        "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n";
    cases.push(pieces(&[events, "6\r\nda", "ta: 1\r\n", "0\r\n\r\n"]));
    let early = "HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n";
    cases.push(pieces(&[early, OK]));
    cases.push(pieces(&[&format!("{early}{}", &OK[..20]), &OK[20..]]));
    cases.extend(answers::refused().into_iter().map(|vector| get([Act::Say(vector.bytes)])));
    let passing = answers::passing().into_iter();
    cases.extend(passing.map(|(vector, _)| get([Act::Say(vector.bytes), Act::Close])));
    cases
}

/// What can be seen of a case.
#[derive(Debug, PartialEq)]
struct Sight {
    /// By the client: each answer, and whether it is answered again behind them.
    answers: Vec<String>,
    again: bool,
    /// By the target: each attempt.
    asked: Vec<String>,
    /// New connections to the target, until the next good answer.
    connections: usize,
    logged: String,
}

/// With one worker, so that all clients share what is idle.
fn start() -> Proxyd {
    let folder = tempfile::tempdir().unwrap();
    let mut command = Command::new(binary("proxyd"));
    command.args(["--listen", "127.0.0.1:0", "--workers", "1", "--access-log-format", "combined"]);
    command.arg("--control").arg(folder.path().join("control"));
    command.arg("--access-log").arg(folder.path().join("access.log"));
    Proxyd::spawn(&mut command, folder)
}

/// Asks for each case in turn, by such a route, over connections that were used before.
fn sights(cases: &[Case], route: &Value) -> Vec<Sight> {
    let acts: Vec<Vec<Act>> = cases.iter().map(|case| case.acts.clone()).collect();
    let asked = Mutex::new(HashSet::new());
    let backend = Backend::start(move |seen, out| {
        let number = seen.target.rsplit('/').next().and_then(|number| number.parse().ok());
        match number.filter(|number: &usize| asked.lock().unwrap().insert(*number)) {
            Some(number) => Ok(act(&acts[number], out)),
            // Whoever is asked again answers well.
            None => Ok(act(&[say(GOOD)], out)),
        }
    });
    let proxyd = start();
    let answer_ms = PATIENCE.as_millis();
    proxyd
        .put_front(&format!(r#"{{"limits":{{"answer_ms":{answer_ms},"body_bytes":{LARGEST}}}}}"#));
    assert_eq!(proxyd.put("/routes/app.test", &route.to_string()).status, 201);
    proxyd.put_target("app", "1", &backend.target());
    let mut sights: Vec<Sight> = cases
        .iter()
        .enumerate()
        .map(|(number, case)| look(&proxyd, &backend, number, case))
        .collect();
    for (number, sight) in sights.iter_mut().enumerate() {
        let line = || {
            let log = proxyd.access_log();
            let line = log.lines().find(|line| line.contains(&format!(" /{number} ")))?;
            Some(line.to_owned())
        };
        sight.logged = timeless(&wait_for("its line", line));
    }
    sights
}

/// Whether the connection stays.
fn act(acts: &[Act], out: &mut TcpStream) -> bool {
    for act in acts {
        match act {
            // Who is refused early does not take all of it.
            Act::Say(bytes) => drop(out.write_all(bytes)),
            Act::Pause => thread::sleep(PAUSE),
            Act::Hang => {
                let _ = out.read(&mut [0]);
                return false;
            }
            Act::Close => return false,
        }
    }
    true
}

fn look(proxyd: &Proxyd, backend: &Backend, number: usize, case: &Case) -> Sight {
    let Case { method, version, fields, body, .. } = case;
    let mut client = proxyd.client();
    assert_eq!(client.get("/good").text(), "good");
    let before = backend.connections();
    let line = format!("{method} /{number} HTTP/{version}");
    client.send(format!("{line}\r\nHost: app.test\r\n{fields}\r\n{body}"));
    let mut answers = Vec::new();
    while let Ok(answer) = client.try_answer(*method == "HEAD") {
        answers.push(show(&answer));
        if answer.status >= 200 {
            break;
        }
    }
    if body.contains("GET /good") {
        answers.push(show(&client.answer()));
    }
    let again = client.try_send("GET /good HTTP/1.1\r\nHost: app.test\r\n\r\n").is_ok()
        && client.try_answer(false).is_ok_and(|answer| answer.text() == "good");
    assert_eq!(proxyd.client().get("/good").text(), "good");
    let target = format!("/{number}");
    let asked = backend.seen().into_iter().filter(|seen| seen.target.ends_with(&target));
    Sight {
        answers,
        again,
        asked: asked.map(|seen| told(&seen)).collect(),
        connections: backend.connections() - before,
        logged: String::new(),
    }
}

fn told(seen: &Seen) -> String {
    format!("{} {} {:?} {:?}", seen.method, seen.target, seen.fields, seen.body)
}

fn show(answer: &Answer) -> String {
    let Answer { status, fields, body, trailers, complete } = answer;
    // When it was made is all that two of them may differ in.
    let fields: Vec<_> = fields.iter().filter(|(name, _)| name != "Date").collect();
    let body = if body.len() < 1000 { answer.text() } else { format!("{} bytes", body.len()) };
    format!("{status} {fields:?} {body} {trailers:?} {complete}")
}

/// A line of the log without when it was and how long that took.
fn timeless(line: &str) -> String {
    let (client, rest) = line.split_once(" [").expect("a date");
    let (_, rest) = rest.split_once("] ").expect("a date");
    let (rest, target) = rest.rsplit_once(' ').expect("a target");
    let (rest, _) = rest.rsplit_once(' ').expect("a time");
    format!("{client} {rest} {target}")
}

/// Has all of it asked by a route that says so much, the short way, and the long way.
fn compare(route: &Value) {
    let cases = cases();
    // What a route says of its requests has them go the long way, also where it is what the front says.
    let mut long = route.clone();
    long["limits"] = json!({ "answer_ms": PATIENCE.as_millis() });
    let (short, long) = thread::scope(|scope| {
        let long = scope.spawn(|| sights(&cases, &long));
        (sights(&cases, route), long.join().expect("the long way"))
    });
    for ((short, long), case) in short.iter().zip(&long).zip(&cases) {
        assert_eq!(short, long, "{case:?}");
    }
    let is_good = |sight: &&Sight| sight.answers.iter().any(|text| text.starts_with("200"));
    assert!(short.iter().filter(is_good).count() > 40, "they are answers");
}

#[test]
fn p09_the_short_way_is_the_long_way() {
    compare(&json!({ "service": "app" }));
}

#[test]
fn p09_the_short_way_is_the_long_way_by_a_route_with_rules() {
    compare(&json!({
        "service": "app",
        "rewrite": "/v2",
        "request_headers": { "set": { "X-Told": "yes" }, "remove": ["User-Agent"] },
        "response_headers": { "add": { "X-Seen": "yes" } },
        "error_pages": { "503": { "html": "closed", "of_target": true } },
        "allow": ["127.0.0.0/8"],
    }));
}

#[test]
fn p05_who_goes_while_he_waits_is_gone() {
    let backend = Backend::start(|seen, out| {
        let acts = if seen.target == "/late" { [Act::Hang] } else { [say(GOOD)] };
        Ok(act(&acts, out))
    });
    let proxyd = start();
    proxyd.put_route("app.test", "app");
    proxyd.put_target("app", "1", &backend.target());
    assert_eq!(proxyd.client().get("/good").text(), "good");
    let mut client = proxyd.client();
    client.send("GET /late HTTP/1.1\r\nHost: app.test\r\n\r\n");
    wait_for("it to be asked", || {
        backend.seen().iter().any(|seen| seen.target == "/late").then_some(())
    });
    drop(client);
    let log = || proxyd.access_log().lines().find(|line| line.contains("/late")).map(timeless);
    let line = wait_for("its line", log);
    assert_eq!(line, r#"127.0.0.1 - - "GET /late HTTP/1.1" 499 0 "-" "-" app/1"#);
    // What it did not get is nobody else's.
    assert_eq!(proxyd.client().get("/good").text(), "good");
}

#[test]
fn p11_who_was_left_alone_is_back_over_a_connection_of_before() {
    let is_free = Arc::new(AtomicBool::new(false));
    let freed = Arc::clone(&is_free);
    let backend = Backend::start(move |seen, out| {
        let half = "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf";
        match seen.target.as_str() {
            "/held" => wait_for("its turn", || freed.load(Ordering::SeqCst).then_some(())),
            "/cut" => return Ok(act(&[say(half), Act::Close], out)),
            _ => {}
        }
        Ok(act(&[say(GOOD)], out))
    });
    let proxyd = start();
    proxyd.put_route("app.test", "app");
    let rule = r#"{"eject":{"failures":1,"backoff_ms":30000}}"#;
    let put = proxyd.put("/services/app", rule);
    assert!(matches!(put.status, 200 | 201), "{}", put.text());
    proxyd.put_target("app", "1", &backend.target());
    let health = || proxyd.state().services["app"].targets["1"].state;
    // Two connections are there afterwards.
    let mut held = proxyd.client();
    held.send("GET /held HTTP/1.1\r\nHost: app.test\r\n\r\n");
    wait_for("it to be asked", || (!backend.seen().is_empty()).then_some(()));
    assert_eq!(proxyd.client().get("/good").text(), "good");
    is_free.store(true, Ordering::SeqCst);
    assert_eq!(held.answer().text(), "good");
    assert!(!proxyd.client().get("/cut").complete);
    assert_eq!(health(), Health::Ejected);
    // There is nobody else to ask.
    assert_eq!(proxyd.client().get("/good").text(), "good");
    assert_eq!((health(), backend.connections()), (Health::Well, 2));
}
