//! `start`: from nothing to a child that has run and is gone, as a container's entrypoint.

use std::fs::File;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Instant;

use nix::fcntl::{PosixFadviseAdvice, posix_fadvise};
use nix::sys::resource::{UsageWho, getrusage};
use nix::sys::time::TimeValLike;

use crate::report::{Row, median};
use crate::{inits, noop};

const ROUNDS: usize = 300;

pub fn measure() -> Vec<Row> {
    let noop = noop::program();
    let noop = noop.to_str().expect("a plain path");
    let init = inits::program();
    let init = init.to_str().expect("a plain path");
    let mut subjects: Vec<(&str, Vec<&str>)> = vec![
        ("bare posix_spawn", vec![noop]),
        ("init", vec![init, "--listen", "127.0.0.1:0", "--", noop]),
    ];
    for (name, path, words) in [
        ("tini -s", "/usr/bin/tini", vec!["-s", "--", noop]),
        ("dumb-init", "/usr/bin/dumb-init", vec![noop]),
        ("catatonit", "/usr/bin/catatonit", vec!["--", noop]),
    ] {
        if Path::new(path).exists() {
            subjects.push((name, [vec![path], words].concat()));
        } else {
            eprintln!("bench: SKIPPED {name}: {path} is not installed");
        }
    }
    for (_, words) in &subjects {
        if let Err(error) = read_in_one(words[0]) {
            eprintln!("bench: {} stays as it is in memory: {error}", words[0]);
        }
    }
    let mut wall = vec![Vec::new(); subjects.len()];
    let mut cpu = vec![Vec::new(); subjects.len()];
    for _ in 0..ROUNDS {
        for (number, (_, words)) in subjects.iter().enumerate() {
            let (used, begun) = (children_cpu(), Instant::now());
            run(words);
            wall[number].push(begun.elapsed().as_secs_f64() * 1e6);
            cpu[number].push(children_cpu() - used);
        }
    }
    let names: Vec<&str> = subjects.iter().map(|(name, _)| *name).collect();
    [rows("start-cpu", &names, cpu), rows("start-wall", &names, wall)].concat()
}

/// Has the kernel hold a program as it does after reading all of it at once: to map one that was
/// read here and there, page by page, makes init's start a seventh dearer.
fn read_in_one(path: &str) -> Result<(), std::io::Error> {
    let file = File::open(path)?;
    file.sync_all()?;
    posix_fadvise(&file, 0, 0, PosixFadviseAdvice::POSIX_FADV_DONTNEED)?;
    std::io::copy(&mut &file, &mut std::io::sink()).map(drop)
}

fn run(words: &[&str]) {
    let status = Command::new(words[0])
        .args(&words[1..])
        .stdin(Stdio::null())
        .stderr(Stdio::null())
        .status();
    assert!(status.is_ok_and(|status| status.success()), "{words:?} runs");
}

/// Microseconds of CPU of all children that have been waited for.
fn children_cpu() -> f64 {
    let usage = getrusage(UsageWho::RUSAGE_CHILDREN).expect("the kernel counts");
    let sum = usage.user_time().num_microseconds() + usage.system_time().num_microseconds();
    #[expect(clippy::cast_precision_loss, reason = "far below 2^52 microseconds")]
    let sum = sum as f64;
    sum
}

fn rows(figure: &str, names: &[&str], values: Vec<Vec<f64>>) -> Vec<Row> {
    let medians: Vec<f64> = values.into_iter().map(median).collect();
    let tini = names.iter().position(|name| *name == "tini -s").map(|at| medians[at]);
    names
        .iter()
        .zip(&medians)
        .map(|(name, value)| {
            let row = Row::new(figure, name, *value, "us");
            match tini {
                Some(tini) if *name == "init" => row.compared("tini -s", tini).at_most(1.0),
                Some(tini) => row.compared("tini -s", tini),
                None => row.compared("bare posix_spawn", medians[0]),
            }
        })
        .collect()
}
