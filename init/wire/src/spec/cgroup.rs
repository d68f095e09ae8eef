//! What the kernel's control group of a job allows it.

use serde::{Deserialize, Serialize};

/// Settings of the job's control group, version 2, named as the kernel's files are with `_` for
/// `.`: `memory_max` is written to `memory.max`. What is not set is as the kernel has it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default, expecting = "an object such as {\"memory_max\": \"256M\"}")]
pub struct Cgroup {
    /// Share of the processors, 1 to 10000; others have 100.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cpu_weight: Option<Setting>,
    /// Microseconds of processor time in each period: `"50000 100000"` is half a processor.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cpu_max: Option<Setting>,
    /// Processors it may run on: `"0-1"`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cpuset_cpus: Option<Setting>,
    /// Bytes that are kept for it when memory is short, whatever happens.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub memory_min: Option<Setting>,
    /// Bytes that are kept for it when memory is short, if possible.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub memory_low: Option<Setting>,
    /// Bytes beyond which it is slowed down.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub memory_high: Option<Setting>,
    /// Bytes beyond which the kernel ends processes of it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub memory_max: Option<Setting>,
    /// Bytes of swap it may use.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub memory_swap_max: Option<Setting>,
    /// 1: when memory is out, all its processes end together.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub memory_oom_group: Option<Setting>,
    /// Processes and threads at once.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pids_max: Option<Setting>,
    /// Share of the disks, 1 to 10000; others have 100.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub io_weight: Option<Setting>,
    /// Bounds of one disk: `"8:0 rbps=1048576"`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub io_max: Option<Setting>,
}

/// A value as the kernel's file takes it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged, expecting = "expected a number from 0, or a text such as \"max\"")]
pub enum Setting {
    /// A number.
    Number(u64),
    /// `"max"`, or several words.
    Text(String),
}

impl Cgroup {
    /// The settings that are made, each with the field's name.
    pub fn settings(&self) -> impl Iterator<Item = (&'static str, &Setting)> {
        [
            ("cpu_weight", &self.cpu_weight),
            ("cpu_max", &self.cpu_max),
            ("cpuset_cpus", &self.cpuset_cpus),
            ("memory_min", &self.memory_min),
            ("memory_low", &self.memory_low),
            ("memory_high", &self.memory_high),
            ("memory_max", &self.memory_max),
            ("memory_swap_max", &self.memory_swap_max),
            ("memory_oom_group", &self.memory_oom_group),
            ("pids_max", &self.pids_max),
            ("io_weight", &self.io_weight),
            ("io_max", &self.io_max),
        ]
        .into_iter()
        .filter_map(|(name, setting)| Some((name, setting.as_ref()?)))
    }
}
