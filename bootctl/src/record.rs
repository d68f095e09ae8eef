//! What is kept of an app beside its file, and how that is written: `{"version": 2, "apps": {…}}`.
//!
//! Version 1 knew only which apps are stopped. It is read, and the next change writes version 2.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::letting_go::LetGo;
use crate::name::{AppName, HostError};
use crate::order::{Digest, Revision};
use crate::release::History;
use crate::work::Work;

/// The version that is written.
pub(crate) const VERSION: u32 = 2;

/// All apps of which there is something to keep.
pub(crate) type Records = BTreeMap<AppName, Record>;

/// What is kept of one app.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Record {
    /// Stopped by the administrator.
    pub(crate) stopped: bool,
    /// How often it was restarted.
    pub(crate) revision: Revision,
    /// An order that was given up.
    pub(crate) held: Option<Held>,
    /// Its releases.
    pub(crate) releases: History,
    /// The commands that are under way.
    pub(crate) work: Option<Work>,
    /// What has become of the last of them, if it has failed.
    pub(crate) notice: Option<String>,
    /// Instances that are let go of, or were.
    pub(crate) let_go: Vec<LetGo>,
}

/// An order that failed while instances of earlier ones went on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Held {
    pub(crate) spec: Digest,
    /// Its own, which a restart that failed has taken back.
    pub(crate) revision: Revision,
    pub(crate) why: String,
    /// The last that the failed instance has written.
    pub(crate) log: Vec<String>,
}

/// Why a text is no records.
#[derive(Debug, thiserror::Error)]
pub(crate) enum RecordError {
    #[error("is truncated or corrupt ({0})")]
    Corrupt(#[from] serde_json::Error),
    #[error("has version {0}, but this bootctl knows {VERSION}")]
    Version(u32),
    #[error("names an app {name:?}, which {source}")]
    Name { name: String, source: HostError },
}

/// The least that every version has.
#[derive(Deserialize)]
struct Versioned {
    version: u32,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct First {
    #[serde(rename = "version")]
    _version: u32,
    stopped: Vec<String>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Document {
    version: u32,
    apps: BTreeMap<String, RecordShape>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct RecordShape {
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    stopped: bool,
    #[serde(default, skip_serializing_if = "is_first")]
    revision: Revision,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    held: Option<HeldShape>,
    #[serde(default, skip_serializing_if = "is_empty")]
    releases: History,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    work: Option<Work>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    notice: Option<String>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    let_go: Vec<LetGo>,
}

fn is_empty(releases: &History) -> bool {
    *releases == History::default()
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde asks so")]
fn is_first(revision: &Revision) -> bool {
    revision.is_first()
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct HeldShape {
    spec: Digest,
    revision: Revision,
    why: String,
    log: Vec<String>,
}

/// Reads either version.
pub(crate) fn parse(text: &[u8]) -> Result<Records, RecordError> {
    let named = |name: String| match AppName::parse(&name) {
        Ok(parsed) => Ok(parsed),
        Err(source) => Err(RecordError::Name { name, source }),
    };
    match serde_json::from_slice::<Versioned>(text)?.version {
        1 => {
            let first: First = serde_json::from_slice(text)?;
            let stopped = || Record { stopped: true, ..Record::default() };
            first.stopped.into_iter().map(|name| Ok((named(name)?, stopped()))).collect()
        }
        VERSION => {
            let document: Document = serde_json::from_slice(text)?;
            let apps = document.apps.into_iter();
            apps.map(|(name, shape)| Ok((named(name)?, shape.into()))).collect()
        }
        other => Err(RecordError::Version(other)),
    }
}

/// The text of these records.
pub(crate) fn write(records: &Records) -> Result<Vec<u8>, serde_json::Error> {
    let apps = records.iter().map(|(name, record)| (name.to_string(), record.clone().into()));
    serde_json::to_vec_pretty(&Document { version: VERSION, apps: apps.collect() })
}

impl From<RecordShape> for Record {
    fn from(shape: RecordShape) -> Self {
        let RecordShape { stopped, revision, held, releases, work, notice, let_go } = shape;
        Self { stopped, revision, held: held.map(Into::into), releases, work, notice, let_go }
    }
}

impl From<Record> for RecordShape {
    fn from(record: Record) -> Self {
        let Record { stopped, revision, held, releases, work, notice, let_go } = record;
        Self { stopped, revision, held: held.map(Into::into), releases, work, notice, let_go }
    }
}

impl From<HeldShape> for Held {
    fn from(shape: HeldShape) -> Self {
        let HeldShape { spec, revision, why, log } = shape;
        Self { spec, revision, why, log }
    }
}

impl From<Held> for HeldShape {
    fn from(held: Held) -> Self {
        let Held { spec, revision, why, log } = held;
        Self { spec, revision, why, log }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::app::sample;
    use crate::order::Order;

    fn app(name: &str) -> AppName {
        AppName::parse(name).expect("a name")
    }

    #[test]
    fn what_is_written_is_read_again() {
        let revision = Revision::default().next();
        let spec = Order { revision, ..Order::new(sample("a", 1)) }.digest();
        let held = Held { spec, revision, why: "it ends".into(), log: vec!["no".into()] };
        let full = Record { stopped: true, revision, held: Some(held), ..Record::default() };
        let stopped = Record { stopped: true, ..Record::default() };
        let records = Records::from([(app("a"), full), (app("b"), stopped)]);
        assert_eq!(parse(&write(&records).expect("written")).expect("read"), records);
    }

    #[test]
    fn version_1_is_read_and_unknown_fields_are_not() {
        let first = parse(br#"{"version": 1, "stopped": ["a"]}"#).expect("read");
        assert!(first.get(&app("a")).is_some_and(|record| record.stopped));
        for (bad, told) in [
            (r#"{"version": 1, "stopped": [], "x": 1}"#, "unknown field"),
            (r#"{"version": 2, "apps": {"a": {"stoped": true}}}"#, "unknown field"),
            (r#"{"version": 2, "apps": {"A b": {}}}"#, "names an app"),
            (r#"{"version": 3, "apps": {}}"#, "has version 3"),
            (r#"{"version": 2, "apps": {"#, "truncated"),
            ("", "truncated"),
        ] {
            let error = parse(bad.as_bytes()).expect_err(bad).to_string();
            assert!(error.contains(told), "{bad}: {error}");
        }
    }
}
