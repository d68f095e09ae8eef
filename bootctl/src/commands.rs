//! The commands of `[deploy]`: each is a job of init's, `APP.update` or `APP.rebuild`, which runs as the app does and
//! goes on whoever has asked for it. A bootctl that starts anew finds it by its name and takes its outcome.
//!
//! A command that fails leaves nothing behind of the copy that it worked in; what it has said is told to whoever
//! asked, and its failure is in the status until the next one is begun.

use std::time::{Duration, Instant};

use axum::http::StatusCode;
use init_wire::{JobSpec, LastExit, Stdio};
use tracing::{info, warn};

use crate::admin::wire::Refusal;
use crate::app::{App, ENV_APP};
use crate::client::InitError;
use crate::condition;
use crate::confinement::Confinement;
use crate::deploys::{DeployNews, now, owner};
use crate::event::{Event, Reply};
use crate::job::JobInfo;
use crate::name::AppName;
use crate::plan::Wanted;
use crate::release::{About, Base, Contents, Cwd, Housing, Step, in_shell};
use crate::requests::{Goal, refusal, refused};
use crate::roster::Roster;
use crate::standing::Standing;
use crate::supervise::Supervisor;
use crate::work::{Missing, Task, Work, job_name};

/// The command's name in its own environment.
const ENV_COMMAND: &str = "BOOTCTL_COMMAND";
/// Which work it is part of.
const ENV_WORK: &str = "BOOTCTL_WORK";
/// How long after its start a job must be known.
const HEARING: Duration = Duration::from_secs(10);
/// How much of what a failed command has written is told.
const LAST_LINES: usize = 20;

/// A command that this bootctl has in hand.
#[derive(Debug)]
pub(crate) struct Progress {
    /// Something was begun, and will be told as news.
    busy: bool,
    /// Since when init's word of a job that it has started is waited for.
    awaited: Option<Instant>,
    /// Why it is being stopped.
    stopped: Option<Stop>,
}

/// Why a command is stopped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stop {
    Cancelled,
    TooLong(Duration),
}

/// What has become of a step.
pub(crate) enum CommandNews {
    /// The copy to work in was made, or not.
    Copied(Result<(), String>),
    /// init has answered a start.
    Started(Result<(), InitError>),
    /// init was asked to stop it.
    Stopped,
    /// It has ended, and has said this last.
    Ended { exit: Option<LastExit>, log: Vec<String> },
    /// What it has made is on the disk, or not.
    Kept(Result<Contents, String>),
}

impl Supervisor {
    pub(crate) fn begin_work(&mut self, app: &str, task: Task) -> Result<Goal, Box<Reply>> {
        let (name, app) = self.whole(app)?;
        self.check_idle(&name)?;
        let releases = self.store.record(&name).releases;
        let from = releases.staged.map_or(releases.current, Base::Release);
        let copy = from.release().map(|from| (from, self.next_release(&name)));
        let work = Work::begin(millis(), task, copy.map(|(_, to)| to), &app.deploy);
        let work = work.map_err(|Missing(step)| {
            let (key, example) = match step {
                Step::Update => ("update", "git pull --ff-only"),
                Step::Rebuild => ("rebuild", "./build.sh"),
            };
            let message = format!(
                "the {} of {name} is off; to turn it on, write `{key} = \"{example}\"` into [deploy] of \
                 its file, and run `bootctl reload`",
                task.word()
            );
            refused(StatusCode::CONFLICT, "off", message)
        })?;
        if copy.is_none() && app.deploy.home.cwd == Cwd::Unset {
            let message = format!(
                "the file of {name} has no `cwd`, so it is not known where to run its {}; write one",
                task.word()
            );
            return Err(refused(StatusCode::CONFLICT, "no_cwd", message));
        }
        let owner = owner(&app)?;
        self.note(&name, |record| {
            record.work = Some(work.clone());
            record.notice = None;
        })?;
        match copy {
            Some((from, to)) => {
                self.busy(&name);
                let (place, whose, bounds) = (self.shelf.clone(), name.clone(), app.deploy.bounds);
                self.in_background(&name, move || {
                    let made = || {
                        let folder = place.begin(&whose, to, owner).map_err(|e| e.to_string())?;
                        let from = place.path(&whose, from);
                        crate::release::copy(&from, &folder, bounds).map_err(|e| e.to_string())?;
                        // In its last place, so that a build may write down where it is.
                        place.finish(&whose, to).map_err(|e| e.to_string())
                    };
                    CommandNews::Copied(made())
                });
            }
            None => self.start_step(&name, &work),
        }
        Ok(Goal::Worked(name))
    }

