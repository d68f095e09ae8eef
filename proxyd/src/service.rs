//! A service as the data path sees it: its settings, and the targets that may be claimed now.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use proxyd_wire as wire;

use crate::balance::{By, Choice, Group, Held, Member};
use crate::canary;
use crate::cookie;
use crate::h1::request::RequestHead;
use crate::ledger::Ledger;
use crate::maintenance::Maintenance;
use crate::name::Name;
use crate::origin::Peer;
use crate::queue::Queue;
use crate::refusal::Refusal;
use crate::rendezvous::fingerprint;
use crate::settings::Settings;
use crate::target::Target;

/// A service of one generation.
#[derive(Debug)]
pub(crate) struct Service {
    #[expect(dead_code, reason = "its log lines will need it")]
    pub(crate) name: Name,
    pub(crate) settings: Arc<Settings>,
    pub(crate) pause: Option<wire::Pause>,
    pub(crate) maintenance: Option<Arc<Maintenance>>,
    pub(crate) ledger: Arc<Ledger>,
    stable: Group,
    canary: Group,
    /// By what a cookie says; those of weight 0, too. Empty where nothing sticks.
    sticking: HashMap<u64, Member>,
}

/// Whose request it is, as far as that decides who gets it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Asker<'a> {
    pub(crate) client: &'a Peer,
    pub(crate) head: &'a [u8],
    pub(crate) request: &'a RequestHead,
    /// Asked already, by their numbers.
    pub(crate) tried: &'a [u64],
    /// It has waited, and is the first in line.
    pub(crate) called: bool,
}

/// Why there is nobody for a request now.
#[derive(Debug)]
pub(crate) enum Unclaimed {
    Nobody,
    /// There is no such site any more.
    Unknown,
    /// There will be, or may be.
    Held(Hold),
    Closed(Arc<Maintenance>),
}

/// How a request may wait.
#[derive(Debug)]
pub(crate) struct Hold {
    pub(crate) queue: Arc<Queue>,
    pub(crate) bound: usize,
    pub(crate) time: Duration,
    /// When the first in line should try even though nobody has called.
    pub(crate) again: Option<Instant>,
    /// What it is told when it may not, or not any longer.
    pub(crate) refusal: Refusal,
}

