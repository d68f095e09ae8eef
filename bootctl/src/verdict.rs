//! Whether what is now wanted of an app is on its way, or has failed. Pure: what is seen and the time in,
//! verdicts out.
//!
//! ```text
//!            not ready              ready
//! (not seen) ────────▶ on its way ─────────▶ there
//!                        │    ▲                │
//!                        │    └────────────────┘ not ready any more
//!                        └─▶ failed: refused; ended; died PATIENCE times; not ready for too long
//! ```
//!
//! Deaths are counted from when an instance was first ready with nothing earlier left beside it: while an app
//! is being rolled, having been ready in between counts for nothing. What a bootctl that starts anew does not know
//! yet it does not hold against anybody.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use crate::health::Health;
use crate::name::{AppName, InstanceId};
use crate::order::{Order, Revision};
use crate::plan::{Desired, Life, Observed, Seen, Wanted, instances_of};
use crate::touched::Touched;

/// After so many restarts by init without getting ready, an instance counts as failed. Where there is nothing
/// else to go on with, it is tried further all the same.
pub(crate) const PATIENCE: u32 = 3;

/// All apps under judgement.
#[derive(Debug, Default)]
pub(crate) struct Trials {
    apps: BTreeMap<AppName, Trial>,
}

#[derive(Debug, Default)]
struct Trial {
    /// Its instances that are as wanted.
    seen: BTreeMap<InstanceId, Stay>,
    failure: Option<Failure>,
    /// When time alone may change the verdict.
    deadline: Option<Instant>,
}

/// One instance, as long as it is there.
#[derive(Clone, Copy, Debug, Default)]
struct Stay {
    /// Since when it has not been ready.
    waits: Option<Instant>,
    /// The deaths that do not count any more.
    forgiven: u32,
}

/// What has failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Failure {
    /// The first that has; none when init does not even start one.
    pub(crate) instance: Option<InstanceId>,
    pub(crate) cause: Cause,
}

/// In which way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Cause {
    /// init refuses to start it.
    Refused,
    /// It has ended and init does not start it again.
    Ended,
    /// It dies again and again.
    Dies,
    /// It lives, and is not ready after all this time.
    Slow(Duration),
}

impl Trials {
    /// Looks at all that is wanted of the apps that were touched.
    pub(crate) fn judge(
        &mut self,
        now: Instant,
        desired: &Desired,
        observed: &Observed,
        touched: &Touched,
    ) {
        let is_wanted = |name: &AppName| matches!(desired.apps.get(name), Some(Wanted::Running(_)));
        match touched {
            Touched::All => self.apps.retain(|name, _| is_wanted(name)),
            Touched::Only(apps) => {
                for name in apps.iter().filter(|name| !is_wanted(name)) {
                    self.apps.remove(name);
                }
            }
        }
        for (name, wanted) in touched.among(&desired.apps) {
            if let Wanted::Running(order) = wanted {
                self.apps.entry(name.clone()).or_default().judge(now, order, observed);
            }
        }
    }

    /// The apps whose verdict may be another one now.
    pub(crate) fn due(&self, now: Instant) -> impl Iterator<Item = &AppName> {
        let is_due = move |trial: &Trial| trial.deadline.is_some_and(|deadline| deadline <= now);
        self.apps.iter().filter(move |(_, trial)| is_due(trial)).map(|(name, _)| name)
    }

    /// Somebody asks for another try: it has all its time again. Deaths stay counted. It is due at once.
    pub(crate) fn begin_anew(&mut self, name: &AppName) {
        let Some(trial) = self.apps.get_mut(name) else { return };
        let waiting = trial.seen.values_mut().filter(|stay| stay.waits.is_some());
        let waited = waiting.map(|stay| stay.waits = None).count() > 0;
        if trial.failure.take().is_some() || waited {
            trial.deadline = Some(Instant::now());
        }
    }

