//! Which releases an app has, which one it runs from, and what is to be done if that one fails. Pure.
//!
//! ```text
//!              switch             it serves            the watch is over
//!   (no trial) ──────▶ being rolled ──────▶ being watched ──────▶ (no trial)
//!                        │ it fails            │ it fails
//!                        └─────────▶ fall back ◀┘   to what it was before, if there is such a thing
//! ```

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use super::{Base, Contents, Number};

/// What is kept of an app's releases; part of its record.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct History {
    /// What it is to run from.
    #[serde(default, skip_serializing_if = "is_file")]
    pub(crate) current: Base,
    /// What it ran from before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) previous: Option<Base>,
    /// Built, and not deployed yet.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) staged: Option<Number>,
    /// The highest number that was given to one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) last: Option<Number>,
    /// Those that are whole.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub(crate) kept: BTreeMap<Number, About>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) probation: Option<Probation>,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde asks so")]
fn is_file(base: &Base) -> bool {
    *base == Base::File
}

/// One release.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct About {
    /// When it was put together, in seconds since 1970.
    pub(crate) at: u64,
    pub(crate) bytes: u64,
    pub(crate) entries: u64,
    /// Why it was taken back.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) failed: Option<String>,
}

/// A switch that may still be taken back.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Probation {
    /// What to go back to, if that is something that ran.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) back_to: Option<Base>,
    /// What was the previous one then.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) previous: Option<Base>,
    /// When all of it served, in milliseconds since 1970; none while it is being rolled.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) reached: Option<u64>,
}

impl About {
    pub(crate) fn new(at: u64, contents: Contents) -> Self {
        let Contents { bytes, entries } = contents;
        Self { at, bytes, entries, failed: None }
    }
}

impl History {
    /// The number of the next release. `highest` is what the folder knows, which may be more than the record.
    pub(crate) fn next(&self, highest: Option<Number>) -> Number {
        let last = self.last.into_iter().chain(self.kept.keys().copied()).chain(highest).max();
        last.map_or(Number::FIRST, Number::next)
    }

    /// Notes that a whole one is there.
    pub(crate) fn take_in(&mut self, number: Number, about: About) {
        self.kept.insert(number, about);
        self.last = self.last.max(Some(number));
    }

    /// What it runs from is to be this. `ran` says whether it has run from what its file names, so that this is
    /// something to go back to.
    pub(crate) fn switch(&mut self, to: Base, ran: bool) {
        if self.staged.map(Base::Release) == Some(to) {
            self.staged = None;
        }
        if to == self.current {
            return;
        }
        // Who goes back while it is being rolled has never left.
        if let Some(Probation { back_to, previous, reached: None }) = &self.probation
            && *back_to == Some(to)
        {
            (self.previous, self.current) = (*previous, to);
            self.probation = None;
            return;
        }
        let back_to = Some(self.current).filter(|base| *base != Base::File || ran);
        self.probation = Some(Probation { back_to, previous: self.previous, reached: None });
        self.previous = Some(self.current).filter(|base| *base != Base::File || ran);
        self.current = to;
    }

    /// All of it serves.
    pub(crate) fn reach(&mut self, now: u64) {
        if let Some(probation) = &mut self.probation
            && probation.reached.is_none()
        {
            probation.reached = Some(now);
        }
    }

    /// It is as good as any.
    pub(crate) fn pass(&mut self) {
        self.probation = None;
        if let Some(about) = self.current.release().and_then(|number| self.kept.get_mut(&number)) {
            about.failed = None;
        }
    }

    /// What it runs from has failed: it is marked, and what it was before is wanted again. Answers what that
    /// is; nothing if there is nothing to go back to, then it stays.
    pub(crate) fn fall_back(&mut self, why: &str) -> Option<Base> {
        let Probation { back_to, previous, .. } = self.probation.take()?;
        if let Some(about) = self.current.release().and_then(|number| self.kept.get_mut(&number)) {
            about.failed = Some(why.to_owned());
        }
        let back_to = back_to?;
        (self.current, self.previous) = (back_to, previous);
        Some(back_to)
    }

