//! What the files say, key by key, so that one config can be told from the next in the words of
//! whoever wrote it.

use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

use super::edit;
use super::schema::Schema;
use crate::name::AppName;

/// Values as TOML, by key.
type Keys = BTreeMap<String, String>;

/// Of all files: their texts, which are read key by key when somebody asks.
#[derive(Clone, Debug, Default)]
pub(crate) struct Declared {
    main: Rc<str>,
    apps: BTreeMap<AppName, Rc<str>>,
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

impl Declared {
    pub(super) fn note_main(&mut self, text: &str) {
        self.main = text.into();
    }

    pub(super) fn note_app(&mut self, name: AppName, text: &str) {
        self.apps.insert(name, text.into());
    }

    /// What `bootctl.toml` says otherwise in `next`.
    pub(crate) fn main_changes(&self, next: &Self) -> Vec<KeyChange> {
        changes(Schema::Main, &keys(&self.main), &keys(&next.main))
    }

    /// What an app's file says otherwise in `next`.
    pub(crate) fn app_changes(&self, next: &Self, name: &AppName) -> Vec<KeyChange> {
        let said = |declared: &Self| declared.apps.get(name).map_or_else(Keys::new, |t| keys(t));
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
            declared.note_app(name.clone(), text);
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
