//! proxyd: an answer that is not HTTP, or could be read in two ways, is 502 or a visible cut; it is
//! never another one's answer, and its connection is never used again.

use std::io::{self, Write};
use std::net::TcpStream;
use std::process::Command;
use std::sync::Mutex;
use std::sync::mpsc::channel;

use jobinit_tests::proxyd::{Backend, Proxyd, answers, wait_for};

const GOOD: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\ngood";

/// Answers `/0`, `/1` and so on with what is listed, and anything else well; then `keeps` says
/// whether the connection stays.
fn answering(list: Vec<Vec<u8>>, keeps: bool) -> Backend {
    Backend::start(move |seen, out| {
        let number = seen.target[1..].parse().ok();
        match number.and_then(|number: usize| list.get(number)) {
            Some(answer) => {
                // Who is refused early does not take all of it.
                let _ = out.write_all(answer);
                Ok(keeps)
            }
            None => out.write_all(GOOD).map(|()| true),
        }
    })
}

#[test]
fn p09_answers_that_are_none() {
    let vectors = answers::refused();
    let shown: Vec<String> = vectors.iter().map(answers::Vector::show).collect();
    let backend = answering(vectors.into_iter().map(|vector| vector.bytes).collect(), true);
    let proxyd = Proxyd::with_target(&backend.target());
    let mut client = proxyd.client();
    for (number, shown) in shown.iter().enumerate() {
        let before = backend.connections();
        let mut answer = client.get(&format!("/{number}"));
        while answer.status == 103 {
            answer = client.answer();
        }
        assert_eq!(answer.status, 502, "{shown}: {}", answer.text());
        assert_eq!(client.get("/good").text(), "good", "after {shown}");
        assert!(backend.connections() > before, "used again after {shown}");
    }
}

/// RFC 9110, section 6.6.1.
#[test]
fn what_has_no_date_gets_that_of_its_coming() {
    const OWN: &str = "Sun, 06 Nov 1994 08:49:37 GMT";
    let backend = Backend::start(|seen, out| {
        let date = match seen.target.as_str() {
            "/own" => format!("dAte: {OWN}\r\n"),
            "/almost" => "Data: x\r\nX-Date: x\r\n".to_owned(),
            _ => String::new(),
        };
        write!(out, "HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n")?;
        write!(out, "HTTP/1.1 200 OK\r\n{date}Content-Length: 4\r\n\r\ngood")?;
        Ok(true)
    });
    let proxyd = Proxyd::with_target(&backend.target());
    let mut client = proxyd.client();
    let mut date = |target: &str| {
        let early = client.get(target);
        assert_eq!((early.status, early.field("date")), (103, None));
        client.answer().field("date").unwrap()
    };
    let output = |args: &[&str]| {
        let run = Command::new("date").args(args).env("LC_ALL", "C").output().unwrap();
        String::from_utf8(run.stdout).unwrap().trim().to_owned()
    };
    let second = |date: &str| output(&["-d", date, "+%s"]).parse::<u64>().unwrap();
    assert_eq!(date("/own"), OWN);
    for target in ["/none", "/almost"] {
        let before = second("now");
        let told = date(target);
        assert_eq!(output(&["-u", "-d", &told, "+%a, %d %b %Y %H:%M:%S GMT"]), told);
        // The clock that is fast to read is a few milliseconds late.
        assert!((before - 1..=second("now")).contains(&second(&told)), "{told}");
    }
}

#[test]
fn p09_odd_but_clear_answers_pass() {
    let vectors = answers::passing();
    let list = vectors.iter().map(|(vector, _)| vector.bytes.clone()).collect();
    // Closed behind each: some have no other end.
    let backend = answering(list, false);
    let proxyd = Proxyd::with_target(&backend.target());
    let mut client = proxyd.client();
    for (number, (vector, body)) in vectors.iter().enumerate() {
        let mut answer = client.get(&format!("/{number}"));
        while answer.status < 200 {
            answer = client.answer();
        }
        assert_ne!(answer.status, 502, "{}: {}", vector.show(), answer.text());
        assert_eq!((answer.text().as_str(), answer.complete), (*body, true), "{}", vector.show());
    }
}

