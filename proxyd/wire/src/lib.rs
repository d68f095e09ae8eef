//! The vocabulary of proxyd's control API: what goes over its unix socket, and nothing else.
//!
//! A *route* maps a host and a path's beginning to a *service*; a service has *targets*, the
//! addresses that answer for it. Each is an object of its own, put and deleted by itself, so that
//! changing one disturbs no connection of another.

mod acme;
mod balance;
mod config;
mod files;
mod front;
mod hold;
mod route;
mod tls;
mod trouble;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

pub use acme::{
    Acme, AcmeAuthority, AcmeBinding, AcmeCertificate, AcmeCertificateView, AcmeChallenge,
    AcmeFailure, AcmePlaced, AcmeRecord, AcmeState, AcmeView,
};
pub use balance::{Balance, Canary, Group, HashBy, SameSite, Sticky};
pub use config::{Changes, Config, ServiceChanges, ServiceConfig};
pub use files::Files;
pub use front::{Front, Http2, Limits};
pub use hold::{Maintenance, Pause};
pub use route::{BasicAuth, ErrorPage, HeaderEdits, RateLimit, Redirect, Route};
pub use tls::{Certificate, CertificateView, ClientAuth, Hsts, Tickets, Tls, TlsVersion};
pub use trouble::{Eject, Health, Pool, Retry};

/// What is as it is without a word is not written.
fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}
/// `PUT /services/:service`: how a service's targets are used. A service without settings of its own
/// is there as long as it has targets, and has these defaults.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Service {
    /// What is spoken with its targets.
    #[serde(skip_serializing_if = "is_default")]
    pub protocol: Protocol,
    /// Which target gets a request.
    #[serde(skip_serializing_if = "is_default")]
    pub balance: Balance,
    /// Brings clients back to their target, before `balance` chooses.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sticky: Option<Sticky>,
    /// Which requests go to the targets of the group `canary`; without: none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub canary: Option<Canary>,
    /// What becomes of targets that fail.
    #[serde(skip_serializing_if = "is_default")]
    pub eject: Eject,
    /// When a request is sent again.
    #[serde(skip_serializing_if = "is_default")]
    pub retry: Retry,
    /// Requests that may wait, in their order, while each target has its `max_in_flight`, 0 to
    /// 100,000: more are answered 503 with `Retry-After`.
    #[serde(skip_serializing_if = "is_default")]
    pub queue: u32,
    /// How long each waits before it is answered so, 1 to 3,600,000 ms; without: 5,000.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub queue_ms: Option<u32>,
    /// Idle connections to its targets.
    #[serde(skip_serializing_if = "is_default")]
    pub pool: Pool,
    /// How long tunnels, streams of events and calls of gRPC of a target that is retired may go on, 0 to 86,400,000 ms;
    /// without: 30,000. Then a `WebSocket` is closed with 1001, a call with UNAVAILABLE, and others are cut.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stream_grace_ms: Option<u32>,
}

/// What is spoken with targets.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Protocol {
    /// HTTP/1.1.
    #[default]
    Http1,
    /// HTTP/2 without TLS, as gRPC has it: many requests share a connection, and `pool.idle_ms` is when one
    /// that is not used is closed. An offer to switch to another protocol, such as a `WebSocket`, is not
    /// passed on.
    H2c,
}

/// A service as it stands.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ServiceView {
    /// Its settings.
    pub settings: Service,
    /// Whether its requests wait.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pause: Option<Pause>,
    /// Whether its requests are answered without its targets.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub maintenance: Option<Maintenance>,
    /// Requests that wait now.
    #[serde(default, skip_serializing_if = "is_default")]
    pub waiting: u64,
    /// Its targets by name, and those that still drain.
    pub targets: BTreeMap<String, TargetView>,
}

/// `PUT /services/:service/targets/:target`: an address that answers for the service.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Target {
    /// `tcp:HOST:PORT` with a numeric address, or `unix:/PATH`.
    pub address: String,
    /// Its share of the requests beside that of the others, 0 to 256. 0: only what sticks to it.
    #[serde(default = "one", skip_serializing_if = "is_one")]
    pub weight: u16,
    /// Requests that it works on at once, 1 to 1,000,000; without: as many as come.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_in_flight: Option<u32>,
    /// Whether it serves, or is tried out.
    #[serde(default, skip_serializing_if = "is_default")]
    pub group: Group,
}

