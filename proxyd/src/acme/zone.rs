//! Records that have to be in a zone. proxyd runs no program and knows no zone: it says what is to be
//! there, and waits for somebody to say that it is.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use proxyd_wire as wire;
use thiserror::Error;
use tokio::sync::Notify;

use super::domain::Domain;
use super::failure::{Cause, Failure};
use super::plan::Time;
use crate::name::Name;

/// Who says something of a record that is not so.
#[derive(Debug, PartialEq, Eq, Error)]
pub(crate) enum NotPlaced {
    #[error("no record `{0}` is wanted: `GET /acme/challenges` lists those that are")]
    Unknown(String),
    #[error("`{0}` is to have other values by now: `GET /acme/challenges` shows them")]
    Changed(String),
}

#[derive(Debug)]
struct Asked {
    values: Vec<String>,
    certificate: Name,
    until: Time,
    outcome: Option<Result<(), String>>,
}

/// All records that are wanted, by their names.
#[derive(Debug, Default)]
pub(crate) struct Zone {
    asked: Mutex<BTreeMap<String, Asked>>,
    told: Notify,
}

/// The name of the record that proves one.
pub(super) fn record(domain: &Domain) -> String {
    format!("_acme-challenge.{}", domain.base())
}

impl Zone {
    fn lock(&self) -> MutexGuard<'_, BTreeMap<String, Asked>> {
        self.asked.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Wants one more value.
    pub(super) fn want(&self, record: &str, value: &str, certificate: &Name, until: Time) {
        let mut asked = self.lock();
        let new =
            || Asked { values: Vec::new(), certificate: certificate.clone(), until, outcome: None };
        let there = asked.entry(record.to_owned()).or_insert_with(new);
        if !there.values.iter().any(|known| known == value) {
            there.values.push(value.to_owned());
            there.outcome = None;
        }
        there.until = there.until.max(until);
    }

    /// A value is wanted no longer.
    pub(super) fn forget(&self, record: &str, value: &str) {
        let mut asked = self.lock();
        let Some(there) = asked.get_mut(record) else { return };
        there.values.retain(|known| known != value);
        if there.values.is_empty() {
            asked.remove(record);
        }
    }

    /// Somebody says what has become of a record.
    pub(crate) fn tell(&self, record: &str, told: wire::AcmePlaced) -> Result<(), NotPlaced> {
        let mut asked = self.lock();
        let there = asked.get_mut(record).ok_or_else(|| NotPlaced::Unknown(record.to_owned()))?;
        let (mut theirs, mut ours) = (told.values, there.values.clone());
        theirs.sort();
        ours.sort();
        if theirs != ours {
            return Err(NotPlaced::Changed(record.to_owned()));
        }
        there.outcome = Some(told.error.map_or(Ok(()), Err));
        self.told.notify_waiters();
        Ok(())
    }

    /// Returns when all of these are placed, or one cannot be.
    pub(super) async fn placed(&self, records: &BTreeMap<String, Domain>) -> Result<(), Failure> {
        loop {
            let told = self.told.notified();
            tokio::pin!(told);
            // In line before the look, so that no word between the two is missed.
            told.as_mut().enable();
            {
                let asked = self.lock();
                let mut left = 0;
                for (record, domain) in records {
                    match asked.get(record).and_then(|there| there.outcome.as_ref()) {
                        Some(Ok(())) => {}
                        Some(Err(error)) => {
                            return Err(Failure::new(Cause::Hook, error).of(domain.clone()));
                        }
                        None => left += 1,
                    }
                }
                if left == 0 {
                    return Ok(());
                }
            }
            told.await;
        }
    }

    pub(crate) fn view(&self) -> BTreeMap<String, wire::AcmeRecord> {
        let asked = self.lock();
        let view = |(record, there): (&String, &Asked)| {
            let view = wire::AcmeRecord {
                values: there.values.clone(),
                certificate: there.certificate.as_str().to_owned(),
                placed: matches!(there.outcome, Some(Ok(()))),
                until: there.until,
            };
            (record.clone(), view)
        };
        asked.iter().map(view).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_values_of_a_record_have_to_be_there() {
        let (zone, name) = (Zone::default(), Name::parse("a").unwrap());
        let placed = |values: &[&str]| wire::AcmePlaced {
            values: values.iter().map(ToString::to_string).collect(),
            error: None,
        };
        assert_eq!(zone.tell("r", placed(&["1"])), Err(NotPlaced::Unknown("r".into())));
        zone.want("r", "1", &name, 5);
        zone.tell("r", placed(&["1"])).unwrap();
        assert!(zone.view()["r"].placed);
        zone.want("r", "2", &name, 6);
        assert!(!zone.view()["r"].placed);
        assert_eq!(zone.tell("r", placed(&["1"])), Err(NotPlaced::Changed("r".into())));
        zone.tell("r", placed(&["2", "1"])).unwrap();
        zone.forget("r", "1");
        assert_eq!(zone.view()["r"].values, ["2"]);
        zone.forget("r", "2");
        assert!(zone.view().is_empty());
    }
}
