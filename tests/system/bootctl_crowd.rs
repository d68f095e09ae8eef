//! A thousand administrators at once, with good tokens and half requests: there is room for so many, the others are
//! told, whoever looks after the machine is not kept out, and nothing of it is left.

use std::fs;
use std::io::Read;

use jobinit_tests::proxyd::SecureClient;
use jobinit_tests::remote::{GATE, Reached};
use jobinit_tests::wait;
use rustls::version::TLS13;

use crate::bootctl_apps::answers;

const CROWD: usize = 1000;
/// One after the other: the gaps that one leaves between what stays are filled by the next ones.
const CROWDS: usize = 4;
/// How many of those who have shown a good token are taken.
const ADMITTED: usize = 512;
/// What neither the gate nor the supervisor may hold after all that, in KiB.
const LARGEST: u64 = 64 << 10;

#[test]
fn z09_a_thousand_connections_leave_nothing_behind() {
    let reached = Reached::boot(&[("a.toml", &answers(1, ""))]);
    let site = &reached.site;
    site.wait_for("a", "running");
    let token = reached.token("laptop", "control");
    let (gate, supervisor) = (site.init.job("gate")["pid"].clone(), site.supervisor());
    let gate = gate.as_u64().expect("it runs");
    let begin = format!(
        "PUT /config?app=a&key=user HTTP/1.1\r\nHost: x\r\n{}\r\nExpect: 100-continue\r\nContent-Length: 20\r\n\r\n",
        reached.bearer(&token)
    );
    let trust = reached.speaking(&[&TLS13]);
    let come = || {
        let mut line = trust.connect(reached.address, GATE).expect("it listens");
        line.send(&begin);
        let status = status(&mut line);
        (line, status)
    };
    let before = [gate, supervisor].map(descriptors);
    let few = [gate, supervisor].map(memory);
    let (mut most, mut left) = (Vec::new(), [0; 2]);
    for _ in 0..CROWDS {
        let crowd: Vec<_> = (0..CROWD).map(|_| come()).collect();
        let admitted = crowd.iter().filter(|(_, status)| *status == 100).count();
        let told = crowd.iter().filter(|(_, status)| *status == 503).count();
        assert_eq!((admitted, told), (ADMITTED, CROWD - ADMITTED));
        // They wait for the rest of what they have been asked; nobody else does.
        assert_eq!(site.get("a", "/").status, 200);
        assert!(site.done(&["status", "a"]).contains("a is running"));
        let full = reached.from_afar(&token, &["status"]);
        assert!(full.code == Some(1) && full.err.contains("too many connections"), "{full:?}");
        most.push([gate, supervisor].map(memory));
        drop(crowd);
        wait::until("all to be gone", || {
            let now = [gate, supervisor].map(descriptors);
            now.iter().zip(&before).all(|(now, before)| now <= before).then_some(())
        });
        wait::until("an answer", || {
            (reached.from_afar(&token, &["status"]).code == Some(0)).then_some(())
        });
        left = [gate, supervisor].map(memory);
    }
    // What was made free is used again: the last crowd costs little of what the first one did. What
    // is in memory while they are there is compared: when an allocator gives back what it does not
    // need is its own affair.
    for process in 0..2 {
        let one = most[0][process] - few[process];
        let grown = most[CROWDS - 1][process].saturating_sub(most[CROWDS - 2][process]);
        assert!(grown < one / 4, "of {few:?}, up to {most:?}, {left:?} KiB are left");
        assert!(left[process] < LARGEST, "{left:?} KiB");
    }
    assert_eq!(site.init.job("gate")["pid"], gate);
    assert_eq!(site.supervisor(), supervisor);
    let refused = reached.audit().into_iter().filter(|line| line["result"] == "full").count();
    assert!(refused >= CROWDS * (CROWD - ADMITTED), "each who was refused has a line: {refused}");
}

/// What an answer begins with.
fn status(line: &mut SecureClient) -> u16 {
    let mut head = [0; 12];
    line.stream.read_exact(&mut head).expect("an answer");
    let text = String::from_utf8_lossy(&head);
    text.split(' ').nth(1).and_then(|text| text.parse().ok()).expect("a number")
}

fn descriptors(pid: u64) -> usize {
    fs::read_dir(format!("/proc/{pid}/fd")).expect("it runs").count()
}

/// What a process has in memory for itself, in KiB.
fn memory(pid: u64) -> u64 {
    let text = fs::read_to_string(format!("/proc/{pid}/status")).expect("it runs");
    let line = text.lines().find_map(|line| line.strip_prefix("RssAnon:")).expect("a line");
    line.trim().trim_end_matches(" kB").parse().expect("a number")
}