fn one() -> u16 {
    1
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes a reference")]
fn is_one(weight: &u16) -> bool {
    *weight == 1
}

impl Default for Target {
    fn default() -> Target {
        Target { address: String::new(), weight: 1, max_in_flight: None, group: Group::Stable }
    }
}

impl Target {
    /// A target at an address, and nothing more.
    pub fn at(address: impl Into<String>) -> Target {
        Target { address: address.into(), ..Target::default() }
    }
}

/// A target as it stands.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TargetView {
    /// Its address as it was put.
    pub address: String,
    /// Its share as it was put.
    #[serde(default = "one", skip_serializing_if = "is_one")]
    pub weight: u16,
    /// Its bound as it was put.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_in_flight: Option<u32>,
    /// Its group as it was put.
    #[serde(default, skip_serializing_if = "is_default")]
    pub group: Group,
    /// Requests that it has not answered yet.
    pub in_flight: u64,
    /// Of those, the ones that are tunnels or streams of events.
    #[serde(default, skip_serializing_if = "is_default")]
    pub streams: u64,
    /// Whether it takes no new requests any more.
    pub retired: bool,
    /// Whether it is asked.
    #[serde(default, skip_serializing_if = "is_default")]
    pub state: Health,
    /// Failures in a row.
    #[serde(default, skip_serializing_if = "is_default")]
    pub failures: u32,
    /// Until when it is ejected, in milliseconds since 1970.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ejected_until_ms: Option<u64>,
}

/// `GET /state`: all routes and services, in one consistent picture.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct State {
    /// Grows by one with each change; the `ETag` of the answer, and what `If-Match` compares.
    pub generation: u64,
    /// Settings of the whole process.
    #[serde(default)]
    pub front: Front,
    /// Whether clients are let in.
    #[serde(default = "yes")]
    pub serving: bool,
    /// By host, or host and prefix: `shop.example`, `shop.example/api`.
    pub routes: BTreeMap<String, Route>,
    /// By name.
    pub services: BTreeMap<String, ServiceView>,
    /// How TLS connections are made.
    #[serde(default, skip_serializing_if = "is_default")]
    pub tls: Tls,
    /// By name.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub certificates: BTreeMap<String, CertificateView>,
    /// Which certificates are obtained: as it was put.
    #[serde(default, skip_serializing_if = "is_default")]
    pub acme: Acme,
    /// Tells the secret of `PUT /tickets` from others, and nothing more of it: the first 8 bytes of the HMAC-SHA256
    /// of `name` with the secret as its key, in hexadecimal digits. Empty before.
    #[serde(default, skip_serializing_if = "is_default")]
    pub tickets: String,
}

fn yes() -> bool {
    true
}

/// `DELETE /services/:service/targets/:target?grace_ms=N` once it is drained, or the grace is over.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Drained {
    /// Requests that were still unanswered when the grace was over; they go on.
    pub left: u64,
    /// Tunnels, streams of events, and answers that have gone on for the whole grace. They go on for the grace
    /// of streams.
    #[serde(default, skip_serializing_if = "is_default")]
    pub streams: u64,
}

/// `GET /status`: how the process is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Status {
    /// Of proxyd.
    pub version: String,
    /// Its process.
    pub pid: u32,
    /// Since it began, in milliseconds.
    pub uptime_ms: u64,
    /// Whether clients are let in.
    pub serving: bool,
    /// Whether it was told to stop.
    pub draining: bool,
    /// What is wanted cannot be written to the file of `--state`, and would be lost by a restart.
    #[serde(default, skip_serializing_if = "is_default")]
    pub snapshot_failing: bool,
    /// As in [`State`].
    pub generation: u64,
    /// How many there are.
    pub routes: usize,
    /// How many there are.
    pub services: usize,
    /// Clients' connections.
    pub connections: usize,
    /// Requests that have ended.
    pub requests: u64,
    /// Those of them that ended with 5xx.
    pub server_errors: u64,
}

/// The JSON body of every error answer of the control API.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ErrorBody {
    /// A stable word for programs.
    pub error: String,
    /// A sentence for people: what happened, where, and what to do.
    pub message: String,
}
