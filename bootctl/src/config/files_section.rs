//! `[files]` of an app: folders of which the proxy serves the files by itself.

use std::collections::BTreeMap;
use std::path::{Component, Path};

use super::problem::Fault;
use super::reader::{Field, Section};
use crate::site::Folder;

/// What says something about a process, of which there is none without a program.
const OF_PROCESSES: [&str; 7] =
    ["args", "health", "instances", "limits", "port", "restart", "socket"];

/// Reads it. `folder` is the one that holds the file.
pub(super) fn read(root: &Section<'_>, folder: &Path) -> BTreeMap<String, Folder> {
    let section = root.section("files");
    let entries = section.fields().filter_map(|field| entry(&field, folder));
    let folders: BTreeMap<String, Folder> = entries.collect();
    let has_program = ["exec", "Path"].iter().any(|key| root.field(key).is_some());
    if has_program && let Some(field) = section.field("/") {
        field.report_key(Fault::Excludes { other: "exec" });
    }
    if !has_program && !folders.is_empty() {
        for field in OF_PROCESSES.iter().filter_map(|key| root.field(key)) {
            field.report_key(Fault::Needs("with `exec`"));
        }
    }
    folders
}

fn entry(field: &Field<'_>, folder: &Path) -> Option<(String, Folder)> {
    let prefix = field.name();
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~".contains(&byte);
    let step = |step: &str| !matches!(step, "" | "." | "..") && step.bytes().all(plain);
    let is_prefix = prefix.strip_prefix('/').is_some_and(|rest| rest.split('/').all(step));
    if prefix != "/" && !is_prefix {
        let instead = "write / for all paths, or the beginning of some, such as /static";
        field.report_key(Fault::Form { value: prefix.to_owned(), instead });
        return None;
    }
    let text = field.string()?;
    let leads_up = Path::new(&text).components().any(|step| step == Component::ParentDir);
    if text.is_empty() || text.contains('\0') || leads_up {
        field
            .form(&text, "write a folder: an absolute path, or one that starts where the app does");
        return None;
    }
    let is_relative = !Path::new(&text).is_absolute();
    let path: std::path::PathBuf = folder.join(&text).components().collect();
    Some((prefix.to_owned(), Folder { path, within: is_relative.then(|| text.into()) }))
}