    /// Those that may go: failed ones that another one has followed, and the oldest beyond `keep`. Never one that
    /// is needed, or in use.
    pub(crate) fn surplus(&self, keep: usize, in_use: &BTreeSet<Number>) -> Vec<Number> {
        let trial = self.probation.iter().flat_map(|p| [p.back_to, p.previous]);
        let bases = [Some(self.current), self.previous].into_iter().chain(trial);
        let mut needed: BTreeSet<Number> = bases.flatten().filter_map(Base::release).collect();
        needed.extend(in_use);
        needed.extend(self.staged);
        let followed = |number: &Number| self.current > Base::Release(*number);
        let free = || {
            let free = self.kept.iter().filter(|(number, _)| !needed.contains(number));
            free.filter(|(number, about)| about.failed.is_none() || followed(number))
        };
        let failed = free().filter(|(_, about)| about.failed.is_some());
        let mut gone: BTreeSet<Number> = failed.map(|(number, _)| *number).collect();
        for (number, _) in free() {
            if self.kept.len().saturating_sub(gone.len()) <= keep {
                break;
            }
            gone.insert(*number);
        }
        gone.into_iter().collect()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn number(n: u32) -> Number {
        (1..n).fold(Number::FIRST, |number, _| number.next())
    }

    fn release(n: u32) -> Base {
        Base::Release(number(n))
    }

    fn with(numbers: &[u32]) -> History {
        let mut history = History::default();
        for n in numbers {
            history.take_in(number(*n), About::new(0, Contents::default()));
        }
        history
    }

    fn deployed(history: &mut History, n: u32) {
        history.take_in(number(n), About::new(0, Contents::default()));
        history.switch(release(n), true);
        history.reach(1);
        history.pass();
    }

    #[test]
    fn d08_a_failed_release_is_taken_back_and_marked() {
        let mut history = History::default();
        deployed(&mut history, 1);
        deployed(&mut history, 2);
        history.take_in(number(3), About::new(0, Contents::default()));
        history.switch(release(3), true);
        assert_eq!((history.current, history.previous), (release(3), Some(release(2))));
        assert_eq!(history.fall_back("it dies"), Some(release(2)));
        assert_eq!((history.current, history.previous), (release(2), Some(release(1))));
        assert_eq!(history.kept[&number(3)].failed.as_deref(), Some("it dies"));
        assert_eq!(history.next(None), number(4), "its number is not used again");
        assert_eq!(history.surplus(1, &BTreeSet::new()), [], "it is there to be looked at");
        deployed(&mut history, 4);
        assert_eq!(history.surplus(5, &BTreeSet::new()), [number(3)]);
        assert_eq!(history.fall_back("too late"), None);
    }

    #[test]
    fn d08_the_first_release_goes_back_only_to_what_has_run() {
        for (ran, back) in [(true, Some(Base::File)), (false, None)] {
            let mut history = with(&[1]);
            history.switch(release(1), ran);
            assert_eq!(history.fall_back("it ends"), back);
            assert_eq!(history.current, back.unwrap_or(release(1)));
            assert!(history.kept[&number(1)].failed.is_some());
        }
    }

    #[test]
    fn d08_rollback_while_rolling_undoes_and_afterwards_switches() {
        let mut history = History::default();
        for n in 1..=3 {
            deployed(&mut history, n);
        }
        history.take_in(number(4), About::new(0, Contents::default()));
        history.switch(release(4), true);
        history.switch(release(3), true);
        assert_eq!((history.current, history.previous), (release(3), Some(release(2))));
        assert_eq!(history.probation, None);
        history.switch(release(1), true);
        assert_eq!((history.current, history.previous), (release(1), Some(release(3))));
        history.reach(7);
        assert_eq!(history.fall_back("it dies"), Some(release(3)), "also within the watch");
    }

    #[test]
    fn d08_old_releases_go_and_needed_ones_stay() {
        let mut history = History::default();
        for n in 1..=6 {
            deployed(&mut history, n);
        }
        assert_eq!(history.surplus(4, &BTreeSet::new()), [number(1), number(2)]);
        assert_eq!(history.surplus(4, &BTreeSet::from([number(1)])), [number(2), number(3)]);
        assert_eq!(history.surplus(1, &BTreeSet::new()).len(), 4, "current and previous stay");
        history.staged = Some(number(1));
        assert!(!history.surplus(2, &BTreeSet::new()).contains(&number(1)));
        assert_eq!(history.next(Some(number(9))), number(10), "what the folder knows counts, too");
    }

    #[test]
    fn what_is_written_is_read_again() {
        let mut history = with(&[1, 2]);
        history.switch(release(2), true);
        history.reach(5);
        let text = serde_json::to_string(&history).expect("written");
        assert_eq!(serde_json::from_str::<History>(&text).expect("read"), history);
        assert!(serde_json::from_str::<History>(r#"{"curent": 1}"#).is_err());
        assert_eq!(serde_json::to_string(&History::default()).expect("written"), "{}");
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn d08_what_is_wanted_is_always_there(steps in prop::collection::vec(0..6_u8, 0..60)) {
            let mut history = History::default();
            for step in steps {
                match step {
                    0 | 1 => {
                        let new = history.next(None);
                        history.take_in(new, About::new(0, Contents::default()));
                        history.switch(Base::Release(new), true);
                    }
                    2 => history.reach(1),
                    3 => history.pass(),
                    4 => drop(history.fall_back("no")),
                    _ => {
                        if let Some(previous) = history.previous {
                            history.switch(previous, true);
                        }
                    }
                }
                for gone in history.surplus(2, &BTreeSet::new()) {
                    history.kept.remove(&gone);
                }
                let trial = history.probation.iter().flat_map(|p| [p.back_to, p.previous]);
                for base in [Some(history.current), history.previous].into_iter().chain(trial).flatten() {
                    prop_assert!(base.release().is_none_or(|n| history.kept.contains_key(&n)), "{history:?}");
                }
            }
        }
    }
}
