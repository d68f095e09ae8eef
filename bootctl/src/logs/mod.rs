//! What apps write: collected from init into files, and read from there.
//!
//! The collector's side is `collector`, `gather`, `ledger`, `scribe`, `press`, `lasting`, `console`,
//! `herald`; the reader's is `history`, `pursuit`, `rings`, `wish`, `since`, `view`. They share the files (`shelf`), and
//! what a line in them looks like (`line`).

pub(crate) mod collector;
mod console;
mod gather;
pub(crate) mod herald;
pub(crate) mod history;
pub(crate) mod keeping;
mod lasting;
mod ledger;
mod line;
mod press;
pub(crate) mod pursuit;
pub(crate) mod rings;
mod scribe;
pub(crate) mod shelf;
pub(crate) mod since;
pub(crate) mod view;
pub(crate) mod wish;
