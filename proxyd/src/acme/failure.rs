//! Why a certificate was not obtained, in words that say what to do.

use serde::{Deserialize, Serialize};

use super::domain::Domain;

/// What went wrong.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Failure {
    pub(crate) cause: Cause,
    /// About which name, if it is about one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) domain: Option<Domain>,
    /// What the authority, or the system, has said of it.
    pub(crate) said: String,
    /// The authority does not want to be asked earlier, in seconds from then on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) retry_after: Option<i64>,
}

/// Who has to do something about it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Cause {
    /// The name, or its records, are not in the DNS.
    Dns,
    /// The authority cannot connect to us.
    Unreachable,
    /// It could, and found somebody else.
    Unauthorized,
    RateLimit,
    Contact,
    Account,
    /// The zone names other authorities.
    Caa,
    /// The authority does not want to.
    Refused,
    /// It cannot, at the moment.
    Authority,
    /// It is not believed to be who it says.
    Trust,
    Storage,
    /// Whoever places records has not done so.
    Hook,
    Other,
}

/// Longer words of others are cut.
const SAID: usize = 500;

impl Failure {
    pub(crate) fn new(cause: Cause, said: impl Into<String>) -> Failure {
        let said: String = said.into();
        let said = said.chars().filter(|character| !character.is_control()).take(SAID).collect();
        Failure { cause, domain: None, said, retry_after: None }
    }

    #[must_use]
    pub(crate) fn of(mut self, domain: Domain) -> Failure {
        self.domain = Some(domain);
        self
    }

    /// Whether another authority would meet the same.
    pub(crate) fn is_ours(&self) -> bool {
        match self.cause {
            Cause::Dns
            | Cause::Unreachable
            | Cause::Unauthorized
            | Cause::Storage
            | Cause::Hook => true,
            Cause::RateLimit
            | Cause::Contact
            | Cause::Account
            | Cause::Caa
            | Cause::Refused
            | Cause::Authority
            | Cause::Trust
            | Cause::Other => false,
        }
    }

    /// A stable word for programs.
    pub(crate) fn word(&self) -> &'static str {
        match self.cause {
            Cause::Dns => "dns",
            Cause::Unreachable => "unreachable",
            Cause::Unauthorized => "unauthorized",
            Cause::RateLimit => "rate-limit",
            Cause::Contact => "contact",
            Cause::Account => "account",
            Cause::Caa => "caa",
            Cause::Refused => "refused",
            Cause::Authority => "authority",
            Cause::Trust => "trust",
            Cause::Storage => "storage",
            Cause::Hook => "hook",
            Cause::Other => "other",
        }
    }

    /// For whoever runs the site.
    pub(crate) fn sentence(&self) -> String {
        let name = self.domain.as_ref().map_or("the name", Domain::as_str);
        let base = self.domain.as_ref().map_or("NAME", Domain::base);
        let advice = match self.cause {
            Cause::Dns => format!(
                "{name} does not resolve as it has to: give it an A or AAAA record with the address of \
                 this machine, or take it out"
            ),
            Cause::Unreachable => format!(
                "the authority cannot connect to {name}: open port 80 (and 443) of this machine to the \
                 internet, and see whether its A and AAAA records are this machine's addresses"
            ),
            Cause::Unauthorized => format!(
                "somebody else answers for {name}: its A and AAAA records, or what is in front of this \
                 proxy, must lead http://{base}/.well-known/acme-challenge/ here"
            ),
            Cause::RateLimit => "the authority has had too many orders: nothing to do but wait, or \
                                 name another authority"
                .to_owned(),
            Cause::Contact => {
                "the authority does not take the mail address in `contacts`: correct it".to_owned()
            }
            Cause::Account => "the authority does not take our account: see `eab` and its terms, or \
                               move the account's file out of the folder"
                .to_owned(),
            Cause::Caa => format!(
                "the CAA records of {name} name other authorities: add this one there, or ask one of those"
            ),
            Cause::Refused => format!("the authority makes no certificate for {name}: ask another"),
            Cause::Authority => {
                "the authority cannot be reached, or is not well: see whether this machine may connect \
                 to it"
                    .to_owned()
            }
            Cause::Trust => "the authority's own certificate is not believed: install \
                             ca-certificates, or name its root in `root_file`"
                .to_owned(),
            Cause::Storage => {
                "the folder cannot be used: see to its owner, its rights and its disk".to_owned()
            }
            Cause::Hook => format!("the record that proves {name} was not placed"),
            Cause::Other => "this was not expected".to_owned(),
        };
        if self.said.is_empty() { advice } else { format!("{advice} ({})", self.said) }
    }
}
