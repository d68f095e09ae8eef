//! What an app's processes may use, and with which rights they run: what is passed on to init as it
//! is, and enforced by the kernel.

use init_wire::{Account, Cgroup, JobSpec, Rlimits};

/// As init's job spec has it; what is not set is as init has it.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Confinement {
    pub(crate) groups: Option<Vec<Account>>,
    pub(crate) umask: Option<String>,
    pub(crate) nice: Option<i8>,
    pub(crate) oom_score_adj: Option<i16>,
    pub(crate) no_new_privs: bool,
    pub(crate) capabilities: Option<Vec<String>>,
    pub(crate) rlimits: Rlimits,
    pub(crate) cgroup: Option<Cgroup>,
}

impl Confinement {
    /// Makes it a job's.
    pub(crate) fn apply(&self, spec: &mut JobSpec) {
        let Self { groups, umask, nice, oom_score_adj, .. } = self.clone();
        let Self { no_new_privs, capabilities, rlimits, cgroup, .. } = self.clone();
        spec.groups = groups;
        spec.umask = umask;
        spec.nice = nice;
        spec.oom_score_adj = oom_score_adj;
        spec.no_new_privs = no_new_privs;
        spec.capabilities = capabilities;
        spec.rlimits = rlimits;
        spec.cgroup = cgroup;
    }
}
