//! Certificates that proxyd obtains by itself (ACME, RFC 8555), and keeps up to date.
//!
//! ```text
//!   Wanted ─▶ Agent ─event─▶ Planner (pure) ─effect─▶ Agent ─▶ preflight, Job, suggestion
//!               │  ▲                                              │ ▲
//!               ▼  └──────────────── what came of it ─────────────┘ │
//!   Board (GET /acme), Keyring (shown from then on)      Store, Web, Proofs, Zone
//! ```
//!
//! All of it is done by one thread of its own; the data path reads pictures, as of routes. It runs no program:
//! records of a zone are placed by somebody else (see [`zone`]).

mod account;
mod agent;
mod board;
mod domain;
mod failure;
mod folder;
mod kept;
mod order;
mod plan;
mod preflight;
mod present;
mod problem;
mod proofs;
mod shelf;
mod store;
mod wanted;
mod web;
mod zone;

use agent::clock as now;
pub(crate) use agent::start_when_asked;
pub(crate) use board::Board;
pub(crate) use proofs::Proofs;
pub(crate) use shelf::{Known, Obtained, Stored, take_new};
pub(crate) use wanted::{NotAcme, Wanted};
pub(crate) use zone::NotPlaced;
