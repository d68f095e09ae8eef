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
mod buffer;
mod cli;
mod connection;
mod control;
mod door;
mod exchange;
mod flow;
mod h1;
mod headers;
mod host;
mod inherited;
mod limits;
mod listener;
mod name;
mod pool;
mod refusal;
mod registry;
mod relay;
mod route;
mod server;
mod service;
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
