//! Rates, from two looks at what only grows: processor time and requests.

use std::collections::HashMap;
use std::time::Duration;

use crate::admin::wire::{InstanceView, StatusView};

/// All that was seen at a moment.
#[derive(Clone, Debug)]
pub(crate) struct Look {
    /// Since the first one.
    pub(crate) at: Duration,
    pub(crate) status: StatusView,
}

/// What grows, as it was when it was looked at last.
#[derive(Clone, Debug, Default)]
pub(crate) struct Figures {
    at: Duration,
    /// Milliseconds of processors by job and process.
    cpu: HashMap<(String, u32), u64>,
    requests: HashMap<String, u64>,
}

impl Figures {
    pub(crate) fn of(look: &Look) -> Self {
        let Look { at, status } = look;
        let instances = status.apps.iter().flat_map(|app| &app.instances);
        let cpu = instances.filter_map(|it| Some(((it.job.clone(), it.pid?), it.cpu_ms?)));
        let requests = status.apps.iter().filter_map(|app| Some((app.app.clone(), app.requests?)));
        Self { at: *at, cpu: cpu.collect(), requests: requests.collect() }
    }

    /// What an instance uses of one processor since then, in thousandths. Of another process than then nothing is
    /// known yet.
    pub(super) fn cpu(&self, at: Duration, instance: &InstanceView) -> Option<u64> {
        let before = self.cpu.get(&(instance.job.clone(), instance.pid?))?;
        let used = instance.cpu_ms?.checked_sub(*before)?;
        (used * 1000).checked_div(self.passed(at))
    }

    /// How many requests an app has had since then, in tenths a second. A proxy that has taken over counts anew.
    pub(super) fn requests(&self, at: Duration, app: &str, now: Option<u64>) -> Option<u64> {
        let had = now?.checked_sub(*self.requests.get(app)?)?;
        (had * 10_000).checked_div(self.passed(at))
    }

    fn passed(&self, at: Duration) -> u64 {
        u64::try_from(at.saturating_sub(self.at).as_millis()).unwrap_or(u64::MAX)
    }
}
