//! The job API: connections in, questions through the [`Door`](crate::door::Door), answers out.

mod answer;
mod body;
mod collect;
mod crowd;
mod follow;
mod guard;
mod handover;
mod input;
mod lines;
mod output;
mod patience;
mod peer;
mod place;
mod routes;
mod server;
mod stats;

pub use crowd::Place;
pub use guard::Peer;
pub use handover::{Conversation, Handover, Pending, Phase};
pub use routes::{Api, ROUTES, Route};
pub use server::{Seat, converse, serve};