    /// Rolls what was built, or what the app has now.
    pub(crate) fn redeploy(&mut self, app: &str) -> Result<Goal, Box<Reply>> {
        let (name, _) = self.whole(app)?;
        self.check_idle(&name)?;
        let Some(staged) = self.store.record(&name).releases.staged else {
            return self.restart(name.as_str());
        };
        let base = Base::Release(staged);
        self.switch(&name, base, None)?;
        Ok(Goal::Deployed(name, base))
    }

    /// Stops the command that runs; done when it is asked to.
    pub(crate) fn cancel(&mut self, app: &str) -> Result<Goal, Box<Reply>> {
        let (name, _) = self.whole(app)?;
        let work = self.store.record(&name).work;
        let job = work.and_then(|work| self.job_of(&name, &work));
        let (Some(progress), Some(job)) = (self.deploys.commands.get_mut(&name), job) else {
            let message = format!("no command of {name} runs; nothing was changed");
            return Err(refused(StatusCode::CONFLICT, "no_command", message));
        };
        progress.stopped.get_or_insert(Stop::Cancelled);
        self.stop_step(&name, job);
        Err(Box::new(Reply::App(self.view(&name))))
    }

    /// How near its commands are to their end.
    pub(crate) fn worked(&self, name: &AppName) -> Standing {
        match self.working(name) {
            Some(what) => Standing::Working(what),
            None => Standing::Reached,
        }
    }

    /// Takes what has come of commands, also of those that an earlier bootctl has begun.
    pub(crate) fn tend_work(&mut self) {
        if !std::mem::replace(&mut self.deploys.is_swept, true) {
            self.sweep_steps();
        }
        let all = self.store.apps();
        let all: Vec<(AppName, Work)> =
            all.filter_map(|(name, record)| Some((name.clone(), record.work.clone()?))).collect();
        for (name, work) in all {
            let is_busy = self.deploys.commands.get(&name).is_some_and(|progress| progress.busy);
            if !is_busy {
                self.tend_step(&name, &work);
            }
        }
    }

    /// Clears jobs whose outcome was taken by a bootctl that was killed before it could clear them.
    fn sweep_steps(&self) {
        for name in self.wanted.keys() {
            let work = self.store.record(name).work;
            for step in [Step::Update, Step::Rebuild] {
                let Some(job) = self.roster.named(&job_name(name, step)) else { continue };
                let is_ours = job.spec.envs.get(ENV_APP).is_some_and(|app| *app == name.as_str());
                let is_at_it = |work: &Work| {
                    work_job(&self.roster, name, work).is_some_and(|its| its.id == job.id)
                };
                if !is_ours || job.status.is_live() || work.as_ref().is_some_and(is_at_it) {
                    continue;
                }
                // One that has been started anew meanwhile is not cleared by this.
                let (init, id) = (self.hands.init.clone(), job.id.clone());
                tokio::spawn(async move { drop(init.forget(&id).await) });
            }
        }
    }

    fn tend_step(&mut self, name: &AppName, work: &Work) {
        let lost = "bootctl or init was started anew in the middle of it, and it did not go on";
        let Some(job) = self.job_of(name, work) else {
            let awaited = self.deploys.commands.get(name).and_then(|progress| progress.awaited);
            let until = awaited.and_then(|since| since.checked_add(HEARING));
            return match until.filter(|until| *until > Instant::now()) {
                Some(until) => self.look_again(Some(until)),
                None => self.give_up_work(name, work, lost, Vec::new(), None),
            };
        };
        if job.status.is_live() {
            return self.watch_step(name, job);
        }
        self.busy(name);
        let (init, exit) = (self.hands.init.clone(), job.last_exit.clone());
        self.tell_later(name, async move {
            let log = init.last_lines(&job.id, LAST_LINES).await;
            CommandNews::Ended { exit, log }
        });
    }

    /// The job that is at it.
    fn job_of(&self, name: &AppName, work: &Work) -> Option<JobInfo> {
        work_job(&self.roster, name, work).cloned()
    }

    /// Ends one that takes too long.
    fn watch_step(&mut self, name: &AppName, job: JobInfo) {
        let app = self.wanted.get(name).and_then(Wanted::app);
        let Some(limit) = app.map(|app| app.deploy.command_timeout) else { return };
        let age = condition::uptime(&job).unwrap_or_default();
        let progress = self.deploys.commands.entry(name.clone()).or_insert_with(Progress::idle);
        if progress.stopped.is_some() {
            return;
        }
        if age >= limit {
            progress.stopped = Some(Stop::TooLong(limit));
            self.stop_step(name, job);
        } else {
            self.look_again(Instant::now().checked_add(limit.saturating_sub(age)));
        }
    }

