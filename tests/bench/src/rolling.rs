//! `rolling`: what a restart of an app takes beyond its own start-up, an instance. The app is one that listens
//! as soon as it runs, and one that needs half a second.

use std::io::ErrorKind;
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use jobinit_tests::bootctl::Site;

use crate::report::{Row, median};
use crate::sites;

const INSTANCES: u32 = 4;
const ROUNDS: usize = 5;
/// Milliseconds.
const REACH: f64 = 50.0;

pub fn measure() -> Vec<Row> {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let listener = sites::listener();
    let listener = listener.to_str().expect("UTF-8").to_owned();
    let slow = format!("sleep 0.5; exec {listener}");
    let mut rows = Vec::new();
    for (name, words) in [
        ("at once", vec![listener.clone()]),
        ("after 500 ms", vec!["/bin/sh".to_owned(), "-c".into(), slow]),
    ] {
        let stamps = folder.path().join("stamps");
        let stamps = stamps.to_str().expect("UTF-8");
        let startup = median((0..ROUNDS).map(|_| startup(&words, stamps)).collect());
        let (exec, args) = words.split_first().expect("a program");
        let file = format!(
            "exec = \"{exec}\"\nargs = {args:?}\ninstances = {INSTANCES}\n[env]\nSTAMPS = \"{stamps}\"\n"
        );
        let site = Site::boot(&[("a.test.toml", &file)]);
        site.wait_for("a.test", "running");
        let restart = || {
            let (status, body, took) = sites::ask(&site.socket(), "PUT", "/apps/a.test/restart");
            assert_eq!(status, 200, "{body}");
            took / f64::from(INSTANCES)
        };
        let each = median((0..ROUNDS).map(|_| restart()).collect());
        let row = |what: &str, value| {
            Row::new("rolling", &format!("{what}, an app that listens {name}"), value, "ms")
        };
        rows.push(row("its own start-up", startup));
        rows.push(row("an instance restarted", each));
        let beyond = row("beyond its start-up", each - startup);
        rows.push(beyond.compared("50 ms", REACH).at_most(1.0));
    }
    rows
}

/// Milliseconds from the start of a process to its first accepted connection.
fn startup(words: &[String], stamps: &str) -> f64 {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port");
    let address = listener.local_addr().expect("it is bound");
    drop(listener);
    let (exec, args) = words.split_first().expect("a program");
    let begun = Instant::now();
    let mut child = Command::new(exec)
        .args(args)
        .env("PORT", address.port().to_string())
        .env("STAMPS", stamps)
        .stdin(Stdio::null())
        .spawn()
        .expect("it is built");
    loop {
        match TcpStream::connect(address) {
            Ok(_) => break,
            Err(error) => assert_eq!(error.kind(), ErrorKind::ConnectionRefused),
        }
        std::thread::sleep(Duration::from_micros(200));
    }
    let took = begun.elapsed().as_secs_f64() * 1e3;
    drop(child.kill());
    drop(child.wait());
    took
}
