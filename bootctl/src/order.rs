//! An app as it is to run: what its file says, and in which revision. A new revision of the same file
//! is a restart: its instances differ from the earlier ones in nothing but their environment.

use std::fmt;
use std::hash::Hasher;
use std::sync::Arc;

use init_wire::JobSpec;
use serde::{Deserialize, Serialize};
use siphasher::sip128::{Hasher128, SipHasher13};

use crate::app::{App, ENV_REVISION};
use crate::name::{InstanceId, Port};
use crate::place::Place;
use crate::plan::Seen;
use crate::release::Housing;

/// An app that is to run.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Order {
    pub(crate) app: Arc<App>,
    pub(crate) revision: Revision,
    /// The release that it runs from, if it does.
    pub(crate) release: Option<Housing>,
    /// This very order has failed: what runs of earlier ones is to go on instead.
    pub(crate) held: bool,
}

/// How often an app was restarted. 0 is not told to its instances.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(transparent)]
pub(crate) struct Revision(u64);

/// What tells one order from another, whichever instance it is about.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub(crate) struct Digest(String);

impl Order {
    /// As the file says, for the first time.
    #[cfg(test)]
    pub(crate) fn new(app: App) -> Self {
        Self { app: app.into(), revision: Revision::default(), release: None, held: false }
    }

    /// The job of one instance.
    pub(crate) fn job(&self, number: u32, place: &Place) -> JobSpec {
        let mut spec = self.app.job(number, place, self.revision);
        if let Some(release) = &self.release {
            release.apply(&self.app.deploy.home, &mut spec);
        }
        spec
    }

    /// Whether an instance is as ordered.
    pub(crate) fn is_current(&self, id: &InstanceId, seen: &Seen) -> bool {
        let is_above = |from| seen.place.port().is_none_or(|port| port >= from);
        seen.place.kind() == self.app.socket
            && self.app.port.is_none_or(is_above)
            && is_same(self.job(id.number, &seen.place), &seen.spec)
    }

    pub(crate) fn digest(&self) -> Digest {
        Digest::of(self)
    }
}

/// Whether a job that there is has this spec. Of one that was adopted init knows more than it was told: what was left
/// open is as it was with the process.
fn is_same(mut wanted: JobSpec, there: &JobSpec) -> bool {
    if there.adopt.is_some() {
        wanted.adopt = there.adopt;
        wanted.arg0 = wanted.arg0.or_else(|| there.arg0.clone());
        wanted.cwd = wanted.cwd.or_else(|| there.cwd.clone());
        wanted.umask = wanted.umask.or_else(|| there.umask.clone());
        wanted.no_new_privs |= there.no_new_privs;
        if wanted.user.is_none() && wanted.group.is_none() && wanted.groups.is_none() {
            (wanted.user, wanted.group) = (there.user.clone(), there.group.clone());
            wanted.groups.clone_from(&there.groups);
        }
    }
    wanted == *there
}

impl Revision {
    /// The one after this.
    pub(crate) fn next(self) -> Self {
        Self(self.0.saturating_add(1))
    }

    /// That of the order that a job is of.
    pub(crate) fn of(spec: &JobSpec) -> Option<Self> {
        match spec.envs.get(ENV_REVISION) {
            Some(text) => text.parse().ok().map(Self),
            None => Some(Self::default()),
        }
    }

    /// The one that no file has been restarted to.
    pub(crate) fn is_first(self) -> bool {
        self.0 == 0
    }
}

impl Digest {
    /// That of the job of an instance that there is not: number and place are the same for all.
    fn of(order: &Order) -> Self {
        let mut hasher = SipHasher13::new();
        // Strings, numbers and maps with strings for keys can always be written.
        let place = Place::Port(Port::HIGHEST);
        let text = serde_json::to_vec(&order.job(0, &place)).unwrap_or_default();
        hasher.write(&text);
        hasher.write_u8(order.app.socket as u8);
        Self(format!("{:032x}", hasher.finish128().as_u128()))
    }
}

impl fmt::Display for Revision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::app::sample;
    use crate::release::Number;

    #[test]
    fn a_digest_tells_orders_apart_and_not_instances() {
        let order = Order::new(sample("a", 1));
        let more = Order::new(sample("a", 5));
        assert_eq!(order.digest(), more.digest(), "to scale is no new order");
        let held = Order { held: true, ..order.clone() };
        assert_eq!(order.digest(), held.digest());
        let again = Order { revision: order.revision.next(), ..order.clone() };
        assert_ne!(order.digest(), again.digest());
        let mut changed = order.clone();
        Arc::make_mut(&mut changed.app).args.push("more".into());
        assert_ne!(order.digest(), changed.digest());
        let housing = Housing { number: Number::FIRST, path: "/r/a/1".into() };
        let released = Order { release: Some(housing), ..order.clone() };
        assert_ne!(order.digest(), released.digest());
    }

    #[test]
    fn the_first_revision_is_not_told() {
        let order = Order::new(sample("a", 1));
        let place = Place::Port(Port::new(9000).expect("not 0"));
        let told = |order: &Order| order.job(1, &place).envs.get(crate::app::ENV_REVISION).cloned();
        assert_eq!(told(&order), None);
        let again = Order { revision: order.revision.next().next(), ..order };
        assert_eq!(told(&again).as_deref(), Some("2"));
    }
}
