//! Runs every command of proxyd's `API.md` in its order and compares what comes out; checks its config
//! file, and that nothing is missing.

use std::process::{Command, Stdio};

use jobinit_tests::proxyd::{Proxyd, binary};

use crate::api_md::{comparable, steps};

const README: &str = include_str!("../../README.md");
const DOCUMENT: &str = include_str!("../../proxyd/API.md");
const TABLES: [&str; 2] = [
    include_str!("../../proxyd/src/control/mod.rs"),
    include_str!("../../proxyd/src/control/monitor.rs"),
];

#[test]
fn every_command_of_proxyds_api_md_does_what_it_says() {
    let proxyd = Proxyd::start();
    let steps = steps(DOCUMENT);
    assert!(steps.len() > 20, "the commands are found");
    for step in steps {
        let command = step.command.replace("127.0.0.1:8080", &proxyd.address.to_string());
        let run = Command::new("bash")
            .args(["-c", &command])
            .current_dir(proxyd.folder.path())
            .stderr(Stdio::inherit())
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&run.stdout);
        assert_eq!(comparable(&said), comparable(&step.output), "$ {}", step.command);
    }
}

/// Method and path of each route that the API's own table has.
fn routes() -> Vec<(&'static str, &'static str)> {
    let rows = TABLES
        .iter()
        .flat_map(|table| table.lines())
        .filter_map(|line| line.strip_prefix("//! | `"));
    let route = rows.map(|row| row.split('`').next().unwrap());
    route.map(|route| route.split_once(' ').expect("a method and a path")).collect()
}

#[test]
fn every_route_is_documented_and_shown() {
    let routes = routes();
    assert!(routes.len() > 15, "the table is found");
    let commands: Vec<String> = steps(DOCUMENT).into_iter().map(|step| step.command).collect();
    for (method, path) in routes {
        let path = path.split('?').next().unwrap();
        assert!(DOCUMENT.contains(&format!("| `{method} {path}` |")), "no row: {method} {path}");
        let is_shown = commands.iter().any(|command| shows(command, method, path));
        assert!(is_shown, "no command: {method} {path}");
    }
}

/// Whether a command is one of this method, for a path of this pattern.
fn shows(command: &str, method: &str, pattern: &str) -> bool {
    let Some((_, path)) = command.split_once("http://proxyd") else { return false };
    let path = path.split(['\'', '?', ' ']).next().unwrap();
    let (mut steps, mut patterns) = (path.split('/'), pattern.split('/'));
    let same = loop {
        match (steps.next(), patterns.next()) {
            (None, None) => break true,
            (Some(step), Some(pattern)) if pattern.starts_with(':') || step == pattern => {}
            _ => break false,
        }
    };
    let asked =
        command.split_once("-X ").map_or("GET", |(_, rest)| rest.split(' ').next().unwrap());
    same && asked == method
}

#[test]
fn the_config_file_is_a_good_one() {
    let (_, rest) = DOCUMENT.split_once("```toml\n").unwrap();
    let (text, _) = rest.split_once("```").unwrap();
    assert_good(text);
}

#[test]
fn so_is_the_one_of_the_readme() {
    let (_, rest) = README.split_once("```toml\n[routes").unwrap();
    let (text, _) = rest.split_once("```").unwrap();
    assert_good(&format!("[routes{text}"));
    let (_, rest) = README.split_once("```toml\n[front]").unwrap();
    let (text, _) = rest.split_once("```").unwrap();
    assert_good(&format!("[front]{text}\n[services.shop]\n"));
}

fn assert_good(text: &str) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("proxyd.toml");
    std::fs::write(&path, text).unwrap();
    let output = Command::new(binary("proxyd")).arg("check").arg(&path).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}");
}

#[test]
fn every_option_is_documented() {
    let output = Command::new(binary("proxyd")).arg("-h").output().unwrap();
    let help = String::from_utf8(output.stdout).unwrap();
    let options: Vec<&str> =
        help.split_whitespace().filter(|word| word.starts_with("--") && word.len() > 2).collect();
    assert!(options.len() > 8, "{help}");
    for option in options.into_iter().filter(|option| !matches!(*option, "--help" | "--version")) {
        assert!(DOCUMENT.contains(&format!("| `{option}")), "{option}");
    }
}