    /// How an app has failed, if it has.
    pub(crate) fn failure(&self, name: &AppName) -> Option<&Failure> {
        self.apps.get(name)?.failure.as_ref()
    }

    /// All that have failed.
    pub(crate) fn failures(&self) -> impl Iterator<Item = (&AppName, &Failure)> {
        self.apps.iter().filter_map(|(name, trial)| Some((name, trial.failure.as_ref()?)))
    }

    /// When to look again even if nothing happens.
    pub(crate) fn next_deadline(&self) -> Option<Instant> {
        self.apps.values().filter_map(|trial| trial.deadline).min()
    }
}

impl Trial {
    fn judge(&mut self, now: Instant, order: &Order, observed: &Observed) {
        self.failure = None;
        self.deadline = None;
        let here = instances_of(&order.app.name, observed);
        let here = here.filter(|(_, seen)| !matches!(seen.life, Life::Leaving | Life::Stopped));
        let (current, outdated): (Vec<_>, Vec<_>) =
            here.partition(|(id, seen)| order.is_current(id, seen));
        let rolled = outdated.iter().any(|(_, seen)| seen.life != Life::Ended);
        if order.app.instances == 0 || (order.held && rolled) {
            self.seen.clear();
            return;
        }
        if observed.is_refused(order) {
            self.failure = Some(Failure { instance: None, cause: Cause::Refused });
        }
        let mut seen = BTreeMap::new();
        for (id, instance) in current {
            let before = self.seen.get(id).copied().unwrap_or_default();
            let stay = before.after(now, instance, rolled);
            if self.failure.is_none()
                && let Some(cause) = stay.cause(now, instance, order.app.patience)
            {
                self.failure = Some(Failure { instance: Some(id.clone()), cause });
            }
            let due = stay.waits.and_then(|since| since.checked_add(order.app.patience));
            let due = due.filter(|due| *due > now);
            self.deadline = self.deadline.into_iter().chain(due).min();
            seen.insert(id.clone(), stay);
        }
        self.seen = seen;
    }
}

impl Stay {
    fn after(self, now: Instant, seen: &Seen, rolled: bool) -> Self {
        match seen.life {
            Life::Running(Health::Ready) => {
                let forgiven = if rolled { self.forgiven } else { seen.restarts };
                Self { waits: None, forgiven }
            }
            Life::Asked
            | Life::Coming
            | Life::Running(Health::Unknown | Health::Unready | Health::Failing)
            | Life::Leaving
            | Life::Stopped
            | Life::Ended => Self { waits: self.waits.or(Some(now)), ..self },
        }
    }

    fn cause(self, now: Instant, seen: &Seen, patience: Duration) -> Option<Cause> {
        let dies = seen.restarts.saturating_sub(self.forgiven) >= PATIENCE;
        let slow = self.waits.is_some_and(|since| now.saturating_duration_since(since) >= patience);
        match seen.life {
            Life::Ended => Some(Cause::Ended),
            Life::Coming | Life::Running(Health::Unready | Health::Failing) if dies => {
                Some(Cause::Dies)
            }
            Life::Running(Health::Ready) | Life::Leaving | Life::Stopped => None,
            Life::Asked | Life::Coming | Life::Running(_) => slow.then_some(Cause::Slow(patience)),
        }
    }
}

/// The revision that is wanted after an order has failed, which is the same unless the failure is only
/// a restart's: then it is the one that instances are left of. None if there is nothing to go on with.
pub(crate) fn give_up(order: &Order, observed: &Observed) -> Option<Revision> {
    let mut earlier = earlier(order, observed).peekable();
    earlier.peek()?;
    let before = earlier.filter_map(|(id, seen)| {
        let revision = Revision::of(&seen.spec).filter(|revision| *revision < order.revision)?;
        let before = Order { revision, ..order.clone() };
        before.is_current(id, seen).then_some(revision)
    });
    Some(before.max().unwrap_or(order.revision))
}

