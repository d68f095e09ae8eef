//! What clients ask of the supervisor. An answer is sent after the fact: when the app runs, is
//! gone, or has failed, or when the client's time is over.

use std::collections::BTreeSet;
use std::time::Duration;

use axum::http::StatusCode;
use tokio::sync::oneshot;
use tracing::info;

use crate::admin::version::VERSION;
use crate::admin::wire::{AppView, LogsView, Refusal, StatusView, SupervisorView};
use crate::collecting;
use crate::commands::work_job;
use crate::config;
use crate::event::{Ask, Event, Reply, Verb};
use crate::letting_go::LetGo;
use crate::name::{AppName, nearest, quoted};
use crate::plan::{Collector, Observed, Wanted};
use crate::progress::{Doing, Listener, doings};
use crate::proxy_standing::{proxy_standing, proxy_view};
use crate::release::{Base, Number};
use crate::runlevel::Level;
use crate::standing::{Standing, app_view, standing};
use crate::supervise::Supervisor;

/// How long a request waits that does not say.
const DEFAULT_WAIT: Duration = Duration::from_mins(5);

/// What a refusal is called that tells how it went with what was taken over: not well, or not in time.
pub(crate) const FAILED: &str = "failed";
pub(crate) const TIMEOUT: &str = "timeout";

/// A client that waits.
pub(crate) struct Waiter {
    pub(crate) goal: Goal,
    reply: oneshot::Sender<Reply>,
    listener: Option<Listener>,
}

/// What for.
pub(crate) enum Goal {
    /// All instances of this app are as it is wanted, and serve.
    Running(AppName),
    /// The same, and that is what a restart has led to.
    Restarted(AppName),
    /// The same, and it has so many.
    Scaled(AppName, u32),
    /// The same, and it runs from this.
    Deployed(AppName, Base),
    /// The same, and that is what it was taken back to.
    TakenBack(AppName, Base),
    /// An archive has become this release of it.
    Arrived(AppName, Number),
    /// Commands of it have ended.
    Worked(AppName),
    /// It has none left.
    Stopped(AppName),
    Proxy,
    Everything,
    /// This runlevel is reached.
    Level(Level),
}

impl Supervisor {
    pub(crate) fn take_request(&mut self, ask: Ask) {
        let Ask { verb, within, reply, steps } = ask;
        info!("asked: {verb:?}");
        let goal = match self.begin(verb) {
            Ok(goal) => goal,
            Err(answer) => return drop(reply.send(*answer)),
        };
        let number = self.next_waiter;
        self.next_waiter += 1;
        let now = || doings(&goal, &self.roster, &self.roster.observed());
        let listener = steps.map(|way| Listener::new(way, now()));
        self.waiters.insert(number, Waiter { goal, reply, listener });
        let wait = within.unwrap_or(DEFAULT_WAIT);
        Self::remind(&self.hands.tell, wait, Event::Expired(number));
    }

    /// Begins what is asked; answers at once what needs no waiting.
    fn begin(&mut self, verb: Verb) -> Result<Goal, Box<Reply>> {
        let shows = matches!(verb, Verb::Status | Verb::Show(_) | Verb::Plan | Verb::Releases(_));
        let changes = !shows;
        if self.winding_down && changes {
            let message = "bootctl is winding down; nothing was changed".into();
            return Err(refused(StatusCode::SERVICE_UNAVAILABLE, "winding_down", message));
        }
        match verb {
            Verb::Status => Err(Box::new(Reply::Status(Box::new(self.status())))),
            Verb::Plan => Err(Box::new(self.outlook())),
            Verb::Show(app) => {
                let name = self.known(&app)?;
                Err(Box::new(Reply::App(self.view(&name))))
            }
            Verb::Start(app) => self.start(&app),
            Verb::Stop(app) => self.stop(&app),
            Verb::Restart(app) => self.restart(&app),
            Verb::LetGo(app) => self.let_go(&app),
            Verb::TakeBack(app) => self.reclaim(&app),
            Verb::Receive(app, archive) => self.receive(&app, &archive),
            Verb::Rollback(app, to) => self.rollback(&app, to.as_deref()),
            Verb::Releases(app) => {
                let name = self.known(&app)?;
                Err(Box::new(Reply::Releases(self.releases_view(&name))))
            }
            Verb::Work(app, task) => self.begin_work(&app, task),
            Verb::Redeploy(app) => self.redeploy(&app),
            Verb::Cancel(app) => self.cancel(&app),
            Verb::Scale(app, count) => self.scale(&app, &count),
            Verb::Reload => self.reload(),
            Verb::TakeOver => Err(self.give_way()),
            Verb::Telinit(level) => self.telinit(&level),
            Verb::Custom(name, args) => Err(self.custom(&name, &args)),
            Verb::RestartProxy => {
                self.proxy_outdated = self.roster.observed().proxies.keys().last().copied();
                self.proxy_trouble = None;
                Ok(Goal::Proxy)
            }
        }
    }

