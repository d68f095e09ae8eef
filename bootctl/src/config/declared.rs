//! What the files say, key by key, so that one config can be told from the next in the words of
//! whoever wrote it; and what they came to, so that a file that says the same is not read key by key again.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::app_file::{Beside, Surroundings};
use super::edit;
use super::schema::Schema;
use super::stamp::Stamp;
use crate::app::App;
use crate::name::AppName;

/// Values as TOML, by key.
type Keys = BTreeMap<String, String>;

/// Of all files: their texts, which are read key by key when somebody asks.
#[derive(Clone, Debug, Default)]
pub(crate) struct Declared {
    main: Arc<str>,
    apps: BTreeMap<AppName, Said>,
    /// The folder of the apps' files, where relative paths in them start.
    folder: PathBuf,
}

/// What one app's file says.
#[derive(Clone, Debug)]
pub(super) struct Said {
    text: Arc<str>,
    /// By what the file is known that says so; nothing where that is not sure enough.
    stamp: Option<Stamp>,
    /// What that comes to, unless it is a mistake.
    app: Option<Arc<App>>,
    /// And what that is made of beside it.
    beside: Beside,
}

/// A key whose value is another one now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct KeyChange {
    pub(crate) key: String,
    /// As TOML; `None` if it is not said, and has no default.
    pub(crate) from: Option<String>,
    pub(crate) to: Option<String>,
}

/// What stands for a value that is not shown.
const HIDDEN: &str = "…";

impl Said {
    pub(super) fn new(text: &str, app: Option<&Arc<App>>, beside: Beside) -> Self {
        Self { text: text.into(), stamp: None, app: app.cloned(), beside }
    }

    pub(super) fn stamped(self, stamp: Option<Stamp>) -> Self {
        Self { stamp, ..self }
    }
}

impl Declared {
    pub(super) fn note_main(&mut self, text: &str) {
        self.main = text.into();
    }

    /// What `bootctl.toml` says; nothing where there is none.
    pub(crate) fn main(&self) -> &str {
        &self.main
    }

    pub(super) fn note_folder(&mut self, folder: PathBuf) {
        self.folder = folder;
    }

    pub(super) fn note_app(&mut self, name: AppName, said: Said) {
        self.apps.insert(name, said);
    }

    /// An app's file says this now, and the app is as it says. What it comes to is read anew by whoever looks at it.
    pub(crate) fn take_over(&mut self, name: &AppName, text: &str) {
        self.note_app(name.clone(), Said::new(text, None, Beside::default()));
    }

    /// What an app's file came to that nobody has written since it was read.
    pub(super) fn untouched(
        &self,
        name: &AppName,
        path: &Path,
        surroundings: &Surroundings<'_>,
    ) -> Option<(Said, Arc<App>)> {
        let said = self.apps.get(name)?;
        let stamp = said.stamp?;
        let is_same = fs::metadata(path).is_ok_and(|about| Stamp::now(&about) == stamp);
        is_same.then(|| self.known(said, surroundings))?
    }

    /// What this text of an app's file came to when it was read.
    pub(super) fn same(
        &self,
        name: &AppName,
        text: &str,
        surroundings: &Surroundings<'_>,
    ) -> Option<(Said, Arc<App>)> {
        let said = self.apps.get(name).filter(|said| *said.text == *text)?;
        self.known(said, surroundings)
    }

    /// What a text came to, if it still comes to the same.
    fn known(&self, said: &Said, surroundings: &Surroundings<'_>) -> Option<(Said, Arc<App>)> {
        let app = said.app.as_ref()?;
        let Beside { program, pages } = &said.beside;
        let leads_there = |exec: &String| surroundings.program(exec, &app.env) == app.exec;
        let is_same = self.folder == surroundings.folder
            && !pages
            && program.as_ref().is_none_or(leads_there);
        is_same.then(|| (said.clone(), Arc::clone(app)))
    }

    /// What `bootctl.toml` says otherwise in `next`.
    pub(crate) fn main_changes(&self, next: &Self) -> Vec<KeyChange> {
        changes(Schema::Main, &keys(&self.main), &keys(&next.main))
    }

    /// What an app's file says otherwise in `next`.
    pub(crate) fn app_changes(&self, next: &Self, name: &AppName) -> Vec<KeyChange> {
        let said = |all: &Self| all.apps.get(name).map_or_else(Keys::new, |said| keys(&said.text));
        changes(Schema::App, &said(self), &said(next))
    }
}

fn keys(text: &str) -> Keys {
    let found = edit::get(text, None).unwrap_or_default();
    found.into_iter().map(|(key, value)| (key, value.to_string())).collect()
}

fn changes(schema: Schema, before: &Keys, after: &Keys) -> Vec<KeyChange> {
    let all: BTreeSet<&String> = before.keys().chain(after.keys()).collect();
    let changed = all.into_iter().filter(|key| before.get(*key) != after.get(*key));
    let change = |key: &String| {
        let row = edit::path(key).ok().and_then(|path| schema.find(&path));
        let is_secret = row.is_some_and(|row| row.is_secret);
        let default = row.map(|row| row.default).filter(|default| !default.is_empty());
        let shown = |said: Option<&String>| match said {
            Some(_) if is_secret => Some(HIDDEN.to_owned()),
            Some(value) => Some(value.clone()),
            None => default.map(|default| format!("{default} (default)")),
        };
        KeyChange { key: key.clone(), from: shown(before.get(key)), to: shown(after.get(key)) }
    };
    changed.map(change).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn i15_changes_are_told_by_key_and_secrets_by_name_only() {
        let name = AppName::parse("a").expect("a name");
        let of = |text: &str| {
            let mut declared = Declared::default();
            declared.note_app(name.clone(), Said::new(text, None, Beside::default()));
            declared
        };
        let before = of("exec = \"x\"\ncwd = \"/a\"\nenv = { A = \"secret\", B = \"same\" }\n");
        let after = of("exec = \"x\"\ninstances = 2\n[env]\nA = \"other\"\nB = \"same\"\n");
        let told: Vec<String> = before
            .app_changes(&after, &name)
            .into_iter()
            .map(|KeyChange { key, from, to }| format!("{key}: {from:?} {to:?}"))
            .collect();
        assert_eq!(
            told,
            [
                "cwd: Some(\"\\\"/a\\\"\") None",
                "env.A: Some(\"…\") Some(\"…\")",
                "instances: Some(\"1 (default)\") Some(\"2\")",
            ]
        );
        assert_eq!(before.app_changes(&before, &name), []);
    }
}
