//! `after` and `requires`: that those they name are there, and that nobody waits for himself.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;

use super::problem::{Fault, Problem, place};
use super::{Config, Draft, app_path, read, shown};
use crate::app::App;
use crate::name::{AppName, nearest};

/// The keys, each with what it holds.
type Key = (&'static str, fn(&App) -> &[AppName]);

const KEYS: [Key; 2] = [("after", |app| &app.after), ("requires", |app| &app.requires)];

/// Reports what is wrong; the apps in question count as broken.
pub(super) fn refuse(config: &mut Config, folder: &Path, draft: Option<&Draft<'_>>) {
    let mut refused = BTreeSet::new();
    let mut problems = Vec::new();
    for app in config.apps.values() {
        for (key, named) in KEYS {
            for name in named(app) {
                if config.apps.contains_key(name) || config.broken.contains(name) {
                    continue;
                }
                let known = config.apps.keys().map(AppName::as_str);
                let nearest = nearest(name.as_str(), known).map(str::to_owned);
                let fault = Fault::NoApp { name: name.clone(), nearest };
                problems.push(problem((folder, draft), &app.name, key, name, fault));
                refused.insert(app.name.clone());
            }
        }
    }
    for circle in circles(&config.apps) {
        if let [first, second, ..] = circle.as_slice() {
            let named = |(_, named): &&Key| {
                config.apps.get(first).is_some_and(|app| named(app).contains(second))
            };
            let key = KEYS.iter().find(named).map_or("after", |(key, _)| key);
            let path: Vec<&str> = circle.iter().map(AppName::as_str).collect();
            let fault = Fault::Circle { path: path.join(" → ") };
            problems.push(problem((folder, draft), first, key, second, fault));
        }
        refused.extend(circle);
    }
    for name in refused {
        config.apps.remove(&name);
        config.broken.insert(name);
    }
    config.problems.extend(problems);
}

/// Each circle once, beginning and ending with its first name.
fn circles(apps: &BTreeMap<AppName, Arc<App>>) -> Vec<Vec<AppName>> {
    let mut circles = Vec::new();
    let mut done = BTreeSet::new();
    for (name, _) in apps.iter().filter(|(_, app)| app.names().next().is_some()) {
        search(name, apps, &mut Vec::new(), &mut done, &mut circles);
    }
    circles
}

fn search(
    name: &AppName,
    apps: &BTreeMap<AppName, Arc<App>>,
    path: &mut Vec<AppName>,
    done: &mut BTreeSet<AppName>,
    circles: &mut Vec<Vec<AppName>>,
) {
    if let Some(begin) = path.iter().position(|before| before == name) {
        let circle = path.get(begin..).unwrap_or_default();
        circles.push(circle.iter().chain([name]).cloned().collect());
        return;
    }
    if done.contains(name) {
        return;
    }
    path.push(name.clone());
    for next in apps.get(name).into_iter().flat_map(|app| app.names()) {
        search(next, apps, path, done, circles);
    }
    path.pop();
    done.insert(name.clone());
}

fn problem(
    (folder, draft): (&Path, Option<&Draft<'_>>),
    app: &AppName,
    key: &'static str,
    name: &AppName,
    fault: Fault,
) -> Problem {
    let path = app_path(folder, app);
    let text = read(&path, draft).unwrap_or_default();
    let document = toml_edit::Document::parse(text.as_str()).ok();
    let span = document.as_ref().and_then(|document| {
        let array = document.get(key)?.as_array()?;
        array.iter().find(|value| value.as_str() == Some(name.as_str()))?.span()
    });
    let place = place(&text, span);
    Problem { file: shown(&path), place, key: Some(key.to_owned()), fault }
}
