//! All that is wanted, as one document.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::{Front, Maintenance, Pause, Route, Service, Target, is_default};

/// `GET /config`, `PUT /config`, the config file and the snapshot: all that can be wanted, and nothing
/// that only a running process knows.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// Settings of the whole process.
    #[serde(skip_serializing_if = "is_default")]
    pub front: Front,
    /// By host, or host and prefix: `shop.example`, `shop.example/api`.
    pub routes: BTreeMap<String, Route>,
    /// By name.
    pub services: BTreeMap<String, ServiceConfig>,
}

/// A service as it is wanted.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ServiceConfig {
    /// Its settings. Without any it is there as long as it has something else.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub settings: Option<Service>,
    /// Whether its requests wait.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pause: Option<Pause>,
    /// Whether its requests are answered without its targets.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub maintenance: Option<Maintenance>,
    /// By name.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub targets: BTreeMap<String, Target>,
}