    fn stop_step(&mut self, name: &AppName, job: JobInfo) {
        self.busy(name);
        let init = self.hands.init.clone();
        self.tell_later(name, async move {
            if let Err(error) = init.stop(&job.id, &job.spec).await {
                warn!("{} does not stop: {error}", job.id);
            }
            CommandNews::Stopped
        });
    }

    pub(crate) fn take_command_news(&mut self, name: &AppName, news: CommandNews) {
        if let Some(progress) = self.deploys.commands.get_mut(name) {
            progress.busy = false;
        }
        let Some(work) = self.store.record(name).work else { return };
        let fail = |supervisor: &mut Self, why: String| {
            supervisor.give_up_work(name, &work, &why, Vec::new(), None);
        };
        match news {
            CommandNews::Copied(Ok(())) => self.go_on(name, &work),
            CommandNews::Started(Ok(())) => {
                if let Some(progress) = self.deploys.commands.get_mut(name) {
                    progress.awaited = Some(Instant::now());
                }
            }
            CommandNews::Stopped => {}
            CommandNews::Kept(Ok(contents)) => self.complete(name, &work, Some(contents)),
            CommandNews::Copied(Err(why)) | CommandNews::Kept(Err(why)) => fail(self, why),
            CommandNews::Started(Err(error)) => fail(self, error.to_string()),
            CommandNews::Ended { exit, log } => self.ended(name, &work, exit.as_ref(), log),
        }
    }

    fn ended(&mut self, name: &AppName, work: &Work, exit: Option<&LastExit>, log: Vec<String>) {
        let Some(step) = work.phase.step() else { return };
        let stopped = self.deploys.commands.get(name).and_then(|progress| progress.stopped);
        let why = match (stopped, exit) {
            (Some(Stop::Cancelled), _) => "was cancelled".to_owned(),
            (Some(Stop::TooLong(limit)), _) => format!(
                "took longer than {} s, which `[deploy] command_timeout` allows",
                limit.as_secs()
            ),
            (None, Some(LastExit::Code(0))) => {
                info!("the {} of {name} is done", step.word());
                self.go_on(name, work);
                return self.clear_step(name, step);
            }
            (None, Some(LastExit::Code(code))) => format!("ended with exit code {code}"),
            (None, Some(LastExit::Signal(signal))) => format!("was ended by {signal}"),
            (None, None) => "ended, and it is not known how".to_owned(),
        };
        let code = match exit {
            Some(LastExit::Code(code)) if *code != 0 => Some(*code),
            Some(LastExit::Code(_) | LastExit::Signal(_)) | None => None,
        };
        self.give_up_work(name, work, &format!("its {} {why}", step.word()), log, code);
        self.clear_step(name, step);
    }

    /// The next step, or the end.
    fn go_on(&mut self, name: &AppName, work: &Work) {
        let app = self.wanted.get(name).and_then(Wanted::app);
        let next = app.and_then(|app| work.next(&app.deploy));
        if let Some(next) = next {
            self.store.keep(name, |record| record.work = Some(next.clone()));
            return self.start_step(name, &next);
        }
        let Some(number) = work.release else { return self.complete(name, work, None) };
        let Some(bounds) = app.map(|app| app.deploy.bounds) else { return };
        self.busy(name);
        let path = self.shelf.path(name, number);
        self.in_background(name, move || {
            CommandNews::Kept(crate::release::keep(&path, bounds).map_err(|e| e.to_string()))
        });
    }

    /// All has gone well.
    fn complete(&mut self, name: &AppName, work: &Work, contents: Option<Contents>) {
        self.deploys.commands.remove(name);
        let built = work.release.zip(contents);
        self.store.keep(name, |record| {
            record.work = None;
            if let Some((number, contents)) = built {
                record.releases.take_in(number, About::new(now().as_secs(), contents));
                record.releases.staged = Some(number);
            }
        });
        info!("the {} of {name} is done", work.task.word());
        let stopped = self.store.record(name).stopped;
        let goal = match (work.task, built) {
            (Task::Update | Task::Rebuild | Task::Upgrade, _) => return,
            (Task::Deploy, Some((number, _))) => {
                let base = Base::Release(number);
                self.switch(name, base, None).map(|()| Goal::Deployed(name.clone(), base))
            }
            (Task::Deploy, None) if stopped => Ok(Goal::Stopped(name.clone())),
            (Task::Deploy, None) => self.restart(name.as_str()),
        };
        self.redirect(|goal| matches!(goal, Goal::Worked(n) if n == name), goal);
    }

