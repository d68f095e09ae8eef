//! What is asked for about an app's releases: to take one in, to go back to one, to show them.
//!
//! To deploy is to have another release in the record, and then to want the app as it is recorded: the planner
//! rolls that like any change. One thing at a time: while a release is put together or rolled, the next one is
//! refused; to go back is always possible, and two who do so at once go back once.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use axum::http::StatusCode;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;
use tracing::{info, warn};

use crate::admin::releases::{ReleaseState, ReleaseView, ReleasesView};
use crate::app::App;
use crate::arrival::Archive;
use crate::commands::Progress;
use crate::event::{Event, Reply};
use crate::giving_up::LastWords;
use crate::health::Health;
use crate::name::{AppName, InstanceId, quoted};
use crate::plan::{Life, Observed, Wanted, instances_of};
use crate::release::{
    About, ArchiveError, Base, Contents, Cwd, Housing, Number, Owner, ShelfError, release_of,
    unpack,
};
use crate::release::{Bounds, measure};
use crate::requests::{Goal, crossed, refused};
use crate::standing::Standing;
use crate::supervise::Supervisor;

/// What is known of releases on their way, and is not in any record.
#[derive(Debug, Default)]
pub(crate) struct Deploys {
    /// Archives that are being unpacked.
    pub(crate) arriving: BTreeMap<AppName, Number>,
    /// Commands that run.
    pub(crate) commands: BTreeMap<AppName, Progress>,
    /// What a bootctl that was killed has left of commands was looked for.
    pub(crate) is_swept: bool,
    /// Since when instances have been ready, or have not been.
    pub(crate) ready: BTreeMap<InstanceId, Instant>,
    pub(crate) unready: BTreeMap<InstanceId, Instant>,
    /// When releases are looked at, if nothing happens before.
    pub(crate) look_at: Option<Instant>,
}

/// What has become of things that were begun for a release.
pub(crate) enum DeployNews {
    /// An archive was unpacked, or not.
    Arrived { app: AppName, number: Number, result: Result<Contents, ArrivalError> },
    /// A release has failed after it was rolled.
    Failed(LastWords),
    /// About commands.
    Command(AppName, crate::commands::CommandNews),
}

