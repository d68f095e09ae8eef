//! `[deploy]` of an app.

use std::path::Path;

use super::problem::Fault;
use super::reader::{Field, Section};
use crate::release::{Bounds, Cwd, Home, Rules};

/// Reads it, and what the rest of the file says that counts for releases.
pub(super) fn read(root: &Section<'_>, section: &Section<'_>) -> Rules {
    let default = Rules::default();
    let bounds = Bounds {
        bytes: section.get("max_size", Field::size).unwrap_or(default.bounds.bytes),
        entries: section.get("max_files", Field::number).map_or(default.bounds.entries, u64::from),
    };
    let time = |name, default| section.get(name, Field::duration).unwrap_or(default);
    let keep = section.get("keep", Field::number);
    Rules {
        watch: time("watch", default.watch),
        settle: time("settle", default.settle),
        keep: keep.and_then(|keep| usize::try_from(keep).ok()).unwrap_or(default.keep),
        bounds,
        owner: section.get("owner", Field::account),
        update: section.get("update", command),
        rebuild: section.get("rebuild", command),
        command_timeout: time("command_timeout", default.command_timeout),
        home: home(root),
    }
}

/// Faults of these keys are reported by whoever reads them for the app itself.
fn home(root: &Section<'_>) -> Home {
    let text = |name| root.field(name).and_then(|f| f.text().map(str::to_owned));
    let is_relative = |text: &String| !Path::new(text).is_absolute();
    Home {
        exec: text("exec").filter(|exec| exec.contains('/')).filter(is_relative),
        cwd: match text("cwd") {
            None => Cwd::Unset,
            Some(cwd) if is_relative(&cwd) => Cwd::Relative(cwd),
            Some(_) => Cwd::Absolute,
        },
    }
}

fn command(field: &Field<'_>) -> Option<String> {
    let text = field.string()?;
    if text.trim().is_empty() || text.contains('\0') {
        let instead =
            "write a command for the shell, such as \"git pull --ff-only\", or leave it out";
        field.report(Fault::Form { value: text, instead });
        return None;
    }
    Some(text)
}
