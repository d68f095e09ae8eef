//! Runs every command of `api.md` in its order and compares what comes out.

use std::process::{Command, Stdio};

use jobinit_tests::binaries::program;
use jobinit_tests::init::Init;
use serde_json::Value;

/// Fields that differ from run to run, or from machine to machine.
const VARIES: [&str; 15] = [
    "pid",
    "adopt",
    "time",
    "position",
    "startedAt",
    "endedAt",
    "uptimeMs",
    "life",
    "source",
    "userUs",
    "systemUs",
    "currentBytes",
    "pssBytes",
    "readBytes",
    "writtenBytes",
];

/// A command and what stands under it.
pub(crate) struct Step {
    pub(crate) command: String,
    pub(crate) output: String,
}

pub(crate) fn steps(document: &str) -> Vec<Step> {
    let mut steps: Vec<Step> = Vec::new();
    let mut inside = false;
    for line in document.lines() {
        match (inside, line) {
            (false, "```console") => inside = true,
            (true, "```") => inside = false,
            (true, line) => {
                if let Some(command) = line.strip_prefix("$ ") {
                    steps.push(Step { command: command.to_owned(), output: String::new() });
                } else {
                    let step = steps.last_mut().expect("a block begins with a command");
                    step.output.push_str(line);
                    step.output.push('\n');
                }
            }
            (false, _) => {}
        }
    }
    steps
}

/// Output with what differs from run to run made equal.
pub(crate) fn comparable(output: &str) -> Value {
    match serde_json::from_str(output) {
        Ok(mut json) => {
            mask(&mut json);
            json
        }
        Err(_) => match output.lines().map(serde_json::from_str).collect::<Result<Vec<Value>, _>>()
        {
            Ok(mut lines) if lines.len() > 1 => {
                lines.iter_mut().for_each(mask);
                Value::Array(lines)
            }
            _ => Value::String(output.trim().to_owned()),
        },
    }
}

fn mask(json: &mut Value) {
    match json {
        Value::Array(list) => list.iter_mut().for_each(mask),
        Value::Object(map) => {
            for (key, value) in map {
                if VARIES.contains(&key.as_str()) && !value.is_null() {
                    *value = Value::String("varies".into());
                } else {
                    mask(value);
                }
            }
        }
        _ => {}
    }
}

#[test]
fn every_command_of_api_md_does_what_it_says() {
    // Namespaces of its own: port 1 is free there, and init is PID 1.
    let mut command = Command::new("unshare");
    command.args(["-npf", "--mount-proc", "--kill-child", "sh", "-c"]);
    command.arg("ip link set lo up; cd /; exec env -i PATH=/usr/bin:/bin \"$0\" -- sleep infinity");
    command.arg(program("init"));
    let mut init = Init::launch(command);
    let steps = steps(include_str!("../../api.md"));
    assert!(steps.len() > 15, "the commands are found");
    for step in steps {
        let run = Command::new("nsenter")
            .args(["-n", "-t", &init.pid().to_string(), "bash", "-c", &step.command])
            .stderr(Stdio::inherit())
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&run.stdout);
        assert_eq!(comparable(&said), comparable(&step.output), "$ {}", step.command);
    }
    assert_eq!(init.wait_end().code(), Some(143));
}
