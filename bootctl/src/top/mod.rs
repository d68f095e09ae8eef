//! `bootctl top`: what is seen becomes rows, and what is typed becomes what is shown or done. All of it pure; the
//! terminal, the clock and whoever is asked are [`crate::command`]'s.
//!
//!     looks ─→ figures ─→ rows ┐
//!                    keys ─────┴→ Top::step ─→ effects: read a log, restart an app, leave
//!                                    └─→ screen::draw

mod figures;
mod rows;
pub(crate) mod screen;
mod state;

pub(crate) use figures::{Figures, Look};
pub(crate) use rows::{Sort, sorted, table};
pub(crate) use state::{Effect, Key, Seen, Top};
