//! The only place that waits for children.
//!
//! Every dead child is taken here, init's own jobs and orphans alike. Those that are somebody's
//! become events; orphans only have to go. A second place that waits would steal from this one, so
//! there is none. It is also told of children that have been stopped: who shares a terminal with one
//! may have to step aside.

use std::thread;

use tracing::error;

use crate::event::Event;
use crate::id::Pid;
use crate::limits::TROUBLE;
use crate::reactor::Reactor;
use crate::sys::{self, Change};

/// Dead children a turn: what is left over waits until everybody else has had theirs.
const A_TURN: usize = 512;

/// What a turn has found.
#[derive(Debug, Default)]
pub struct Turn {
    /// Whether more may be waiting.
    pub more: bool,
    /// Dead children of jobs.
    pub ours: u32,
    /// Dead children that nobody else waits for.
    pub orphans: u32,
    /// Children that have been stopped, and by which signal.
    pub stopped: Vec<(Pid, i32)>,
}

/// Takes dead children, and tells `reactor` of them.
pub fn reap(reactor: &mut Reactor) -> Turn {
    let mut turn = Turn::default();
    turn.more = reap_some(reactor, &mut turn);
    if turn.orphans > 0 {
        reactor.handle(Event::OrphansReaped);
    }
    turn
}

fn reap_some(reactor: &mut Reactor, turn: &mut Turn) -> bool {
    for _ in 0..A_TURN {
        match sys::wait_any() {
            Ok(Some((pid, Change::Stopped(signal)))) => {
                turn.stopped.extend(Pid::new(pid).map(|pid| (pid, signal)));
            }
            Ok(Some((pid, Change::Ended(exit)))) => {
                let Some(pid) = Pid::new(pid) else { continue };
                reactor.take_in_hand(pid, exit);
                let exit = reactor.forget(pid).unwrap_or(exit);
                reactor.hear_out(pid);
                if reactor.is_check(pid) {
                    reactor.check_ended(exit);
                } else if reactor.knows(pid) {
                    turn.ours += 1;
                    reactor.handle(Event::Reaped(pid, exit));
                } else {
                    turn.orphans += 1;
                }
                reactor.put_down();
            }
            Ok(None) | Err(nix::errno::Errno::ECHILD) => return false,
            Err(nix::errno::Errno::EINTR) => {}
            Err(errno) => {
                error!("cannot wait for children: {}; trying again", errno.desc());
                thread::sleep(TROUBLE);
                return true;
            }
        }
    }
    true
}
