//! What the proxy tells of certificates that it obtains: followed, so that http leads to https once there is one, records
//! are placed that an authority wants to see, and the status says what is in the way.

use std::collections::BTreeMap;

use proxyd_wire::{AcmeCertificateView, AcmeView};
use tokio::task::AbortHandle;
use tracing::info;

use crate::generation::Generation;
use crate::supervise::Supervisor;

/// What each generation tells.
#[derive(Debug, Default)]
pub(crate) struct Obtaining(BTreeMap<Generation, Following>);

#[derive(Debug)]
struct Following {
    pid: u32,
    task: AbortHandle,
    view: Option<AcmeView>,
}

impl Obtaining {
    /// What is told by the one that obtains, or by the newest.
    pub(crate) fn view(&self) -> Option<(Generation, &AcmeView)> {
        let all = || {
            let told = self.0.iter().rev();
            told.filter_map(|(generation, it)| Some((*generation, it.view.as_ref()?)))
        };
        all().find(|(_, view)| view.active).or_else(|| all().next())
    }

    /// The hosts that there is a certificate for.
    pub(crate) fn names(&self, now: i64) -> impl Iterator<Item = &String> {
        let certificates = self.view().into_iter().flat_map(|(_, view)| view.certificates.values());
        let good = move |it: &&AcmeCertificateView| it.not_after.is_some_and(|end| end >= now);
        certificates.filter(good).flat_map(|it| &it.covers)
    }

    /// The same process of a generation is followed once.
    pub(crate) fn follow(
        &mut self,
        generation: Generation,
        pid: u32,
        begin: impl FnOnce() -> AbortHandle,
    ) {
        if self.0.get(&generation).is_some_and(|it| it.pid == pid) {
            return;
        }
        self.leave(|other| *other == generation);
        self.0.insert(generation, Following { pid, task: begin(), view: None });
    }

    /// Nobody follows these any more.
    pub(crate) fn leave(&mut self, is_gone: impl Fn(&Generation) -> bool) {
        for (_, gone) in self.0.extract_if(.., |generation, _| is_gone(generation)) {
            gone.task.abort();
        }
    }

    /// Says whether it is from whom it is followed.
    fn take(&mut self, generation: Generation, pid: u32, view: AcmeView) -> bool {
        let Some(following) = self.0.get_mut(&generation).filter(|it| it.pid == pid) else {
            return false;
        };
        following.view = Some(view);
        true
    }
}

impl Supervisor {
    /// Follows those that obtain something.
    pub(crate) fn follow_obtaining(&mut self) {
        let obtains = |table: &crate::plan::Table| !table.acme.certificates.is_empty();
        let there: BTreeMap<Generation, u32> = self.roster.proxies_that(obtains).collect();
        self.keys.obtaining.leave(|generation| !there.contains_key(generation));
        for (generation, pid) in there {
            let hands = &self.hands;
            self.keys.obtaining.follow(generation, pid, || hands.follow_acme(generation, pid));
        }
    }

    /// One has told how it stands.
    pub(crate) fn take_acme(&mut self, generation: Generation, pid: u32, view: AcmeView) {
        let covered = |it: &AcmeView| -> Vec<String> {
            it.certificates.values().flat_map(|it| it.covers.clone()).collect()
        };
        let before = self.keys.obtaining.view().map(|(_, view)| covered(view)).unwrap_or_default();
        for (name, it) in &view.certificates {
            if let Some(failure) = &it.failure {
                info!("the certificate of {name} was not obtained: {}", failure.message);
            }
        }
        if !self.keys.obtaining.take(generation, pid, view) {
            return;
        }
        let after = self.keys.obtaining.view().map(|(_, view)| covered(view)).unwrap_or_default();
        if before != after {
            self.renew_tls();
        }
        self.tend_records();
    }
}