#[test]
fn p09_answers_that_end_early_are_cut() {
    let list = [
        "HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nshort",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n64\r\nshort",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nshort\r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nshort\r\n0\r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nshort\r\n0\r\nX: y\r\n",
    ];
    let list: Vec<Vec<u8>> = list.map(|text| text.as_bytes().to_vec()).to_vec();
    let count = list.len();
    let backend = answering(list, false);
    let proxyd = Proxyd::with_target(&backend.target());
    for number in 0..count {
        let mut client = proxyd.client();
        client.send(format!("GET /{number} HTTP/1.1\r\nHost: app.test\r\nTE: trailers\r\n\r\n"));
        let answer = client.try_answer(false);
        assert!(answer.is_ok_and(|answer| !answer.complete), "{number}");
        assert!(client.is_closed());
    }
    assert_eq!(proxyd.client().get("/good").text(), "good");
}

#[test]
fn p09_interim_answers_are_bounded() {
    let interim = "HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n";
    let list = [16, 17].map(|count| [interim.repeat(count).as_bytes(), GOOD].concat()).to_vec();
    let backend = answering(list, true);
    let proxyd = Proxyd::with_target(&backend.target());
    let mut client = proxyd.client();
    for (target, last) in [("/0", 200), ("/1", 502)] {
        let mut answer = client.get(target);
        let mut count = 0;
        while answer.status == 103 {
            count += 1;
            answer = client.answer();
        }
        assert_eq!((answer.status, count >= 16), (last, true), "{target}");
    }
    assert_eq!(client.get("/good").text(), "good");
    assert_eq!(backend.connections(), 2, "the flooded one is not used again");
}

#[test]
fn p09_bytes_behind_an_answer_answer_nothing() {
    let poison = "HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\npoison";
    let list: Vec<Vec<u8>> = [
        "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n",
        "HTTP/1.1 204 No Content\r\n\r\n",
        "HTTP/1.1 304 Not Modified\r\nContent-Length: 2\r\n\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n",
    ]
    .map(|answer| format!("{answer}{poison}").into_bytes())
    .to_vec();
    let count = list.len();
    let backend = answering(list, true);
    let proxyd = Proxyd::with_target(&backend.target());
    let mut client = proxyd.client();
    for number in 0..count {
        let text = client.get(&format!("/{number}")).text();
        assert!(matches!(text.as_str(), "ok" | ""), "{number}");
        assert_eq!(client.get("/good").text(), "good", "behind {number}");
        assert_eq!(backend.connections(), number + 2, "{number}");
    }
    // A body where there is none.
    client.send("HEAD /0 HTTP/1.1\r\nHost: app.test\r\n\r\n");
    assert_eq!(client.answer_to_head().status, 200);
    assert_eq!(client.get("/good").text(), "good");
    assert_eq!(backend.connections(), count + 2);
}

#[test]
fn p09_a_length_where_no_body_can_be_ends_the_connection() {
    let list: Vec<Vec<u8>> = [
        "HTTP/1.1 204 No Content\r\nContent-Length: 5\r\n\r\n",
        "HTTP/1.1 204 No Content\r\nTransfer-Encoding: chunked\r\n\r\n",
        "HTTP/1.1 204 No Content\r\nContent-Length: 0\r\n\r\n",
        "HTTP/1.1 304 Not Modified\r\nContent-Length: 5\r\n\r\n",
    ]
    .map(|answer| answer.as_bytes().to_vec())
    .to_vec();
    let backend = answering(list, true);
    let proxyd = Proxyd::with_target(&backend.target());
    let mut client = proxyd.client();
    for (number, connections) in [1, 2, 3, 3].into_iter().enumerate() {
        let answer = client.get(&format!("/{number}"));
        assert!(matches!(answer.status, 204 | 304));
        assert_eq!(backend.connections(), connections, "{number}");
    }
}

#[test]
fn p09_a_second_answer_reaches_nobody() {
    // It comes when its connection waits for the next request: before that, not with it.
    let (go, going) = channel::<()>();
    let (gone, is_gone) = channel::<()>();
    let channels = Mutex::new((going, gone));
    let backend = Backend::start(move |seen, out| {
        out.write_all(GOOD)?;
        if seen.target == "/twice" {
            let channels = channels.lock().unwrap();
            channels.0.recv().unwrap();
            out.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\npoison")?;
            channels.1.send(()).unwrap();
        }
        Ok(true)
    });
    let proxyd = Proxyd::with_target(&backend.target());
    let mut client = proxyd.client();
    for _ in 0..20 {
        assert_eq!(client.get("/twice").text(), "good");
        go.send(()).unwrap();
        is_gone.recv().unwrap();
        assert_eq!(client.get("/next").text(), "good");
    }
}