    /// It has failed: nothing of its copy is left, and who has asked is told.
    fn give_up_work(
        &mut self,
        name: &AppName,
        work: &Work,
        why: &str,
        log: Vec<String>,
        exit: Option<u8>,
    ) {
        self.deploys.commands.remove(name);
        let left = match work.release {
            Some(_) => "nothing was changed",
            None => "what it has done is left as it is",
        };
        let why = format!("the {} of {name} has failed: {why}; {left}", work.task.word());
        warn!("{why}");
        self.store.keep(name, |record| {
            record.work = None;
            record.notice = Some(why.clone());
        });
        if let Some(number) = work.release {
            self.throw_away(name, number);
        }
        let refusal = Refusal { log, exit, ..refusal("command_failed", why) };
        let reply = Box::new(Reply::Refused(StatusCode::CONFLICT, refusal));
        self.redirect(|goal| matches!(goal, Goal::Worked(n) if n == name), Err(reply));
    }

    fn start_step(&mut self, name: &AppName, work: &Work) {
        let app = self.wanted.get(name).and_then(Wanted::app);
        let step = work.phase.step();
        let command = app.zip(step).and_then(|(app, step)| app.deploy.command(step));
        let (Some(app), Some(step), Some(command)) = (app, step, command) else {
            let why = "its file does not say any more what to do";
            return self.give_up_work(name, work, why, Vec::new(), None);
        };
        let base = work.release.map_or(Base::File, Base::Release);
        let mut spec = spec(app, self.housing(name, base), step, command);
        spec.envs.insert(ENV_WORK.into(), work.id.to_string());
        let (job, init) = (job_name(name, step), self.hands.init.clone());
        info!("starting {job}");
        self.busy(name);
        self.tell_later(name, async move {
            // One that is left from before, whose outcome was taken, is in the way.
            let started = match init.end(&job, &spec).await {
                Ok(()) => init.start(&job, &spec).await,
                Err(error) => Err(error),
            };
            CommandNews::Started(started)
        });
    }

    fn clear_step(&mut self, name: &AppName, step: Step) {
        let job = job_name(name, step);
        if let Some(spec) = self.roster.named(&job).map(|job| job.spec.clone()) {
            self.hands.sweep(job, spec);
        }
    }

    fn busy(&mut self, name: &AppName) {
        self.deploys.commands.entry(name.clone()).or_insert_with(Progress::idle).busy = true;
    }

    fn in_background(&self, name: &AppName, work: impl FnOnce() -> CommandNews + Send + 'static) {
        let work = tokio::task::spawn_blocking(work);
        self.tell_later(name, async move {
            let lost = |_| CommandNews::Copied(Err("it was interrupted".into()));
            work.await.unwrap_or_else(lost)
        });
    }

    fn tell_later(&self, name: &AppName, news: impl Future<Output = CommandNews> + Send + 'static) {
        let (tell, name) = (self.hands.tell.clone(), name.clone());
        tokio::spawn(async move {
            let news = DeployNews::Command(name, news.await);
            drop(tell.send(Event::Deploy(news)).await);
        });
    }
}

impl Progress {
    fn idle() -> Self {
        Self { busy: false, awaited: None, stopped: None }
    }
}

/// The job that is at a work.
pub(crate) fn work_job<'a>(roster: &'a Roster, name: &AppName, work: &Work) -> Option<&'a JobInfo> {
    let job = roster.named(&job_name(name, work.phase.step()?))?;
    let is_its = job.spec.envs.get(ENV_WORK) == Some(&work.id.to_string());
    is_its.then_some(job)
}

fn millis() -> u64 {
    u64::try_from(now().as_millis()).unwrap_or(u64::MAX)
}

/// A command runs as the app does, but for the limits: what builds needs more than what serves.
fn spec(app: &App, housing: Option<Housing>, step: Step, command: &str) -> JobSpec {
    let mut envs = app.env.clone();
    envs.insert(ENV_APP.into(), app.name.to_string());
    envs.insert(ENV_COMMAND.into(), step.word().into());
    let mut spec = JobSpec {
        cwd: app.cwd.clone(),
        envs,
        user: app.user.clone(),
        group: app.group.clone(),
        stop: app.stop.clone(),
        stdout: Stdio::Log,
        stderr: Stdio::Log,
        ..JobSpec::new("/bin/sh")
    };
    let rights = Confinement {
        rlimits: init_wire::Rlimits::default(),
        cgroup: None,
        ..app.confinement.clone()
    };
    rights.apply(&mut spec);
    if let Some(housing) = housing {
        housing.apply(&app.deploy.home, &mut spec);
    }
    in_shell(&mut spec, command);
    spec
}