/// Why an archive has not become a release.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ArrivalError {
    #[error(transparent)]
    Archive(#[from] ArchiveError),
    #[error(transparent)]
    Shelf(#[from] ShelfError),
    #[error("whoever unpacked it has failed")]
    Lost,
}

impl Supervisor {
    /// Begins to take in an archive.
    pub(crate) fn receive(&mut self, app: &str, archive: &Archive) -> Result<Goal, Box<Reply>> {
        let (name, app) = self.whole(app)?;
        self.check_idle(&name)?;
        if app.deploy.home.cwd == Cwd::Absolute {
            let message = format!(
                "the file of {name} has an absolute `cwd`, so it would not run from a release; write one \
                 that starts in the release, such as cwd = \".\", or leave it out"
            );
            return Err(refused(StatusCode::CONFLICT, "absolute_cwd", message));
        }
        if app.is_files() && app.site.folders.values().all(|folder| folder.within.is_none()) {
            let message = format!(
                "the file of {name} names no folder in [files] but absolute ones, so nothing would be served from a \
                 release; write one that starts in the release, such as \"/\" = \".\""
            );
            return Err(refused(StatusCode::CONFLICT, "absolute_files", message));
        }
        let owner = owner(&app)?;
        let Some(bytes) = archive.open() else {
            let message = "the archive was read before".into();
            return Err(refused(StatusCode::BAD_REQUEST, "no_archive", message));
        };
        let number = self.next_release(&name);
        self.deploys.arriving.insert(name.clone(), number);
        let (place, tell, bounds) =
            (self.shelf.clone(), self.hands.tell.clone(), app.deploy.bounds);
        let (goal, app) = (Goal::Arrived(name.clone(), number), name);
        tokio::spawn(async move {
            let whose = app.clone();
            let work = tokio::task::spawn_blocking(move || {
                let folder = place.begin(&whose, number, owner)?;
                let done = unpack(bytes, &folder, bounds, owner).map_err(ArrivalError::from);
                let done = done
                    .and_then(|contents| Ok(place.finish(&whose, number).map(|()| contents)?));
                if done.is_err() {
                    // What cannot be removed is removed when bootctl starts anew.
                    drop(place.remove(&whose, number));
                }
                done
            });
            let result = work.await.unwrap_or(Err(ArrivalError::Lost));
            drop(tell.send(Event::Deploy(DeployNews::Arrived { app, number, result })).await);
        });
        Ok(goal)
    }

    /// The number of the next release.
    pub(crate) fn next_release(&self, name: &AppName) -> Number {
        self.store.record(name).releases.next(self.shelf.highest(name))
    }

    pub(crate) fn take_deploy_news(&mut self, news: DeployNews) {
        match news {
            DeployNews::Arrived { app, number, result } => self.arrived(&app, number, result),
            DeployNews::Failed(words) => self.take_back(words),
            DeployNews::Command(app, news) => self.take_command_news(&app, news),
        }
    }

    fn arrived(&mut self, name: &AppName, number: Number, result: Result<Contents, ArrivalError>) {
        self.deploys.arriving.remove(name);
        let base = Base::Release(number);
        let switched = match result {
            Ok(contents) => {
                info!("{base} of {name} is there");
                let about = About::new(now().as_secs(), contents);
                let switched = self.switch(name, base, Some((number, about)));
                if switched.is_err() {
                    self.throw_away(name, number);
                }
                switched
            }
            Err(error) => {
                warn!("no release of {name}: {error}");
                let message = format!("{error}; nothing was changed");
                Err(refused(StatusCode::UNPROCESSABLE_ENTITY, "no_release", message))
            }
        };
        let waits = |goal: &Goal| matches!(goal, Goal::Arrived(n, a) if n == name && *a == number);
        self.redirect(waits, switched.map(|()| Goal::Deployed(name.clone(), base)));
    }

    /// Those who have waited for this wait for that, or are answered.
    pub(crate) fn redirect(&mut self, waits: impl Fn(&Goal) -> bool, to: Result<Goal, Box<Reply>>) {
        let numbers: Vec<u64> = self
            .waiters
            .iter()
            .filter(|(_, waiter)| waits(&waiter.goal))
            .map(|(number, _)| *number)
            .collect();
        let (mut answer, mut goal) = match to {
            Ok(goal) => (None, Some(goal)),
            Err(answer) => (Some(answer), None),
        };
        // Only one waits for each: a second one would have been refused.
        for number in numbers {
            if let (Some(goal), Some(waiter)) = (goal.take(), self.waiters.get_mut(&number)) {
                waiter.goal = goal;
            }
            if let Some(answer) = answer.take() {
                self.send(number, *answer);
            }
        }
    }

    /// Has an app run from something else.
    pub(crate) fn switch(
        &mut self,
        name: &AppName,
        to: Base,
        new: Option<(Number, About)>,
    ) -> Result<(), Box<Reply>> {
        let (name, app) = self.whole(name.as_str())?;
        let observed = self.roster.observed();
        let has_failed = self.trials.failure(&name).is_some();
        let serves = |life| match life {
            Life::Running(Health::Ready) => true,
            // There was no time yet to see what becomes of it.
            Life::Asked | Life::Coming | Life::Running(_) => !has_failed,
            Life::Leaving | Life::Stopped | Life::Ended => false,
        };
        let ran = instances_of(&name, &observed).any(|(_, seen)| serves(seen.life));
        self.note(&name, |record| {
            if let Some((number, about)) = new {
                record.releases.take_in(number, about);
            }
            record.releases.switch(to, ran);
            record.held = None;
            record.notice = None;
        })?;
        self.want(&name, app);
        self.clear_ended(&name);
        Ok(())
    }

    pub(crate) fn rollback(&mut self, app: &str, to: Option<&str>) -> Result<Goal, Box<Reply>> {
        let (name, _) = self.whole(app)?;
        self.check_no_work(&name)?;
        let releases = self.store.record(&name).releases;
        // Who asks while somebody else's way back is not over means that one, and not one release more.
        let on_its_way = self.being_taken_back(&name).filter(|base| *base == releases.current);
        if let (None, Some(base)) = (to, on_its_way) {
            return Ok(Goal::TakenBack(name, base));
        }
        let conflict = |error, message| Err(refused(StatusCode::CONFLICT, error, message));
        let there = || {
            let all: Vec<_> = releases.kept.keys().rev().map(ToString::to_string).collect();
            if all.is_empty() {
                "there is none".into()
            } else {
                format!("there are {}", all.join(", "))
            }
        };
        let base = match (to, releases.previous) {
            (None, None) => {
                let message = format!("{name} has run from nothing else before; {}", there());
                return conflict("no_previous", message);
            }
            (None, Some(previous)) => previous,
            (Some(text), _) => match text.parse() {
                Ok(number) if releases.kept.contains_key(&number) => Base::Release(number),
                Ok(_) | Err(_) => {
                    let message = format!("{name} has no release {}; {}", quoted(text), there());
                    return conflict("no_release", message);
                }
            },
        };
        if base.release().is_some_and(|number| !self.shelf.has(&name, number)) {
            let message = format!("the files of {base} of {name} are gone; {}", there());
            return conflict("no_files", message);
        }
        if base == releases.current && on_its_way.is_none() {
            let message = format!("{name} runs from {base} already; nothing was changed");
            return conflict("current", message);
        }
        self.switch(&name, base, None)?;
        Ok(Goal::TakenBack(name, base))
    }

    /// Whether a new release may be begun.
    pub(crate) fn check_idle(&self, name: &AppName) -> Result<(), Box<Reply>> {
        self.check_no_work(name)?;
        let releases = self.store.record(name).releases;
        let rolling = releases.probation.is_some_and(|probation| probation.reached.is_none());
        if rolling && matches!(self.standing(name, &self.roster.observed()), Standing::Working(_)) {
            let base = releases.current;
            let message = format!(
                "{base} of {name} is being rolled; ask again when that has come to its end, or go back \
                 with `bootctl rollback {name}`; nothing was changed"
            );
            return Err(refused(StatusCode::CONFLICT, "busy", message));
        }
        Ok(())
    }

    fn check_no_work(&self, name: &AppName) -> Result<(), Box<Reply>> {
        let Some(what) = self.working(name) else { return Ok(()) };
        let message =
            format!("{what}; ask again when that has come to its end; nothing was changed");
        Err(refused(StatusCode::CONFLICT, "busy", message))
    }

    /// What is under way for an app's next release.
    pub(crate) fn working(&self, name: &AppName) -> Option<String> {
        if let Some(number) = self.deploys.arriving.get(name) {
            return Some(format!("release {number} of {name} is being taken in"));
        }
        Some(self.store.record(name).work?.sentence(name))
    }

    /// How near an app is to running from this.
    pub(crate) fn deployed(&self, name: &AppName, base: Base, observed: &Observed) -> Standing {
        let record = self.store.record(name);
        let releases = &record.releases;
        if releases.current != base {
            let why = match base {
                Base::Release(number) => {
                    releases.kept.get(&number).and_then(|about| about.failed.clone())
                }
                Base::File => {
                    let held = record.held.as_ref();
                    held.filter(|held| self.is_about(held, name, base)).map(|held| held.why.clone())
                }
            };
            let now = releases.current;
            let crossed = || {
                format!(
                    "{name} was switched to {now} meanwhile, so this was not brought to its end"
                )
            };
            return Standing::Failed(why.unwrap_or_else(crossed));
        }
        match self.wanted.get(name) {
            Some(Wanted::Running(_)) => self.standing(name, observed),
            Some(Wanted::Stopped(_)) => Standing::Reached,
            other @ (Some(Wanted::AsItIs) | None) => Standing::Failed(crossed(name, other)),
        }
    }

    /// Where an app runs that is to run from this.
    pub(crate) fn housing(&self, name: &AppName, base: Base) -> Option<Housing> {
        let number = base.release()?;
        Some(Housing { number, path: self.shelf.path(name, number) })
    }

    /// Takes a release away that nobody needs; its files go in the background.
    pub(crate) fn throw_away(&mut self, name: &AppName, number: Number) {
        self.store.keep(name, |record| drop(record.releases.kept.remove(&number)));
        let (place, name) = (self.shelf.clone(), name.clone());
        tokio::task::spawn_blocking(move || {
            if let Err(error) = place.remove(&name, number) {
                warn!("release {number} of {name} is left behind: {error}");
            }
        });
    }

    /// Takes away what is beyond what is to be kept.
    pub(crate) fn prune(&mut self, name: &AppName) {
        let Some(app) = self.wanted.get(name).and_then(Wanted::app) else { return };
        let observed = self.roster.observed();
        let in_use: BTreeSet<Number> =
            instances_of(name, &observed).filter_map(|(_, seen)| release_of(&seen.spec)).collect();
        for number in self.store.record(name).releases.surplus(app.deploy.keep, &in_use) {
            info!("release {number} of {name} is removed");
            self.throw_away(name, number);
        }
    }

    /// Releases that are whole and in no record: bootctl was killed before it could write them down. They are
    /// there to go to, and to be removed as any other.
    pub(crate) fn take_in_unknown(&mut self) {
        let names: Vec<AppName> = self.wanted.keys().cloned().collect();
        for name in names {
            let record = self.store.record(&name);
            let half = record.work.and_then(|work| work.release);
            for number in self.shelf.numbers(&name) {
                if record.releases.kept.contains_key(&number) || half == Some(number) {
                    continue;
                }
                info!("release {number} of {name} is there, and was not written down");
                let bounds = Bounds { bytes: u64::MAX, entries: u64::MAX };
                let path = self.shelf.path(&name, number);
                let contents = measure(&path, bounds).unwrap_or_default();
                let about = About::new(now().as_secs(), contents);
                self.store.keep(&name, |record| record.releases.take_in(number, about));
            }
        }
    }

    pub(crate) fn releases_view(&self, name: &AppName) -> ReleasesView {
        let releases = self.store.record(name).releases;
        let observed = self.roster.observed();
        let one = |(number, about): (&Number, &About)| {
            let base = Base::Release(*number);
            let state = match (base, &about.failed) {
                (base, _) if base == releases.current => ReleaseState::Current,
                (base, _) if Some(base) == releases.previous => ReleaseState::Previous,
                (_, _) if Some(*number) == releases.staged => ReleaseState::Staged,
                (_, Some(_)) => ReleaseState::Failed,
                (_, None) => ReleaseState::Kept,
            };
            let here = instances_of(name, &observed);
            let from_it = here.filter(|(_, seen)| release_of(&seen.spec) == Some(*number));
            let at = i64::try_from(about.at).ok();
            let at = at.and_then(|at| OffsetDateTime::from_unix_timestamp(at).ok());
            ReleaseView {
                release: base.into(),
                at: at.and_then(|at| at.format(&Rfc3339).ok()),
                bytes: Some(about.bytes),
                files: Some(about.entries),
                state,
                why: about.failed.clone(),
                instances: from_it.map(|(id, _)| id.to_string()).collect(),
            }
        };
        ReleasesView {
            app: name.to_string(),
            folder: self.shelf.app(name).to_string_lossy().into_owned(),
            working: self.working(name),
            releases: releases.kept.iter().rev().map(one).collect(),
        }
    }
}

/// Whose a release's files are, if bootctl can make them somebody's.
pub(crate) fn owner(app: &App) -> Result<Option<Owner>, Box<Reply>> {
    let user = app.deploy.owner.as_ref().or(app.user.as_ref());
    let Some(user) = user.filter(|_| nix::unistd::geteuid().is_root()) else { return Ok(None) };
    Owner::of(user).map(Some).map_err(|error| {
        let message = format!("{error}; nothing was changed");
        refused(StatusCode::CONFLICT, "no_owner", message)
    })
}

/// Since 1970.
pub(crate) fn now() -> std::time::Duration {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default()
}
