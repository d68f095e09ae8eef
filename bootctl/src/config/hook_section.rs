//! `[hook.NAME]` and `[custom.NAME]` of `bootctl.toml`: commands of the administrator.

use std::time::Duration;

use super::problem::Fault;
use super::reader::{Field, Section};
use crate::custom::Custom;
use crate::runlevel::{Hook, Level, Moment, Policy};

/// What both names are made of: they are part of a job's.
const NAME: &str = "use letters, digits and hyphens for the name of a command, 64 at most";
const LONGEST: usize = 64;

pub(super) fn hooks(all: &Section<'_>) -> Vec<Hook> {
    let sections = named(all);
    sections.into_iter().filter_map(|(name, section)| hook(name, &section)).collect()
}

pub(super) fn customs(all: &Section<'_>) -> Vec<Custom> {
    let sections = named(all);
    sections.into_iter().filter_map(|(name, section)| custom(name, &section)).collect()
}

fn named<'a>(all: &Section<'a>) -> Vec<(String, Section<'a>)> {
    let good = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-';
    let mut sections = Vec::new();
    for field in all.fields() {
        let name = field.name();
        if name.is_empty() || name.len() > LONGEST || !name.bytes().all(good) {
            field.report_key(Fault::Form { value: name.to_owned(), instead: NAME });
        } else {
            sections.push((name.to_owned(), all.section(name)));
        }
    }
    sections
}

fn exec(section: &Section<'_>) -> Option<String> {
    let field =
        section.required("exec", "name the program to run, such as exec = \"/bin/sync\"")?;
    let text = field.string()?;
    if text.is_empty() || text.contains('\0') {
        field.form(&text, "name the program to run");
        return None;
    }
    Some(text)
}

fn hook(name: String, section: &Section<'_>) -> Option<Hook> {
    let exec = exec(section);
    let level = section.required("level", "say at which runlevel it runs, such as level = 3");
    let level = level.and_then(|field| field.number()).and_then(Level::new);
    let moment = section.required("when", "say when = \"enter\" or \"leave\"");
    let moment = moment.and_then(|field| field.choice()).map(|text| match text.as_str() {
        "leave" => Moment::Leave,
        _ => Moment::Enter,
    });
    let policy = match section.get("on_failure", Field::choice).as_deref() {
        Some("go-on") => Policy::GoOn,
        Some(_) | None => Policy::Fail,
    };
    Some(Hook {
        name,
        args: section.get("args", Field::strings).unwrap_or_default(),
        user: section.get("user", Field::account),
        order: section.get("order", Field::integer).unwrap_or_default(),
        timeout: section.get("timeout", Field::duration).unwrap_or(Duration::from_mins(1)),
        policy,
        exec: exec?,
        level: level?,
        moment: moment?,
    })
}

fn custom(name: String, section: &Section<'_>) -> Option<Custom> {
    Some(Custom {
        name,
        args: section.get("args", Field::strings).unwrap_or_default(),
        user: section.get("user", Field::account),
        cwd: section.get("cwd", Field::string),
        more: section.get("more", Field::bool).unwrap_or_default(),
        exec: exec(section)?,
    })
}