    /// What a command of the administrator's is to run.
    fn custom(&self, name: &str, args: &[String]) -> Box<Reply> {
        let customs = &self.settings.customs;
        let Some(custom) = customs.iter().find(|custom| custom.name == name) else {
            let names = || customs.iter().map(|custom| custom.name.as_str());
            let advice = match (nearest(name, names()), names().next()) {
                (Some(near), _) => format!("did you mean {near}?"),
                (None, Some(_)) => {
                    format!("there are {}", names().collect::<Vec<_>>().join(", "))
                }
                (None, None) => "[custom.NAME] in bootctl.toml makes one".into(),
            };
            let message = format!("there is no command {}; {advice}", quoted(name));
            return refused(StatusCode::NOT_FOUND, "unknown_command", message);
        };
        match custom.spec(args) {
            Ok(spec) => Box::new(Reply::Custom(Box::new(spec))),
            Err(error) => {
                refused(StatusCode::UNPROCESSABLE_ENTITY, "bad_arguments", error.to_string())
            }
        }
    }

    fn reload(&mut self) -> Result<Goal, Box<Reply>> {
        self.read_anew()?;
        self.go_on_booting();
        Ok(Goal::Everything)
    }

    /// A config with a problem is not taken over at all: what runs is what was good.
    pub(crate) fn read_anew(&mut self) -> Result<(), Box<Reply>> {
        let mut config =
            config::load_after(&self.fixed.config, &self.declared).map_err(|error| {
                let message = format!("{error}; nothing was changed");
                refused(StatusCode::UNPROCESSABLE_ENTITY, "bad_config", message)
            })?;
        if !config.problems.is_empty() {
            let message = "the config has problems, so nothing was changed:".into();
            let problems = config.problems.iter().map(ToString::to_string).collect();
            let refusal = Refusal { problems, ..refusal("bad_config", message) };
            return Err(Box::new(Reply::Refused(StatusCode::UNPROCESSABLE_ENTITY, refusal)));
        }
        self.fixed.apply(&mut config.settings);
        let doubts = config::doubts::of(&self.fixed.config, &config);
        let doubts: Vec<String> = doubts.iter().map(ToString::to_string).collect();
        // What was given up is tried again.
        self.store.change_all(config.apps.keys(), |record| record.held = None).map_err(
            |error| refused(StatusCode::INTERNAL_SERVER_ERROR, "store", error.to_string()),
        )?;
        for name in config.apps.keys() {
            self.trials.begin_anew(name);
        }
        self.end_makeshift();
        self.try_gate_again();
        self.take_over(config);
        self.clear_failed();
        self.doubts = doubts;
        Ok(())
    }

    /// Tells those who want to know what is being done.
    pub(crate) fn tell_steps(&mut self) {
        let mut listening = self.waiters.values_mut().filter(|w| w.listener.is_some()).peekable();
        if listening.peek().is_none() {
            return;
        }
        let observed = self.roster.observed();
        for Waiter { goal, listener, .. } in listening {
            let Some(listener) = listener else { continue };
            let mut now = doings(goal, &self.roster, &observed);
            if let Goal::Worked(name) = goal
                && let Some(work) = self.store.record(name).work
            {
                let sentence = work.sentence(name);
                now.insert(format!("{name}.{}", work.task.word()), Doing::Working(sentence));
                if let Some(job) = work_job(&self.roster, name, &work) {
                    listener.hear(&job.id, &self.hands.init);
                }
            }
            listener.tell(now);
        }
    }

