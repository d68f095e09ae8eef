//! bootctl is killed at random moments while several administrators are at work.
//!
//! `JOBINIT_KILLS=5000` for more, `JOBINIT_SEED` for the commands and delays of an earlier run.

use jobinit_tests::crash;

const PROGRAMS: [&str; 2] = [env!("CARGO_BIN_EXE_moody"), env!("CARGO_BIN_EXE_serves")];
const KILLS: u64 = 500;

#[test]
fn o15_no_kill_of_the_supervisor_is_to_be_noticed() {
    let kills = crash::told("JOBINIT_KILLS").unwrap_or(KILLS);
    let seed = crash::told("JOBINIT_SEED").unwrap_or_else(crash::new_seed);
    crash::run(PROGRAMS, usize::try_from(kills).expect("a number"), seed);
}
