//! `watch = true`: what has changed in the config folder is taken over as `reload` does, without anybody asking.
//!
//! With a mistake anywhere nothing is taken over; that is in the status until it is put right, and in the log once.
//! An app whose file says what it said before is not touched: an order of it that was given up stays given up, because
//! nobody has asked for it.

use std::io;

use tokio::task::AbortHandle;
use tracing::{info, warn};

use crate::config::lookout::{self, Watched};
use crate::config::{self, Config};
use crate::event::Event;
use crate::name::AppName;
use crate::plan::Wanted;
use crate::supervise::Supervisor;

/// How the folder is watched.
#[derive(Debug, Default)]
pub(crate) struct Vigil {
    task: Option<AbortHandle>,
    /// Why it is not, though it is to be.
    trouble: Option<String>,
    /// What is wrong with the files that are there, and were not taken over therefore.
    refused: Vec<String>,
}

impl Vigil {
    /// What there is to say of it.
    pub(crate) fn sentences(&self) -> impl Iterator<Item = String> {
        self.trouble.iter().chain(&self.refused).cloned()
    }
}

impl Supervisor {
    /// Begins to watch, or ends, as the settings that were just taken over say.
    pub(crate) fn keep_watch(&mut self) {
        self.vigil.refused.clear();
        let watches = self.vigil.task.as_ref().is_some_and(|task| !task.is_finished());
        if self.settings.watch == watches {
            return;
        }
        let before = std::mem::take(&mut self.vigil);
        if let Some(task) = before.task {
            task.abort();
        }
        if self.settings.watch {
            let (folder, tell) = (self.fixed.config.clone(), self.hands.tell.clone());
            let task = tokio::spawn(async move {
                let error = lookout::watch(Watched::Config(folder), &tell).await;
                drop(tell.send(Event::ConfigUnwatched(error)).await);
            });
            self.vigil.task = Some(task.abort_handle());
        }
    }

    /// Something may have changed on the disk.
    pub(crate) fn look_at_config(&mut self) {
        if self.winding_down || !self.settings.watch {
            return;
        }
        let mut config = match config::load_after(&self.fixed.config, &self.declared) {
            Ok(config) => config,
            Err(error) => return self.refuse_config(&[error.to_string()]),
        };
        let problems: Vec<String> = config.problems.iter().map(ToString::to_string).collect();
        if !problems.is_empty() {
            return self.refuse_config(&problems);
        }
        self.fixed.apply(&mut config.settings);
        self.vigil.refused.clear();
        let changed = self.changed_apps(&config);
        if changed.is_empty() && config.settings == self.settings {
            self.end_makeshift();
            self.problems.clear();
            self.declared = config.declared;
            return;
        }
        let settings = (config.settings != self.settings).then_some("bootctl.toml");
        let names = changed.iter().map(AppName::as_str).chain(settings);
        info!(
            "the config has changed, and is taken over: {}",
            names.collect::<Vec<_>>().join(", ")
        );
        for name in &changed {
            self.store.keep(name, |record| record.held = None);
            self.trials.begin_anew(name);
        }
        self.end_makeshift();
        self.take_over(config);
        for name in &changed {
            self.clear_ended(name);
        }
    }

    /// Nothing more is heard of the folder.
    pub(crate) fn lose_watch(&mut self, error: &io::Error) {
        let folder = self.fixed.config.display();
        let trouble = format!(
            "the config folder {folder} cannot be watched: {error}; `bootctl reload` takes changes over, \
             and tries to watch it again"
        );
        warn!("{trouble}");
        self.vigil = Vigil { trouble: Some(trouble), ..Vigil::default() };
    }

    /// Apps that the files declare otherwise than it is wanted, or not at all.
    fn changed_apps(&self, config: &Config) -> Vec<AppName> {
        let there = self.wanted.keys().filter(|name| !config.apps.contains_key(*name));
        let differs =
            |name: &AppName| self.wanted.get(name).and_then(Wanted::app) != config.apps.get(name);
        let others = config.apps.keys().filter(|name| differs(name));
        there.chain(others).cloned().collect()
    }

    fn refuse_config(&mut self, problems: &[String]) {
        // What was wrong already when it was taken over has been said.
        if problems == self.problems {
            return self.vigil.refused.clear();
        }
        let refused: Vec<String> =
            problems.iter().map(|problem| format!("not taken over: {problem}")).collect();
        if refused != self.vigil.refused {
            for problem in &refused {
                warn!("{problem}");
            }
            self.vigil.refused = refused;
        }
    }
}
