//! Whether the collector is started or stopped: it is there as long as anything runs whose last words it has
//! to write, and gives way to one that is told otherwise.

use std::sync::Arc;

use init_wire::JobSpec;

use super::{Action, Desired, Observed};

/// The job, as it is seen.
#[derive(Clone, Debug, Default)]
pub(crate) enum Collector {
    #[default]
    Absent,
    /// Somebody else's job has its name: hands off.
    Foreign,
    Ours {
        spec: Arc<JobSpec>,
        life: CollectorLife,
    },
}

/// Where it stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum CollectorLife {
    /// init has been asked to start or stop it.
    Changing,
    /// It has no process, or has not begun to collect.
    Coming,
    Running,
    /// It has ended and init does not start it again.
    Ended,
}

/// What to do about it.
pub(super) fn plan(desired: &Desired, observed: &Observed, actions: &mut Vec<Action>) {
    let is_quiet = observed.instances.is_empty() && observed.proxies.is_empty();
    match (&desired.collector, &observed.collector) {
        (Some(spec), Collector::Absent) => {
            actions.push(Action::StartCollector { spec: spec.clone() });
        }
        (Some(wanted), Collector::Ours { spec, life }) => match life {
            CollectorLife::Ended => actions.push(Action::StopCollector),
            CollectorLife::Coming | CollectorLife::Running if spec != wanted => {
                actions.push(Action::StopCollector);
            }
            CollectorLife::Coming | CollectorLife::Running | CollectorLife::Changing => {}
        },
        (None, Collector::Ours { life, .. }) => match life {
            CollectorLife::Changing => {}
            CollectorLife::Coming | CollectorLife::Running | CollectorLife::Ended => {
                if is_quiet {
                    actions.push(Action::StopCollector);
                }
            }
        },
        (_, Collector::Foreign) | (None, Collector::Absent) => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::generation::Generation;
    use crate::plan::{Proxy, ProxyLife, SeenProxy};

    fn planned(wanted: Option<&str>, collector: Collector, is_quiet: bool) -> Vec<Action> {
        let collector_spec = wanted.map(|exec| Arc::new(JobSpec::new(exec)));
        let desired = Desired { collector: collector_spec, ..Desired::default() };
        let mut observed = Observed { collector, ..Observed::default() };
        if !is_quiet {
            let spec = Arc::new(JobSpec::new("proxyd"));
            let seen = SeenProxy { spec, life: ProxyLife::Leaving, table: Proxy::Down };
            observed.proxies.insert(Generation::FIRST, seen);
        }
        let mut actions = Vec::new();
        plan(&desired, &observed, &mut actions);
        actions
    }

    fn ours(exec: &str, life: CollectorLife) -> Collector {
        Collector::Ours { spec: Arc::new(JobSpec::new(exec)), life }
    }

    #[test]
    fn o11_there_is_one_as_it_is_wanted_as_long_as_anything_runs() {
        use CollectorLife::{Changing, Coming, Ended, Running};
        let start = || vec![Action::StartCollector { spec: Arc::new(JobSpec::new("a")) }];
        let stop = || vec![Action::StopCollector];
        assert_eq!(planned(Some("a"), Collector::Absent, true), start());
        for life in [Changing, Coming, Running] {
            assert_eq!(planned(Some("a"), ours("a", life), true), []);
        }
        assert_eq!(planned(Some("a"), ours("a", Ended), true), stop());
        for (life, actions) in [(Changing, vec![]), (Coming, stop()), (Running, stop())] {
            assert_eq!(planned(Some("a"), ours("b", life), true), actions, "{life:?}");
        }
        for (life, actions) in [(Changing, vec![]), (Running, stop()), (Ended, stop())] {
            assert_eq!(planned(None, ours("a", life), true), actions, "{life:?}");
            assert_eq!(planned(None, ours("a", life), false), [], "there are last words to come");
        }
        for wanted in [None, Some("a")] {
            assert_eq!(planned(wanted, Collector::Foreign, true), []);
        }
        assert_eq!(planned(None, Collector::Absent, true), []);
    }
}
