//! The document as a TOML file, and all that is wrong in it with line and column.
//!
//! serde stops at the first thing that it does not understand. So that thing is noted, taken out, and
//! the rest is read anew, until there is nothing left to note.

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::fmt;
use std::fs::File;
use std::io::{self, Read};
use std::ops::Range;
use std::path::{Path, PathBuf};

use proxyd_wire as wire;
use serde::Deserialize;
use thiserror::Error;
use time::OffsetDateTime;
use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::Config;
use super::mistake::{Mistake, Why, dotted, nearest};
use crate::limits;
use crate::name::Name;

/// Why a file is not used.
#[derive(Debug, Error)]
pub(crate) enum CannotRead {
    #[error("{} cannot be read: {source}", path.display())]
    Unreadable { path: PathBuf, source: io::Error },
    #[error("{}", lines(.0))]
    Wrong(Vec<Problem>),
}

fn lines(problems: &[Problem]) -> String {
    problems.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n")
}

/// A mistake, and where it is.
#[derive(Debug)]
pub(crate) struct Problem {
    file: String,
    /// Line and column, from 1.
    place: Option<(usize, usize)>,
    what: What,
}

#[derive(Debug)]
enum What {
    Syntax(String),
    Unknown {
        path: Vec<String>,
        nearest: Option<String>,
        known: Vec<String>,
    },
    /// A host whose dots TOML has taken for steps.
    Unquoted {
        host: Vec<String>,
    },
    Shape {
        path: Vec<String>,
        message: String,
    },
    Mistake(Mistake),
    /// There are more, which nobody looked for.
    More,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.file)?;
        if let Some((line, column)) = self.place {
            write!(f, ":{line}:{column}")?;
        }
        f.write_str(": ")?;
        let shown = |path: &[String]| dotted(path.iter().map(String::as_str));
        match &self.what {
            What::Syntax(message) => write!(f, "the file is not TOML: {message}"),
            What::Unquoted { host } => {
                let host = host.join(".");
                write!(
                    f,
                    "routes.{host}: a host with dots needs quotes, as in [routes.\"shop.example\"]"
                )
            }
            What::Unknown { path, nearest: Some(nearest), .. } => {
                write!(f, "{} is not a known key; did you mean `{nearest}`?", shown(path))
            }
            What::Unknown { path, nearest: None, known } => {
                write!(f, "{} is not a known key; known are {}", shown(path), known.join(", "))
            }
            What::Shape { path, message } if path.is_empty() => f.write_str(message),
            What::Shape { path, message } => write!(f, "{}: {message}", shown(path)),
            What::Mistake(mistake) => write!(f, "{mistake}"),
            What::More => write!(f, "there is more; put these right first"),
        }
    }
}

/// Reads the file, and the error pages and certificates that it names. `now`: certificates that have
/// expired by then are mistakes.
pub(crate) fn read(path: &Path, now: Option<i64>) -> Result<Config, CannotRead> {
    let unreadable = |source| CannotRead::Unreadable { path: path.to_owned(), source };
    let mut text = String::new();
    let file = File::open(path).map_err(unreadable)?;
    let most = limits::CONFIG as u64 + 1;
    file.take(most).read_to_string(&mut text).map_err(unreadable)?;
    if text.len() > limits::CONFIG {
        let source = io::Error::new(io::ErrorKind::FileTooLarge, "it is larger than 64 MiB");
        return Err(unreadable(source));
    }
    parse(&path.display().to_string(), &text, now).map_err(CannotRead::Wrong)
}

/// `proxyd check`: a sentence about a file that can be used.
pub(crate) fn check(path: &Path) -> Result<String, CannotRead> {
    let config = read(path, Some(OffsetDateTime::now_utc().unix_timestamp()))?;
    let (routes, services) = (config.routes.len(), config.services.len());
    let targets: usize = config.services.values().map(|service| service.targets.len()).sum();
    let path = path.display();
    Ok(format!("{path} is good: routes {routes}, services {services}, targets {targets}"))
}