/// Instances of earlier orders that live.
pub(crate) fn earlier<'a>(
    order: &'a Order,
    observed: &'a Observed,
) -> impl Iterator<Item = (&'a InstanceId, &'a Seen)> {
    let here = instances_of(&order.app.name, observed);
    here.filter(|(id, seen)| {
        !matches!(seen.life, Life::Leaving | Life::Stopped | Life::Ended)
            && !order.is_current(id, seen)
    })
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::sync::Arc;

    use super::*;
    use crate::app::sample;
    use crate::name::Port;
    use crate::place::Place;

    const READY: Life = Life::Running(Health::Ready);
    const UNREADY: Life = Life::Running(Health::Unready);
    const UNKNOWN: Life = Life::Running(Health::Unknown);
    const SECOND: Duration = Duration::from_secs(1);

    fn order(revision: u32) -> Order {
        let order = Order::new(sample("a", 2));
        let revision = (0..revision).fold(order.revision, |revision, _| revision.next());
        Order { revision, ..order }
    }

    /// Instances by number: of which order, how they are, and how often they were restarted.
    fn observed(all: &[(u32, &Order, Life, u32)]) -> Observed {
        let seen = |(number, order, life, restarts): &(u32, &Order, Life, u32)| {
            let id = InstanceId::new(order.app.name.clone(), *number);
            let place = Place::Port(Port::new(9000).expect("not 0"));
            let spec = order.job(*number, &place).into();
            (id, Seen { place, spec, life: *life, restarts: *restarts })
        };
        Observed { instances: all.iter().map(seen).collect(), ..Observed::default() }
    }

    fn desired(order: &Order) -> Desired {
        let wanted = Wanted::Running(order.clone());
        let apps = BTreeMap::from([(order.app.name.clone(), wanted)]).into();
        Desired { apps, ..Desired::default() }
    }

    fn cause(trials: &Trials, order: &Order) -> Option<Cause> {
        trials.failure(&order.app.name).map(|failure| failure.cause)
    }

    /// The verdict on what is seen second by second.
    fn verdict(order: &Order, seconds: &[&[(u32, &Order, Life, u32)]]) -> Option<Cause> {
        let (mut trials, begun) = (Trials::default(), Instant::now());
        for (second, all) in (0..).zip(seconds) {
            trials.judge(begun + SECOND * second, &desired(order), &observed(all), &Touched::All);
        }
        cause(&trials, order)
    }

    #[test]
    fn o05_what_ends_or_dies_has_failed() {
        let (old, new) = (&order(0), &order(1));
        assert_eq!(verdict(new, &[&[(1, old, READY, 0), (2, new, Life::Coming, 0)]]), None);
        let ended: &[_] = &[(1, old, READY, 0), (2, new, Life::Ended, 0)];
        assert_eq!(verdict(new, &[ended]), Some(Cause::Ended));
        assert_eq!(verdict(new, &[&[(2, new, UNREADY, 2)]]), None);
        assert_eq!(verdict(new, &[&[(2, new, UNREADY, 3)]]), Some(Cause::Dies));
        assert_eq!(verdict(new, &[&[(2, new, Life::Coming, 3)]]), Some(Cause::Dies));
        assert_eq!(verdict(new, &[&[(2, new, READY, 3)]]), None);
        assert_eq!(verdict(new, &[&[(1, old, Life::Ended, 9), (2, new, READY, 0)]]), None);
        assert_eq!(verdict(new, &[&[(2, new, Life::Leaving, 3)]]), None);
    }

    #[test]
    fn o05_deaths_count_while_it_is_rolled_also_when_it_is_ready_in_between() {
        let (old, new) = (&order(0), &order(1));
        let at = |life, restarts| [(1, old, READY, 0), (2, new, life, restarts)];
        let all = [at(READY, 0), at(UNREADY, 1), at(READY, 1), at(READY, 2), at(Life::Coming, 3)];
        let all: Vec<&[_]> = all.iter().map(|at| &at[..]).collect();
        assert_eq!(verdict(new, &all), Some(Cause::Dies));
        let alone: [&[_]; 3] =
            [&[(2, new, READY, 2)], &[(2, new, UNREADY, 4)], &[(2, new, UNREADY, 5)]];
        assert_eq!(verdict(new, &alone[..2]), None, "it has been well for a while");
        assert_eq!(verdict(new, &alone), Some(Cause::Dies));
    }

    #[test]
    fn o05_what_is_not_known_yet_is_not_held_against_anybody() {
        let new = &order(1);
        assert_eq!(verdict(new, &[&[(2, new, UNKNOWN, 7)]]), None);
        let all: [&[_]; 3] =
            [&[(2, new, UNKNOWN, 7)], &[(2, new, READY, 7)], &[(2, new, UNREADY, 8)]];
        assert_eq!(verdict(new, &all), None);
    }

    #[test]
    fn o05_what_is_not_ready_in_time_has_failed() {
        let (old, mut new) = (order(0), order(1));
        Arc::make_mut(&mut new.app).patience = SECOND * 5;
        let old = Order { app: new.app.clone(), ..old };
        let (mut trials, begun) = (Trials::default(), Instant::now());
        let mut judge = |second: u32, life| {
            let all = observed(&[(1, &old, READY, 0), (2, &new, life, 0)]);
            trials.judge(begun + SECOND * second, &desired(&new), &all, &Touched::All);
            let due = trials.next_deadline().map(|due| due.duration_since(begun).as_secs());
            (cause(&trials, &new), due)
        };
        assert_eq!(judge(1, Life::Asked), (None, Some(6)));
        assert_eq!(judge(3, UNREADY), (None, Some(6)));
        assert_eq!(judge(4, READY), (None, None));
        assert_eq!(judge(5, UNREADY), (None, Some(10)), "it was ready in between");
        assert_eq!(judge(9, Life::Coming), (None, Some(10)));
        assert_eq!(judge(10, UNREADY), (Some(Cause::Slow(SECOND * 5)), None));
        assert_eq!(judge(11, READY), (None, None));
    }

    #[test]
    fn o05_what_is_refused_has_failed_until_something_else_is_wanted() {
        let (old, new) = (order(0), order(1));
        let mut seen = observed(&[(1, &old, READY, 0)]);
        seen.refused.insert(new.app.name.clone(), new.digest());
        let mut trials = Trials::default();
        trials.judge(Instant::now(), &desired(&new), &seen, &Touched::All);
        assert_eq!(cause(&trials, &new), Some(Cause::Refused));
        let newer = order(2);
        trials.judge(Instant::now(), &desired(&newer), &seen, &Touched::All);
        assert_eq!(cause(&trials, &newer), None);
    }

    #[test]
    fn o05_a_restart_is_taken_back_and_a_change_is_held() {
        let (first, second, third) = (order(0), order(1), order(2));
        let mut changed = third.clone();
        Arc::make_mut(&mut changed.app).args.push("new".into());
        let on = |failed: &Order, left: &[(u32, &Order, Life, u32)]| {
            give_up(failed, &observed(left)).map(|revision| revision.to_string())
        };
        let two = [(1, &first, READY, 0), (2, &second, READY, 0)];
        assert_eq!(on(&third, &two).as_deref(), Some("1"), "the last before it");
        assert_eq!(on(&third, &two[..1]).as_deref(), Some("0"));
        assert_eq!(on(&changed, &two).as_deref(), Some("2"), "the same, held");
        assert_eq!(on(&second, &[(3, &third, READY, 0)]).as_deref(), Some("1"), "never forward");
        assert_eq!(on(&third, &[(3, &third, READY, 0)]), None, "nothing earlier");
        assert_eq!(on(&third, &[(1, &first, Life::Ended, 0)]), None, "nothing that lives");
    }
}
