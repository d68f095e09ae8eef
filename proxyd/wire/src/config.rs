//! All that is wanted, as one document.

use std::collections::BTreeMap;

use serde::{Deserialize, Deserializer, Serialize};

use crate::{
    Acme, Certificate, Front, Maintenance, Pause, Route, Service, Target, Tls, is_default,
};

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
    /// How TLS connections are made.
    #[serde(skip_serializing_if = "is_default")]
    pub tls: Tls,
    /// By name. `GET /config` shows them without their keys, and `PUT /config` takes them so for
    /// certificates that are there.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub certificates: BTreeMap<String, Certificate>,
    /// Which certificates are obtained.
    #[serde(skip_serializing_if = "is_default")]
    pub acme: Acme,
}

/// `PATCH /config`: what is to be otherwise. What is not named stays as it is; `null` takes away.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Changes {
    /// All settings of the whole process.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub front: Option<Front>,
    /// By host, or host and prefix.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub routes: BTreeMap<String, Option<Route>>,
    /// By name. One that is taken away loses its targets, too.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub services: BTreeMap<String, Option<ServiceChanges>>,
    /// All of how TLS connections are made.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tls: Option<Tls>,
    /// By name.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub certificates: BTreeMap<String, Option<Certificate>>,
    /// All that is said of certificates that are obtained.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub acme: Option<Acme>,
}

/// What is to be otherwise of a service.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ServiceChanges {
    /// All of its settings.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub settings: Option<Service>,
    /// Whether its requests are answered without its targets.
    #[serde(skip_serializing_if = "Option::is_none", deserialize_with = "named")]
    pub maintenance: Option<Option<Maintenance>>,
    /// By name. One that is taken away gets no new request, and is not waited for.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub targets: BTreeMap<String, Option<Target>>,
}

/// So that `null` is not as good as nothing.
#[expect(clippy::option_option, reason = "not named, taken away, put: as `serde` tells them apart")]
fn named<'de, D, T>(deserializer: D) -> Result<Option<Option<T>>, D::Error>
where
    D: Deserializer<'de>,
    T: Deserialize<'de>,
{
    Option::deserialize(deserializer).map(Some)
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
