//! Runs the README's tour, command by command, and compares what comes out.
//!
//! `README_WRITE=1` writes what has come out into the README instead.

use std::fs;
use std::net::{Ipv4Addr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use jobinit_tests::binaries::program;
use jobinit_tests::bootctl::said;
use jobinit_tests::init::Init;
use jobinit_tests::{tools, wait};

const BEGIN: &str = "## Ten minutes\n";
/// The addresses that it uses.
const ADDRESSES: [&str; 2] = ["127.0.0.1:8080", "127.0.0.1:8443"];
/// The folder that it stands for.
const FOLDER: &str = "/srv/tour";
/// The block that starts it all, in another terminal.
const TERMINAL: &str = "```sh\n";

fn readme() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../README.md")
}

/// A command, as it stands there, and what stands under it.
struct Step {
    command: String,
    output: String,
}

/// The steps of all blocks in a text. A line that begins with `> ` goes on with the command before.
fn steps(text: &str) -> Vec<Step> {
    let mut steps: Vec<Step> = Vec::new();
    let mut inside = false;
    for line in text.lines() {
        if line.starts_with("```") {
            inside = line == "```console";
        } else if let Some(command) = line.strip_prefix("$ ").filter(|_| inside) {
            steps.push(Step { command: command.to_owned(), output: String::new() });
        } else if let (true, Some(step)) = (inside, steps.last_mut()) {
            match line.strip_prefix("> ") {
                Some(more) => step.command.extend(["\n", more]),
                None => step.output.extend([line, "\n"]),
            }
        }
    }
    steps
}

/// A text with what differs from run to run made equal.
fn comparable(text: &str) -> String {
    let line = |line: &str| {
        let words: Vec<&str> = line.split_whitespace().collect();
        // The number of an instance: the lowest that is free when it is started.
        let is_row = words.first().is_some_and(|first| first.ends_with("localhost"));
        let word = |(place, word): (usize, &&str)| {
            if is_row && place == 1 && word.len() == 1 {
                return "N".to_owned();
            }
            let next = words.get(place + 1);
            let counts = next.is_some_and(|next| next.ends_with("iB") || *next == "restarts:");
            masked(word, counts)
        };
        words.iter().enumerate().map(word).collect::<Vec<_>>().join(" ")
    };
    let mut lines: Vec<String> = text.lines().map(line).collect();
    // How often something is tried in a moment depends on the machine.
    lines.dedup();
    lines.join("\n").trim().to_owned()
}

fn masked(word: &str, counts: bool) -> String {
    let number = |text: &str| {
        !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.')
    };
    let bare = word.trim_end_matches([',', ':', ')', ';']);
    let end = word.get(bare.len()..).unwrap_or_default();
    let separators = bare.bytes().filter(|byte| b"-:".contains(byte)).count();
    let is_time = separators >= 2 && bare.bytes().all(|byte| b"0123456789-:.TZ".contains(&byte));
    let instance =
        bare.rsplit_once('.').filter(|(app, last)| app.ends_with("localhost") && number(last));
    let address = bare.rsplit_once(':').filter(|(_, port)| number(port));
    let mask = match (instance, address) {
        _ if is_time => "TIME".to_owned(),
        (Some((app, _)), _) => format!("{app}.N"),
        (None, Some((host, _))) => format!("{host}:N"),
        _ if bare.starts_with("sha256:") => "sha256:N".to_owned(),
        // Pids, ports and bytes; releases and counts are smaller.
        _ if number(bare) && (bare.len() > 2 || counts) => "N".to_owned(),
        _ if bare.strip_suffix('s').is_some_and(number) => "Ns".to_owned(),
        _ => bare.to_owned(),
    };
    mask + end
}

