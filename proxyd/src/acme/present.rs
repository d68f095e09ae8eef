//! Proofs, where authorities look for them, for as long as an order is under way.

use std::sync::Arc;

use proxyd_wire as wire;

use super::domain::Domain;
use super::failure::{Cause, Failure};
use super::plan::Time;
use super::zone;
use crate::name::Name;
use crate::registry::Registry;
use crate::tls;

/// One proof. Dropping it takes it away, however the order ends.
#[derive(Debug)]
pub(super) struct Presented {
    registry: Arc<Registry>,
    what: What,
}

#[derive(Debug)]
enum What {
    Answer { token: String },
    Certificate { name: String },
    Record { record: String, value: String },
}

/// How a name is proved: the kind, its token, and what the account makes of that.
pub(super) struct Proof<'a> {
    pub(super) kind: wire::AcmeChallenge,
    pub(super) token: &'a str,
    pub(super) key_authorization: &'a instant_acme::KeyAuthorization,
}

impl Presented {
    pub(super) fn new(
        registry: &Arc<Registry>,
        certificate: &Name,
        domain: &Domain,
        proof: &Proof<'_>,
        until: Time,
    ) -> Result<Presented, Failure> {
        let what = match proof.kind {
            wire::AcmeChallenge::Http01 => {
                let token = proof.token.to_owned();
                let answer = proof.key_authorization.as_str();
                registry.change(|state| state.change_proofs(|proofs| proofs.put(&token, answer)));
                What::Answer { token }
            }
            wire::AcmeChallenge::TlsAlpn01 => {
                let name = domain.base().to_owned();
                let digest = proof.key_authorization.digest();
                let shown = tls::proof(&name, digest.as_ref())
                    .ok_or_else(|| Failure::new(Cause::Other, "no proof could be made"))?;
                registry.change(|state| state.change_challenges(|all| all.put(&name, shown)));
                What::Certificate { name }
            }
            wire::AcmeChallenge::Dns01 => {
                let (record, value) = (zone::record(domain), proof.key_authorization.dns_value());
                registry.acme.zone.want(&record, &value, certificate, until);
                registry.acme.touch();
                What::Record { record, value }
            }
        };
        Ok(Presented { registry: Arc::clone(registry), what })
    }
}

impl Drop for Presented {
    fn drop(&mut self) {
        match &self.what {
            What::Answer { token } => {
                self.registry.change(|state| state.change_proofs(|proofs| proofs.remove(token)));
            }
            What::Certificate { name } => {
                self.registry.change(|state| state.change_challenges(|all| all.remove(name)));
            }
            What::Record { record, value } => {
                self.registry.acme.zone.forget(record, value);
                self.registry.acme.touch();
            }
        }
    }
}
