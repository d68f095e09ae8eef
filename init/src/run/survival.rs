//! Going on after a crash of init's own: what is prepared for it, and what the next life is left.
//!
//! ```text
//! crashes in a row   goes on with
//! 1 to 3             what init knew at that moment
//! 4 to 6             the same, but for what was under way; no job is started by its policy for a minute
//! more               nothing: the jobs' processes run on as nobody's, the API is there
//! ```
//!
//! If what init knew cannot be written down, what it knew a while ago takes its place: a note of that is
//! made after changes, now and then.

use std::ffi::CString;
use std::io;
use std::mem;
use std::os::fd::{AsRawFd, IntoRawFd, OwnedFd, RawFd};
use std::os::unix::ffi::OsStringExt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use tracing::{error, warn};

use super::life::Life;
use crate::event::Ending;
use crate::notice::Heard;
use crate::output::Outputs;
use crate::reactor::{Facts, Reactor};
use crate::renew::{self, CRASHED, RESUMED, State, new_file};
use crate::sys::crash::{self, Crash, End, Paper, Plan, Testator};
use crate::{machine, sys};

/// A life that has lasted so long is none of a row of crashes.
const CALM: Duration = Duration::from_secs(10);
/// Crashes in a row after which restarts are held back, and after which nothing is gone on with.
const FEW: u32 = 3;
const MOST: u32 = 6;
/// How long restarts are held back.
const HOLD: Duration = Duration::from_mins(1);
/// Before a life without a past: a row of crashes is not to take all the time there is.
pub const PAUSE: Duration = Duration::from_secs(1);

/// The least time between two notes, and how much longer than one takes to write.
const NOTES_APART: Duration = Duration::from_secs(1);
const TIMES_APART: u32 = 1000;
/// Bytes that a job's copy takes, and more.
const A_JOB: usize = 1024;

/// Prepares for a crash; `good` is what has been gone on with, if anything has.
pub(super) fn be_prepared(facts: &Facts, crash: Option<Crash>, good: Option<OwnedFd>) {
    let prepared = facts.program().and_then(|program| {
        let good = good.map_or_else(new_file, Ok)?;
        let scratch = new_file()?;
        let files = (good.as_raw_fd(), scratch.as_raw_fd());
        crash::prepare(plan(program, crash, facts.listener, files)).map_err(io::Error::from)?;
        // They stay open for ever.
        let _ = (good.into_raw_fd(), scratch.into_raw_fd());
        Ok(())
    });
    if let Err(error) = prepared {
        warn!("a crash of init would be its end: {error}");
    }
}

/// The same before the state in `good` has been read, which could crash, too. What is listened on is not
/// known then, if this is no life after a crash.
pub fn be_prepared_to_read(good: RawFd) {
    let crash = renew::crash();
    let program = CString::new(renew::program(Path::new("/")).into_os_string().into_vec());
    let listener = crash.map_or(-1, |crash| crash.listener);
    let plan = plan(program.unwrap_or_default(), crash, listener, (good, -1));
    if let Err(errno) = crash::prepare(plan) {
        warn!("a crash of init would be its end: {}", errno.desc());
    }
}

fn plan(
    program: CString,
    crash: Option<Crash>,
    listener: RawFd,
    (good, scratch): (RawFd, RawFd),
) -> Plan {
    Plan {
        program,
        argv: renew::args(),
        envp: renew::other_envs(),
        state: RESUMED,
        crash: CRASHED,
        before: crash.map_or(0, |crash| crash.count),
        calm: u64::try_from(CALM.as_millis()).unwrap_or(u64::MAX),
        most: MOST,
        listener,
        good,
        scratch,
    }
}

/// Whether jobs are not to be started by their policies for a while, and until when.
pub(super) fn hold(crash: Crash) -> Option<Instant> {
    (crash.is_older || is_suspect(crash)).then(|| Instant::now() + HOLD)
}

/// Whether what init knows may be what makes it crash.
pub(super) fn is_suspect(crash: Crash) -> bool {
    crash.count > FEW
}

