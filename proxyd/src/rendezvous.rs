//! Rendezvous hashing: everybody's bid for a key depends on nobody else, and the highest one has it.
//!
//! So whoever leaves moves only what it had, and whoever comes takes only what it wins: by weight,
//! and without a table that would have to be made anew at each change. A ring of points does the same
//! nearly, with a hundred points for each; it is faster to look up from some hundred targets on. Who
//! is full is passed over for the next bid, which bounds the load as a ring's walk would.

use std::hash::Hasher;

use siphasher::sip::SipHasher13;

/// What a text is known by: the same in each version, worker and generation.
pub(crate) fn fingerprint(text: &[u8]) -> u64 {
    let mut hasher = SipHasher13::new_with_keys(0x6a6f_6269_6e69_7470, 0x726f_7879_6468_6173);
    hasher.write(text);
    hasher.finish()
}

/// A bid: what is higher wins.
#[derive(Clone, Copy, Debug, PartialEq, PartialOrd)]
pub(crate) struct Bid(f64);

/// What the one with this seed bids for a key.
pub(crate) fn bid(key: u64, seed: u64, weight: u16) -> Bid {
    // Uniform in (0, 1]; the logarithm makes chances of winning proportional to the weights.
    #[expect(clippy::cast_precision_loss, reason = "53 of the bits are enough")]
    let uniform = ((mix(key ^ seed) >> 11) + 1) as f64 / (1_u64 << 53) as f64;
    // Halves of the range of negative numbers: 0 would be infinitely good.
    Bid(f64::from(weight) / -uniform.ln().min(-f64::MIN_POSITIVE))
}

/// Spreads what differs in few bits over all of them: the last steps of `SplitMix64`.
fn mix(mut x: u64) -> u64 {
    x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    x ^ (x >> 31)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn winner(key: u64, bidders: &[(String, u16)]) -> usize {
        let bids =
            bidders.iter().map(|(name, weight)| bid(key, fingerprint(name.as_bytes()), *weight));
        let (at, _) = bids.enumerate().max_by(|(_, a), (_, b)| a.partial_cmp(b).unwrap()).unwrap();
        at
    }

    fn bidders() -> impl Strategy<Value = Vec<(String, u16)>> {
        proptest::collection::btree_map("[a-z]{1,8}\\.[0-9]{1,3}", 1..=256_u16, 2..12)
            .prop_map(|bidders| bidders.into_iter().collect())
    }

    proptest! {
        #[test]
        fn whoever_leaves_moves_only_its_share(bidders in bidders(), leaver in any::<prop::sample::Index>()) {
            let leaver = leaver.index(bidders.len());
            let mut left = bidders.clone();
            left.remove(leaver);
            for key in 0..500_u64 {
                let key = fingerprint(&key.to_le_bytes());
                let before = winner(key, &bidders);
                if before != leaver {
                    prop_assert_eq!(&bidders[before], &left[winner(key, &left)]);
                }
            }
        }

        #[test]
        fn more_weight_takes_and_gives_nothing(bidders in bidders(), riser in any::<prop::sample::Index>()) {
            let riser = riser.index(bidders.len());
            let mut risen = bidders.clone();
            risen[riser].1 *= 2;
            for key in 0..500_u64 {
                let key = fingerprint(&key.to_le_bytes());
                let (before, after) = (winner(key, &bidders), winner(key, &risen));
                prop_assert!(after == before || after == riser);
            }
        }
    }

    #[test]
    fn shares_are_by_weight() {
        let bidders: Vec<(String, u16)> = [("app.1", 1), ("app.2", 1), ("app.3", 2), ("app.4", 4)]
            .map(|(n, w)| (n.to_owned(), w))
            .into();
        let keys = 80_000_u64;
        let mut had = [0_u64; 4];
        for key in 0..keys {
            had[winner(fingerprint(&key.to_le_bytes()), &bidders)] += 1;
        }
        for (had, (name, weight)) in had.into_iter().zip(&bidders) {
            let fair = keys * u64::from(*weight) / 8;
            assert!(had.abs_diff(fair) < fair / 20, "{name} has {had}, not {fair}");
        }
    }
}