/// Addresses that nobody listens on, in the place of those in the text.
fn free() -> Vec<(&'static str, String)> {
    let all: Vec<(&str, TcpListener)> = ADDRESSES
        .into_iter()
        .map(|there| (there, TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port")))
        .collect();
    let one = |(there, listener): (&'static str, TcpListener)| {
        (there, listener.local_addr().expect("bound").to_string())
    };
    all.into_iter().map(one).collect()
}

/// The tour, as it runs.
struct Tour {
    folder: tempfile::TempDir,
    addresses: Vec<(&'static str, String)>,
    exports: String,
}

impl Tour {
    fn here(&self, text: &str) -> String {
        self.addresses.iter().fold(text.to_owned(), |text, (there, here)| {
            let (_, port) = there.rsplit_once(':').expect("a port");
            let (_, mine) = here.rsplit_once(':').expect("a port");
            text.replace(&format!(":{port}"), &format!(":{mine}"))
        })
    }

    fn there(&self, text: &str) -> String {
        let folder = fs::canonicalize(self.folder.path()).expect("there");
        let text = text.replace(folder.to_str().expect("UTF-8"), FOLDER);
        self.addresses.iter().fold(text, |text, (there, here)| text.replace(here, there))
    }

    /// init and bootctl as the line says, in this folder.
    fn boot(&self, line: &str) -> Init {
        let line = self.here(line);
        let (_, words) = line.split_once(" -- ").expect("init's own words, and bootctl's");
        let mut init = Command::new(program("init"));
        init.args(["--listen", "127.0.0.1:0", "--"]).args(words.split_whitespace());
        init.current_dir(self.folder.path()).env("PATH", Self::path());
        Init::launch(init)
    }

    fn path() -> String {
        let programs = program("bootctl");
        let programs = programs.parent().expect("a folder").display();
        format!("{programs}:{}", std::env::var("PATH").unwrap_or_default())
    }

    /// Runs a command; answers what a reader sees of it.
    fn run(&mut self, command: &str) -> String {
        if command.starts_with("export ") {
            self.exports.extend([command, "\n"]);
            return String::new();
        }
        let script = self.here(&format!("{}{command}", self.exports));
        let mut shell = Command::new("sh");
        shell.args(["-c", &script]).current_dir(self.folder.path()).stdin(Stdio::null());
        shell.env("PATH", Self::path()).env("XDG_CONFIG_HOME", self.folder.path().join("home"));
        let said = said(shell.output().expect("sh can be run"));
        // What is told of what takes long is not the end of it.
        let end = said.err.find("bootctl: ").map_or("", |at| &said.err[at..]);
        self.there(&(said.out + end))
    }
}

#[test]
fn readme_tour_is_what_happens() {
    if !tools::present(&["python3", "curl"]) {
        return;
    }
    let text = fs::read_to_string(readme()).expect("there");
    let (before, tour) = text.split_once(BEGIN).expect("the tour");
    let end = tour.find("\n## ").expect("the next section");
    let (tour, after) = tour.split_at(end);
    let (first, rest) = tour.split_once(TERMINAL).expect("what starts it");
    let (start, rest) = rest.split_once("\n```").expect("its end");

    let mut runs = Tour {
        folder: tempfile::tempdir().expect("a folder"),
        addresses: free(),
        exports: String::new(),
    };
    let mut seen = Vec::new();
    for step in steps(first) {
        let output = runs.run(&step.command);
        seen.push((step, output));
    }
    let _init = runs.boot(start.lines().last().expect("a line"));
    wait::until("bootctl to answer", || {
        runs.folder.path().join("run/bootctl.sock").exists().then_some(())
    });
    for step in steps(rest) {
        let output = runs.run(&step.command);
        seen.push((step, output));
    }
    assert!(seen.len() > 12, "it is a tour");
    if std::env::var_os("README_WRITE").is_some() {
        let (mut done, mut left) = (String::new(), tour);
        for (step, output) in &seen {
            let command = format!("$ {}\n", step.command.replace('\n', "\n> "));
            let (front, back) = left.split_once(&command).expect("it was read from there");
            done.extend([front, command.as_str(), output.as_str()]);
            left = back.strip_prefix(step.output.as_str()).expect("so was this");
        }
        let tour = done + left;
        fs::write(readme(), format!("{before}{BEGIN}{tour}{after}")).expect("written");
        return;
    }
    for (step, output) in seen {
        assert_eq!(comparable(&output), comparable(&step.output), "$ {}", step.command);
    }
}
