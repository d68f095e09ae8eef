//! One order, from the first word to the certificate. It is kept from when the authority knows of it, so that
//! whoever comes after an end of the process goes on with it, and asks for no other.
//!
//! ```text
//!   new ──▶ pending ──all names proved──▶ ready ──our key──▶ processing ──▶ valid ──▶ kept
//!              │                            (each is where a resumed order may be)
//!              └──one not──▶ invalid: forgotten
//! ```

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use instant_acme::{
    Account, AuthorizationStatus, CertificateIdentifier, ChallengeStatus, ChallengeType, Error,
    Identifier, NewOrder, Order, OrderStatus, RetryPolicy,
};
use proxyd_wire as wire;
use rcgen::{CertificateParams, DistinguishedName, KeyPair};
use rustls::pki_types::CertificateDer;
use tokio::time::timeout;

use super::account::{self, stored};
use super::domain::Domain;
use super::failure::{Cause, Failure};
use super::kept::{self, Issued, Pending};
use super::plan::Time;
use super::present::{Presented, Proof};
use super::problem::{is_nonce, is_unknown_account, refused, unproved};
use super::store::{Record, Store};
use super::web::Web;
use super::{now, zone};
use crate::limits;
use crate::name::Name;
use crate::registry::Registry;

/// What is ordered, from whom, and how it may be proved.
#[derive(Debug)]
pub(super) struct Job {
    pub(super) name: Name,
    pub(super) names: BTreeSet<Domain>,
    pub(super) authority: wire::AcmeAuthority,
    pub(super) contacts: Vec<String>,
    /// The preferred one first.
    pub(super) kinds: Vec<wire::AcmeChallenge>,
    /// The certificate that it is for.
    pub(super) replaces: Option<CertificateDer<'static>>,
    pub(super) store: Arc<dyn Store>,
    pub(super) registry: Arc<Registry>,
    /// So that an account is made once.
    pub(super) accounts: Arc<tokio::sync::Mutex<()>>,
}

/// Why an order went no further.
enum Stop {
    Failed(Failure),
    /// The library has given up on nonces: the order goes on where it was.
    Nonce,
    /// The authority knows nothing of what we have kept: begin anew.
    Forgotten(Failure),
}

impl From<Failure> for Stop {
    fn from(failure: Failure) -> Stop {
        Stop::Failed(failure)
    }
}

impl From<Error> for Stop {
    fn from(error: Error) -> Stop {
        if is_nonce(&error) {
            Stop::Nonce
        } else if is_unknown_account(&error) {
            Stop::Forgotten(refused(error))
        } else {
            Stop::Failed(refused(error))
        }
    }
}

impl Job {
    /// Has the certificate made, and keeps it. What is said of waiting goes with the failure.
    pub(super) async fn run(&self) -> Result<Issued, Failure> {
        let web = Web::new(self.authority.root_file.as_deref())?;
        let mut failure = Failure::new(Cause::Authority, "it refuses each of our nonces");
        for _ in 0..limits::ACME_NONCES {
            match timeout(limits::ACME_ORDER_TIME, self.attempt(&web)).await {
                Ok(Ok(issued)) => return Ok(issued),
                Ok(Err(Stop::Nonce)) => {}
                Ok(Err(Stop::Forgotten(why))) => {
                    failure = why;
                    self.forget_all()?;
                }
                Ok(Err(Stop::Failed(why))) => {
                    failure = why;
                    break;
                }
                Err(_) => {
                    failure = Failure::new(Cause::Authority, "the order takes too long");
                    break;
                }
            }
        }
        failure.retry_after = web.retry_after(now());
        Err(failure)
    }

    fn forget_all(&self) -> Result<(), Failure> {
        let account = kept::account_of(&self.authority.directory);
        self.store.remove(&account).map_err(stored)?;
        self.forget_order()
    }

    fn forget_order(&self) -> Result<(), Failure> {
        self.store.remove(&Record::Order(self.name.clone())).map_err(stored)
    }

    async fn attempt(&self, web: &Web) -> Result<Issued, Stop> {
        let account = {
            let _one = self.accounts.lock().await;
            account::open(&*self.store, web, &self.authority, &self.contacts).await?
        };
        let thumbprint = account.key_thumbprint();
        self.registry.change(|state| state.change_proofs(|p| p.set_thumbprint(thumbprint)));
        let (mut order, key) = self.order(&account).await?;
        let issued = self.carry_through(&mut order, &key).await;
        if let Err(Stop::Failed(_)) = &issued
            && matches!(order.state().status, OrderStatus::Invalid)
        {
            self.forget_order()?;
        }
        let issued = issued?;
        // In this order: what is there twice is of no harm, what is not there at all would be.
        kept::save(&*self.store, &Record::Certificate(self.name.clone()), &issued)
            .map_err(stored)?;
        self.forget_order()?;
        Ok(issued)
    }

