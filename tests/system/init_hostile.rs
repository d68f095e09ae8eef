//! Requests that nobody sends by mistake.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};
use std::time::Duration;

use jobinit_tests::init::Init;
use jobinit_tests::random::Random;
use serde_json::json;

const GOOD: [&str; 5] = [
    "GET /jobs HTTP/1.1\r\nHost: localhost\r\n\r\n",
    "POST /job HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: 20\r\n\r\n{\"exec\":\"/bin/true\"}",
    "PUT /job/x HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n14\r\n{\"exec\":\"/bin/true\"}\r\n0\r\n\r\n",
    "PUT /job/held/sig/WINCH HTTP/1.1\r\nHost: localhost\r\n\r\n",
    "DELETE /job/x HTTP/1.1\r\nHost: localhost\r\n\r\n",
];

/// Changes a few bytes, cuts, repeats or swaps pieces.
fn mutate(random: &mut Random, bytes: &mut Vec<u8>) {
    for _ in 0..=random.below(4) {
        let at = random.below(bytes.len());
        match random.below(6) {
            0 => bytes[at] = u8::try_from(random.below(256)).unwrap(),
            1 => bytes.truncate(at.max(1)),
            2 => bytes.insert(at, *random.pick(b"\0\r\n :/{}\"\xff,")),
            3 => drop(bytes.remove(at)),
            4 => {
                let piece = bytes[at..].to_vec();
                bytes.extend(piece);
            }
            _ => {
                let other = random.below(bytes.len());
                bytes.swap(at, other);
            }
        }
        if bytes.is_empty() {
            bytes.push(b'G');
        }
    }
}

#[test]
fn b29_ten_thousand_mutated_requests() {
    let init = Init::start(&[]);
    let held = init.launch_job("held", &json!({"exec": "/bin/sleep", "args": ["600"]}));
    let seed = u64::from(std::process::id());
    println!("seed {seed}");
    let mut random = Random::new(seed);
    for round in 0..10_000 {
        let mut bytes = random.pick(&GOOD).as_bytes().to_vec();
        mutate(&mut random, &mut bytes);
        let mut stream = TcpStream::connect(init.api()).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        // It may be refused before it is read.
        let _ = stream.write_all(&bytes);
        let _ = stream.shutdown(Shutdown::Write);
        let mut answer = Vec::new();
        let _ = stream.read_to_end(&mut answer);
        if round % 500 == 0 {
            let good = init.get("/job/held");
            assert_eq!((good.status, good.json()["pid"].as_u64()), (200, Some(held)));
        }
    }
    assert_eq!(init.get("/job/held").json()["pid"].as_u64(), Some(held));
    assert_eq!(init.run_script("exit 3")["lastExit"], 3);
}

#[test]
fn b29_oversized_and_odd_requests() {
    let init = Init::start(&[]);
    let json = "Content-Type: application/json\r\n";
    let huge = format!("{{\"exec\":\"{}\"}}", "x".repeat(300_000));
    let deep = "[".repeat(100_000);
    for (body, status) in
        [(huge.as_str(), 413), (deep.as_str(), 400), ("{\"exec\"", 400), ("\"x\" 1", 400)]
    {
        let answer = jobinit_tests::http::request(init.api(), "POST", "/job", json, body);
        assert_eq!(answer.status, status, "{}", &body[..6]);
    }
    let long = jobinit_tests::http::raw(
        init.api(),
        format!("GET /{} HTTP/1.1\r\nHost: localhost\r\n\r\n", "x".repeat(100_000)).as_bytes(),
    );
    let long = String::from_utf8_lossy(&long.unwrap_or_default()).into_owned();
    assert!(long.is_empty() || long.starts_with("HTTP/1.1 4"), "{long}");
    assert_eq!(init.get("/jobs").body, "[]\n");
}

#[test]
fn b29_idle_and_half_sent_connections_do_not_keep_others_out() {
    let init = Init::start(&[]);
    let held: Vec<_> = (0..200)
        .map(|number| {
            let mut stream = TcpStream::connect(init.api()).unwrap();
            if number % 2 == 0 {
                stream.write_all(b"GET /jobs HTTP/1.1\r\nHo").unwrap();
            }
            stream
        })
        .collect();
    assert_eq!(init.get("/jobs").status, 200);
    drop(held);
}

#[test]
fn b22_a_client_that_hangs_up_harms_nobody() {
    let init = Init::start(&["--", "sleep", "600"]);
    let boot = init.job("boot")["pid"].clone();
    for _ in 0..50 {
        let mut stream = TcpStream::connect(init.api()).unwrap();
        stream.write_all(b"GET /jobs?follow HTTP/1.1\r\nHost: localhost\r\n\r\n").unwrap();
        let mut some = [0; 16];
        stream.read_exact(&mut some).unwrap();
        drop(stream);
        init.run_script("true");
    }
    assert_eq!(init.job("boot")["pid"], boot);
}
