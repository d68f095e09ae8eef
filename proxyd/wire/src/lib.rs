//! The vocabulary of proxyd's control API: what goes over its unix socket, and nothing else.
//!
//! A *route* maps a host to a *service*; a service has *targets*, the addresses that answer for
//! it. Each is an object of its own, put and deleted by itself, so that changing one disturbs no
//! connection of another.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// `PUT /routes/:host`: which service answers for a host.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Route {
    /// The service's name.
    pub service: String,
}

/// `PUT /services/:service/targets/:target`: an address that answers for the service.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Target {
    /// `tcp:HOST:PORT` with a numeric address, or `unix:/PATH`.
    pub address: String,
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
    /// Host to service.
    pub routes: BTreeMap<String, Route>,
    /// Service to its targets by name.
    pub services: BTreeMap<String, BTreeMap<String, TargetView>>,
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
