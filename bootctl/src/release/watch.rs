//! Whether a new release keeps what it promised when it was rolled. Pure: how long ago that was and how its
//! instances are, in; a verdict, out.
//!
//! It has failed if within the window one of its instances ends, is started again by init so often that it
//! keeps dying, is not ready for half of the window, or is not ready when the window is over. One that dies
//! once and comes back is what supervision is there for.

use std::time::Duration;

use crate::name::InstanceId;

/// An instance that was started again so often keeps dying.
const DEATHS: u32 = 3;

/// How an instance is.
#[derive(Clone, Debug)]
pub(crate) struct Sight {
    pub(crate) id: InstanceId,
    /// How often init has started it again.
    pub(crate) restarts: u32,
    pub(crate) ended: bool,
    /// For how long it has not been ready, unless it is.
    pub(crate) unready: Option<Duration>,
}

/// What is to be done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// To look again after so long, if nothing happens before.
    Wait(Duration),
    Passed,
    Failed(InstanceId, Trouble),
}

/// What an instance has done.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Trouble {
    #[error("has ended")]
    Ended,
    #[error("was started again {0} times")]
    Dies(u32),
    #[error("is not ready any more")]
    Unready,
}

/// Judges a release that has served for `age`.
pub(crate) fn watch(window: Duration, age: Duration, crew: &[Sight]) -> Verdict {
    let half = window / 2;
    let is_over = age >= window;
    let mut next = window.saturating_sub(age);
    for Sight { id, restarts, ended, unready } in crew {
        let failed = |trouble| Verdict::Failed(id.clone(), trouble);
        if *ended {
            return failed(Trouble::Ended);
        }
        if *restarts >= DEATHS {
            return failed(Trouble::Dies(*restarts));
        }
        if let Some(unready) = unready {
            if is_over || *unready >= half {
                return failed(Trouble::Unready);
            }
            next = next.min(half.saturating_sub(*unready));
        }
    }
    if is_over { Verdict::Passed } else { Verdict::Wait(next) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::name::AppName;

    const SECOND: Duration = Duration::from_secs(1);

    fn sight(number: u32, restarts: u32, unready: Option<u32>) -> Sight {
        let id = InstanceId::new(AppName::parse("a").expect("a name"), number);
        Sight { id, restarts, ended: false, unready: unready.map(|seconds| SECOND * seconds) }
    }

    fn at(age: u32, crew: &[Sight]) -> String {
        match watch(SECOND * 30, SECOND * age, crew) {
            Verdict::Wait(time) => format!("wait {}", time.as_secs()),
            Verdict::Passed => "passed".into(),
            Verdict::Failed(id, trouble) => format!("{id} {trouble}"),
        }
    }

    #[test]
    fn d08_a_release_is_watched_for_a_while() {
        let well = || sight(1, 0, None);
        assert_eq!(at(0, &[well()]), "wait 30");
        assert_eq!(at(29, &[well(), sight(2, 2, None)]), "wait 1", "two deaths are forgiven");
        assert_eq!(at(30, &[well(), sight(2, 2, None)]), "passed");
        assert_eq!(at(3, &[well(), sight(2, 3, None)]), "a.2 was started again 3 times");
        assert_eq!(at(3, &[well(), Sight { ended: true, ..sight(2, 0, None) }]), "a.2 has ended");
    }

    #[test]
    fn d08_one_that_is_not_ready_any_more_has_its_time() {
        let well = || sight(1, 0, None);
        assert_eq!(at(3, &[well(), sight(2, 0, Some(0))]), "wait 15");
        assert_eq!(at(17, &[well(), sight(2, 0, Some(14))]), "wait 1");
        assert_eq!(at(18, &[well(), sight(2, 0, Some(15))]), "a.2 is not ready any more");
        assert_eq!(at(28, &[well(), sight(2, 0, Some(1))]), "wait 2", "the window ends before");
        assert_eq!(at(30, &[well(), sight(2, 0, Some(3))]), "a.2 is not ready any more");
    }

    #[test]
    fn d08_no_window_is_no_watch() {
        assert_eq!(watch(Duration::ZERO, Duration::ZERO, &[sight(1, 0, None)]), Verdict::Passed);
    }
}
