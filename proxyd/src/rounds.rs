//! Round robin by weight, without a memory but one counter: which place has turn N?
//!
//! A cycle is as many rounds as the largest weight. In each, everybody is asked once whose weight
//! reaches beyond the round's number. The numbers are gone through with their bits reversed, so that
//! the light ones are not all asked in the same part of the cycle.

/// The cycle for some weights.
#[derive(Debug, Default)]
pub(crate) struct Rounds {
    /// Places, the heaviest first.
    places: Vec<usize>,
    /// After each round, how many turns the cycle has had, and none before the first.
    turns: Vec<u64>,
}

impl Rounds {
    /// A weight of 0 has no turn.
    pub(crate) fn new(weights: &[u16]) -> Rounds {
        let divisor = weights.iter().copied().filter(|&w| w > 0).fold(0, common_divisor).max(1);
        let weight = |place: usize| weights.get(place).map_or(0, |weight| weight / divisor);
        let mut places: Vec<usize> = (0..weights.len()).filter(|&at| weight(at) > 0).collect();
        places.sort_by_key(|&place| std::cmp::Reverse(weight(place)));
        let rounds = places.first().map_or(0, |&place| weight(place));
        let mut numbers: Vec<u16> = (0..rounds).collect();
        numbers.sort_by_key(|number| number.reverse_bits());
        let mut turns = vec![0];
        let mut sum = 0;
        for number in numbers {
            sum += places.partition_point(|&place| weight(place) > number) as u64;
            turns.push(sum);
        }
        Rounds { places, turns }
    }

    /// Turns in a cycle.
    pub(crate) fn len(&self) -> u64 {
        self.turns.last().copied().unwrap_or(0)
    }

    /// The place whose turn it is; `None` if nobody has any.
    pub(crate) fn at(&self, turn: u64) -> Option<usize> {
        let turn = turn.checked_rem(self.len())?;
        let round = self.turns.partition_point(|&after| after <= turn).checked_sub(1)?;
        let step = turn.checked_sub(*self.turns.get(round)?)?;
        self.places.get(usize::try_from(step).ok()?).copied()
    }
}

fn common_divisor(a: u16, b: u16) -> u16 {
    if b == 0 { a } else { common_divisor(b, a % b) }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn one_after_the_other() {
        let order = |weights: &[u16], turns: u64| -> Vec<usize> {
            let rounds = Rounds::new(weights);
            (0..turns).map(|turn| rounds.at(turn).unwrap()).collect()
        };
        assert_eq!(order(&[7, 7, 7], 6), [0, 1, 2, 0, 1, 2]);
        assert_eq!(order(&[10, 0, 5], 6), [0, 2, 0, 0, 2, 0]);
        assert_eq!(order(&[1, 4], 5), [1, 0, 1, 1, 1]);
        assert_eq!(Rounds::new(&[]).at(3), None);
        assert_eq!(Rounds::new(&[0, 0]).at(3), None);
    }

    proptest! {
        #[test]
        fn shares_are_exact_in_each_cycle(
            weights in proptest::collection::vec(0..=256_u16, 1..20),
            start in 0..1_000_000_u64,
        ) {
            let rounds = Rounds::new(&weights);
            let mut had = vec![0_u64; weights.len()];
            for turn in start..start + rounds.len() {
                had[rounds.at(turn).unwrap()] += 1;
            }
            let (sum, cycle): (u64, _) = (weights.iter().map(|&w| u64::from(w)).sum(), rounds.len());
            for (had, weight) in had.into_iter().zip(weights) {
                prop_assert_eq!(had * sum, u64::from(weight) * cycle);
            }
        }

        #[test]
        fn nobody_waits_long(weights in proptest::collection::vec(1..=256_u16, 2..20)) {
            let rounds = Rounds::new(&weights);
            let heaviest = weights.iter().position(|w| w == weights.iter().max().unwrap()).unwrap();
            let mut since = 0;
            for turn in 0..rounds.len() * 2 {
                since = if rounds.at(turn) == Some(heaviest) { 0 } else { since + 1 };
                prop_assert!(since < 2 * weights.len());
            }
        }
    }
}