    /// The order that is under way, or a new one; and the key that it is for.
    async fn order(&self, account: &Account) -> Result<(Order, KeyPair), Stop> {
        let record = Record::Order(self.name.clone());
        let pending: Option<Pending> = kept::load(&*self.store, &record).map_err(stored)?;
        if let Some(pending) = pending
            && pending.authority == self.authority.directory
            && pending.names == self.names
            && let Ok(key) = KeyPair::from_pem(&pending.key)
        {
            match account.order(pending.url).await {
                Ok(mut order) => {
                    if order.state().status != OrderStatus::Invalid {
                        return Ok((order, key));
                    }
                }
                // The authority has forgotten it.
                Err(Error::Api(problem))
                    if problem.status.is_some_and(|s| s == 404 || s == 403) => {}
                Err(error) => return Err(error.into()),
            }
        }
        let order = self.new_order(account).await?;
        let key =
            KeyPair::generate().map_err(|error| Failure::new(Cause::Other, error.to_string()))?;
        let pending = Pending {
            authority: self.authority.directory.clone(),
            url: order.url().to_owned(),
            names: self.names.clone(),
            key: key.serialize_pem(),
        };
        kept::save(&*self.store, &record, &pending).map_err(stored)?;
        Ok((order, key))
    }

    async fn new_order(&self, account: &Account) -> Result<Order, Stop> {
        let identifiers: Vec<Identifier> =
            self.names.iter().map(|name| Identifier::Dns(name.to_string())).collect();
        let mut new = NewOrder::new(&identifiers);
        if let Some(profile) = &self.authority.profile {
            let known: Vec<&str> = account.profiles().map(|known| known.name).collect();
            if !known.contains(&profile.as_str()) {
                let known = known.join(", ");
                let said = format!("it has no profile `{profile}`; it has: {known}");
                return Err(Failure::new(Cause::Refused, said).into());
            }
            new = new.profile(profile);
        }
        let old = self.replaces.as_ref();
        let Some(old) = old.and_then(|old| CertificateIdentifier::try_from(old).ok()) else {
            return Ok(account.new_order(&new).await?);
        };
        match account.new_order(&new.replaces(old)).await {
            Ok(order) => Ok(order),
            // It knows nothing of what was before, or somebody else has replaced it: then it is a plain order.
            Err(error @ (Error::Unsupported(_) | Error::Other(_) | Error::Api(_)))
                if !is_nonce(&error) && !is_unknown_account(&error) =>
            {
                let mut plain = NewOrder::new(&identifiers);
                if let Some(profile) = &self.authority.profile {
                    plain = plain.profile(profile);
                }
                Ok(account.new_order(&plain).await?)
            }
            Err(error) => Err(error.into()),
        }
    }

    async fn carry_through(&self, order: &mut Order, key: &KeyPair) -> Result<Issued, Stop> {
        let _presented;
        if order.state().status == OrderStatus::Pending {
            _presented = self.prove(order).await?;
            let polls = RetryPolicy::new().backoff(1.5).timeout(limits::ACME_PROOF_TIME);
            match order.poll_ready(&polls).await {
                Ok(OrderStatus::Invalid) => return Err(why_invalid(order).await),
                Ok(_) => {}
                Err(Error::Api(problem)) => {
                    return Err(match why_invalid(order).await {
                        Stop::Failed(failure) if failure.cause == Cause::Other => {
                            Stop::Failed(unproved(&problem))
                        }
                        stop => stop,
                    });
                }
                Err(error) => return Err(error.into()),
            }
        }
        if order.state().status == OrderStatus::Ready {
            let names: Vec<String> = self.names.iter().map(ToString::to_string).collect();
            let made = CertificateParams::new(names).and_then(|mut params| {
                params.distinguished_name = DistinguishedName::new();
                params.serialize_request(key)
            });
            let request = made.map_err(|error| Failure::new(Cause::Other, error.to_string()))?;
            order.finalize_csr(request.der()).await?;
        }
        let chain = if order.state().status == OrderStatus::Valid {
            let chain = order.certificate().await?;
            chain.ok_or_else(|| Failure::new(Cause::Authority, "the certificate is not there"))?
        } else {
            let polls = RetryPolicy::new().backoff(1.5).timeout(limits::ACME_PROOF_TIME);
            order.poll_certificate(&polls).await?
        };
        let authority = self.authority.directory.clone();
        Ok(Issued { authority, chain, key: key.serialize_pem() })
    }