fn parse(file: &str, text: &str, now: Option<i64>) -> Result<Config, Vec<Problem>> {
    let problem = |span: Option<Range<usize>>, what| Problem {
        file: file.to_owned(),
        place: place(text, span),
        what,
    };
    let whole = match DeTable::parse(text) {
        Ok(table) => table,
        Err(error) => {
            let message = error.message().lines().collect::<Vec<_>>().join(", ");
            return Err(vec![problem(error.span(), What::Syntax(message))]);
        }
    };
    let mut found: Vec<(Option<Range<usize>>, What)> = Vec::new();
    let mut taken: Vec<Vec<String>> = Vec::new();
    let mut rest = whole.clone();
    let wire = loop {
        let error = match wire::Config::deserialize(toml::Deserializer::from(rest.clone())) {
            Ok(wire) => break Some(wire),
            Err(error) => error,
        };
        if found.len() >= limits::MISTAKES {
            found.push((None, What::More));
            break None;
        }
        let at = error.span().and_then(|span| innermost(rest.get_ref(), &span));
        let path = at.unwrap_or_default();
        // Who misspelled a key misses it, too: that is one mistake.
        let misses = error.message().starts_with("missing field");
        if !(misses && taken.iter().any(|taken| is_below(taken, &path))) {
            let is_table = is_table(rest.get_ref(), &path);
            found.push((error.span(), what(error.message(), &path, is_table)));
        }
        if !take(rest.get_mut(), &path) {
            break None;
        }
        taken.push(path);
    };
    if let Some(wire) = wire {
        let mut mistakes = dangling(&wire);
        match Config::new(wire) {
            Ok(mut config) => {
                mistakes.extend(config.read_pages());
                mistakes.extend(config.read_certificates(&BTreeMap::new(), now));
                if found.is_empty() && mistakes.is_empty() {
                    return Ok(config);
                }
            }
            Err(more) => mistakes.extend(more),
        }
        // What misses only what was taken out is no mistake of its own.
        let is_own = |mistake: &Mistake| {
            let path: Vec<&str> = mistake.path().collect();
            !taken.iter().any(|taken| is_below(taken, &path))
        };
        for mistake in mistakes.into_iter().filter(is_own) {
            let path: Vec<&str> = mistake.path().collect();
            let span = span_of(whole.get_ref(), &path, mistake.is_of_name());
            found.push((span, What::Mistake(mistake)));
        }
    }
    found.sort_by_key(|(span, _)| span.as_ref().map_or(usize::MAX, |span| span.start));
    if found.len() > limits::MISTAKES {
        found.truncate(limits::MISTAKES);
        found.push((None, What::More));
    }
    Err(found.into_iter().map(|(span, what)| problem(span, what)).collect())
}

/// Routes to services that nothing else is said of, and a default that is not there. That may be what is wanted where targets come and go;
/// in a file that a person writes it is a slip.
fn dangling(wire: &wire::Config) -> Vec<Mistake> {
    let mut mistakes = Vec::new();
    for (key, route) in &wire.routes {
        let Some(name) = &route.service else { continue };
        if Name::parse(name).is_ok() && !wire.services.contains_key(name) {
            let why = Why::no_service(name, wire.services.keys().map(String::as_str));
            mistakes.push(Mistake::within(&["routes", key], vec!["service".to_owned()], why));
        }
        // Each name is compared with each.
        if mistakes.len() > limits::MISTAKES {
            break;
        }
    }
    if let Some(name) = &wire.tls.default_certificate
        && !wire.certificates.contains_key(name)
        && !wire.acme.certificates.contains_key(name)
    {
        let known = wire.certificates.keys().chain(wire.acme.certificates.keys());
        let why = Why::no_certificate(name, known.map(String::as_str));
        mistakes.push(Mistake::within(&["tls"], vec!["default_certificate".to_owned()], why));
    }
    mistakes
}

fn is_below(path: &[String], above: &[impl AsRef<str>]) -> bool {
    path.len() > above.len() && path.iter().zip(above).all(|(a, b)| a == b.as_ref())
}

/// What serde's sentence is about; `is_table`: the thing that it is about is one.
fn what(message: &str, path: &[String], is_table: bool) -> What {
    let path = path.to_vec();
    let message = message.lines().collect::<Vec<_>>().join(", ");
    let Some(unknown) = message.strip_prefix("unknown field `") else {
        let missing = message.strip_prefix("missing field ");
        let message =
            missing.map_or_else(|| in_words(&message), |field| format!("{field} is missing"));
        return What::Shape { path, message };
    };
    let (name, known) = unknown.split_once('`').unwrap_or((unknown, ""));
    let known: Vec<String> = known.split('`').skip(1).step_by(2).map(str::to_owned).collect();
    let mut nearest = nearest(name, known.iter().map(String::as_str)).map(str::to_owned);
    match path.as_slice() {
        [routes, host @ ..] if routes == "routes" && nearest.is_none() && is_table => {
            return What::Unquoted { host: host.to_vec() };
        }
        [services, _, _] if services == "services" && is_setting(name) => {
            nearest = Some(format!("settings.{name}"));
        }
        _ => {}
    }
    What::Unknown { path, nearest, known }
}

fn is_table(table: &DeTable<'_>, path: &[String]) -> bool {
    let Some((first, rest)) = path.split_first() else { return true };
    match table.get(first.as_str()).map(Spanned::get_ref) {
        Some(DeValue::Table(inner)) => is_table(inner, rest),
        _ => false,
    }
}

