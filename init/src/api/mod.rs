//! The job API: connections in, questions through the [`Door`](crate::door::Door), answers out.

mod answer;
mod body;
mod follow;
mod guard;
mod peer;
mod routes;
mod server;

pub use routes::{Api, Route, router, table};
pub use server::serve;
