//! What a folder's app is started with, where that is plain to see. It looks and runs nothing.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use serde::Deserialize;

/// A program and its arguments.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Program {
    pub(crate) exec: String,
    pub(crate) args: Vec<String>,
}

/// As much of `package.json` as says how it is started.
#[derive(Deserialize, Default)]
struct Package {
    main: Option<String>,
    #[serde(default)]
    scripts: Scripts,
}

#[derive(Deserialize, Default)]
struct Scripts {
    start: Option<String>,
}

/// Where a Node or a Python program begins if nobody says.
const NODE: [&str; 3] = ["server.js", "app.js", "index.js"];
const PYTHON: [&str; 2] = ["app.py", "main.py"];

/// What the folder holds: a Node package, a Python program, or one executable.
pub(crate) fn program(folder: &Path) -> Option<Program> {
    let has = |name: &str| folder.join(name).is_file();
    let of = |exec: &str, args: Vec<String>| Some(Program { exec: exec.into(), args });
    if let Ok(text) = fs::read_to_string(folder.join("package.json")) {
        let package: Package = serde_json::from_str(&text).ok()?;
        return match (package.scripts.start, package.main) {
            (Some(start), _) => Some(started(&start)),
            (None, Some(main)) => of("node", vec![main]),
            (None, None) => {
                let file = NODE.iter().find(|name| has(name))?;
                of("node", vec![(*file).to_owned()])
            }
        };
    }
    if let Some(file) = PYTHON.iter().find(|name| has(name)) {
        return of("python3", vec![(*file).to_owned()]);
    }
    if let Some(file) = NODE.iter().find(|name| has(name)) {
        return of("node", vec![(*file).to_owned()]);
    }
    let path = only_executable(folder)?;
    of(&path, Vec::new())
}

/// What is no more than `node` and words is started without npm in between, which passes on no
/// signals.
fn started(start: &str) -> Program {
    let is_plain = |text: &str| !text.contains(['&', '|', ';', '$', '<', '>', '`', '*', '=', '(']);
    match shlex::split(start).as_deref() {
        Some([exec, args @ ..]) if exec == "node" && !args.is_empty() && is_plain(start) => {
            Program { exec: exec.clone(), args: args.to_vec() }
        }
        Some(_) | None => Program { exec: "npm".into(), args: vec!["start".into()] },
    }
}

fn only_executable(folder: &Path) -> Option<String> {
    let is_executable = |path: &Path| {
        let about = fs::metadata(path);
        about.is_ok_and(|about| about.is_file() && about.permissions().mode() & 0o111 != 0)
    };
    let all = fs::read_dir(folder).ok()?.flatten().map(|entry| entry.path());
    let mut executable = all.filter(|path| is_executable(path));
    match (executable.next(), executable.next()) {
        (Some(path), None) => path.to_str().map(str::to_owned),
        (_, _) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn guessed(files: &[(&str, &str)]) -> Option<String> {
        let folder = tempfile::tempdir().unwrap();
        for (name, text) in files {
            fs::write(folder.path().join(name), text).unwrap();
        }
        let Program { exec, args } = program(folder.path())?;
        Some([&[exec][..], &args].concat().join(" "))
    }

    fn package(text: &str) -> Option<String> {
        guessed(&[("package.json", text), ("index.js", "")])
    }

    #[test]
    fn o01_a_folder_tells_what_it_is_started_with() {
        assert_eq!(
            package(r#"{"scripts": {"start": "node --enable-source-maps server.js"}}"#).unwrap(),
            "node --enable-source-maps server.js"
        );
        for start in ["next start", "node a.js && node b.js", "PORT=80 node a.js", "node"] {
            let text = format!(r#"{{"scripts": {{"start": "{start}"}}, "main": "x.js"}}"#);
            assert_eq!(package(text.as_str()).unwrap(), "npm start", "{start}");
        }
        assert_eq!(package(r#"{"main": "lib/x.js"}"#).unwrap(), "node lib/x.js");
        assert_eq!(package("{}").unwrap(), "node index.js");
        assert_eq!(package("nonsense"), None);
        assert_eq!(guessed(&[("app.py", ""), ("requirements.txt", "")]).unwrap(), "python3 app.py");
        assert_eq!(guessed(&[("readme.md", "")]), None);
        assert_eq!(guessed(&[]), None);
    }

    #[test]
    fn o01_one_executable_is_it_and_two_are_none() {
        let folder = tempfile::tempdir().unwrap();
        let make = |name: &str| {
            let path = folder.path().join(name);
            fs::write(&path, "").unwrap();
            fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
            path.to_str().unwrap().to_owned()
        };
        let first = make("run");
        assert_eq!(program(folder.path()).unwrap().exec, first);
        make("other");
        assert_eq!(program(folder.path()), None);
    }
}