#[test]
fn p09_an_answer_before_any_request_is_none() {
    // Some servers speak first; what they say must not be taken for an answer later.
    let backend = Backend::raw(|mut connection| {
        let _ = connection.stream.write_all(b"220 mail.test ESMTP\r\n");
        while connection.request().is_some() {}
    });
    let proxyd = Proxyd::with_target(&backend.target());
    let mut client = proxyd.client();
    for _ in 0..3 {
        assert_eq!(client.get("/").status, 502);
    }
    assert_eq!(backend.connections(), 3);
}

/// Answers the head alone, as if there were no body, and goes on to read the next request.
fn impatient(stream: &mut TcpStream) -> io::Result<()> {
    stream.write_all(b"HTTP/1.1 403 No\r\nContent-Length: 2\r\n\r\nno")
}

#[test]
fn p09_who_answers_an_expectation_is_not_asked_again() {
    let backend = Backend::raw(|mut connection| {
        while let Some(head) = connection.head() {
            let answer = if head.field("expect").is_some() {
                impatient(&mut connection.stream)
            } else {
                connection.stream.write_all(GOOD)
            };
            if answer.is_err() {
                return;
            }
        }
    });
    let proxyd = Proxyd::with_target(&backend.target());
    let mut client = proxyd.client();
    let inner = "GET /smuggled HTTP/1.1\r\nHost: app.test\r\n\r\n";
    client.send(format!(
        "PUT / HTTP/1.1\r\nHost: app.test\r\nExpect: 100-continue\r\nContent-Length: {}\r\n\r\n{inner}",
        inner.len()
    ));
    assert_eq!(client.answer().text(), "no");
    assert_eq!(client.get("/next").text(), "good");
    wait_for("the end of the first connection", || (backend.open_connections() == 1).then_some(()));
    assert_eq!(backend.connections(), 2);
    // Without a body there is nothing to wait for, and nothing is said of it.
    let backend = Backend::saying("ok");
    proxyd.put_target("app", "1", &backend.target());
    client.send(
        "PUT / HTTP/1.1\r\nHost: app.test\r\nExpect: 100-continue\r\nContent-Length: 0\r\n\r\n",
    );
    assert_eq!(client.answer().text(), "ok");
    assert_eq!(backend.seen()[0].field("expect"), None);
}

#[test]
fn p09_a_tunnel_is_for_what_was_offered() {
    let backend = Backend::raw(|mut connection| {
        while let Some(head) = connection.head() {
            if head.field("upgrade").is_none() {
                let _ = connection.stream.write_all(GOOD);
                continue;
            }
            let protocol = &head.target[1..];
            let answer = format!(
                "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: {protocol}\r\n\r\n"
            );
            let _ = connection.stream.write_all(answer.as_bytes());
        }
    });
    let proxyd = Proxyd::with_target(&backend.target());
    for (offer, chosen, status) in [
        ("echo", "echo", 101),
        ("echo/2, Other", "other", 101),
        ("echo", "other", 502),
        ("echo", "h2c", 502),
        ("echo", "echo,h2c", 502),
        ("echo", "", 502),
        // These are never offered on: a tunnel of requests that nobody reads.
        ("h2c", "h2c", 200),
        ("echo, H2C", "echo", 200),
        ("HTTP/2.0", "HTTP/2.0", 200),
        ("TLS/1.0", "TLS/1.0", 200),
        ("", "x", 200),
        ("a b", "a", 200),
    ] {
        let mut client = proxyd.client();
        client.send(format!(
            "GET /{chosen} HTTP/1.1\r\nHost: app.test\r\nConnection: Upgrade, HTTP2-Settings\r\n\
             Upgrade: {offer}\r\nHTTP2-Settings: AAMAAABkAAQAAP__\r\n\r\n"
        ));
        assert_eq!(client.answer().status, status, "{offer:?}, {chosen:?}");
    }
}

#[test]
fn answers_of_few_words_have_the_space() {
    let backend = answering(vec![b"HTTP/1.1 200\r\nContent-Length: 0\r\n\r\n".to_vec()], true);
    let proxyd = Proxyd::with_target(&backend.target());
    let mut client = proxyd.client();
    client.send("GET /0 HTTP/1.1\r\nHost: app.test\r\n\r\n");
    assert_eq!(client.read_exact(15), b"HTTP/1.1 200 \r\n");
}
