//! `orphans`: the CPU time that PID 1 of a pid namespace spends on 20,000 orphans.

use std::path::Path;
use std::process::{Command, Stdio};

use crate::report::{Row, median};
use crate::{inits, tiny};

const ROUNDS: usize = 3;
const ORPHANS: &str = "20000";

/// Makes orphans, waits until all are reaped, and prints the nanoseconds that PID 1 ran meanwhile.
const SOURCE: &str = r#"
#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

static long ran(void) {
    DIR *tasks = opendir("/proc/1/task");
    long sum = 0;
    for (struct dirent *task; tasks && (task = readdir(tasks));) {
        char path[300];
        long one;
        snprintf(path, sizeof path, "/proc/1/task/%s/schedstat", task->d_name);
        FILE *file = fopen(path, "r");
        if (file && fscanf(file, "%ld", &one) == 1) sum += one;
        if (file) fclose(file);
    }
    if (tasks) closedir(tasks);
    return sum;
}

static int others(void) {
    FILE *file = fopen("/proc/1/task/1/children", "r");
    int count = 0, pid;
    while (file && fscanf(file, "%d", &pid) == 1) count++;
    if (file) fclose(file);
    return count > 1;
}

int main(int count, char **words) {
    long before = ran();
    for (int left = count > 1 ? atoi(words[1]) : 0; left > 0; left--) {
        pid_t child = fork();
        if (child == 0) _exit(fork() < 0);
        int status;
        if (child < 0 || waitpid(child, &status, 0) < 0 || status) return 1;
    }
    for (int tries = 0; others(); tries++) {
        if (tries > 20000) return 2;
        usleep(1000);
    }
    printf("%ld\n", ran() - before);
    return 0;
}
"#;

pub fn measure() -> Vec<Row> {
    let orphans = tiny::build("orphans", SOURCE, &[]);
    let orphans = orphans.to_str().expect("a plain path");
    let init = inits::program();
    let init = init.to_str().expect("a plain path");
    let mut subjects: Vec<(&str, Vec<f64>, Vec<&str>)> = Vec::new();
    for (name, path, words) in [
        ("init", init, &["--listen", "127.0.0.1:0", "--"][..]),
        ("tini", "/usr/bin/tini", &["--"]),
        ("dumb-init", "/usr/bin/dumb-init", &[]),
        ("catatonit", "/usr/bin/catatonit", &["--"]),
    ] {
        if Path::new(path).exists() {
            subjects.push((name, Vec::new(), [&[path], words].concat()));
        } else {
            eprintln!("bench: SKIPPED {name}: {path} is not installed");
        }
    }
    for _ in 0..ROUNDS {
        for (name, took, words) in &mut subjects {
            match once(words, orphans) {
                Ok(milliseconds) => took.push(milliseconds),
                Err(why) => eprintln!("bench: SKIPPED {name}: {why}"),
            }
        }
    }
    let mut medians: Vec<(&str, f64)> =
        subjects.into_iter().map(|(name, took, _)| (name, median(took))).collect();
    medians.retain(|(_, took)| *took > 0.0);
    let tini = medians.iter().find(|(name, _)| *name == "tini").map(|(_, took)| *took);
    let row = |(name, took): &(&str, f64)| {
        let row = Row::new("orphans", name, *took, "ms");
        match tini {
            Some(tini) if *name == "init" => row.compared("tini", tini).at_most(1.0),
            Some(tini) => row.compared("tini", tini),
            None => row,
        }
    };
    medians.iter().map(row).collect()
}

/// Milliseconds.
fn once(words: &[&str], orphans: &str) -> Result<f64, String> {
    let output = Command::new("unshare")
        .args(["--pid", "--fork", "--mount-proc"])
        .args(words)
        .args([orphans, ORPHANS])
        .stdin(Stdio::null())
        .output()
        .map_err(|error| format!("unshare: {error}"))?;
    let said = String::from_utf8_lossy(&output.stdout);
    let nanoseconds: f64 = said.trim().parse().map_err(|_| {
        let why = String::from_utf8_lossy(&output.stderr);
        format!("{}: {}", output.status, why.trim())
    })?;
    Ok(nanoseconds / 1e6)
}
