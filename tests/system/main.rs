//! System tests.

mod proxyd_bodies;
mod proxyd_control;
mod proxyd_failures;
mod proxyd_framing;
mod proxyd_hostile;
mod proxyd_lifecycle;
mod proxyd_requests;
