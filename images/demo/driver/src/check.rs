//! The tour, taken by the demo itself: every line that it shows, with what must come of it.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::thread::sleep;
use std::time::{Duration, Instant};

use crate::ask::{Ask, Reply};
use crate::stage::BREATH;
use crate::tour::{APP, Tour};

/// How long something that was killed may take to be back.
const PATIENCE: Duration = Duration::from_secs(15);

/// Takes the tour; an error says which line did not do what it should.
pub(crate) fn take_the_tour(tour: &Tour) -> Result<(), String> {
    println!();
    let visitor = Visitor { tour, tried: RefCell::default() };
    visitor.sees_jobs()?;
    visitor.sees_pages()?;
    visitor.stops_and_starts_an_app()?;
    visitor.kills_an_instance()?;
    visitor.kills_bootctl()?;
    visitor.runs_a_job()?;
    visitor.deploys_under_load()?;
    visitor.has_tried_every_line()
}

struct Visitor<'a> {
    tour: &'a Tour,
    tried: RefCell<BTreeSet<String>>,
}

/// Job to pid.
type Pids = BTreeMap<String, u32>;

impl Visitor<'_> {
    fn sees_jobs(&self) -> Result<(), String> {
        self.expect(&self.tour.list(), 200, "\"proxyd\"")?;
        let pids = self.pids()?;
        for app in self.tour.apps() {
            for job in [format!("{app}.1"), format!("{app}.2")] {
                pid(&pids, &job)?;
            }
        }
        Ok(())
    }

    fn sees_pages(&self) -> Result<(), String> {
        for app in self.tour.apps() {
            self.expect(&self.tour.page(app), 200, &format!("app: {app}\n"))?;
        }
        Ok(())
    }

    fn stops_and_starts_an_app(&self) -> Result<(), String> {
        self.expect(&self.tour.bootctl(&["status"]), 0, APP)?;
        self.expect(&self.tour.bootctl(&["stop", APP]), 0, "")?;
        self.expect(&self.tour.page(APP), 503, "")?;
        self.expect(&self.tour.bootctl(&["start", APP]), 0, "")?;
        self.expect(&self.tour.page(APP), 200, "hello from")
    }

    fn kills_an_instance(&self) -> Result<(), String> {
        let job = format!("{APP}.1");
        let before = pid(&self.pids()?, &job)?;
        self.expect(&self.tour.kill(&job), 204, "")?;
        self.wait_for(&format!("{job} to come back"), |pids| {
            pids.get(&job).is_some_and(|&pid| pid != before)
        })?;
        self.expect(&self.tour.page(APP), 200, "hello from")
    }

    fn kills_bootctl(&self) -> Result<(), String> {
        let mut before = self.pids()?;
        let boot = before.remove("boot").ok_or("there is no job boot")?;
        self.expect(&self.tour.kill("boot"), 204, "")?;
        self.expect(&self.tour.page(APP), 200, "hello from")?;
        self.wait_for("boot to come back", |pids| {
            pids.get("boot").is_some_and(|&pid| pid != boot)
        })?;
        // It answers only after it has looked at what there is.
        self.eventually(&self.tour.bootctl(&["status"]), 0)?;
        let mut after = self.pids()?;
        after.remove("boot");
        if before != after {
            return Err(format!("bootctl did not adopt what it found: {before:?}, now {after:?}"));
        }
        self.expect(&self.tour.page(APP), 200, "hello from")
    }

    fn runs_a_job(&self) -> Result<(), String> {
        self.expect(&self.tour.start_nap(), 201, "\"nap\"")?;
        self.expect(&self.tour.stop_nap(), 200, "")?;
        self.expect(&self.tour.clear_nap(), 204, "")
    }

    fn deploys_under_load(&self) -> Result<(), String> {
        self.expect(&self.tour.deploys(), 0, " requests, 0 failed")?;
        self.expect(&self.tour.page(APP), 200, "hello from demo-hello in blue")
    }

    fn has_tried_every_line(&self) -> Result<(), String> {
        let shown = self.tour.lines().into_iter().flat_map(|(_, asks)| asks);
        let tried = self.tried.borrow();
        match shown.map(|ask| ask.to_string()).find(|line| !tried.contains(line)) {
            Some(line) => Err(format!("this line is shown and was not tried: {line}")),
            None => Ok(()),
        }
    }

    fn expect(&self, ask: &Ask, code: i32, text: &str) -> Result<(), String> {
        let reply = self.try_line(ask)?;
        if reply.code == code && reply.text.contains(text) {
            println!("  {code:>3}  {ask}");
            return Ok(());
        }
        let Reply { code: got, text: said } = reply;
        Err(format!("{ask}\n  expected {code} and {text:?}, got {got}: {said}"))
    }

    fn eventually(&self, ask: &Ask, code: i32) -> Result<(), String> {
        let deadline = Instant::now() + PATIENCE;
        while self.try_line(ask)?.code != code {
            if Instant::now() > deadline {
                return self.expect(ask, code, "");
            }
            sleep(BREATH);
        }
        Ok(())
    }

    fn try_line(&self, ask: &Ask) -> Result<Reply, String> {
        self.tried.borrow_mut().insert(ask.to_string());
        ask.ask()
    }

    fn wait_for(&self, what: &str, done: impl Fn(&Pids) -> bool) -> Result<(), String> {
        let deadline = Instant::now() + PATIENCE;
        while !done(&self.pids()?) {
            if Instant::now() > deadline {
                return Err(format!("waited {PATIENCE:?} for {what}"));
            }
            sleep(BREATH);
        }
        Ok(())
    }

    fn pids(&self) -> Result<Pids, String> {
        let jobs = self.tour.jobs()?;
        Ok(jobs.into_iter().filter_map(|job| Some((job.id, job.pid?))).collect())
    }
}

fn pid(pids: &Pids, job: &str) -> Result<u32, String> {
    pids.get(job).copied().ok_or_else(|| format!("{job} does not run: {pids:?}"))
}
