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
mod bounds;
mod buffer;
mod cli;
mod connection;
mod control;
mod crowd;
mod exchange;
mod flow;
mod forwarded;
mod front;
mod h1;
mod headers;
mod host;
mod inherited;
mod limits;
mod listener;
mod name;
mod network;
mod origin;
mod pace;
mod pool;
mod proxy_header;
mod refusal;
mod registry;
mod relay;
mod request_id;
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