    /// Shows a proof for each name, and says that it is there.
    async fn prove(&self, order: &mut Order) -> Result<Vec<Presented>, Stop> {
        let mut presented = Vec::new();
        let mut records = BTreeMap::new();
        let until = now() + Time::try_from(limits::ACME_RECORD_TIME.as_secs()).unwrap_or_default();
        let mut kinds = Vec::new();
        let mut all = order.authorizations();
        while let Some(authorization) = all.next().await {
            let mut authorization = authorization?;
            if authorization.status != AuthorizationStatus::Pending {
                // Proved for an earlier order, or not to be proved any more, which polling tells.
                kinds.push(None);
                continue;
            }
            let (kind, domain) = self.way(&authorization)?;
            let offered = authorization.challenge(as_offered(kind));
            let Some(challenge) = offered else { continue };
            let key_authorization = challenge.key_authorization();
            let proof =
                Proof { kind, token: &challenge.token, key_authorization: &key_authorization };
            presented.push(Presented::new(&self.registry, &self.name, &domain, &proof, until)?);
            if kind == wire::AcmeChallenge::Dns01 {
                records.insert(zone::record(&domain), domain);
            }
            kinds.push(Some(kind));
        }
        if !records.is_empty() {
            let placed =
                timeout(limits::ACME_RECORD_TIME, self.registry.acme.zone.placed(&records));
            let late = || Failure::new(Cause::Hook, "nobody has said that it is there");
            placed.await.map_err(|_| late())??;
            self.registry.acme.touch();
        }
        let mut kinds = kinds.into_iter();
        let mut all = order.authorizations();
        while let Some(authorization) = all.next().await {
            let mut authorization = authorization?;
            let Some(Some(kind)) = kinds.next() else { continue };
            if let Some(mut challenge) = authorization.challenge(as_offered(kind))
                && challenge.status == ChallengeStatus::Pending
            {
                challenge.set_ready().await?;
            }
        }
        Ok(presented)
    }

    /// How a name is proved: by the first of the ways that are allowed and that the authority offers.
    fn way(
        &self,
        authorization: &instant_acme::AuthorizationState,
    ) -> Result<(wire::AcmeChallenge, Domain), Failure> {
        let text = authorization.identifier().to_string();
        let domain = Domain::parse(&text)
            .map_err(|error| Failure::new(Cause::Authority, error.to_string()))?;
        let offers = |kind: &&wire::AcmeChallenge| {
            let wanted = as_offered(**kind);
            authorization.challenges.iter().any(|offered| offered.r#type == wanted)
        };
        let found = self.kinds.iter().find(offers);
        let none = || {
            let said = "it accepts no proof of those that `challenges` allows";
            Failure::new(Cause::Refused, said).of(domain.clone())
        };
        found.map(|kind| (*kind, domain.clone())).ok_or_else(none)
    }
}

fn as_offered(kind: wire::AcmeChallenge) -> ChallengeType {
    match kind {
        wire::AcmeChallenge::Http01 => ChallengeType::Http01,
        wire::AcmeChallenge::TlsAlpn01 => ChallengeType::TlsAlpn01,
        wire::AcmeChallenge::Dns01 => ChallengeType::Dns01,
    }
}

/// Which name was not proved, and why.
async fn why_invalid(order: &mut Order) -> Stop {
    let mut all = order.authorizations();
    while let Some(authorization) = all.next().await {
        let mut authorization = match authorization {
            Ok(authorization) => authorization,
            Err(error) => return error.into(),
        };
        if let Err(error) = authorization.refresh().await {
            return error.into();
        }
        let problem =
            authorization.challenges.iter().find_map(|challenge| challenge.error.as_ref());
        if let Some(problem) = problem {
            let failure = unproved(problem);
            let domain = Domain::parse(&authorization.identifier().to_string());
            return Stop::Failed(match domain {
                Ok(domain) => failure.of(domain),
                Err(_) => failure,
            });
        }
    }
    Stop::Failed(Failure::new(Cause::Other, "the order has become invalid"))
}

/// When the authority suggests to renew, and in how many seconds it wants to be asked again.
pub(super) async fn suggestion(
    store: &dyn Store,
    authority: &wire::AcmeAuthority,
    contacts: &[String],
    (leaf, accounts): (CertificateDer<'static>, Arc<tokio::sync::Mutex<()>>),
) -> Option<((Time, Time), Time)> {
    let web = Web::new(authority.root_file.as_deref()).ok()?;
    let account = {
        let _one = accounts.lock().await;
        account::open(store, &web, authority, contacts).await.ok()?
    };
    let identifier = CertificateIdentifier::try_from(&leaf).ok()?;
    let asked = timeout(limits::ACME_PROOF_TIME, account.renewal_info(&identifier)).await;
    let (info, again) = asked.ok()?.ok()?;
    let window = info.suggested_window;
    let window = (window.start.unix_timestamp(), window.end.unix_timestamp());
    Some((window, Time::try_from(again.as_secs()).unwrap_or(Time::MAX)))
}
