//! When a folder that keeps changing is looked at: as soon as nothing has happened for a moment, so that what an
//! editor does in several steps, or somebody with many files, is seen as one change. Pure.

use std::time::{Duration, Instant};

/// Nothing happens for so long before it is looked: a file that is away for less has not been away.
pub(crate) const QUIET: Duration = Duration::from_millis(200);
/// So long after the first change it is looked although more keep coming.
pub(crate) const LONGEST: Duration = Duration::from_secs(2);

/// Whether there is something to look at, and since when.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Calm {
    #[default]
    Calm,
    Stirred {
        first: Instant,
        last: Instant,
    },
}

impl Calm {
    /// Something has happened.
    pub(crate) fn stir(self, now: Instant) -> Self {
        match self {
            Self::Calm => Self::Stirred { first: now, last: now },
            Self::Stirred { first, .. } => Self::Stirred { first, last: now },
        }
    }

    /// When it is looked, if nothing more happens until then.
    pub(crate) fn look_at(self) -> Option<Instant> {
        let Self::Stirred { first, last } = self else { return None };
        last.checked_add(QUIET).min(first.checked_add(LONGEST))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn z01_changes_are_looked_at_when_they_are_over_and_not_too_late() {
        let begin = Instant::now();
        let ms = |ms| begin + Duration::from_millis(ms);
        assert_eq!(Calm::Calm.look_at(), None);
        let once = Calm::Calm.stir(ms(0));
        assert_eq!(once.look_at(), Some(ms(200)));
        assert_eq!(once.stir(ms(150)).look_at(), Some(ms(350)));
        let again_and_again = (0..100).fold(once, |calm, n| calm.stir(ms(n * 100)));
        assert_eq!(again_and_again.look_at(), Some(ms(2000)));
    }
}
