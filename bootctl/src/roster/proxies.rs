//! What the generations of the proxy have told, and what they have still to be told.

use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

use init_wire::Status;

use super::Roster;
use crate::generation::{Generation, is_ours};
use crate::job::JobInfo;
use crate::name::InstanceId;
use crate::plan::{Proxy, ProxyLife, Push, SeenProxy, Table, key};
use crate::touched::Touched;

/// What a generation has told, and which process of it.
#[derive(Clone, Debug)]
pub(crate) enum Told {
    Asked { pid: u32 },
    Table { pid: u32, table: Rc<Table> },
}

impl Told {
    /// Whom it is from.
    pub(crate) fn pid(&self) -> u32 {
        match self {
            Self::Asked { pid } | Self::Table { pid, .. } => *pid,
        }
    }
}

/// How the generations stand, and which of them have told their tables.
pub(super) type Shape = BTreeMap<Generation, (ProxyLife, Knowledge)>;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Knowledge {
    Down,
    Unknown,
    Known,
}

/// Whether apps are to be looked at again because of this is said by nothing but the shape: whose target is new
/// is told with the change that made it so.
pub(super) fn shape(proxies: &BTreeMap<Generation, SeenProxy>) -> Shape {
    let knowledge = |seen: &SeenProxy| match seen.table {
        Proxy::Down => Knowledge::Down,
        Proxy::Unknown => Knowledge::Unknown,
        Proxy::Known(_) => Knowledge::Known,
    };
    proxies.iter().map(|(generation, seen)| (*generation, (seen.life, knowledge(seen)))).collect()
}

impl Roster {
    /// The processes of the generations, while they live.
    pub(crate) fn proxy_pids(&self) -> BTreeMap<Generation, u32> {
        let alive = |job: &JobInfo| matches!(job.status, Status::Running | Status::Stopping);
        let ours = self.named_like_proxies().filter(|(_, job)| is_ours(&job.spec));
        let living = ours.filter(|(_, job)| alive(job));
        living.filter_map(|(generation, job)| Some((generation, job.pid?))).collect()
    }

    /// The processes of those that have such a table.
    pub(crate) fn proxies_that(
        &self,
        has: impl Fn(&Table) -> bool,
    ) -> impl Iterator<Item = (Generation, u32)> {
        let told = self.told.iter();
        told.filter_map(move |(generation, told)| match told {
            Told::Table { pid, table } if has(table) => Some((*generation, *pid)),
            Told::Table { .. } | Told::Asked { .. } => None,
        })
    }

    /// Jobs that have a generation's name, whosever they are.
    pub(super) fn named_like_proxies(&self) -> impl Iterator<Item = (Generation, &JobInfo)> {
        // The names of all begin so, and few others do.
        let from = crate::generation::JOB;
        let jobs = self.jobs.range(from.to_owned()..);
        let jobs = jobs.take_while(move |(name, _)| name.starts_with(from));
        jobs.filter_map(|(name, known)| Some((Generation::of_job(name)?, &known.info)))
    }

    /// What a generation has told, or whether it was asked.
    pub(crate) fn told(&self, generation: Generation) -> Option<&Told> {
        self.told.get(&generation)
    }

    /// The generation that is this process is asked what it has.
    pub(crate) fn ask_for_table(&mut self, generation: Generation, pid: u32) {
        self.told.insert(generation, Told::Asked { pid });
        self.see_proxies();
    }

    /// It has told; says whether it was asked.
    pub(crate) fn take_table(&mut self, generation: Generation, pid: u32, table: Table) -> bool {
        let asked = self.told.get(&generation);
        if !matches!(asked, Some(Told::Asked { pid: asked }) if *asked == pid) {
            return false;
        }
        self.told.insert(generation, Told::Table { pid, table: Rc::new(table) });
        self.untold.insert(generation, Touched::All);
        self.see_proxies();
        true
    }

    /// Nothing is known of generations that are gone.
    pub(crate) fn keep_told(&mut self, is_there: impl Fn(&Generation) -> bool) {
        if self.told.keys().all(&is_there) {
            return;
        }
        self.told.retain(|generation, _| is_there(generation));
        self.untold.retain(|generation, _| is_there(generation));
        self.see_proxies();
    }

    /// The generations that can be told something, with the apps about which that may be.
    pub(crate) fn take_tellings(&mut self) -> BTreeMap<Generation, Touched> {
        let Self { untold, pushing, told, .. } = self;
        let can_be_told = |generation: &Generation| {
            matches!(told.get(generation), Some(Told::Table { .. }))
                && !pushing.contains_key(generation)
        };
        let free = untold.iter_mut().filter(|(generation, _)| can_be_told(generation));
        free.map(|(generation, touched)| (*generation, std::mem::take(touched))).collect()
    }

    /// A generation is being told something, about these targets.
    pub(crate) fn pushing(&mut self, generation: Generation, about: BTreeSet<InstanceId>) {
        self.pushing.insert(generation, about);
    }

    /// Whether a generation is being told something.
    pub(crate) fn is_pushed(&self, generation: Generation) -> bool {
        self.pushing.contains_key(&generation)
    }

    /// Whether an instance is being made a target.
    pub(crate) fn is_being_told_of(&self, id: &InstanceId) -> bool {
        self.pushing.values().any(|about| about.contains(id))
    }

    /// Notes changes that a generation made.
    pub(crate) fn pushed(&mut self, generation: Generation, process: u32, made: Vec<Push>) {
        for id in self.pushing.remove(&generation).unwrap_or_default() {
            self.touch(&id.app);
        }
        let apps: BTreeSet<_> = made.iter().filter_map(Push::about).collect();
        for app in &apps {
            self.touch(app);
        }
        self.let_go_of_tables();
        if let Some(Told::Table { pid, table }) = self.told.get_mut(&generation)
            && *pid == process
        {
            let table = Rc::make_mut(table);
            for push in made {
                table.apply(push);
            }
        }
        self.see_proxies();
    }

    /// Notes that an instance is no target any more of these processes. One that was not there to be asked, or has
    /// been started since, may have it from what an earlier one has kept.
    pub(crate) fn drained(&mut self, id: &InstanceId, without: &[(Generation, u32)]) {
        self.let_go_of_tables();
        for (generation, told) in &mut self.told {
            if let Told::Table { pid, table } = told
                && without.contains(&(*generation, *pid))
            {
                Rc::make_mut(table).targets.remove(&key(id));
            }
        }
        self.touch(&id.app);
        self.see_proxies();
    }

    /// So that tables that are about to change need not be copied.
    fn let_go_of_tables(&mut self) {
        Rc::make_mut(&mut self.seen).proxies.clear();
    }
}