/// Whether a service has a setting of this name.
fn is_setting(name: &str) -> bool {
    let mut table = toml::Table::new();
    table.insert(name.to_owned(), toml::Value::Boolean(false));
    let error = wire::Service::deserialize(table).err();
    error.is_none_or(|error| !error.message().starts_with("unknown field"))
}

/// What serde says of a value of the wrong kind, for who knows TOML and not Rust.
fn in_words(message: &str) -> String {
    let told = message.strip_prefix("invalid type: ").or(message.strip_prefix("invalid value: "));
    let Some((found, expected)) = told.and_then(|told| told.rsplit_once(", expected ")) else {
        return message.to_owned();
    };
    let expected = match expected {
        "a sequence" => "a list, such as [\"a\", \"b\"]",
        "a map" => "a table, such as { key = value }",
        "a string" => "text in quotes",
        "a boolean" => "true or false",
        "u16" | "u32" | "u64" => "a whole number that is not negative",
        other if other.starts_with("struct ") => "a table, such as { key = value }",
        other => other,
    };
    let found = match found.split_once(' ') {
        Some(("string", text)) => format!("text, {text}"),
        Some((kind @ ("integer" | "floating" | "boolean"), value)) => {
            let value = value.trim_start_matches("point ").trim_matches('`');
            format!("{}{value}", if kind == "boolean" { "" } else { "the number " })
        }
        _ => match found {
            "sequence" => "a list".to_owned(),
            "map" => "a table".to_owned(),
            other => other.to_owned(),
        },
    };
    format!("this is {found}; write {expected}")
}

/// The key that a place in the text belongs to, and all above it.
fn innermost(table: &DeTable<'_>, span: &Range<usize>) -> Option<Vec<String>> {
    let holds = |outer: Range<usize>| outer.start <= span.start && span.end <= outer.end;
    let mut best: Option<(usize, Reverse<usize>, Vec<String>)> = None;
    visit(table, &mut Vec::new(), &mut |path, key, value| {
        for outer in [key, value].into_iter().filter(|outer| holds(outer.clone())) {
            let rank = (outer.len(), Reverse(path.len()));
            if best.as_ref().is_none_or(|(len, depth, _)| rank < (*len, *depth)) {
                best = Some((rank.0, rank.1, path.to_vec()));
            }
        }
    });
    best.map(|(_, _, path)| path)
}

/// Shows each key with its path and the places of key and value.
fn visit(
    table: &DeTable<'_>,
    path: &mut Vec<String>,
    see: &mut impl FnMut(&[String], Range<usize>, Range<usize>),
) {
    for (key, value) in table {
        path.push(key.get_ref().to_string());
        see(path, key.span(), value.span());
        if let DeValue::Table(inner) = value.get_ref() {
            visit(inner, path, see);
        }
        path.pop();
    }
}

/// Takes a key out; `false` if it is not there.
fn take(table: &mut DeTable<'_>, path: &[String]) -> bool {
    let Some((first, rest)) = path.split_first() else { return false };
    if rest.is_empty() {
        return table.remove(first.as_str()).is_some();
    }
    match table.get_mut(first.as_str()).map(Spanned::get_mut) {
        Some(DeValue::Table(inner)) => take(inner, rest),
        _ => false,
    }
}

/// Where a path ends, or leaves what is there. `of_name`: where its last key is written.
fn span_of(table: &DeTable<'_>, path: &[&str], of_name: bool) -> Option<Range<usize>> {
    let (first, rest) = path.split_first()?;
    let (key, value) = table.get_key_value(*first)?;
    if rest.is_empty() && of_name {
        return Some(key.span());
    }
    let inner = match value.get_ref() {
        DeValue::Table(inner) => span_of(inner, rest, of_name),
        DeValue::Array(array) => rest
            .first()
            .and_then(|at| at.parse::<usize>().ok())
            .and_then(|at| array.get(at))
            .map(Spanned::span),
        _ => None,
    };
    Some(inner.unwrap_or_else(|| value.span()))
}