    /// Answers those whose wait is over.
    pub(crate) fn answer_waiters(&mut self) {
        if self.waiters.is_empty() {
            return;
        }
        let observed = self.roster.observed();
        let waiting: Vec<u64> = self.waiters.keys().copied().collect();
        for number in waiting {
            let Some(waiter) = self.waiters.get(&number) else { continue };
            let reply = match self.judge(&waiter.goal, &observed) {
                Standing::Working(_) => continue,
                Standing::Reached => self.reply(&waiter.goal),
                Standing::Failed(why) => {
                    self.send_failure(number, why);
                    continue;
                }
            };
            self.send(number, reply);
        }
    }

    /// A client's time is over.
    pub(crate) fn expire(&mut self, number: u64) {
        let Some(waiter) = self.waiters.get(&number) else { return };
        let observed = self.roster.observed();
        let Standing::Working(what) = self.judge(&waiter.goal, &observed) else { return };
        // Its time begins when there is something to roll.
        if let Goal::Arrived(..) = &waiter.goal {
            return Self::remind(&self.hands.tell, DEFAULT_WAIT, Event::Expired(number));
        }
        let message = format!(
            "not there yet when the time was over: {what}; it goes on, `bootctl status` shows \
             how far it is"
        );
        self.send(number, *refused(StatusCode::GATEWAY_TIMEOUT, TIMEOUT, message));
    }

    pub(crate) fn send(&mut self, number: u64, reply: Reply) {
        if let Some(waiter) = self.waiters.remove(&number) {
            // A client that has gone needs no answer.
            drop(waiter.reply.send(reply));
        }
    }

    /// Tells a failure together with what the failed instance has written last.
    fn send_failure(&mut self, number: u64, why: String) {
        let Some(waiter) = self.waiters.remove(&number) else { return };
        let mut names = match &waiter.goal {
            Goal::Running(name)
            | Goal::Restarted(name)
            | Goal::Scaled(name, _)
            | Goal::Deployed(name, _)
            | Goal::TakenBack(name, _) => vec![name.clone()],
            Goal::Arrived(..)
            | Goal::Worked(_)
            | Goal::Stopped(_)
            | Goal::Proxy
            | Goal::Level(_) => Vec::new(),
            Goal::Everything => self.wanted.keys().cloned().collect(),
        };
        names.retain(|name| self.trouble(name).as_ref() == Some(&why));
        let held = names.iter().find_map(|name| self.store.record(name).held);
        let failed = names.iter().find_map(|name| self.trials.failure(name)?.instance.clone());
        let words = self.hands.last_words(failed.filter(|_| held.is_none()).as_ref());
        tokio::spawn(async move {
            let log = match held {
                Some(held) => held.log,
                None => words.await,
            };
            let refusal = Refusal { log, ..refusal(FAILED, why) };
            drop(waiter.reply.send(Reply::Refused(StatusCode::CONFLICT, refusal)));
        });
    }

    fn judge(&self, goal: &Goal, observed: &Observed) -> Standing {
        match goal {
            Goal::Running(name) | Goal::Restarted(name) => match self.wanted.get(name) {
                Some(Wanted::Running(_)) => self.standing(name, observed),
                other => Standing::Failed(crossed(name, other)),
            },
            Goal::Scaled(name, count) => match self.wanted.get(name) {
                Some(Wanted::Running(order)) if order.app.instances != *count => {
                    let now = order.app.instances;
                    Standing::Failed(format!(
                        "{name} was given {now} instances meanwhile, so this was not brought to its end"
                    ))
                }
                Some(Wanted::Running(_)) => self.standing(name, observed),
                other => Standing::Failed(crossed(name, other)),
            },
            Goal::Deployed(name, base) | Goal::TakenBack(name, base) => {
                self.deployed(name, *base, observed)
            }
            Goal::Arrived(name, _) => {
                Standing::Working(format!("the archive for {name} is on its way"))
            }
            Goal::Worked(name) => self.worked(name),
            Goal::Stopped(name) => match self.wanted.get(name) {
                Some(Wanted::Stopped(_)) | None => self.standing(name, observed),
                other => Standing::Failed(crossed(name, other)),
            },
            Goal::Proxy => self.proxy_standing(observed),
            Goal::Everything => self.overall(observed),
            Goal::Level(level) => self.level_standing(*level, observed),
        }
    }