/// All is over: a crash from now on is the end that was to come.
pub(super) fn end_with((ending, code): (Ending, u8), in_vm: bool) {
    crash::end_with(if in_vm {
        End::Machine((machine::command(ending) as i32).cast_unsigned())
    } else {
        End::Exit(code)
    });
}

/// Says what has happened.
pub(super) fn report(crash: Crash) {
    let Crash { signal, count, is_older, .. } = crash;
    let name = crate::signal::Signal::from_number(signal).map(|signal| signal.to_string());
    let name = name.unwrap_or_else(|| format!("signal {signal}"));
    error!("a defect in init: it crashed by {name}; all jobs go on ({count} in a row)");
    if is_older {
        error!("what it knew then is lost: it goes on with what it knew some time before");
    }
    if is_older || is_suspect(crash) {
        error!("no job is started again by its policy for {} s", HOLD.as_secs());
    }
}

/// When what init knows is noted.
#[derive(Debug)]
pub(super) struct Notes {
    /// The change that was noted last.
    noted: u64,
    not_before: Instant,
}

impl Notes {
    /// None yet. After a crash, what was gone on with is good until it has proven not to be.
    pub(super) fn new(crash: Option<Crash>) -> Self {
        let wait = if crash.is_some() { CALM } else { NOTES_APART };
        Self { noted: 0, not_before: Instant::now() + wait }
    }

    /// When the next one is due.
    pub(super) fn next(&self, reactor: &Reactor) -> Option<Instant> {
        (reactor.changes() != self.noted).then_some(self.not_before)
    }

    /// Makes it, of what `state` says.
    fn write(&mut self, reactor: &Reactor, state: impl FnOnce(&Reactor) -> State) {
        let begun = Instant::now();
        self.noted = reactor.changes();
        let written = crash::scratch().map(|paper| {
            // It is copied first.
            if !sys::memory::has_room(reactor.count_jobs() * A_JOB) {
                return Err(io::ErrorKind::OutOfMemory.into());
            }
            let mut state = state(reactor);
            state.mark();
            state.write_to(paper, &Outputs::default())
        });
        match written {
            None => {}
            Some(Ok(())) => crash::keep_scratch(),
            Some(Err(error)) => warn!("cannot note what init knows: {error}"),
        }
        let cost = begun.elapsed();
        self.not_before = begun + NOTES_APART.max(cost * TIMES_APART);
    }
}

impl Life {
    /// Prepares for a crash once there is something to lose. Who only runs a program that is through in a
    /// moment does not pay for it.
    pub(super) fn be_prepared(&mut self) {
        if !std::mem::replace(&mut self.is_prepared, true) {
            be_prepared(self.reactor.facts(), None, None);
        }
    }

    /// Notes what init knows, if it is time.
    pub(super) fn take_note(&mut self, now: Instant) {
        let due = self.notes.next(&self.reactor);
        if due.is_some_and(|at| at <= now) {
            let (tickets, terminal) = (self.door.last_ticket(), self.pause.is_held());
            self.notes.write(&self.reactor, |reactor| reactor.save_lasting(tickets, terminal));
            // Writing has mapped parts of the program that nothing else needs.
            self.thrift = Some(Instant::now());
        }
    }
}

impl Testator for Life {
    fn write(&mut self, to: Paper) -> io::Result<()> {
        let mut state =
            self.reactor.save(Vec::new(), self.door.last_ticket(), self.pause.is_held());
        // The queue may be what is broken.
        let heard = catch_unwind(AssertUnwindSafe(|| {
            let mut heard = Vec::new();
            while let Ok(message) = self.messages.try_recv() {
                heard.push(Heard::of(&message));
                // What came with it stays open.
                mem::forget(message);
            }
            heard
        }));
        state.heard = heard.unwrap_or_default();
        state.signals = self.signals.unhandled().collect();
        state.in_hand = self.in_hand;
        state.mark();
        self.reactor.write_to(&state, to)?;
        for fd in state.fds() {
            sys::set_close_on_exec(fd, false).or_else(|errno| match errno {
                // Where it says that it is gone.
                Errno::EBADF => Ok(()),
                errno => Err(errno),
            })?;
        }
        Ok(())
    }
}
