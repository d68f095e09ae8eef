//! init: job control over HTTP on loopback, as PID 1 or as a subreaper, and nothing else.
//!
//! The core is pure: [`table`] holds all jobs, [`job`] is one job's automaton, [`restart`] and
//! [`shutdown`] decide when to start again and when to end. They are given events and answer with
//! effects ([`event`]). Around them, [`reactor`] performs the effects, [`reaper`] is the only one
//! who waits for children, [`spawn`], [`birth`] and [`sys`] make them, and [`api`] is the way in.

/// init's version; a build for debugging says so.
pub const VERSION: &str = if cfg!(debug_assertions) {
    concat!(env!("CARGO_PKG_VERSION"), "+debug")
} else {
    env!("CARGO_PKG_VERSION")
};

pub mod access;
pub mod account;
pub mod adoption;
pub mod api;
pub mod birth;
pub mod capability;
pub mod cgroup;
pub mod chronicle;
pub mod clock;
pub mod defect;
pub mod descent;
pub mod descriptor;
pub mod detached;
pub mod door;
pub mod event;
pub mod forward;
pub mod id;
pub mod inherit;
pub mod input;
pub mod job;
pub mod limits;
pub mod listen;
pub mod log;
pub mod machine;
pub mod notice;
pub mod occupant;
pub mod oom;
pub mod options;
pub mod output;
pub mod past;
pub mod process;
pub mod reactor;
pub mod reaper;
pub mod renew;
pub mod restart;
pub mod run;
pub mod shutdown;
pub mod signal;
pub mod signals;
pub mod snag;
pub mod spawn;
pub mod spec;
pub mod stats;
pub mod stdio;
pub mod store;
pub mod stranger;
pub mod sys;
pub mod table;
pub mod terminal;
pub mod token;
pub mod tree;