    pub(crate) fn standing(&self, name: &AppName, observed: &Observed) -> Standing {
        standing(name, self.wanted.get(name), &self.roster, observed, self.trouble(name))
    }

    /// All apps that are wanted, or of which something is left.
    fn names<'a>(&'a self, observed: &'a Observed) -> BTreeSet<&'a AppName> {
        self.wanted.keys().chain(observed.instances.keys().map(|id| &id.app)).collect()
    }

    /// The first failure, else the first that is not there yet.
    fn overall(&self, observed: &Observed) -> Standing {
        if self.is_level_due {
            match self.level_standing(self.level_to_boot(), observed) {
                Standing::Reached => {}
                other @ (Standing::Working(_) | Standing::Failed(_)) => return other,
            }
        }
        let mut overall = self.proxy_standing(observed);
        if let Some(refused) = self.declined.sentences().next() {
            return Standing::Failed(refused);
        }
        for name in self.names(observed) {
            match self.standing(name, observed) {
                Standing::Reached => {}
                failed @ Standing::Failed(_) => return failed,
                working @ Standing::Working(_) => {
                    if overall == Standing::Reached {
                        overall = working;
                    }
                }
            }
        }
        if overall == Standing::Reached {
            overall = self.gate_standing();
        }
        match (overall, self.untold) {
            // Clients find what is said to be there.
            (Standing::Reached, Some(generation)) => {
                Standing::Working(format!("{generation} is still to be told"))
            }
            (overall, _) => overall,
        }
    }

    /// Whether the proxy runs as the config says.
    pub(crate) fn proxy_standing(&self, observed: &Observed) -> Standing {
        if !self.runlevel.is_public() && !self.winding_down {
            return if observed.proxies.is_empty() {
                Standing::Reached
            } else {
                Standing::Working("the proxy finishes what it has begun".into())
            };
        }
        let wanted = self.wanted_proxy();
        let trouble = self.proxy_trouble.as_deref();
        proxy_standing(wanted.as_ref(), &self.roster, observed, trouble)
    }

    /// Whether somebody waits for a restart of this app.
    pub(crate) fn is_being_restarted(&self, name: &AppName) -> bool {
        let restarts = |waiter: &Waiter| matches!(&waiter.goal, Goal::Restarted(n) if n == name);
        self.waiters.values().any(restarts)
    }

    /// What somebody waits for this app to be taken back to, if it is still on its way.
    pub(crate) fn being_taken_back(&self, name: &AppName) -> Option<Base> {
        self.waiters.values().find_map(|waiter| {
            let Goal::TakenBack(whose, base) = &waiter.goal else { return None };
            (whose == name).then_some(*base)
        })
    }

    fn reply(&self, goal: &Goal) -> Reply {
        match goal {
            Goal::Running(name)
            | Goal::Restarted(name)
            | Goal::Scaled(name, _)
            | Goal::Stopped(name)
            | Goal::Deployed(name, _)
            | Goal::TakenBack(name, _)
            | Goal::Arrived(name, _)
            | Goal::Worked(name) => Reply::App(self.view(name)),
            Goal::Proxy | Goal::Level(_) => Reply::Status(Box::new(self.status())),
            Goal::Everything => {
                let warnings = self.doubts.clone();
                // All apps are there: that has just been found, and is not looked at again.
                let status = self.status_where(|_, _| Standing::Reached);
                Reply::Status(Box::new(StatusView { warnings, ..status }))
            }
        }
    }

    pub(crate) fn status(&self) -> StatusView {
        self.status_where(|name, observed| self.standing(name, observed))
    }

