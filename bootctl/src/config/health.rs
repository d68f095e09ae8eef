//! `[health]` of an app file: how its instances are asked whether they are ready.

use std::time::Duration;

use super::problem::Fault;
use super::reader::{Field, Section};
use crate::health::{Check, Probe};
use crate::place::PlaceKind;

const KEYS: &[&str] = &[
    "http",
    "tcp",
    "exec",
    "notify",
    "interval",
    "timeout",
    "passes",
    "fails",
    "start_period",
    "restart",
    "watchdog",
];
/// What can be asked. One of them, each a field and its full name.
const PROBES: [(&str, &str); 4] = [
    ("http", "health.http"),
    ("tcp", "health.tcp"),
    ("exec", "health.exec"),
    ("notify", "health.notify"),
];

pub(super) fn read(section: &Section<'_>, socket: PlaceKind) -> Check {
    section.expect(KEYS);
    let default = Check::default();
    let count =
        |name, default| section.field(name).and_then(|f| f.number(1..=100)).unwrap_or(default);
    let probe = probe(section, socket);
    let watchdog = section.field("watchdog");
    if let Some(field) = watchdog.filter(|_| probe != Probe::Notify) {
        let advice = "together with notify = true; others are asked again and again by themselves";
        field.report_key(Fault::Needs(advice));
    }
    Check {
        probe,
        watchdog: watchdog.map(|_| positive(section, "watchdog", default.timeout)),
        interval: positive(section, "interval", default.interval),
        timeout: positive(section, "timeout", default.timeout),
        passes: count("passes", default.passes),
        fails: count("fails", default.fails),
        start_period: section.field("start_period").and_then(|f| f.duration()),
        restart: section.field("restart").and_then(|f| f.bool()).unwrap_or(default.restart),
    }
}

/// A time other than none at all.
pub(super) fn positive(section: &Section<'_>, name: &'static str, default: Duration) -> Duration {
    match section.field(name).and_then(|f| Some((f, f.duration()?))) {
        Some((field, Duration::ZERO)) => {
            let instead = "use a time above 0";
            field.report(Fault::Form { value: "0".into(), instead });
            default
        }
        Some((_, duration)) => duration,
        None => default,
    }
}

fn probe(section: &Section<'_>, socket: PlaceKind) -> Probe {
    let mut named = PROBES.iter().filter(|(name, _)| section.field(name).is_some());
    let (first, second) = (named.next(), named.next());
    if let (Some((name, _)), Some((_, other))) = (first, second)
        && let Some(field) = section.field(name)
    {
        field.report_key(Fault::Excludes { other });
        return Probe::Tcp;
    }
    let asked = first.and_then(|(name, _)| section.field(name));
    let probe = asked.and_then(|field| match field.name() {
        "http" => path(&field),
        "exec" => command(&field),
        "notify" => on(&field).then_some(Probe::Notify),
        _ => on(&field).then_some(Probe::Tcp),
    });
    let probe = probe.unwrap_or(Probe::Tcp);
    let failed_to_read = asked.is_some_and(|field| field.name() != "tcp");
    if socket == PlaceKind::Fd && probe == Probe::Tcp && !failed_to_read {
        let advice = "with socket = \"fd\" init accepts connections whether the app runs or not, so \
                      write http = \"/\", exec or notify";
        section.required("http", advice);
    }
    probe
}

fn path(field: &Field<'_>) -> Option<Probe> {
    let path = field.string()?;
    let plain = path.bytes().all(|b| b.is_ascii_graphic());
    if !path.starts_with('/') || !plain {
        let instead = "write a path, such as \"/healthz\"";
        field.report(Fault::Form { value: path.clone(), instead });
    }
    Some(Probe::Http(path))
}

/// An array is a program and its arguments, a string what `/bin/sh -c` understands.
fn command(field: &Field<'_>) -> Option<Probe> {
    let argv = match field.text() {
        Some(line) => vec!["/bin/sh".to_owned(), "-c".into(), line.to_owned()],
        None => field.strings()?,
    };
    if argv.iter().any(|word| word.contains('\0')) || argv.iter().any(String::is_empty) {
        let instead = "write a command, such as \"pg_isready -q\" or [\"pg_isready\", \"-q\"]";
        field.report(Fault::Form { value: argv.join(" "), instead });
    }
    if argv.is_empty() {
        field.report(Fault::Missing("name the program that asks"));
    }
    Some(Probe::Exec(argv))
}

/// What is not asked need not be said.
fn on(field: &Field<'_>) -> bool {
    let on = field.bool();
    if on == Some(false) {
        let instead = "leave it out, or write http = \"/path\"";
        field.report(Fault::Form { value: "false".into(), instead });
    }
    on == Some(true)
}
