//! The only place that waits for children.
//!
//! Every dead child is taken here, init's own jobs and orphans alike, and becomes an event. A
//! second place that waits would steal from this one, so there is none. It is also told of children
//! that have been stopped: who shares a terminal with one may have to step aside.

use std::thread;

use tracing::error;

use crate::event::Event;
use crate::id::Pid;
use crate::limits::TROUBLE;
use crate::sys::{self, Change};

/// Dead children a turn: what is left over waits until everybody else has had theirs.
const A_TURN: usize = 512;

/// What a turn has found besides the dead.
#[derive(Debug, Default)]
pub struct Turn {
    /// Whether more may be waiting.
    pub more: bool,
    /// Children that have been stopped, and by which signal.
    pub stopped: Vec<(Pid, i32)>,
}

/// Takes dead children.
pub fn reap(mut on_event: impl FnMut(Event)) -> Turn {
    let mut turn = Turn::default();
    turn.more = reap_some(&mut on_event, &mut turn.stopped);
    on_event(Event::OrphansReaped);
    turn
}

fn reap_some(on_event: &mut impl FnMut(Event), stopped: &mut Vec<(Pid, i32)>) -> bool {
    for _ in 0..A_TURN {
        match sys::wait_any() {
            Ok(Some((pid, change))) => match (Pid::new(pid), change) {
                (Some(pid), Change::Ended(exit)) => on_event(Event::Reaped(pid, exit)),
                (Some(pid), Change::Stopped(signal)) => stopped.push((pid, signal)),
                (None, _) => {}
            },
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
