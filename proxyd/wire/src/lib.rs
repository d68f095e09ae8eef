//! The vocabulary of proxyd's control API: what goes over its unix socket, and nothing else.
//!
//! A *route* maps a host and a path's beginning to a *service*; a service has *targets*, the
//! addresses that answer for it. Each is an object of its own, put and deleted by itself, so that
//! changing one disturbs no connection of another.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// `PUT /routes/:host` or `/routes/:host/:prefix`: what becomes of requests for a host, `*.` and a
/// domain, or `*` for any, whose path begins with the prefix.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Route {
    /// The name of the service that answers.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub service: Option<String>,
}

impl Route {
    /// A route to a service, and nothing more.
    pub fn to(service: impl Into<String>) -> Route {
        Route { service: Some(service.into()) }
    }
}

/// `PUT /services/:service`: how a service's targets are used. A service without settings of its own
/// is there as long as it has targets, and has these defaults.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Service {}

/// A service as it stands.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ServiceView {
    /// Its settings.
    pub settings: Service,
    /// Its targets by name, and those that still drain.
    pub targets: BTreeMap<String, TargetView>,
}

/// `PUT /services/:service/targets/:target`: an address that answers for the service.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Target {
    /// `tcp:HOST:PORT` with a numeric address, or `unix:/PATH`.
    pub address: String,
}

impl Target {
    /// A target at an address, and nothing more.
    pub fn at(address: impl Into<String>) -> Target {
        Target { address: address.into() }
    }
}

/// A target as it stands.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TargetView {
    /// Its address as it was put.
    pub address: String,
    /// Requests that it has not answered yet.
    pub in_flight: u64,
    /// Whether it takes no new requests any more.
    pub retired: bool,
}

/// `GET /state`: all routes and services, in one consistent picture.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct State {
    /// Grows by one with each change; the `ETag` of the answer, and what `If-Match` compares.
    pub generation: u64,
    /// Whether clients are let in.
    #[serde(default = "yes")]
    pub serving: bool,
    /// By host, or host and prefix: `shop.example`, `shop.example/api`.
    pub routes: BTreeMap<String, Route>,
    /// By name.
    pub services: BTreeMap<String, ServiceView>,
}

fn yes() -> bool {
    true
}

/// `DELETE /services/:service/targets/:target?grace_ms=N` once it is drained, or the grace is over.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Drained {
    /// Requests that were still unanswered when the grace was over; they go on.
    pub left: u64,
}

/// The JSON body of every error answer of the control API.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ErrorBody {
    /// A stable word for programs.
    pub error: String,
    /// A sentence for people: what happened, where, and what to do.
    pub message: String,
}
