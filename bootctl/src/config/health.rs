//! `[health]` of an app file: how its instances are asked whether they are ready.

use super::problem::Fault;
use super::reader::{Field, Section};
use crate::health::{Check, Probe};
use crate::place::PlaceKind;

/// What can be asked. One of them, each a field and its full name.
const PROBES: [(&str, &str); 4] = [
    ("http", "health.http"),
    ("tcp", "health.tcp"),
    ("exec", "health.exec"),
    ("notify", "health.notify"),
];

pub(super) fn read(section: &Section<'_>, socket: PlaceKind) -> Check {
    let default = Check::default();
    let probe = probe(section, socket);
    let watchdog = section.field("watchdog");
    if let Some(field) = watchdog.filter(|_| probe != Probe::Notify) {
        let advice = "together with notify = true; others are asked again and again by themselves";
        field.report_key(Fault::Needs(advice));
    }
    Check {
        probe,
        watchdog: section.get("watchdog", Field::duration),
        interval: section.get("interval", Field::duration).unwrap_or(default.interval),
        timeout: section.get("timeout", Field::duration).unwrap_or(default.timeout),
        passes: section.get("passes", Field::number).unwrap_or(default.passes),
        fails: section.get("fails", Field::number).unwrap_or(default.fails),
        start_period: section.get("start_period", Field::duration),
        restart: section.get("restart", Field::bool).unwrap_or(default.restart),
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
    let probe = asked.as_ref().and_then(|field| match field.name() {
        "http" => path(field),
        "exec" => command(field),
        "notify" => on(field).then_some(Probe::Notify),
        _ => on(field).then_some(Probe::Tcp),
    });
    if socket == PlaceKind::Nowhere {
        return alive(probe, asked.as_ref());
    }
    let probe = probe.unwrap_or(Probe::Tcp);
    let failed_to_read = asked.as_ref().is_some_and(|field| field.name() != "tcp");
    if socket == PlaceKind::Fd && probe == Probe::Tcp && !failed_to_read {
        let advice = "with socket = \"fd\" init accepts connections whether the app runs or not, so \
                      write http = \"/\", exec or notify";
        section.required("http", advice);
    }
    probe
}

/// There is nothing that could be connected to.
fn alive(probe: Option<Probe>, asked: Option<&Field<'_>>) -> Probe {
    match (probe, asked) {
        (Some(Probe::Tcp | Probe::Http(_)), Some(field)) => {
            field.report_key(Fault::Excludes { other: "web = false" });
            Probe::Alive
        }
        (Some(probe), _) => probe,
        (None, _) => Probe::Alive,
    }
}

fn path(field: &Field<'_>) -> Option<Probe> {
    let path = field.string()?;
    let plain = path.bytes().all(|b| b.is_ascii_graphic());
    if !path.starts_with('/') || !plain {
        let instead = "write a path, such as \"/healthz\"";
        field.form(&path, instead);
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
        field.form(&argv.join(" "), instead);
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
        field.form("false", instead);
    }
    on == Some(true)
}
