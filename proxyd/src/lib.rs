//! The reverse proxy: hosts to app instances.
//!
//! It knows routes, targets and connections. It does not know processes, or where a target came
//! from; it needs neither root nor a writable directory.
//!
//! ```text
//!   listener ─▶ connection ─▶ exchange ─▶ attempt ─▶ upstream (pool) ─▶ target
//!                                 │          ▲
//!   control ─▶ registry(state) ─▶ route,claim┘     all but `registry` is one worker's own
//! ```
#![forbid(unsafe_code)]

mod access_log;
mod attempt;
mod balance;
mod bounds;
mod budget;
mod buffer;
mod canary;
mod cli;
mod connection;
mod control;
mod cookie;
mod crowd;
mod exchange;
mod flow;
mod forwarded;
mod front;
#[cfg(any(test, fuzzing))]
pub mod fuzz;
mod h1;
mod headers;
mod health;
mod host;
mod inherited;
mod ledger;
mod limits;
mod listener;
mod maintenance;
mod name;
mod network;
mod origin;
mod pace;
mod pool;
mod presence;
mod proxy_header;
mod queue;
mod refusal;
mod registry;
mod relay;
mod rendezvous;
mod request_id;
mod rounds;
mod route;
mod server;
mod service;
mod settings;
mod state;
mod table;
mod target;
mod timer;
mod tunnel;
mod upload;
mod upstream;
mod worker;

pub use cli::Cli;
pub use server::{CannotServe, run};
