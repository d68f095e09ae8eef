//! `plan`: what `reload` would change, and why. It reads the config that is on the disk, compares it
//! with what runs, and does nothing.

use std::collections::BTreeMap;

use axum::http::StatusCode;

use crate::admin::wire::{AppPlan, KeyChangeView, PlanView, Refusal};
use crate::config::declared::KeyChange;
use crate::config::{self, Config, doubts};
use crate::event::Reply;
use crate::name::{AppName, InstanceId};
use crate::order::Order;
use crate::plan::{Preview, Wanted, preview};
use crate::requests::{refusal, refused};
use crate::supervise::Supervisor;

impl Supervisor {
    pub(crate) fn outlook(&self) -> Reply {
        let mut config = match config::load_after(&self.fixed.config, &self.declared) {
            Ok(config) => config,
            Err(error) => {
                let message = format!("{error}; `bootctl reload` would change nothing");
                return *refused(StatusCode::UNPROCESSABLE_ENTITY, "bad_config", message);
            }
        };
        if !config.problems.is_empty() {
            let message =
                "the config has problems, so `bootctl reload` would change nothing:".into();
            let problems = config.problems.iter().map(ToString::to_string).collect();
            let refusal = Refusal { problems, ..refusal("bad_config", message) };
            return Reply::Refused(StatusCode::UNPROCESSABLE_ENTITY, refusal);
        }
        self.fixed.apply(&mut config.settings);
        let doubts = doubts::of(&self.fixed.config, &config);
        let warnings = doubts.iter().map(ToString::to_string).collect();
        Reply::Plan(PlanView { warnings, ..self.compare(config) })
    }

    fn compare(&self, config: Config) -> PlanView {
        let Config { settings, apps, declared, .. } = config;
        // Who reloads asks once more for what was given up.
        let asked = |wanted| match wanted {
            Wanted::Running(order) => Wanted::Running(Order { held: false, ..order }),
            other @ (Wanted::Stopped(_) | Wanted::AsItIs) => other,
        };
        let wanted = apps.into_iter();
        let wanted = wanted.map(|(name, app)| (name.clone(), asked(self.as_recorded(&name, app))));
        let wanted: BTreeMap<AppName, Wanted> = wanted.collect();
        let ring = self.ring_by(&settings, &wanted);
        let surroundings = self.surroundings_by(&settings, &wanted, &ring);
        let desired = self.desired_by(wanted.into(), &settings, surroundings);
        let preview = preview(&desired, &self.roster.observed());
        let names = self.wanted.keys().chain(desired.apps.keys());
        let names: std::collections::BTreeSet<&AppName> = names.collect();
        let apps = names.into_iter().filter_map(|name| {
            let (before, after) = (self.wanted.get(name), desired.apps.get(name));
            let change = change(before, after);
            let keys = match change {
                Some("changed") => views(self.declared.app_changes(&declared, name)),
                Some(_) | None => Vec::new(),
            };
            app_plan(name, change, keys, &preview)
        });
        let apps: Vec<AppPlan> = apps.collect();
        let settings = if settings == self.settings {
            Vec::new()
        } else {
            views(self.declared.main_changes(&declared))
        };
        let told = preview.pushes.iter().map(ToString::to_string).collect::<Vec<_>>();
        let takes_over = preview.takes_over;
        let nothing = apps.is_empty()
            && settings.is_empty()
            && told.is_empty()
            && !takes_over
            && !self.is_level_due;
        PlanView {
            nothing,
            settings,
            apps,
            proxy_takes_over: takes_over,
            proxy_is_told: told,
            warnings: Vec::new(),
        }
    }
}

fn change(before: Option<&Wanted>, after: Option<&Wanted>) -> Option<&'static str> {
    match (before, after) {
        (None, Some(_)) => Some("added"),
        (Some(_), None) => Some("removed"),
        (Some(before), Some(after)) if before.app() != after.app() => Some("changed"),
        (_, _) => None,
    }
}

fn app_plan(
    name: &AppName,
    change: Option<&'static str>,
    keys: Vec<KeyChangeView>,
    preview: &Preview,
) -> Option<AppPlan> {
    let its = |all: &[InstanceId]| {
        all.iter().filter(|id| id.app == *name).map(ToString::to_string).collect::<Vec<_>>()
    };
    let (replaces, retires) = (its(&preview.replaced), its(&preview.retired));
    let starts = preview.started.get(name).copied().unwrap_or_default();
    let is_quiet = replaces.is_empty() && retires.is_empty() && starts == 0;
    if change.is_none() && is_quiet {
        return None;
    }
    let change = change.unwrap_or("unchanged").to_owned();
    Some(AppPlan { app: name.to_string(), change, keys, replaces, retires, starts })
}

fn views(changes: Vec<KeyChange>) -> Vec<KeyChangeView> {
    let view = |KeyChange { key, from, to }| KeyChangeView { key, from, to };
    changes.into_iter().map(view).collect()
}
