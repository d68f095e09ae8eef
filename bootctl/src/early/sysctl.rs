//! The kernel's settings: `/etc/sysctl.d/*.conf` and what distributions bring, then `/etc/sysctl.conf`, then
//! `sysctl.KEY=VALUE` of the command line.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};

use tracing::error;

/// A file in a later one takes the place of one of the same name in an earlier one.
const FOLDERS: [&str; 3] = ["usr/lib/sysctl.d", "run/sysctl.d", "etc/sysctl.d"];
const LAST: &str = "etc/sysctl.conf";
/// Where the kernel takes them.
const PROC: &str = "/proc/sys";

/// One of them.
#[derive(Debug, PartialEq, Eq)]
struct Setting {
    key: String,
    value: String,
    /// That there is no such setting is no news.
    is_optional: bool,
}

/// Makes them all, as the files below `root` and the command line say.
pub(super) fn apply(root: &Path, words: &[(String, String)]) {
    for file in files(root) {
        // What has gone says nothing.
        let text = fs::read(&file).unwrap_or_default();
        for (at, line) in String::from_utf8_lossy(&text).lines().enumerate() {
            match parse(line) {
                Ok(Some(setting)) => set(&setting),
                Ok(None) => {}
                Err(why) => error!("line {} of {}: {why}", at.saturating_add(1), file.display()),
            }
        }
    }
    for (key, value) in words {
        set(&Setting { key: key.clone(), value: value.clone(), is_optional: false });
    }
}

fn files(root: &Path) -> Vec<PathBuf> {
    let mut by_name: BTreeMap<OsString, PathBuf> = BTreeMap::new();
    for folder in FOLDERS {
        let entries = fs::read_dir(root.join(folder)).into_iter().flatten().flatten();
        let files = entries.map(|entry| entry.path());
        let files = files.filter(|path| path.extension().is_some_and(|it| it == "conf"));
        by_name.extend(files.filter_map(|path| Some((path.file_name()?.to_owned(), path))));
    }
    by_name.into_values().chain([root.join(LAST)]).collect()
}

/// `KEY = VALUE`, or `-KEY = VALUE` where it does not matter whether there is one.
fn parse(line: &str) -> Result<Option<Setting>, &'static str> {
    let line = line.trim();
    if line.is_empty() || line.starts_with(['#', ';']) {
        return Ok(None);
    }
    let (key, value) = line.split_once('=').ok_or("a setting is written KEY = VALUE")?;
    let (key, is_optional) = match key.trim().strip_prefix('-') {
        Some(key) => (key.trim(), true),
        None => (key.trim(), false),
    };
    Ok(Some(Setting { key: key.into(), value: value.trim().into(), is_optional }))
}

/// The file of a key. What stands between its parts is whichever of dot and slash comes first; the other one is
/// a character of a name then, as the dot of `net/ipv4/conf/eth0.7/forwarding`.
fn path(key: &str) -> Option<PathBuf> {
    let is_dotted =
        key.find(['.', '/']).is_none_or(|at| key.get(at..).is_some_and(|it| it.starts_with('.')));
    let parts = key.split(if is_dotted { '.' } else { '/' });
    let parts = parts.map(|part| if is_dotted { part.replace('/', ".") } else { part.to_owned() });
    let parts: Vec<String> = parts.collect();
    let is_name =
        |part: &String| !part.is_empty() && part != ".." && !part.contains(['/', '*', '\0']);
    parts.iter().all(is_name).then(|| parts.iter().collect())
}

fn set(setting: &Setting) {
    let Setting { key, value, is_optional } = setting;
    let Some(path) = path(key) else {
        return error!("{key:?} is no setting of the kernel's such as net.ipv4.ip_forward");
    };
    match fs::write(Path::new(PROC).join(path), value) {
        Err(error) if !is_optional => error!("cannot set {key} to {value:?}: {error}"),
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_become_settings() {
        let setting = |key: &str, value: &str, is_optional| {
            Ok(Some(Setting { key: key.into(), value: value.into(), is_optional }))
        };
        assert_eq!(parse(" kernel.panic= 10 "), setting("kernel.panic", "10", false));
        assert_eq!(parse("-net/ipv4/x = a = b"), setting("net/ipv4/x", "a = b", true));
        assert_eq!(parse("; comment"), Ok(None));
        assert!(parse("kernel.panic 10").is_err());
    }

    #[test]
    fn keys_become_paths_below_proc_sys() {
        let text = |key| path(key).map(|path| path.display().to_string());
        assert_eq!(text("kernel.panic").as_deref(), Some("kernel/panic"));
        assert_eq!(text("net.ipv4.conf.eth0/7.x").as_deref(), Some("net/ipv4/conf/eth0.7/x"));
        assert_eq!(text("net/ipv4/conf/eth0.7/x").as_deref(), Some("net/ipv4/conf/eth0.7/x"));
        for bad in ["", "..", "kernel/../../../etc/passwd", "/etc/x", "net.*.x", "a..b"] {
            assert_eq!(text(bad), None, "{bad}");
        }
    }

    #[test]
    fn a_file_of_the_administrators_takes_the_place_of_a_distributions() {
        let root = tempfile::tempdir().expect("a folder");
        for file in
            ["usr/lib/sysctl.d/10-a.conf", "etc/sysctl.d/10-a.conf", "etc/sysctl.d/05-b.conf"]
        {
            let path = root.path().join(file);
            fs::create_dir_all(path.parent().expect("a folder")).expect("made");
            fs::write(path, "").expect("written");
        }
        fs::write(root.path().join("etc/sysctl.d/README"), "").expect("written");
        let names = ["etc/sysctl.d/05-b.conf", "etc/sysctl.d/10-a.conf", LAST];
        assert_eq!(files(root.path()), names.map(|name| root.path().join(name)));
    }
}
