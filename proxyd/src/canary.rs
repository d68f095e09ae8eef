//! Which requests try out what is new.

use proxyd_wire::Group;

/// What the value of a field or cookie says.
pub(crate) fn decided(value: &[u8]) -> Option<Group> {
    match value {
        b"always" => Some(Group::Canary),
        b"never" => Some(Group::Stable),
        _ => None,
    }
}

/// What a cookie says so that it is decided the same way next time.
pub(crate) fn word(group: Group) -> &'static str {
    match group {
        Group::Canary => "always",
        Group::Stable => "never",
    }
}

/// What number `turn` of the undecided gets. Of any hundred in a row exactly `percent` are tried on,
/// spread as evenly as can be.
pub(crate) fn share(turn: u64, percent: u32) -> Group {
    let percent = u64::from(percent.min(100));
    let before = (turn % 100) * percent;
    if before / 100 < (before + percent) / 100 { Group::Canary } else { Group::Stable }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn any_hundred_in_a_row_have_the_share(start in 0..u64::MAX / 2, percent in 0..=100_u32) {
            let tried = (start..start + 100).filter(|&turn| share(turn, percent) == Group::Canary);
            prop_assert_eq!(tried.count(), percent as usize);
        }

        #[test]
        fn they_are_spread(start in 0..1000_u64, length in 1..100_u64, percent in 0..=100_u32) {
            let tried = (start..start + length).filter(|&turn| share(turn, percent) == Group::Canary);
            let fair = length * u64::from(percent);
            prop_assert!((tried.count() as u64 * 100).abs_diff(fair) <= 100);
        }
    }

    #[test]
    fn words() {
        for group in [Group::Canary, Group::Stable] {
            assert_eq!(decided(word(group).as_bytes()), Some(group));
        }
        assert_eq!(decided(b"sometimes"), None);
    }
}