/// Line and column of a place, both from 1, in characters.
fn place(text: &str, span: Option<Range<usize>>) -> Option<(usize, usize)> {
    let before = text.get(..span?.start)?;
    let line = before.matches('\n').count() + 1;
    let column = before.rsplit('\n').next().unwrap_or_default().chars().count() + 1;
    Some((line, column))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(text: &str) -> Vec<String> {
        let problems = parse("p.toml", text, None).unwrap_err();
        problems.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn all_at_once_with_their_places() {
        let text = "\
[routes.\"shop.example\"]
servise = \"shop\"
strip_prefix = \"yes\"
redirect = { to = \"evil\", status = 200 }
allow = [\"10.0.0.0/8\", \"here\"]

[routes.\"a b\"]
service = \"x y\"

[routes.\"old.example\".redirect]
status = 301

[routes.\"blog.example\"]
service = \"shp\"

[services.shop.targets.1]
adress = \"tcp:127.0.0.1:80\"

[services.shop.targets.2]
address = \"localhost:80\"
[service.x]
";
        let told = told(text);
        let starts = [
            "p.toml:2:1: routes.\"shop.example\".servise is not a known key; did you mean `service`?",
            "p.toml:3:16: routes.\"shop.example\".strip_prefix: this is text, \"yes\"; write true or false",
            "p.toml:4:19: routes.\"shop.example\": redirect.to is `evil`: write",
            "p.toml:4:36: routes.\"shop.example\": redirect.status is 200: write",
            "p.toml:5:24: routes.\"shop.example\": allow[1] is `here`: write",
            "p.toml:7:9: routes.\"a b\": `a b` is not a host: write",
            "p.toml:8:11: routes.\"a b\": `x y` is not a name: use",
            "p.toml:10:1: routes.\"old.example\".redirect: `to` is missing",
            "p.toml:14:11: routes.\"blog.example\": service: there is no service `shp`: did you mean `shop`?",
            "p.toml:17:1: services.shop.targets.1.adress is not a known key; did you mean `address`?",
            "p.toml:20:11: services.shop.targets.2: address: `localhost:80` is not an address",
            "p.toml:21:2: service is not a known key; did you mean `services`?",
        ];
        for (told, start) in told.iter().zip(starts) {
            assert!(told.starts_with(start), "{told}\n{start}");
        }
        assert_eq!(told.len(), starts.len(), "{told:#?}");
    }

    #[test]
    fn what_is_not_toml_is_told_with_its_place() {
        assert!(told("[routes\n")[0].starts_with("p.toml:1:8: the file is not TOML: "));
        assert!(
            told("a = 1\na = 2\n")[0].starts_with("p.toml:2:1: the file is not TOML: duplicate")
        );
    }

    #[test]
    fn what_people_write_first() {
        for (text, said) in [
            ("[routes.shop.example]\nservice = \"x\"", "as in [routes.\"shop.example\"]"),
            ("[routes.localhost]\ntarget = \"a\"", "routes.localhost.target is not a known key"),
            ("[routes.\"a.b/*\"]\nservice = \"x\"", "or `*` as a step"),
            (
                "[routes.\"a.b\"]\nservice = \"x\"\nallow = \"::1\"",
                "\"::1\"; write a list, such as [\"a\",",
            ),
            (
                "[routes.\"a.b\"]\nredirect = \"https://b\"",
                "write a table, such as { key = value }",
            ),
            ("[front]\nidle_ms = \"5s\"", "this is text, \"5s\"; write a whole number"),
            (
                "[front]\nidle_ms = -1",
                "this is the number -1; write a whole number that is not negative",
            ),
            ("[front]\nreal_ip = 1", "this is the number 1; write true or false"),
            ("[services.x]\nbalance = \"round-robin\"", "did you mean `settings.balance`?"),
            ("[services.x]\ntargets = [\"a\"]", "this is a list; write a table"),
        ] {
            let told = told(&format!("{text}\n"));
            assert!(told.iter().any(|told| told.contains(said)), "{told:#?}");
        }
    }

    #[test]
    fn one_host_in_two_spellings() {
        let text =
            "[routes]\n\"a.test\".service = \"x\"\n\"A.test\".service = \"x\"\n[services.x]\n";
        assert!(
            told(text)[0].starts_with("p.toml:2:1: routes.\"a.test\": it means `a.test`"),
            "{:?}",
            told(text)
        );
    }

    #[test]
    fn there_is_an_end_to_it() {
        for line in
            ["xN = 1", "[routes.\"aN.test\"]\nservice = \"s\"", "[routes.\"a N\"]\nservice = \"x\""]
        {
            let line = |number: u32| format!("{}\n", line.replace('N', &number.to_string()));
            let lines: Vec<String> = (0..200).map(line).collect();
            let told = told(&format!("{}\n[services.x]\n", lines.concat()));
            assert_eq!(told.len(), limits::MISTAKES + 1);
            assert!(told[limits::MISTAKES].contains("there is more"));
        }
    }

    #[test]
    fn a_good_one_is_what_it_says() {
        let config = parse(
            "p.toml",
            "[routes.\"A.test\"]\nservice = \"x\"\n[services.x.targets]\n1.address = \"unix:/x\"\n[services.y]\n",
            None,
        );
        let config = config.unwrap();
        assert_eq!(config.routes.keys().map(ToString::to_string).collect::<Vec<_>>(), ["a.test"]);
        let there: Vec<_> =
            config.services.values().map(|s| (s.settings.is_some(), s.targets.len())).collect();
        assert_eq!(there, [(false, 1), (true, 0)]);
    }
}