impl Service {
    pub(crate) fn new<'a>(
        name: Name,
        settings: Arc<Settings>,
        (pause, maintenance): (Option<wire::Pause>, Option<Arc<Maintenance>>),
        ledger: Arc<Ledger>,
        targets: impl Iterator<Item = (&'a Arc<Target>, &'a wire::Target)>,
    ) -> Service {
        let mut groups = [Vec::new(), Vec::new()];
        let mut sticking = HashMap::new();
        for (target, wire) in targets {
            let member = Member::new(Arc::clone(target), wire);
            if settings.wire.sticky.is_some() {
                sticking.insert(member.seed, member.clone());
            }
            let [stable, canary] = &mut groups;
            match wire.group {
                _ if wire.weight == 0 => {}
                wire::Group::Stable => stable.push(member),
                wire::Group::Canary => canary.push(member),
            }
        }
        let [stable, canary] = groups.map(|members| Group::new(members, &settings.wire.balance));
        Service { name, settings, pause, maintenance, ledger, stable, canary, sticking }
    }

    /// Claims a target. What the client is to remember of it is added to `cookies`.
    pub(crate) fn claim(
        &self,
        asker: &Asker<'_>,
        random: u64,
        cookies: &mut Vec<u8>,
    ) -> Result<Held, Unclaimed> {
        if let Some(maintenance) = &self.maintenance
            && !maintenance.allows(asker.client.address)
        {
            return Err(Unclaimed::Closed(Arc::clone(maintenance)));
        }
        if let Some(pause) = &self.pause {
            return Err(Unclaimed::Held(self.paused(pause)));
        }
        let settings = &self.settings.wire;
        // Nobody overtakes those who wait.
        if settings.queue > 0 && !asker.called && !self.ledger.queue.is_empty() {
            return Err(Unclaimed::Held(self.full(None)));
        }
        if asker.tried.is_empty() {
            self.ledger.count(random, &settings.retry);
        }
        // A rule that ejects nobody lets back who is ejected.
        let panic = if settings.eject.failures == 0 { 101 } else { settings.eject.panic };
        let choice = Choice { random, tried: asker.tried, panic, last_resort: true };
        if self.sticking.is_empty() && self.canary.is_empty() {
            return self.claim_of(&self.stable, asker, &choice);
        }
        self.claim_particular(asker, &choice, cookies)
    }

    /// Whether there is somebody to ask but the target of this number.
    pub(crate) fn has_other(&self, number: u64, tried: &[u64]) -> bool {
        let choice = Choice { random: 0, tried, panic: 0, last_resort: false };
        [&self.stable, &self.canary].into_iter().any(|group| group.has_other(number, &choice))
    }

    fn claim_of(
        &self,
        group: &Group,
        asker: &Asker<'_>,
        choice: &Choice<'_>,
    ) -> Result<Held, Unclaimed> {
        let held = group.claim(self.policy(asker), &self.ledger, choice);
        held.ok_or_else(|| {
            if group.is_full(choice) {
                Unclaimed::Held(self.full(group.next_trial(choice)))
            } else {
                Unclaimed::Nobody
            }
        })
    }

    /// By what sticks first, then by the group that the request is for.
    fn claim_particular(
        &self,
        asker: &Asker<'_>,
        choice: &Choice<'_>,
        cookies: &mut Vec<u8>,
    ) -> Result<Held, Unclaimed> {
        let told = self.told_group(asker);
        let stuck = self.stuck(asker).filter(|member| told.is_none_or(|told| told == member.group));
        if let Some(held) = stuck.and_then(|member| member.claim(choice, || choice.panic > 100)) {
            self.renew(held.seed, cookies);
            return Ok(held);
        }
        let group = told.unwrap_or_else(|| self.shared_group());
        let held = self.claim_group(group, asker, choice)?;
        if let Some(rule) = &self.settings.canary_cookie
            && told.is_none()
            && held.group == group
        {
            cookie::set(&rule.cookie, canary::word(group), rule, cookies);
        }
        // Who is only full keeps those who stick to him.
        let stays = stuck.is_some_and(|member| {
            !member.target.look().is_ejected() && !asker.tried.contains(&member.target.number)
        });
        match (&self.settings.wire.sticky, stuck) {
            (Some(_), Some(member)) if stays => self.renew(member.seed, cookies),
            (Some(rule), _) => stick(held.seed, rule, cookies),
            (None, _) => {}
        }
        Ok(held)
    }

    /// A cookie that lasts for a time lasts for as long from each answer on.
    fn renew(&self, seed: u64, cookies: &mut Vec<u8>) {
        let timed = self.settings.wire.sticky.as_ref().filter(|rule| rule.max_age_s.is_some());
        if let Some(rule) = timed {
            stick(seed, rule, cookies);
        }
    }

    /// A target of a group. Of the other one if nobody of it is alive or has room, and only then of
    /// those that are ejected.
    fn claim_group(
        &self,
        group: wire::Group,
        asker: &Asker<'_>,
        choice: &Choice<'_>,
    ) -> Result<Held, Unclaimed> {
        let (own, other) = match group {
            wire::Group::Stable => (&self.stable, &self.canary),
            wire::Group::Canary => (&self.canary, &self.stable),
        };
        let mut why = Unclaimed::Nobody;
        for last_resort in [false, true] {
            let choice = Choice { last_resort, ..*choice };
            for group in [own, other] {
                match self.claim_of(group, asker, &choice) {
                    Ok(held) => return Ok(held),
                    Err(Unclaimed::Nobody) => {}
                    Err(held) => why = held,
                }
            }
            // There will be room sooner than an ejected one is well.
            if let Unclaimed::Held(_) = why {
                break;
            }
        }
        Err(why)
    }

    /// The target that the client's cookie names.
    fn stuck(&self, asker: &Asker<'_>) -> Option<&Member> {
        let rule = self.settings.wire.sticky.as_ref()?;
        let value = cookie::find(asker.head, &asker.request.fields, &rule.cookie)?;
        let value = std::str::from_utf8(value).ok()?;
        self.sticking.get(&u64::from_str_radix(value, 16).ok()?)
    }

    /// The group that the request itself is for.
    fn told_group(&self, asker: &Asker<'_>) -> Option<wire::Group> {
        let rule = self.settings.wire.canary.as_ref()?;
        let fields = &asker.request.fields;
        let field = rule.header.as_ref().and_then(|name| cookie::field(asker.head, fields, name));
        let by_cookie = || {
            let name = rule.cookie.as_ref()?;
            cookie::find(asker.head, fields, name).and_then(canary::decided)
        };
        field.and_then(canary::decided).or_else(by_cookie)
    }

    /// The group that its turn is for.
    fn shared_group(&self) -> wire::Group {
        match &self.settings.wire.canary {
            Some(rule) if rule.percent > 0 => canary::share(self.ledger.next_share(), rule.percent),
            _ => wire::Group::Stable,
        }
    }

    fn policy(&self, asker: &Asker<'_>) -> By {
        let by = match &self.settings.wire.balance {
            wire::Balance::LeastLoaded => return By::LeastLoaded,
            wire::Balance::RoundRobin => return By::RoundRobin,
            wire::Balance::Hash(by) => by,
        };
        let (head, fields) = (asker.head, &asker.request.fields);
        let key = match by {
            wire::HashBy::Client => Some(asker.client.text.as_bytes()),
            wire::HashBy::Header(name) => cookie::field(head, fields, name),
            wire::HashBy::Cookie(name) => cookie::find(head, fields, name),
            wire::HashBy::Path => asker.request.target.of(head).split(|&byte| byte == b'?').next(),
        };
        key.map_or(By::LeastLoaded, |key| By::Hash(fingerprint(key)))
    }

    fn paused(&self, pause: &wire::Pause) -> Hold {
        Hold {
            queue: Arc::clone(&self.ledger.queue),
            bound: usize::try_from(pause.queue).unwrap_or(usize::MAX),
            time: Duration::from_millis(u64::from(pause.max_ms)),
            again: None,
            refusal: Refusal::Paused,
        }
    }

    fn full(&self, again: Option<Instant>) -> Hold {
        Hold {
            queue: Arc::clone(&self.ledger.queue),
            bound: usize::try_from(self.settings.wire.queue).unwrap_or(usize::MAX),
            time: self.settings.queue_time,
            again,
            refusal: Refusal::Busy,
        }
    }
}

/// Has the client remember a target.
fn stick(seed: u64, rule: &wire::Sticky, cookies: &mut Vec<u8>) {
    cookie::set(&rule.cookie, &format!("{seed:016x}"), rule, cookies);
}
