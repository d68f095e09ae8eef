//! Readers of HTTP/1 that share nothing with proxyd's, and where to cut what is read.

#[path = "../../../tests/src/proxyd/judge.rs"]
pub mod judge;
#[path = "../../../tests/src/proxyd/lenient.rs"]
pub mod lenient;
#[path = "../../../tests/src/proxyd/strict.rs"]
pub mod strict;
#[path = "../../../tests/src/proxyd/strict_answer.rs"]
pub mod strict_answer;

/// Some of the places at which the bytes could be cut: it depends on them, so that an input says
/// it all.
pub fn cuts(bytes: &[u8]) -> Vec<usize> {
    let mut state = bytes.iter().fold(0xcbf2_9ce4_8422_2325_u64, |state, &byte| {
        (state ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3)
    });
    let mut cuts: Vec<usize> = (0..state >> 61)
        .map(|_| {
            state = state.wrapping_mul(0x5851_f42d_4c95_7f2d).wrapping_add(0x1405_7b7e_f767_814f);
            usize::try_from(state >> 33).unwrap_or(0) % (bytes.len() + 1)
        })
        .collect();
    cuts.sort_unstable();
    cuts
}

/// Every place there is.
pub fn everywhere(bytes: &[u8]) -> Vec<usize> {
    (0..bytes.len()).collect()
}