    fn status_where(&self, standing: impl Fn(&AppName, &Observed) -> Standing) -> StatusView {
        let observed = self.roster.observed();
        let names = self.names(&observed).into_iter();
        let apps = names.map(|name| self.view_of(name, standing(name, &observed), &observed));
        let https = self.surroundings.https.address;
        let listen =
            (self.settings.proxy.listen.to_string(), https.map(|address| address.to_string()));
        StatusView {
            supervisor: SupervisorView {
                version: VERSION.into(),
                pid: std::process::id(),
                uptime_ms: u64::try_from(self.begun.elapsed().as_millis()).unwrap_or(u64::MAX),
                connected: self.roster.is_current,
                winding_down: self.winding_down,
            },
            runlevel: Some(self.runlevel_view()),
            proxy: proxy_view(listen, &self.roster, &observed, self.proxy_standing(&observed)),
            logs: Some(self.logs_view(&observed.collector)),
            admin: self.gate_view(),
            apps: apps.collect(),
            certificates: self.certificate_views(),
            problems: self.all_problems(),
            warnings: Vec::new(),
        }
    }

    fn all_problems(&self) -> Vec<String> {
        let makeshift = self.makeshift.as_ref().map(ToString::to_string);
        let taken_over = self.problems.iter().cloned().chain(makeshift);
        let watches = self.vigil.sentences().chain(self.keys.sentences());
        let watches = watches.chain(self.obtaining_trouble());
        taken_over.chain(watches).chain(self.declined.sentences()).collect()
    }

    fn logs_view(&self, collector: &Collector) -> LogsView {
        let told = self.fixed.collector.folder.as_deref();
        let folder = collecting::folder(told, &self.settings.logs);
        let says = self.roster.collector().and_then(|job| job.status_text.as_deref());
        collecting::logs_view(&folder, collector, says, self.collector_trouble.as_deref())
    }

    pub(crate) fn view(&self, name: &AppName) -> AppView {
        let observed = self.roster.observed();
        self.view_of(name, self.standing(name, &observed), &observed)
    }

    fn view_of(&self, name: &AppName, standing: Standing, observed: &Observed) -> AppView {
        let (wanted, record) = (self.wanted.get(name), self.store.record(name));
        let view = app_view(name, wanted, &self.roster, observed, standing, record.held);
        let elsewhere = wanted.and_then(Wanted::app).filter(|app| {
            !record.stopped && view.why.is_none() && !self.runlevel.has(app.runlevels)
        });
        let why = elsewhere.map(|_| format!("{name} is not of runlevel {}", self.runlevel.level()));
        AppView {
            maintenance: wanted
                .and_then(Wanted::app)
                .is_some_and(|app| app.site.maintenance.is_some()),
            why: view.why.or(why),
            release: record.releases.current.release().map(|n| Base::Release(n).into()),
            staged: record.releases.staged.map(|n| Base::Release(n).into()),
            working: self.working(name),
            notice: record.notice.or_else(|| LetGo::told(&record.let_go, name)),
            ..view
        }
    }

    /// The app of that name.
    pub(crate) fn known(&self, text: &str) -> Result<AppName, Box<Reply>> {
        let found = AppName::parse(text).ok().filter(|name| self.wanted.contains_key(name));
        found.ok_or_else(|| {
            let names = || self.wanted.keys().map(AppName::as_str);
            let advice = match (nearest(text, names()), names().next()) {
                (Some(near), _) => format!("did you mean {near}?"),
                (None, Some(_)) => {
                    format!("there are {}", names().collect::<Vec<_>>().join(", "))
                }
                (None, None) => "there is none yet: write apps/NAME.toml and reload".into(),
            };
            let message = format!("there is no app {}; {advice}", quoted(text));
            refused(StatusCode::NOT_FOUND, "unknown_app", message)
        })
    }
}

pub(crate) fn refused(status: StatusCode, error: &str, message: String) -> Box<Reply> {
    Box::new(Reply::Refused(status, refusal(error, message)))
}

pub(crate) fn refusal(error: &str, message: String) -> Refusal {
    let (problems, log) = (Vec::new(), Vec::new());
    Refusal { error: error.into(), message, problems, log, exit: None }
}

/// What has come of an app whose goal is out of reach now.
pub(crate) fn crossed(name: &AppName, wanted: Option<&Wanted>) -> String {
    let what = match wanted {
        Some(Wanted::Running(_)) => "was started",
        Some(Wanted::Stopped(_)) => "was stopped",
        Some(Wanted::AsItIs) => "got a broken file",
        None => "was removed",
    };
    format!("{name} {what} meanwhile, so this was not brought to its end")
}
