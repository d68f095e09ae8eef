//! The vocabulary of init's job API: what goes over the wire, and nothing else.
//!
//! These types are serde shapes. They check what a shape can check (unknown fields, types,
//! ranges of numbers); whether a signal, user or address exists is for init to say.
//! `api.md` is the prose of the same thing.

mod error;
mod output;
mod spec;
mod stats;
mod view;

pub use error::ErrorBody;
pub use output::{LogLine, OutputEvent};
pub use spec::{
    Account, Bound, Cgroup, Channel, FdSpec, JobSpec, Log, Policy, Ready, Restart, Rlimit,
    RlimitHalves, RlimitName, Rlimits, Setting, SignalName, Stdio, Stop, Unlimited, WhenFull,
};
pub use stats::{CpuStats, IoStats, JobStats, MemoryStats, Source};
pub use view::{InitInfo, JobEvent, JobInfo, LastExit, Status};
