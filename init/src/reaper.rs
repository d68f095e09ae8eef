//! The only place that waits for children.
//!
//! Every dead child is taken here, init's own jobs and orphans alike, and becomes an event. A
//! second place that waits would steal from this one, so there is none.

use std::thread;
use std::time::Duration;

use tracing::error;

use crate::event::Event;
use crate::id::Pid;
use crate::sys;

/// Dead children a turn: what is left over waits until everybody else has had theirs.
const A_TURN: usize = 512;

/// A pause where the kernel fails init, so that it is not asked again without end.
const TROUBLE: Duration = Duration::from_millis(10);

/// Takes dead children. Answers whether more may be waiting.
pub fn reap(mut on_event: impl FnMut(Event)) -> bool {
    let more = reap_some(&mut on_event);
    on_event(Event::OrphansReaped);
    more
}

fn reap_some(on_event: &mut impl FnMut(Event)) -> bool {
    for _ in 0..A_TURN {
        match sys::wait_any() {
            Ok(Some((pid, exit))) => {
                if let Some(pid) = Pid::new(pid) {
                    on_event(Event::Reaped(pid, exit));
                }
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
