//! How certificates stand that are obtained, for whoever asks, and what he asks for.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use proxyd_wire as wire;
use tokio::sync::{Notify, watch};
use tokio::time::timeout;

use super::wanted::Wanted;
use super::zone::Zone;
use crate::name::Name;

#[derive(Debug, Default)]
struct Standing {
    active: bool,
    trouble: Option<String>,
    certificates: BTreeMap<Name, wire::AcmeCertificateView>,
    /// Certificates that somebody wants to be ordered now.
    asked_for: Vec<Name>,
}

/// Written by the thread that obtains, read by the control API.
#[derive(Debug)]
pub(crate) struct Board {
    standing: Mutex<Standing>,
    pub(crate) zone: Zone,
    revision: watch::Sender<u64>,
    asked: Notify,
    pub(crate) issued: AtomicU64,
    pub(crate) failed: AtomicU64,
}

impl Default for Board {
    fn default() -> Board {
        Board {
            standing: Mutex::default(),
            zone: Zone::default(),
            revision: watch::Sender::new(1),
            asked: Notify::new(),
            issued: AtomicU64::new(0),
            failed: AtomicU64::new(0),
        }
    }
}

impl Board {
    fn lock(&self) -> MutexGuard<'_, Standing> {
        self.standing.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Something is otherwise than it was.
    pub(crate) fn touch(&self) {
        self.revision.send_modify(|revision| *revision += 1);
    }

    pub(super) fn count(&self, issued: bool) {
        let counter = if issued { &self.issued } else { &self.failed };
        counter.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn set_active(&self, active: bool, trouble: Option<String>) {
        let mut standing = self.lock();
        if standing.active != active || standing.trouble != trouble {
            (standing.active, standing.trouble) = (active, trouble);
            drop(standing);
            self.touch();
        }
    }

    pub(super) fn show(&self, name: &Name, view: Option<wire::AcmeCertificateView>) {
        let mut standing = self.lock();
        let changed = match view {
            Some(view) if standing.certificates.get(name) == Some(&view) => false,
            Some(view) => standing.certificates.insert(name.clone(), view).is_none_or(|_| true),
            None => standing.certificates.remove(name).is_some(),
        };
        drop(standing);
        if changed {
            self.touch();
        }
    }

    /// Takes off what is wanted no longer.
    pub(super) fn keep(&self, keep: impl Fn(&Name) -> bool) {
        let mut standing = self.lock();
        let before = standing.certificates.len();
        standing.certificates.retain(|name, _| keep(name));
        let changed = standing.certificates.len() != before;
        drop(standing);
        if changed {
            self.touch();
        }
    }

    /// Wants one to be ordered now.
    pub(crate) fn ask(&self, name: Name) {
        let mut standing = self.lock();
        if !standing.asked_for.contains(&name) {
            standing.asked_for.push(name);
        }
        drop(standing);
        self.asked.notify_one();
    }

    /// Those that somebody wants to be ordered now, as soon as there are any.
    pub(super) async fn asked(&self) -> Vec<Name> {
        loop {
            let asked = std::mem::take(&mut self.lock().asked_for);
            if !asked.is_empty() {
                return asked;
            }
            self.asked.notified().await;
        }
    }

    /// Returns when it is not at this revision any more, or after a time.
    pub(crate) async fn changed(&self, after: u64, within: Duration) {
        let mut revisions = self.revision.subscribe();
        // The sender lives as long as we do.
        let _ = timeout(within, revisions.wait_for(|revision| *revision != after)).await;
    }

    /// What was put a moment ago is shown, whether or not it has been looked at.
    pub(crate) fn view(&self, wanted: &Wanted) -> wire::AcmeView {
        let revision = *self.revision.borrow();
        let standing = self.lock();
        let view = |name: &Name| {
            let names = wanted.certificates.get(name).into_iter().flatten();
            let names = names.map(ToString::to_string).collect();
            let shown = standing.certificates.get(name).cloned().unwrap_or_default();
            (name.as_str().to_owned(), wire::AcmeCertificateView { names, ..shown })
        };
        wire::AcmeView {
            revision,
            active: standing.active,
            trouble: standing.trouble.clone(),
            settings: wanted.wire.clone(),
            certificates: wanted.certificates.keys().map(view).collect(),
            challenges: self.zone.view(),
        }
    }
}
