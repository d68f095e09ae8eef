//! What is asked of one app: to start, to stop, to restart. It is noted first, so that it holds after
//! a reboot too, and then it is what is wanted; the planner does the rest.
//!
//! To restart is to want a new revision. Who asks for one while another one is on its way waits for that
//! one together with who asked first.

use std::sync::Arc;

use axum::http::StatusCode;

use crate::app::App;
use crate::event::Reply;
use crate::name::{AppName, InstanceId};
use crate::order::Revision;
use crate::plan::{Life, Observed, Wanted, instances_of};
use crate::record::Record;
use crate::requests::{Goal, refused};
use crate::supervise::Supervisor;

impl Supervisor {
    pub(crate) fn start(&mut self, app: &str) -> Result<Goal, Box<Reply>> {
        let (name, app) = self.at_work(app)?;
        self.note(&name, |record| {
            record.stopped = false;
            record.held = None;
            record.let_go.clear();
        })?;
        self.want(&name, app);
        self.clear_ended(&name);
        Ok(Goal::Running(name))
    }

    pub(crate) fn stop(&mut self, app: &str) -> Result<Goal, Box<Reply>> {
        let (name, app) = self.whole(app)?;
        self.note(&name, |record| {
            record.stopped = true;
            record.held = None;
            record.let_go.clear();
        })?;
        self.want(&name, app);
        Ok(Goal::Stopped(name))
    }

    pub(crate) fn restart(&mut self, app: &str) -> Result<Goal, Box<Reply>> {
        let (name, app) = self.at_work(app)?;
        check_program(&name, &app)?;
        if self.store.record(&name).stopped {
            let message = format!("{name} is stopped; start it with `bootctl start {name}`");
            return Err(refused(StatusCode::CONFLICT, "stopped", message));
        }
        if self.is_being_restarted(&name) {
            return Ok(Goal::Restarted(name));
        }
        let revision = self.store.record(&name).revision;
        let revision = next_revision(&name, revision, &self.roster.observed());
        self.note(&name, |record| {
            record.revision = revision;
            record.held = None;
        })?;
        self.want(&name, app);
        Ok(Goal::Restarted(name))
    }

    /// Makes it what is wanted, as it is noted.
    pub(crate) fn want(&mut self, name: &AppName, app: Arc<App>) {
        let wanted = self.as_recorded(name, app);
        self.wanted.insert(name.clone(), wanted);
        self.roster.forgive(name);
        self.trials.begin_anew(name);
    }

    /// The app of that name, which is to have instances when it runs.
    pub(crate) fn at_work(&self, text: &str) -> Result<(AppName, Arc<App>), Box<Reply>> {
        let (name, app) = self.whole(text)?;
        if !self.runlevel.has(app.runlevels) {
            let level = self.runlevel.level();
            let message = format!(
                "{name} is not of runlevel {level}; `bootctl telinit` leads to another one, and `runlevels` \
                 in its file says which"
            );
            return Err(refused(StatusCode::CONFLICT, "other_level", message));
        }
        if app.instances == 0 && !app.is_files() {
            let message =
                format!("{name} is parked; give it instances with `bootctl scale {name} 1`");
            return Err(refused(StatusCode::CONFLICT, "parked", message));
        }
        Ok((name, app))
    }

    /// The app of that name, whose file is fine.
    pub(crate) fn whole(&self, text: &str) -> Result<(AppName, Arc<App>), Box<Reply>> {
        let name = self.known(text)?;
        let Some(app) = self.wanted.get(&name).and_then(Wanted::app) else {
            let message = format!(
                "the file of {name} is broken; `bootctl check` says where; repair it and run \
                 `bootctl reload`"
            );
            return Err(refused(StatusCode::CONFLICT, "broken_file", message));
        };
        Ok((name, Arc::clone(app)))
    }

    pub(crate) fn note(
        &mut self,
        name: &AppName,
        change: impl FnOnce(&mut Record),
    ) -> Result<(), Box<Reply>> {
        self.store
            .change(name, change)
            .map_err(|error| refused(StatusCode::INTERNAL_SERVER_ERROR, "store", error.to_string()))
    }

    /// What has ended is started again by whoever asks for a start.
    pub(crate) fn clear_ended(&mut self, name: &AppName) {
        let observed = self.roster.observed();
        let ended = observed
            .instances
            .iter()
            .filter(|(id, seen)| id.app == *name && seen.life == Life::Ended);
        let ended: Vec<InstanceId> = ended.map(|(id, _)| id.clone()).collect();
        for id in ended {
            self.retire(&id);
        }
    }
}

/// There is something of an app to start again, or more of.
pub(crate) fn check_program(name: &AppName, app: &App) -> Result<(), Box<Reply>> {
    if app.is_files() {
        let message =
            format!("{name} is files only: nothing of it runs that could be restarted or scaled");
        return Err(refused(StatusCode::CONFLICT, "files_only", message));
    }
    Ok(())
}

/// One that is no earlier restart's, also not that of one which was taken back and is still leaving.
pub(crate) fn next_revision(name: &AppName, revision: Revision, observed: &Observed) -> Revision {
    let there = instances_of(name, observed);
    let told = there.filter_map(|(_, seen)| Revision::of(&seen.spec));
    told.fold(revision, Revision::max).next()
}
